//! DynamicResources, as far as there are devices to allocate: the API has no resource claims yet, so
//! a pod that asks for one waits, with the message that upstream gives for a claim that is not there.

use crate::cache::Snapshot;
use crate::framework::{ClusterEvent, CycleState, Plugin, PreFilter, PreFiltered, Rejection};
use crate::pod::PodView;

pub struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn wakes(&self, _: &PodView, _: &ClusterEvent) -> bool {
        false
    }
}

impl PreFilter for DynamicResources {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodView, _: &Snapshot) -> Result<PreFiltered, Rejection> {
        match pod.device_claims.first().map(String::as_str) {
            None => Ok(PreFiltered::Skip),
            Some("") => {
                Err(Rejection::unresolvable(format!("pod {:?}: ResourceClaim not created yet", pod.key())))
            }
            Some(claim) => Err(Rejection::unresolvable(format!("resourceclaim {claim:?} not found"))),
        }
    }
}
