//! Defaults, refusals and states of claims.

use super::*;
use crate::kind::testing::{defaulted, refused, refused_update};
use crate::resource::v1::{
    DeviceAllocationMode, DeviceConstraint, DeviceRequest, DeviceRequestAllocationResult, DeviceSelector,
    DeviceSubRequest, ExactDeviceRequest,
};

fn exactly(name: &str, class: &str) -> DeviceRequest {
    let exactly = ExactDeviceRequest { device_class_name: class.into(), ..ExactDeviceRequest::default() };
    DeviceRequest { name: name.into(), exactly: Some(Box::new(exactly)), ..DeviceRequest::default() }
}

fn claim(requests: Vec<DeviceRequest>) -> ResourceClaim {
    let mut claim = ResourceClaim::default();
    claim.metadata.name = "a".into();
    claim.spec.devices.requests = requests;
    claim
}

#[test]
fn one_device_unless_said() {
    let claim = defaulted(claim(vec![exactly("gpu", "gpus")]));
    let request = claim.spec.devices.requests[0].exactly.as_ref().expect("given");
    assert_eq!((&request.allocation_mode, request.count), (&DeviceAllocationMode::ExactCount, 1));
}

#[test]
fn what_is_refused() {
    assert_eq!(refused(claim(vec![exactly("gpu", "gpus")])), Vec::<String>::new());
    let mut wrong = claim(vec![exactly("gpu", ""), exactly("gpu", "gpus"), DeviceRequest::default()]);
    let request = wrong.spec.devices.requests[1].exactly.as_mut().expect("given");
    request.allocation_mode = DeviceAllocationMode::All;
    request.count = 2;
    request.selectors.push(DeviceSelector::default());
    wrong.spec.devices.constraints.push(DeviceConstraint {
        requests: vec!["gpu".into(), "tpu".into()],
        match_attribute: Some("model".into()),
        ..DeviceConstraint::default()
    });
    let found = refused(wrong);
    for expected in [
        r#"spec.devices.requests[0].exactly.deviceClassName: Required value"#,
        r#"spec.devices.requests[1].exactly.selectors[0].cel: Required value"#,
        r#"spec.devices.requests[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'"#,
        r#"spec.devices.requests[2]: Required value: exactly one of `exactly` or `firstAvailable` is required"#,
        r#"spec.devices.requests[1]: Duplicate value: "gpu""#,
        r#"spec.devices.constraints[0].requests[1]: Invalid value: "tpu": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
        r#"spec.devices.constraints[0].matchAttribute: Invalid value: "model": a fully qualified name must be a domain and a name separated by a slash"#,
    ] {
        assert!(found.iter().any(|text| text == expected), "{expected} is not in {found:#?}");
    }
}

#[test]
fn the_spec_stays() {
    let found = refused_update(claim(vec![exactly("gpu", "a")]), claim(vec![exactly("gpu", "b")]));
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("field is immutable"), "{found:?}");
}

fn allocated(request: &str) -> ResourceClaim {
    let mut claim = defaulted(claim(vec![DeviceRequest {
        name: "gpu".into(),
        first_available: vec![DeviceSubRequest {
            name: "large".into(),
            device_class_name: "gpus".into(),
            ..DeviceSubRequest::default()
        }],
        ..DeviceRequest::default()
    }]));
    let mut allocation = AllocationResult::default();
    allocation.devices.results.push(DeviceRequestAllocationResult {
        request: request.into(),
        driver: "gpu.example.com".into(),
        pool: "node-1".into(),
        device: "gpu-0".into(),
        ..DeviceRequestAllocationResult::default()
    });
    claim.status.allocation = Some(Box::new(allocation));
    claim
}

fn refused_status(new: &ResourceClaim, old: &ResourceClaim) -> Vec<String> {
    let mut errors = Errors::default();
    new.validate_status_update(old, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_claim_is_allocated_once() {
    let pending = claim(Vec::new());
    assert_eq!(refused_status(&allocated("gpu/large"), &pending), Vec::<String>::new());
    let found = refused_status(&allocated("gpu/small"), &pending);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("status.allocation.devices.results[0].request: Invalid value: \"gpu/small\"")
    );
    let mut other = allocated("gpu/large");
    other.status.allocation.as_mut().expect("given").devices.results[0].device = "gpu-1".into();
    let found = refused_status(&other, &allocated("gpu/large"));
    assert!(found[0].starts_with("status.allocation: Invalid value"), "{found:?}");
    assert!(found[0].ends_with("field is immutable"), "{found:?}");
}

#[test]
fn users_need_an_allocation() {
    let user = ResourceClaimConsumerReference {
        resource: "pods".into(),
        name: "a".into(),
        uid: "1".into(),
        ..ResourceClaimConsumerReference::default()
    };
    let mut pending = claim(Vec::new());
    pending.status.reserved_for.push(user.clone());
    assert_eq!(
        refused_status(&pending, &claim(Vec::new())),
        ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]
    );
    assert_eq!(claim(Vec::new()).state(), "pending");
    let mut used = allocated("gpu/large");
    used.status.reserved_for.push(user);
    assert_eq!(used.state(), "allocated,reserved");
}

#[test]
fn what_drivers_said_goes_with_the_devices() {
    let mut had = allocated("gpu/large");
    had.status.devices.push(AllocatedDeviceStatus {
        driver: "gpu.example.com".into(),
        pool: "node-1".into(),
        device: "gpu-0".into(),
        ..AllocatedDeviceStatus::default()
    });
    let mut given_back = had.clone();
    given_back.status.allocation = None;
    given_back.prepare_for_status_update(&had);
    assert_eq!(given_back.status.devices, []);
    let mut kept = had.clone();
    kept.prepare_for_status_update(&had);
    assert_eq!(kept.status.devices.len(), 1);
}

#[test]
fn drivers_speak_of_devices_that_the_claim_has() {
    let old = allocated("gpu");
    let mut new = old.clone();
    new.status.devices.push(AllocatedDeviceStatus {
        driver: "gpu.example.com".into(),
        pool: "p".into(),
        device: "another".into(),
        ..AllocatedDeviceStatus::default()
    });
    assert_eq!(
        refused_status(&new, &old),
        [
            r#"status.devices[0]: Invalid value: {"Driver":"gpu.example.com","Pool":"p","Device":"another","ShareID":""}: must be an allocated device in the claim"#
        ]
    );
}
