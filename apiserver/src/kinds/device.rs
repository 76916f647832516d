//! What writing device classes, claims and claim templates needs beyond their strategies (KEP-4381): selectors in CEL
//! have to compile, give a bool and stay within their cost, and devices that others use may be asked for in namespaces
//! with a label only (KEP-5018). Nothing here evaluates an expression.

use api_types::core::v1::Namespace;
use api_types::field::{Errors, Path};
use api_types::kind::Object;
use api_types::resource::v1::{
    DeviceClaim, DeviceClass, DeviceSelector, ResourceClaim, ResourceClaimTemplate, ResourceSlice,
};
use api_types::value::Time;

use crate::cel::device::Selector;
use crate::server::Server;

/// Longest expression in bytes; longer ones are refused without being looked at.
const LONGEST: usize = 10 * 1024;
/// On namespaces in which devices may be asked for that others use.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";
const ADMIN_ACCESS: &str = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";

/// Selectors that stand together, and where.
type Group<'a> = (Path, &'a [DeviceSelector]);

/// Taints that do not say since when they are there are there since now.
pub fn stamp(object: &mut dyn Object, now: Time) {
    let Some(slice) = object.as_any_mut().downcast_mut::<ResourceSlice>() else { return };
    for taint in slice.spec.devices.iter_mut().flat_map(|device| &mut device.taints) {
        taint.time_added.get_or_insert(now);
    }
}

/// As [`stamp`], of a new object.
pub fn settle(object: &mut dyn Object) {
    if let Some(now) = object.meta().creation_timestamp {
        stamp(object, now);
    }
}

/// Selectors that an update leaves alone are not looked at again.
pub fn check(server: &Server, object: &dyn Object, old: Option<&dyn Object>, errors: &mut Errors) {
    if let Some(path) = admin_access(object, old)
        && !is_for_admins(server, &object.meta().namespace)
    {
        errors.forbidden(&path, ADMIN_ACCESS);
    }
    selectors(object, old, errors);
}

/// COMPAT: where devices are first asked for, or given, that others use; the path of a template's request is that of
/// a claim's, and `exactly` is left out.
fn admin_access(object: &dyn Object, old: Option<&dyn Object>) -> Option<Path> {
    let (any, requests) = (object.as_any(), Path::new("spec").child("devices").child("requests"));
    let asked = |claim: &DeviceClaim| {
        let place = claim.admin_access()?;
        Some(requests.index(place).child("adminAccess"))
    };
    if let Some(template) = any.downcast_ref::<ResourceClaimTemplate>() {
        return if old.is_none() { asked(&template.spec.spec.devices) } else { None };
    }
    let claim = any.downcast_ref::<ResourceClaim>()?;
    let Some(old) = old else { return asked(&claim.spec.devices) };
    let before = old.as_any().downcast_ref::<ResourceClaim>().and_then(ResourceClaim::admin_access_given);
    let place = claim.admin_access_given().filter(|_| before.is_none())?;
    let results = Path::new("status").child("allocation").child("devices").child("results");
    Some(results.index(place).child("adminAccess"))
}

fn is_for_admins(server: &Server, namespace: &str) -> bool {
    let found: Option<Namespace> =
        server.storage.of::<Namespace>().get(namespace).and_then(|entry| entry.typed().ok());
    found.is_some_and(|own| own.metadata.labels.get(ADMIN_LABEL).is_some_and(|value| value == "true"))
}

fn selectors(object: &dyn Object, old: Option<&dyn Object>, errors: &mut Errors) {
    let known: Vec<&[DeviceSelector]> =
        old.map(groups).unwrap_or_default().into_iter().map(|(_, selectors)| selectors).collect();
    for (path, selectors) in groups(object).iter().filter(|(_, selectors)| !known.contains(selectors)) {
        for (place, selector) in selectors.iter().enumerate() {
            let expression = selector.cel.as_ref().map_or("", |cel| cel.expression.as_str());
            // The kind itself refuses both.
            if selector.cel.is_none() || expression.len() > LONGEST {
                continue;
            }
            look(expression, &path.index(place).child("cel").child("expression"), errors);
        }
    }
}

fn look(expression: &str, path: &Path, errors: &mut Errors) {
    match Selector::compile(expression) {
        Err(error) => errors.invalid(path, expression, error.to_string()),
        Ok(selector) if selector.is_costly() => errors.forbidden(path, "too complex, exceeds cost limit"),
        Ok(_) => {}
    }
}

