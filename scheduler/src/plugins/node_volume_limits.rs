//! NodeVolumeLimits: a node takes only so many volumes of each CSI driver, as its CSINode says.

use std::collections::{BTreeMap, BTreeSet};

use api_types::core::v1::PersistentVolumeClaim;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ClusterEvent, CycleState, Filter, Plugin, PreFilter, PreFiltered, Rejection, Verdict,
};
use crate::pod::PodView;
use crate::storage::find::not_owner;
use crate::storage::{Changed, ClaimView, Storage, not_found};

/// A volume of a CSI driver: driver and handle.
type Attachable = (String, String);

/// Storage at the time of the attempt, and the pod's volumes.
#[derive(Clone)]
struct Wanted {
    storage: Storage,
    volumes: BTreeSet<Attachable>,
}

pub struct NodeVolumeLimits;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::CsiNode(Changed { old, new: Some(new) }) => old.as_ref().is_none_or(|old| {
                new.0.iter().any(|(driver, limit)| *limit > old.0.get(driver).copied().unwrap_or(0))
            }),
            ClusterEvent::AssignedPodDeleted(gone) => !gone.volume_claims.is_empty(),
            ClusterEvent::Claim(Changed { old: None, .. }) => event.claim_of(pod).is_some(),
            ClusterEvent::Attachment(Changed { new: None, .. }) => {
                pod.volume_claims.iter().any(|claim| !claim.ephemeral)
            }
            _ => false,
        }
    }
}

/// The CSI volume of a claim, or the one that will be made for it.
fn attachable(storage: &Storage, claim: &ClaimView) -> Option<Attachable> {
    if let Some(volume) = storage.volumes.get(&claim.volume_name) {
        return volume.csi.clone();
    }
    let class = storage.classes.get(&claim.class)?;
    // No handle of a driver's is a claim's key behind a slash.
    Some((class.provisioner.clone(), format!("/{}", claim.key())))
}

fn new_volumes(storage: &Storage, pod: &PodView) -> Result<BTreeSet<Attachable>, Rejection> {
    let mut all = BTreeSet::new();
    for used in &pod.volume_claims {
        let key = pod.claim_key(&used.name);
        let Some(claim) = storage.claims.get(&key) else {
            let why = not_found::<PersistentVolumeClaim>(&used.name);
            return Err(Rejection::unresolvable(format!("looking up PVC {key}: {why}")));
        };
        if used.ephemeral
            && let Some(why) = not_owner(pod, claim)
        {
            return Err(Rejection::error(why));
        }
        all.extend(attachable(storage, claim));
    }
    Ok(all)
}

/// What is attached to the node, or is about to be, for pods and without any.
fn attached(storage: &Storage, node: &NodeInfo) -> BTreeSet<Attachable> {
    let pods = node.pods.iter().flat_map(|pod| pod.volume_claims.iter().map(|c| pod.claim_key(&c.name)));
    let claims = pods.filter_map(|key| attachable(storage, storage.claims.get(&key)?));
    let others = storage.attachments.values().filter(|a| *a.node == **node.name()).filter_map(|a| {
        let (_, handle) = storage.volumes.get(&a.volume)?.csi.clone()?;
        Some((a.attacher.clone(), handle))
    });
    claims.chain(others).collect()
}

impl PreFilter for NodeVolumeLimits {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<PreFiltered, Rejection> {
        if pod.volume_claims.is_empty() {
            return Ok(PreFiltered::Skip);
        }
        // What is wrong with a claim is Filter's to say: upstream lets the later PreFilters speak first.
        if let Ok(volumes) = new_volumes(&snapshot.storage, pod) {
            if volumes.is_empty() {
                return Ok(PreFiltered::Skip);
            }
            state.put(Wanted { storage: snapshot.storage.clone(), volumes });
        }
        Ok(PreFiltered::AllNodes)
    }
}

impl Filter for NodeVolumeLimits {
    fn filter(&self, state: &CycleState, _: &PodView, node: &NodeInfo) -> Verdict {
        let Some(Wanted { storage, volumes }) = state.get::<Wanted>() else { return Ok(()) };
        let Some(limits) = storage.csi_nodes.get(&**node.name()).filter(|limits| !limits.0.is_empty()) else {
            return Ok(());
        };
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        let attached = attached(storage, node);
        let new = volumes.iter().filter(|volume| !attached.contains(*volume));
        let drivers: BTreeSet<&str> = new.clone().map(|(driver, _)| driver.as_str()).collect();
        for (driver, _) in attached.iter().chain(new) {
            *counts.entry(driver).or_default() += 1;
        }
        let exceeds = |driver: &&str| limits.0.get(*driver).is_some_and(|limit| counts[driver] > *limit);
        if drivers.iter().any(exceeds) {
            return Err(Rejection::unschedulable("node(s) exceed max volume count"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{CsiNodeView, Part as _};
    use crate::testing::{claim, class, cluster, info, node, pod, stored, volume};
    use api_types::core::v1::CSIPersistentVolumeSource;

    #[test]
    fn a_node_takes_so_many_volumes_of_a_driver() {
        let check = |limit: Option<i64>, others: &[&str], expected: Option<&str>| {
            let mut snapshot = cluster(&[], &[]);
            let csi = |name: &str| {
                volume(name, "1Gi").edit(|v| {
                    let source = CSIPersistentVolumeSource {
                        driver: "disk.example.com".into(),
                        volume_handle: v.metadata.name.clone(),
                        ..Default::default()
                    };
                    v.spec.source.csi = Some(Box::new(source));
                })
            };
            let claims = [
                claim("a", "1Gi").bound("va"),
                claim("b", "1Gi").bound("vb"),
                claim("new", "1Gi").class("fast"),
            ];
            let fast = class("fast", "disk.example.com", true);
            stored(&mut snapshot, &[csi("va"), csi("vb")], &claims, &[fast]);
            if let Some(limit) = limit {
                let limits = CsiNodeView([("disk.example.com".to_owned(), limit)].into());
                CsiNodeView::put(&mut snapshot.storage, "n", Some(Arc::new(limits)));
            }
            let others: Vec<_> = others.iter().map(|c| pod(c).claim(c).on("n")).collect();
            let (plugin, mut state) = (NodeVolumeLimits, CycleState::default());
            let pod = pod("p").claim("a").claim("new").view();
            plugin.pre_filter(&mut state, &pod, &snapshot).unwrap();
            let verdict = plugin.filter(&state, &pod, &info(&node("n"), &others));
            assert_eq!(verdict.err().map(|r| r.message()).as_deref(), expected);
        };
        let no = Some("node(s) exceed max volume count");
        check(None, &["a", "b"], None);
        check(Some(2), &[], None);
        check(Some(2), &["a"], None);
        check(Some(2), &["b"], no);
        check(Some(1), &[], no);
        check(Some(3), &["a", "b"], None);
    }
}
