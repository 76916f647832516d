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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn a_pod_that_asks_for_storage_waits() {
        let asked = |claim: Option<(&str, bool)>| {
            let mut view = pod("a").view();
            view.volume_claims = claim.iter().map(|(name, made)| ((*name).to_owned(), *made)).collect();
            let answer = VolumeBinding.pre_filter(&mut CycleState::default(), &view, &Snapshot::default());
            answer.map_err(|rejection| rejection.message())
        };
        assert_eq!(asked(None), Ok(PreFiltered::Skip));
        assert_eq!(asked(Some(("data", false))), Err("persistentvolumeclaim \"data\" not found".into()));
        let made = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"a-tmp\"";
        assert_eq!(asked(Some(("a-tmp", true))), Err(made.into()));
    }
}
