//! What is wrong with a slice of devices, in upstream's words.

use super::*;
use crate::core::v1::pod::validate::node_selector;
use crate::field::Path;
use crate::meta::v1::validate::immutable;
use crate::resource::v1::names;
use crate::resource::v1::request::EFFECTS;
use crate::value::Value;
use regex::Regex;
use std::sync::LazyLock;

const MAX_DEVICES: usize = 128;
/// Where devices have taints or consume counters.
const MAX_DEVICES_WITH_MORE: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_CONSUMPTIONS: usize = 2;
const MAX_ATTRIBUTES_AND_CAPACITIES: usize = 32;
const MAX_TAINTS: usize = 16;
const MAX_VALUE: usize = 64;
const MAX_OPTIONS: usize = 10;

pub(super) fn slice(spec: &ResourceSliceSpec, old: Option<&ResourceSliceSpec>, errors: &mut Errors) {
    let path = Path::new("spec");
    names::driver(&spec.driver, &path.child("driver"), errors);
    pool(&spec.pool, &path.child("pool"), errors);
    if let Some(old) = old {
        immutable(&spec.pool.name, &old.pool.name, &path.child("pool").child("name"), errors);
        immutable(&spec.driver, &old.driver, &path.child("driver"), errors);
        immutable(&spec.node_name, &old.node_name, &path.child("nodeName"), errors);
    }
    let place = Place {
        name: spec.node_name.as_deref(),
        selector: spec.node_selector.as_deref(),
        all: spec.all_nodes,
        each: Some(spec.per_device_node_selection),
    };
    place.validate("must be either unset or set to a non-empty string", &path, errors);
    if let Some(terms) = spec.node_selector.as_ref().map(|selector| &selector.node_selector_terms)
        && terms.len() != 1
    {
        let path = path.child("nodeSelector").child("nodeSelectorTerms");
        errors.invalid(&path, terms as &dyn Value, "must have exactly one node selector term");
    }
    if !spec.shared_counters.is_empty() && !spec.devices.is_empty() {
        errors.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    devices(spec, old, &path.child("devices"), errors);
    let counters = path.child("sharedCounters");
    if names::at_most(spec.shared_counters.len(), MAX_COUNTER_SETS, &counters, errors) {
        for (place, set) in spec.shared_counters.iter().enumerate() {
            let path = counters.index(place);
            named_counters(("name", &set.name), &set.counters, &path, errors);
        }
        let keys = spec.shared_counters.iter().map(|set| &set.name);
        names::unique(keys, |name| (*name).clone(), &counters, errors);
    }
}

fn pool(pool: &ResourcePool, path: &Path, errors: &mut Errors) {
    names::pool(&pool.name, &path.child("name"), errors);
    if pool.resource_slice_count <= 0 {
        let path = path.child("resourceSliceCount");
        errors.invalid(&path, pool.resource_slice_count, "must be greater than zero");
    }
    if pool.generation < 0 {
        let path = path.child("generation");
        errors.invalid(&path, pool.generation, "must be greater than or equal to zero");
    }
}

/// Which nodes reach a slice or a device; exactly one way is given.
struct Place<'a> {
    name: Option<&'a str>,
    selector: Option<&'a NodeSelector>,
    all: Option<bool>,
    /// Whether each device says so itself; only slices can.
    each: Option<Option<bool>>,
}

impl Place<'_> {
    fn validate(&self, no_name: &str, path: &Path, errors: &mut Errors) {
        let mut given = Vec::new();
        if let Some(name) = self.name {
            let path = path.child("nodeName");
            if name.is_empty() {
                errors.invalid(&path, name, no_name);
            } else {
                given.push("`nodeName`");
                errors.wrong(&path, name, crate::names::dns1123_subdomain(name));
            }
        }
        if let Some(selector) = self.selector {
            given.push("`nodeSelector`");
            node_selector(selector, &path.child("nodeSelector"), errors);
        }
        for (name, shown, value) in [
            ("allNodes", "`allNodes`", self.all),
            ("perDeviceNodeSelection", "`perDeviceNodeSelection`", self.each.flatten()),
        ] {
            match value {
                Some(true) => given.push(shown),
                Some(false) => {
                    errors.invalid(&path.child(name), false, "must be either unset or set to true");
                }
                None => {}
            }
        }
        let (one, several) = if self.each.is_some() {
            let one =
                "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
            (one, format!("{one}, but multiple fields are set"))
        } else {
            let one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            (one, one.to_owned())
        };
        match given.len() {
            0 => errors.required(path, one),
            1 => {}
            _ => errors.invalid(path, format!("{{{}}}", given.join(", ")).as_str(), several),
        }
    }
}

