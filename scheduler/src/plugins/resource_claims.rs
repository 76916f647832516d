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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn a_pod_that_asks_for_devices_waits() {
        let asked = |claims: &[&str]| {
            let mut view = pod("a").view();
            view.device_claims = claims.iter().map(|c| (*c).to_owned()).collect();
            let answer = DynamicResources.pre_filter(&mut CycleState::default(), &view, &Snapshot::default());
            answer.map_err(|rejection| rejection.message())
        };
        assert_eq!(asked(&[]), Ok(PreFiltered::Skip));
        assert_eq!(asked(&["gpu"]), Err("resourceclaim \"gpu\" not found".into()));
        assert_eq!(asked(&[""]), Err("pod \"default/a\": ResourceClaim not created yet".into()));
    }
}
