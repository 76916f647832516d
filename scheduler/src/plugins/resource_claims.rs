//! DynamicResources, as far as it goes: no devices are allocated here, so a pod that asks for one waits,
//! and is told why. A claim that its template has not become yet is worded as upstream's.

use crate::cache::Snapshot;
use crate::framework::{
    ClusterEvent, CycleState, Failed, Plugin, PostFilter, PostFiltered, PreFilter, PreFiltered, Rejection,
};
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

/// That PreFilter came as far as this plugin.
#[derive(Clone)]
struct Reached;

impl PostFilter for DynamicResources {
    /// COMPAT: upstream says so of every pod that fits nowhere, whether it has claims or not; and when
    /// a plugin before this one said no to all nodes, it fails over its missing state, so that nothing
    /// is preempted for a pod that waits for its storage.
    fn post_filter(&self, failed: &Failed<'_>) -> PostFiltered {
        let reached = failed.state.get::<Reached>().is_some();
        let message = if reached { "no new claims to deallocate" } else { "not found" };
        PostFiltered { message: message.into(), failed: !reached, ..PostFiltered::default() }
    }
}

impl PreFilter for DynamicResources {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        _: &Snapshot,
    ) -> Result<PreFiltered, Rejection> {
        state.put(Reached);
        match pod.device_claims.first().map(String::as_str) {
            None => Ok(PreFiltered::Skip),
            Some("") => {
                Err(Rejection::unresolvable(format!("pod {:?}: ResourceClaim not created yet", pod.key())))
            }
            Some(claim) => Err(Rejection::unresolvable(format!(
                "resourceclaim {claim:?} cannot be allocated: this scheduler allocates no devices"
            ))),
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
        assert_eq!(
            asked(&["gpu"]),
            Err("resourceclaim \"gpu\" cannot be allocated: this scheduler allocates no devices".into())
        );
        assert_eq!(asked(&[""]), Err("pod \"default/a\": ResourceClaim not created yet".into()));
    }
}
