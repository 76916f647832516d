//! Refusals of slices.

use super::*;
use crate::kind::testing::{refused, refused_update};

fn slice() -> ResourceSlice {
    let mut slice = ResourceSlice::default();
    slice.metadata.name = "a".into();
    slice.spec.driver = "gpu.example.com".into();
    slice.spec.pool = ResourcePool { name: "node-1".into(), generation: 1, resource_slice_count: 1 };
    slice.spec.node_name = Some("node-1".into());
    let mut device = Device { name: "gpu-0".into(), ..Device::default() };
    let version = DeviceAttribute { version: Some("1.2.3-rc.1+b".into()), ..DeviceAttribute::default() };
    device.attributes.insert("driver_version".into(), version);
    slice.spec.devices.push(device);
    slice
}

#[test]
fn what_is_taken() {
    assert_eq!(refused(slice()), Vec::<String>::new());
}

#[test]
fn what_is_refused() {
    let mut wrong = slice();
    wrong.spec.all_nodes = Some(true);
    wrong.spec.pool.resource_slice_count = 0;
    let device = &mut wrong.spec.devices[0];
    device.node_name = Some("node-1".into());
    device.attributes.insert("a-b".into(), DeviceAttribute::default());
    let version = DeviceAttribute { version: Some("1.2".into()), ..DeviceAttribute::default() };
    device.attributes.insert("short".into(), version);
    device.taints.push(DeviceTaint { key: "k".into(), effect: "Never".into(), ..DeviceTaint::default() });
    device.binding_conditions.push("ready".into());
    let again = wrong.spec.devices[0].clone();
    wrong.spec.devices.push(Device { taints: Vec::new(), ..again });
    let found = refused(wrong);
    for expected in [
        "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
        r#"spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"#,
        r#"spec.devices[0].attributes[a-b]: Invalid value: "": exactly one value must be specified"#,
        r#"spec.devices[0].attributes[short].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0"#,
        r#"spec.devices[0].taints[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "None""#,
        r#"spec.devices[1]: Duplicate value: "gpu-0""#,
    ] {
        assert!(found.iter().any(|text| text == expected), "{expected} is not in {found:#?}");
    }
    let starts = |text: &str| found.iter().any(|found| found.starts_with(text));
    assert!(starts(r#"spec.devices[0].attributes: Invalid value: "a-b": a valid C identifier must"#));
    assert!(starts("spec.devices[0].bindingFailureConditions: Invalid value"));
    assert!(starts(
        "spec.devices[0]: Invalid value: \"null\": `nodeName`, `nodeSelector` and `allNodes` can only"
    ));
}

#[test]
fn parts_of_a_capacity() {
    let quantity = |text: &str| -> Quantity { text.parse().expect("a quantity") };
    let mut wrong = slice();
    wrong.spec.devices[0].allow_multiple_allocations = Some(true);
    wrong.spec.devices[0].capacity.insert(
        "memory".into(),
        DeviceCapacity {
            value: quantity("10Gi"),
            request_policy: Some(Box::new(CapacityRequestPolicy {
                default: Some(quantity("1Gi")),
                valid_range: Some(Box::new(CapacityRequestPolicyRange {
                    min: Some(quantity("2Gi")),
                    max: Some(quantity("20Gi")),
                    step: None,
                })),
                ..CapacityRequestPolicy::default()
            })),
        },
    );
    assert_eq!(
        refused(wrong),
        [
            r#"spec.devices[0].capacity[memory].requestPolicy.validRange.min: Invalid value: "1Gi": default is less than min: 2Gi"#,
            r#"spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: "20Gi": max is larger than capacity value: 10Gi"#,
        ]
    );
}

#[test]
fn driver_pool_and_node_stay() {
    let mut moved = slice();
    moved.spec.driver = "other.example.com".into();
    moved.spec.pool.name = "node-2".into();
    moved.spec.node_name = Some("node-2".into());
    let found = refused_update(moved, slice());
    let paths: Vec<&str> = found.iter().map(|text| text.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(paths, ["spec.pool.name", "spec.driver", "spec.nodeName"]);
}
