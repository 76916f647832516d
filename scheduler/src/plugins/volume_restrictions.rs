//! VolumeRestrictions: a claim for one pod only (ReadWriteOncePod, KEP-2485) and disks that pods name
//! themselves are not shared.

use std::collections::BTreeSet;

use api_types::core::v1::PersistentVolumeClaim;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ClusterEvent, CycleState, Filter, Plugin, PreFilter, PreFiltered, Rejection, Verdict,
};
use crate::pod::PodView;
use crate::storage::{Changed, Storage, not_found};

/// Claims of the pod that only one pod may use, and how often other pods do.
#[derive(Clone, Debug)]
struct OnceOnly {
    namespace: String,
    claims: BTreeSet<String>,
    uses: usize,
}

impl OnceOnly {
    fn used_by(&self, pod: &PodView) -> usize {
        if *self.namespace != *pod.namespace || self.claims.is_empty() {
            return 0;
        }
        let uses = |c: &&crate::pod::ClaimUse| !c.ephemeral && self.claims.contains(&c.name);
        pod.volume_claims.iter().filter(uses).count()
    }
}

pub struct VolumeRestrictions;

fn shares_disk(pod: &PodView, other: &PodView) -> bool {
    pod.disks.iter().any(|disk| other.disks.iter().any(|used| disk.conflicts(used)))
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::Claim(Changed { old: None, .. }) => event.claim_of(pod).is_some(),
            ClusterEvent::AssignedPodDeleted(gone) => {
                let shared = |c: &crate::pod::ClaimUse| !c.ephemeral && pod.volume_claims.contains(c);
                gone.namespace == pod.namespace
                    && (shares_disk(pod, gone) || gone.volume_claims.iter().any(shared))
            }
            _ => false,
        }
    }
}

fn once_only(storage: &Storage, pod: &PodView) -> Result<BTreeSet<String>, Rejection> {
    let mut all = BTreeSet::new();
    for used in pod.volume_claims.iter().filter(|c| !c.ephemeral) {
        match storage.claims.get(&pod.claim_key(&used.name)) {
            None => return Err(Rejection::unresolvable(not_found::<PersistentVolumeClaim>(&used.name))),
            Some(claim) if claim.once_only() => drop(all.insert(used.name.clone())),
            Some(_) => {}
        }
    }
    Ok(all)
}

impl PreFilter for VolumeRestrictions {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<PreFiltered, Rejection> {
        let claims = once_only(&snapshot.storage, pod)?;
        let mut once = OnceOnly { namespace: pod.namespace.to_string(), claims, uses: 0 };
        if !once.claims.is_empty() {
            let pods = snapshot.nodes.iter().flat_map(|node| &node.pods);
            once.uses = pods.map(|other| once.used_by(other)).sum();
        }
        if pod.disks.is_empty() && once.uses == 0 {
            return Ok(PreFiltered::Skip);
        }
        state.put(once);
        Ok(PreFiltered::AllNodes)
    }

    fn add_pod(&self, state: &mut CycleState, _: &PodView, added: &PodView, _: &NodeInfo, _: &Snapshot) {
        if let Some(once) = state.get_mut::<OnceOnly>() {
            once.uses += once.used_by(added);
        }
    }

    fn remove_pod(&self, state: &mut CycleState, _: &PodView, removed: &PodView, _: &NodeInfo, _: &Snapshot) {
        if let Some(once) = state.get_mut::<OnceOnly>() {
            once.uses = once.uses.saturating_sub(once.used_by(removed));
        }
    }
}

impl Filter for VolumeRestrictions {
    fn filter(&self, state: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        if node.pods.iter().any(|other| shares_disk(pod, other)) {
            return Err(Rejection::unschedulable("node(s) had no available disk"));
        }
        if state.get::<OnceOnly>().is_some_and(|once| once.uses > 0) {
            return Err(Rejection::unschedulable(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PodBuilder, claim, cluster, info, node, pod, stored};
    use api_types::core::v1::{AWSElasticBlockStoreVolumeSource, Volume};

    fn verdict(pod: &PodBuilder, others: &[PodBuilder]) -> Option<String> {
        let mut snapshot = cluster(&[node("n")], others);
        let once = claim("mine", "1Gi").edit(|c| c.spec.access_modes = vec!["ReadWriteOncePod".into()]);
        stored(&mut snapshot, &[], &[once, claim("ours", "1Gi")], &[]);
        let (plugin, mut state, pod) = (VolumeRestrictions, CycleState::default(), pod.view());
        if let Err(rejection) = plugin.pre_filter(&mut state, &pod, &snapshot) {
            return Some(rejection.message());
        }
        plugin.filter(&state, &pod, &info(&node("n"), others)).err().map(|r| r.message())
    }

    #[test]
    fn a_claim_for_one_pod_is_not_shared() {
        let used = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
        let other = |claim: &str| [pod("q").claim(claim).on("n")];
        assert_eq!(verdict(&pod("p").claim("mine"), &[]), None);
        assert_eq!(verdict(&pod("p").claim("mine"), &other("mine")).as_deref(), Some(used));
        assert_eq!(verdict(&pod("p").claim("ours"), &other("ours")), None);
        let elsewhere = [pod("q").namespace("other").claim("mine").on("n")];
        assert_eq!(verdict(&pod("p").claim("mine"), &elsewhere), None);
        let missing = "persistentvolumeclaim \"none\" not found";
        assert_eq!(verdict(&pod("p").claim("none"), &[]).as_deref(), Some(missing));
    }

    #[test]
    fn a_pod_that_goes_frees_its_claim() {
        let waiting = pod("p").claim("mine").view();
        let gone = |claim: &str| ClusterEvent::AssignedPodDeleted(pod("q").claim(claim).on("n").shared());
        assert!(VolumeRestrictions.wakes(&waiting, &gone("mine")));
        assert!(!VolumeRestrictions.wakes(&waiting, &gone("ours")));
    }

    #[test]
    fn a_disk_has_one_pod() {
        let with = |name: &str| {
            pod(name).edit(|p| {
                let mut volume = Volume { name: "disk".into(), ..Volume::default() };
                let disk =
                    AWSElasticBlockStoreVolumeSource { volume_id: "vol-1".into(), ..Default::default() };
                volume.source.aws_elastic_block_store = Some(Box::new(disk));
                p.spec.volumes.push(volume);
            })
        };
        let no = Some("node(s) had no available disk");
        assert_eq!(verdict(&with("p"), &[with("q").on("n")]).as_deref(), no);
        assert_eq!(verdict(&with("p"), &[pod("q").on("n")]), None);
    }
}
