//! A pod's claims: which objects its entries stand for, and what can be said of a claim alone.

use std::sync::Arc;

use api_types::meta::v1::ConditionStatus;
use api_types::resource::v1::{
    AllocatedDeviceStatus, DeviceRequestAllocationResult, ResourceClaim, ResourceClaimConsumerReference,
};
use jiff::Timestamp;

use crate::devices::{Claim, Devices};
use crate::pod::{ClaimSource, PodView};

/// The claims of a pod's entries. Entries for which none is needed are left out.
///
/// # Errors
/// In upstream's words, when a claim is not there yet, is going, or is another pod's.
pub fn of_pod(devices: &Devices, pod: &PodView) -> Result<Vec<Arc<Claim>>, String> {
    let mut all = Vec::new();
    for entry in &pod.device_claims {
        let (name, made) = match &entry.source {
            ClaimSource::Named(name) => (name, false),
            ClaimSource::Made(Some(name)) => (name, true),
            ClaimSource::Made(None) => continue,
            ClaimSource::Missing => {
                return Err(format!("pod {:?}: ResourceClaim not created yet", pod.key()));
            }
            ClaimSource::Unknown => {
                let (pod, entry) = (pod.key(), &entry.name);
                return Err(format!(
                    "pod {pod:?}, spec.resourceClaim {entry:?}: none of the supported fields are set"
                ));
            }
        };
        let claim_key = pod.claim_key(name);
        let Some(claim) = devices.claim(&claim_key) else {
            return Err(format!("could not find ResourceClaim {claim_key:?}"));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("resourceclaim {name:?} is being deleted"));
        }
        let owned = claim.metadata.owner_references.iter().find(|owner| owner.controller == Some(true));
        if made && owned.is_none_or(|owner| *owner.uid != *pod.uid) {
            let pod = pod.key();
            return Err(format!(
                "ResourceClaim {claim_key} was not created for Pod {pod} (Pod is not owner)"
            ));
        }
        all.push(claim.clone());
    }
    Ok(all)
}

/// Whether the pod may use the claim.
pub fn is_reserved_for(claim: &ResourceClaim, pod: &PodView) -> bool {
    claim.status.reserved_for.iter().any(|user| *user.uid == *pod.uid)
}

/// Whether nobody but the pod uses the claim.
pub fn is_free_for(claim: &ResourceClaim, pod: &PodView) -> bool {
    match claim.status.reserved_for.as_slice() {
        [] => true,
        [one] => *one.uid == *pod.uid,
        _ => false,
    }
}

/// The pod as a user of claims.
pub fn user(pod: &PodView) -> ResourceClaimConsumerReference {
    ResourceClaimConsumerReference {
        api_group: String::new(),
        resource: "pods".into(),
        name: pod.name.clone(),
        uid: pod.uid.to_string(),
    }
}

/// The devices of a claim that have to be made ready before pods are bound (KEP-5007).
pub fn conditional(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let results = claim.status.allocation.iter().flat_map(|allocation| &allocation.devices.results);
    results.filter(|result| !result.binding_conditions.is_empty())
}

/// What the driver says of an allocated device.
fn status<'a>(
    claim: &'a ResourceClaim,
    result: &DeviceRequestAllocationResult,
) -> Option<&'a AllocatedDeviceStatus> {
    claim.status.devices.iter().find(|status| {
        status.device == result.device && status.driver == result.driver && status.pool == result.pool
    })
}

/// Whether all devices of an allocated claim are ready for pods.
///
/// # Errors
/// When one of them will not be.
pub fn is_ready(claim: &ResourceClaim) -> Result<bool, String> {
    if claim.status.allocation.is_none() {
        return Ok(false);
    }
    for result in conditional(claim) {
        let Some(status) = status(claim, result) else { return Ok(false) };
        let condition = |name: &String| status.conditions.iter().find(|c| c.type_ == *name);
        let holds = |name: &String| condition(name).filter(|c| c.status == ConditionStatus::True);
        if let Some(failed) = result.binding_failure_conditions.iter().find_map(holds) {
            return Err(format!(
                "device binding failed: claim={}, reason={}, message={:?}",
                claim.metadata.name, failed.reason, failed.message
            ));
        }
        if !result.binding_conditions.iter().all(|name| holds(name).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the devices of a claim had long enough to become ready.
pub fn is_overdue(claim: &ResourceClaim, timeout: std::time::Duration, now: Timestamp) -> bool {
    let allocated = claim.status.allocation.as_ref().and_then(|a| a.allocation_timestamp);
    let due = allocated.and_then(|at| at.0.checked_add(timeout).ok());
    conditional(claim).next().is_some() && due.is_some_and(|due| due < now)
}

/// How the devices stand that have to be made ready: for people.
pub fn readiness(claim: &ResourceClaim) -> Vec<String> {
    let line = |result: &DeviceRequestAllocationResult| {
        let status = status(claim, result);
        let holds = |name: &&String| {
            let condition = status.and_then(|s| s.conditions.iter().find(|c| c.type_ == **name));
            condition.is_some_and(|c| c.status == ConditionStatus::True)
        };
        let failed: Vec<&str> =
            result.binding_failure_conditions.iter().filter(holds).map(String::as_str).collect();
        let pending: Vec<&str> =
            result.binding_conditions.iter().filter(|name| !holds(name)).map(String::as_str).collect();
        let mut text = format!("<driver={}, pool={}> {}", result.driver, result.pool, result.device);
        if !failed.is_empty() {
            text += &format!(" failed=[{}]", failed.join(","));
        }
        if !pending.is_empty() {
            text += &format!(" pending=[{}]", pending.join(","));
        }
        text
    };
    conditional(claim).map(line).collect()
}