fn named_counters(
    (field, name): (&str, &str),
    counters: &BTreeMap<String, Counter>,
    path: &Path,
    errors: &mut Errors,
) {
    let name_path = path.child(field);
    if name.is_empty() {
        errors.required(&name_path, "");
    } else {
        names::label(name, &name_path, errors);
    }
    let path = path.child("counters");
    if counters.is_empty() {
        errors.required(&path, "");
    } else if names::at_most(counters.len(), MAX_COUNTERS, &path, errors) {
        for name in counters.keys() {
            names::label(name, &path, errors);
        }
    }
}

fn devices(spec: &ResourceSliceSpec, old: Option<&ResourceSliceSpec>, path: &Path, errors: &mut Errors) {
    let more = |device: &Device| !device.taints.is_empty() || !device.consumes_counters.is_empty();
    let max = if spec.devices.iter().any(more) { MAX_DEVICES_WITH_MORE } else { MAX_DEVICES };
    if !names::at_most(spec.devices.len(), max, path, errors) {
        return;
    }
    let each = spec.per_device_node_selection == Some(true);
    for (place, one) in spec.devices.iter().enumerate() {
        let before = old.and_then(|old| old.devices.iter().find(|device| device.name == one.name));
        device(one, before, each, &path.index(place), errors);
    }
    names::unique(spec.devices.iter().map(|device| &device.name), |name| (*name).clone(), path, errors);
}

fn device(device: &Device, before: Option<&Device>, each: bool, path: &Path, errors: &mut Errors) {
    names::label(&device.name, &path.child("name"), errors);
    let count = device.attributes.len() + device.capacity.len();
    if count > MAX_ATTRIBUTES_AND_CAPACITIES {
        let text = format!(
            "the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES_AND_CAPACITIES}"
        );
        errors.invalid(path, count as i64, text);
    }
    let attributes = path.child("attributes");
    for (name, value) in &device.attributes {
        names::qualified(name, &attributes, errors);
        attribute(value, &attributes.key(name), errors);
    }
    let capacities = path.child("capacity");
    for (name, capacity) in &device.capacity {
        names::qualified(name, &capacities, errors);
        let path = capacities.key(name).child("requestPolicy");
        match &capacity.request_policy {
            Some(policy) if device.allow_multiple_allocations == Some(true) => {
                request_policy(&capacity.value, policy, &path, errors);
            }
            Some(_) => errors.forbidden(&path, "allowMultipleAllocations must be true"),
            None => {}
        }
    }
    // What was taken once stays.
    if before.is_none_or(|before| before.taints != device.taints) {
        let taints = path.child("taints");
        if names::at_most(device.taints.len(), MAX_TAINTS, &taints, errors) {
            for (place, taint) in device.taints.iter().enumerate() {
                let path = taints.index(place);
                names::label_name(&taint.key, &path.child("key"), errors);
                errors.wrong(&path.child("value"), &taint.value, crate::names::label_value(&taint.value));
                errors.required_choice(&path.child("effect"), taint.effect.as_str(), EFFECTS);
            }
        }
    }
    let consumed = path.child("consumesCounters");
    if names::at_most(device.consumes_counters.len(), MAX_CONSUMPTIONS, &consumed, errors) {
        for (place, one) in device.consumes_counters.iter().enumerate() {
            named_counters(("counterSet", &one.counter_set), &one.counters, &consumed.index(place), errors);
        }
        let keys = device.consumes_counters.iter().map(|one| &one.counter_set);
        names::unique(keys, |name| (*name).clone(), &consumed, errors);
    }
    let place = Place {
        name: device.node_name.as_deref(),
        selector: device.node_selector.as_deref(),
        all: device.all_nodes,
        each: None,
    };
    if each {
        place.validate("must not be empty", path, errors);
    } else if place.name.is_some() || place.selector.is_some() || place.all.is_some() {
        let text = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.invalid(path, "null", text);
    }
    names::binding_conditions(&device.binding_conditions, &device.binding_failure_conditions, path, errors);
}

