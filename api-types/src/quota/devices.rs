//! Devices in quotas (KEP-4381, KEP-5004): a claim counts for the devices that it may get, by their class and by the
//! extended resources that stand for the class. A pod that asks for such a resource counts for it itself; the claim
//! that a scheduler makes for the pod counts for what goes beyond that.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::v1::pod::validate::is_native;
use crate::core::v1::{Pod, ResourceList};
use crate::meta::v1::OwnerReference;
use crate::resource::v1::{DeviceAllocationMode, DeviceClass, ResourceClaim};
use crate::value::{Format, Quantity};

/// `CLASS.deviceclass.resource.k8s.io/devices`
pub(super) const OF_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// `deviceclass.resource.kubernetes.io/CLASS`, an extended resource that each class has.
pub(super) const IMPLICIT: &str = "deviceclass.resource.kubernetes.io/";
/// Devices that a request for all of them may get at most (`AllocationResultsMaxSize`).
const MOST: i64 = 32;
/// On claims that are made for a pod's extended resources.
const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";

/// What has to be known to count a claim.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// The device classes, and the extended resource that each stands for.
    pub classes: BTreeMap<String, Option<String>>,
    /// What the pod counts for that the claim was made for.
    pub held: ResourceList,
}

impl Devices {
    /// Of these classes.
    pub fn of(classes: impl IntoIterator<Item = DeviceClass>) -> Self {
        let pair = |class: DeviceClass| (class.metadata.name, class.spec.extended_resource_name);
        Self { classes: classes.into_iter().map(pair).collect(), held: ResourceList::new() }
    }

    /// Whether claims count for a resource of a quota by an extended resource of some class.
    pub fn are_counted_as(&self, name: &str) -> bool {
        let Some(resource) = name.strip_prefix("requests.").filter(|_| may_be_devices(name)) else {
            return false;
        };
        match resource.strip_prefix(IMPLICIT) {
            Some(class) => self.classes.contains_key(class),
            None => self.classes.values().any(|own| own.as_deref() == Some(resource)),
        }
    }
}

/// Whether a quota's resource may be one that device classes stand for.
pub fn may_be_devices(name: &str) -> bool {
    let implicit = name.strip_prefix("requests.").is_some_and(|resource| resource.starts_with(IMPLICIT));
    implicit || (name.starts_with("requests.") && !is_native(name))
}

/// The pod that a claim to its extended resources was made for.
pub fn pod_of(claim: &ResourceClaim) -> Option<&OwnerReference> {
    let marked = claim.metadata.annotations.get(EXTENDED).is_some_and(|value| value == "true");
    let owner = claim.metadata.owner_references.iter().find(|owner| owner.controller == Some(true))?;
    (marked && owner.kind == "Pod" && owner.api_version == "v1").then_some(owner)
}

/// Whether a pod counts for the devices of a claim: the claim that it names, or the first that was made for it.
pub fn is_held_by<'a>(
    claim: &ResourceClaim,
    pod: &Pod,
    others: impl IntoIterator<Item = &'a ResourceClaim>,
) -> bool {
    if pod_of(claim).is_none_or(|owner| owner.uid != pod.metadata.uid || owner.name != pod.metadata.name) {
        return false;
    }
    if let Some(named) = &pod.status.extended_resource_claim_status {
        return named.resource_claim_name == claim.metadata.name;
    }
    let age = |claim: &ResourceClaim| (claim.metadata.creation_timestamp, claim.metadata.name.clone());
    let of_the_pod =
        |other: &&ResourceClaim| pod_of(other).is_some_and(|owner| owner.uid == pod.metadata.uid);
    others.into_iter().filter(of_the_pod).all(|other| age(other) >= age(claim))
}

/// The devices that a claim may get: of alternatives the worst.
pub(super) fn of_claim(claim: &ResourceClaim, known: &Devices) -> ResourceList {
    let amount = |count| Quantity::from_units(count, Format::DecimalSi);
    let (mut used, mut extended) = (ResourceList::new(), BTreeMap::<String, i64>::new());
    for (class, count) in by_class(claim) {
        extended.insert(format!("requests.{IMPLICIT}{class}"), count);
        if let Some(name) = known.classes.get(class).and_then(Option::as_ref) {
            *extended.entry(format!("requests.{name}")).or_default() += count;
        }
        used.insert(format!("{class}{OF_CLASS}"), amount(count));
    }
    for (name, count) in extended {
        let mut left = amount(count);
        if let Some(held) = known.held.get(&name) {
            left -= *held;
        }
        if left > Quantity::default() {
            used.insert(name, left);
        }
    }
    used
}