fn groups(object: &dyn Object) -> Vec<Group<'_>> {
    let (any, spec) = (object.as_any(), Path::new("spec"));
    if let Some(class) = any.downcast_ref::<DeviceClass>() {
        return vec![(spec.child("selectors"), &class.spec.selectors)];
    }
    if let Some(claim) = any.downcast_ref::<ResourceClaim>() {
        return of_claim(&claim.spec.devices, &spec.child("devices"));
    }
    if let Some(template) = any.downcast_ref::<ResourceClaimTemplate>() {
        return of_claim(&template.spec.spec.devices, &spec.child("spec").child("devices"));
    }
    Vec::new()
}

fn of_claim<'a>(claim: &'a DeviceClaim, path: &Path) -> Vec<Group<'a>> {
    let mut found: Vec<Group<'a>> = Vec::new();
    for (place, request) in claim.requests.iter().enumerate() {
        let path = path.child("requests").index(place);
        if let Some(exactly) = &request.exactly {
            found.push((path.child("exactly").child("selectors"), &exactly.selectors));
        }
        for (place, one) in request.first_available.iter().enumerate() {
            found.push((path.child("firstAvailable").index(place).child("selectors"), &one.selectors));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::resource::v1::{CELDeviceSelector, Device, DeviceTaint};

    fn class(expressions: &[&str]) -> DeviceClass {
        let selector = |text: &&str| {
            let cel = CELDeviceSelector { expression: (*text).to_owned() };
            DeviceSelector { cel: Some(Box::new(cel)) }
        };
        let mut class = DeviceClass::default();
        class.spec.selectors = expressions.iter().map(selector).collect();
        class
    }

    fn found(new: &DeviceClass, old: Option<&DeviceClass>) -> Vec<String> {
        let mut errors = Errors::default();
        selectors(new, old.map(|old| old as &dyn Object), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn taints_are_there_since_some_time() {
        let at = |second| Time(jiff::Timestamp::from_second(second).unwrap());
        let mut slice = ResourceSlice::default();
        let taint = |added: Option<Time>| DeviceTaint { time_added: added, ..DeviceTaint::default() };
        slice.spec.devices =
            vec![Device { taints: vec![taint(None), taint(Some(at(5)))], ..Device::default() }];
        slice.metadata.creation_timestamp = Some(at(10));
        settle(&mut slice);
        slice.spec.devices[0].taints.push(taint(None));
        stamp(&mut slice, at(20));
        let times: Vec<_> = slice.spec.devices[0].taints.iter().map(|taint| taint.time_added).collect();
        assert_eq!(times, [Some(at(10)), Some(at(5)), Some(at(20))]);
    }

    #[test]
    fn what_devices_are_asked() {
        let good = [
            r#"device.driver == "dra.example.com""#,
            r#"device.attributes["dra.example.com"].name"#,
            r#"device.attributes["dra.example.com"]["name"] == "fish""#,
            r#"device.attributes["dra.example.com"].version.isGreaterThan(semver("0.0.1"))"#,
            r#"device.capacity["dra.example.com"].memory.compareTo(quantity("1Mi")) >= 0"#,
            r#"cel.bind(dra, device.attributes["dra.example.com"], dra.oneBool && dra.anotherBool)"#,
            "device.allowMultipleAllocations",
            "true",
        ];
        assert_eq!(found(&class(&good), None), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let check = |expression: &str, expected: &str| {
            let found = found(&class(&[expression]), None);
            assert!(found.len() == 1 && found[0].contains(expected), "{expression}: {found:?}");
            assert!(found[0].starts_with("spec.selectors[0].cel.expression: "), "{found:?}");
        };
        check("noSuchVar", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'noSuchVar'");
        check("device.", "compilation failed: ERROR: <input>:1:8: Syntax error");
        check("1", "must evaluate to bool or the unknown type, not int");
        check("device.noSuchField", "undefined field 'noSuchField'");
        check("device.driver.exists(x, x)", "cannot be range of a comprehension");
        let attribute = r#"device.attributes["a"].x.exists(y, y)"#;
        check(attribute, "expression of type 'any' cannot be range of a comprehension");
        check("device.attributes", "not map(string, map(string, google.protobuf.Any))");
        check("dyn(1)", "must evaluate to bool or the unknown type, not dyn");
        check("", "Syntax error: mismatched input '<EOF>'");
        let costly = r#"device.attributes["a"].map(s, s).exists(x, device.attributes["a"].map(s, s).exists(y,
            device.attributes["a"].map(s, s).exists(z, device.attributes["a"].map(s, s).exists(w, w.matches("(x+x+)+y")))))"#;
        check(costly, "Forbidden: too complex, exceeds cost limit");
    }

    #[test]
    fn what_was_there_is_not_looked_at_again() {
        let (before, mut after) = (class(&["1"]), class(&["1"]));
        assert_eq!(found(&after, Some(&before)), Vec::<String>::new());
        after.spec.selectors.reverse();
        after.spec.selectors.push(DeviceSelector::default());
        assert_eq!(found(&after, Some(&before)).len(), 1);
    }
}