fn attribute(attribute: &DeviceAttribute, path: &Path, errors: &mut Errors) {
    static SEMVER: LazyLock<Regex> = LazyLock::new(|| {
        let number = r"(0|[1-9]\d*)";
        let pre = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)";
        let build = "[0-9a-zA-Z-]+";
        let pattern = format!(r"^{number}\.{number}\.{number}(-{pre}(\.{pre})*)?(\+{build}(\.{build})*)?$");
        Regex::new(&pattern).expect("the pattern is a constant")
    });
    let path_of = |name: &str| path.child(name);
    if attribute.string.as_ref().is_some_and(|text| text.len() > MAX_VALUE) {
        errors.too_long(&path_of("string"), MAX_VALUE);
    }
    if let Some(version) = &attribute.version {
        if !SEMVER.is_match(version) {
            let text = "must be a string compatible with semver.org spec 2.0.0";
            errors.invalid(&path_of("version"), version.as_str(), text);
        }
        if version.len() > MAX_VALUE {
            errors.too_long(&path_of("version"), MAX_VALUE);
        }
    }
    let given = [
        attribute.int.is_some(),
        attribute.bool.is_some(),
        attribute.string.is_some(),
        attribute.version.is_some(),
    ];
    const ONE: &str = "exactly one value must be specified";
    match given.into_iter().filter(|given| *given).count() {
        0 => errors.invalid(path, "", ONE),
        1 => {}
        _ => errors.invalid(path, attribute as &dyn Value, ONE),
    }
}

/// How parts of a capacity can be asked for.
fn request_policy(capacity: &Quantity, policy: &CapacityRequestPolicy, path: &Path, errors: &mut Errors) {
    match (policy.valid_values.is_empty(), &policy.valid_range, &policy.default) {
        (false, Some(_), _) => errors.forbidden(
            path,
            r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#,
        ),
        (false, None, None) => {
            errors.required(&path.child("default"), "required when validValues is defined");
        }
        (true, Some(_), None) => {
            errors.required(&path.child("default"), "required when validRange is defined");
        }
        (false, None, Some(default)) => {
            options(&policy.valid_values, default, capacity, &path.child("validValues"), errors);
        }
        (true, Some(bounds), Some(default)) => {
            range(bounds, default, capacity, &path.child("validRange"), errors);
        }
        (true, None, _) => {}
    }
}

fn options(all: &[Quantity], default: &Quantity, capacity: &Quantity, path: &Path, errors: &mut Errors) {
    for (place, pair) in all.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let path = path.index(place + 1);
            errors.invalid(&path, pair[1], "values must be sorted in ascending order");
        }
    }
    let mut found = false;
    if names::at_most(all.len(), MAX_OPTIONS, path, errors) {
        for (place, option) in all.iter().enumerate() {
            found |= option == default;
            if option > capacity {
                let text = format!("option is larger than capacity value: {capacity}");
                errors.invalid(&path.index(place), *option, text);
            }
        }
        names::unique(all.iter().map(Quantity::value), ToString::to_string, path, errors);
    }
    if !found {
        errors.invalid(path, *default, "default value is not valid according to the requestPolicy");
    }
}

fn range(
    bounds: &CapacityRequestPolicyRange,
    default: &Quantity,
    capacity: &Quantity,
    path: &Path,
    errors: &mut Errors,
) {
    let Some(min) = &bounds.min else {
        return errors.required(&path.child("min"), "required when validRange is defined");
    };
    if min > capacity {
        errors.invalid(&path.child("min"), *min, format!("min is larger than capacity value: {capacity}"));
    }
    if default < min {
        errors.invalid(&path.child("min"), *default, format!("default is less than min: {min}"));
    }
    if let Some(max) = &bounds.max {
        let path = path.child("max");
        if min > max {
            errors.invalid(&path, *min, format!("min is larger than max: {max}"));
        }
        if max > capacity {
            errors.invalid(&path, *max, format!("max is larger than capacity value: {capacity}"));
        }
        if default > max {
            errors.invalid(&path, *default, format!("default is more than max: {max}"));
        }
    }
    if let Some(step) = &bounds.step {
        let path = path.child("step");
        let mut one = *min;
        one += *step;
        if one > *capacity {
            let text = format!("one step {one} is larger than capacity value: {capacity}");
            errors.invalid(&path, *step, text);
        }
        for value in [Some(default), bounds.max.as_ref()].into_iter().flatten() {
            let size = step.value();
            if size == 0 || (value.value() - min.value()) % size != 0 {
                let text = format!("value is not a multiple of a given step ({step}) from ({min})");
                errors.invalid(&path, *value, text);
            }
        }
    }
}