fn by_class(claim: &ResourceClaim) -> BTreeMap<&str, i64> {
    let most = |mode: &DeviceAllocationMode, count: i64| match mode {
        DeviceAllocationMode::ExactCount => count,
        DeviceAllocationMode::All => MOST,
        _ => 0,
    };
    let mut devices = BTreeMap::new();
    for request in &claim.spec.devices.requests {
        let mut asked: Vec<(&str, i64)> = request
            .first_available
            .iter()
            .map(|one| (one.device_class_name.as_str(), most(&one.allocation_mode, one.count)))
            .collect();
        if let Some(one) = request.exactly.as_deref().filter(|_| asked.is_empty()) {
            asked.push((&one.device_class_name, most(&one.allocation_mode, one.count)));
        }
        let classes: BTreeSet<&str> = asked.iter().map(|(class, _)| *class).collect();
        for class in classes {
            let counts = asked.iter().filter(|(own, _)| *own == class).map(|(_, count)| *count);
            *devices.entry(class).or_default() += counts.max().unwrap_or_default();
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;

    fn list(items: &[(&str, &str)]) -> ResourceList {
        items
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Quantity::parse(text).expect("an amount")))
            .collect()
    }

    fn claim(text: &str) -> ResourceClaim {
        json::from_slice(text.as_bytes()).expect("a claim")
    }

    fn known() -> Devices {
        let class = |name: &str, resource: Option<&str>| {
            let mut class = DeviceClass::default();
            class.metadata.name = name.into();
            class.spec.extended_resource_name = resource.map(str::to_owned);
            class
        };
        Devices::of([class("gold", Some("example.com/gpu")), class("tin", None)])
    }

    const GOLD: &str = r#"{"spec":{"devices":{"requests":[
        {"name":"a","exactly":{"deviceClassName":"gold","allocationMode":"ExactCount","count":3}},
        {"name":"b","exactly":{"deviceClassName":"gold","allocationMode":"All"}},
        {"name":"c","firstAvailable":[
            {"name":"x","deviceClassName":"tin","allocationMode":"ExactCount","count":1},
            {"name":"y","deviceClassName":"tin","allocationMode":"ExactCount","count":4}]}]}}}"#;

    #[test]
    fn claims_take_the_devices_that_they_may_get() {
        let used = of_claim(&claim(GOLD), &known());
        let expected = [
            ("gold.deviceclass.resource.k8s.io/devices", "35"),
            ("requests.deviceclass.resource.kubernetes.io/gold", "35"),
            ("requests.deviceclass.resource.kubernetes.io/tin", "4"),
            ("requests.example.com/gpu", "35"),
            ("tin.deviceclass.resource.k8s.io/devices", "4"),
        ];
        assert_eq!(used, list(&expected));
    }

    #[test]
    fn what_a_pod_counts_for_is_not_counted_twice() {
        let held = list(&[
            ("requests.example.com/gpu", "30"),
            ("requests.deviceclass.resource.kubernetes.io/gold", "35"),
        ]);
        let used = of_claim(&claim(GOLD), &Devices { held, ..known() });
        assert_eq!(used.get("requests.example.com/gpu"), list(&[("", "5")]).get(""));
        assert!(!used.contains_key("requests.deviceclass.resource.kubernetes.io/gold"));
        assert!(used.contains_key("gold.deviceclass.resource.k8s.io/devices"), "its devices are its own");
    }

    #[test]
    fn names_that_classes_stand_for() {
        let check = |name: &str, expected: bool| assert_eq!(known().are_counted_as(name), expected, "{name}");
        check("requests.example.com/gpu", true);
        check("requests.example.com/other", false);
        check("requests.deviceclass.resource.kubernetes.io/gold", true);
        check("requests.deviceclass.resource.kubernetes.io/tin", true);
        check("requests.deviceclass.resource.kubernetes.io/lead", false);
        check("example.com/gpu", false);
        check("requests.cpu", false);
    }

    #[test]
    fn a_pod_holds_one_claim() {
        let made = |name: &str, second: u32| {
            claim(&format!(
                r#"{{"metadata":{{"name":"{name}","creationTimestamp":"2026-01-01T00:00:{second:02}Z",
                "annotations":{{"resource.kubernetes.io/extended-resource-claim":"true"}},
                "ownerReferences":[{{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","controller":true}}]}}}}"#
            ))
        };
        let pod = |status: &str| -> Pod {
            json::from_slice(
                format!(r#"{{"metadata":{{"name":"p","uid":"u"}},"status":{{{status}}}}}"#).as_bytes(),
            )
            .expect("a pod")
        };
        let (first, second, twin) = (made("b", 1), made("a", 2), made("a", 1));
        let all = [first.clone(), second.clone()];
        assert!(is_held_by(&first, &pod(""), &all));
        assert!(!is_held_by(&second, &pod(""), &all));
        assert!(!is_held_by(&first, &pod(""), [&first, &twin]), "of two at one time the first by name");
        let names = pod(r#""extendedResourceClaimStatus":{"resourceClaimName":"a","requestMappings":[]}"#);
        assert!(is_held_by(&second, &names, &all) && !is_held_by(&first, &names, &all));
        let mut other = pod("");
        other.metadata.uid = "another".into();
        assert!(!is_held_by(&first, &other, &all));
        let mut plain = first;
        plain.metadata.annotations.clear();
        assert!(!is_held_by(&plain, &pod(""), &all));
    }
}
