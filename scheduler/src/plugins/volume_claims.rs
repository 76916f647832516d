//! VolumeBinding, as far as there are volumes to bind: the API has no persistent volume claims yet,
//! so a pod that asks for one waits, with the message that upstream gives for a claim that is not there.

use crate::cache::Snapshot;
use crate::framework::{ClusterEvent, CycleState, Plugin, PreFilter, PreFiltered, Rejection};
use crate::pod::PodView;

pub struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn wakes(&self, _: &PodView, _: &ClusterEvent) -> bool {
        false
    }
}

impl PreFilter for VolumeBinding {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodView, _: &Snapshot) -> Result<PreFiltered, Rejection> {
        match pod.volume_claims.first() {
            None => Ok(PreFiltered::Skip),
            Some((claim, false)) => {
                Err(Rejection::unresolvable(format!("persistentvolumeclaim {claim:?} not found")))
            }
            Some((claim, true)) => Err(Rejection::unresolvable(format!(
                "waiting for ephemeral volume controller to create the persistentvolumeclaim {claim:?}"
            ))),
        }
    }
}
