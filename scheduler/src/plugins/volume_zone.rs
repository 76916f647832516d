//! VolumeZone: a volume that is labelled with zones or regions is mounted there only.

use std::collections::{BTreeMap, BTreeSet};

use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim};
use api_types::storage::v1::StorageClass;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ClusterEvent, CycleState, Filter, Plugin, PreFilter, PreFiltered, Rejection, Verdict,
};
use crate::pod::PodView;
use crate::storage::{Changed, Storage, VolumeView, not_found};

/// Labels of places; the older ones with those that took over from them.
const LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// Where volumes are: a label and what a node may have there.
#[derive(Clone, Debug, PartialEq)]
struct Places(Vec<(&'static str, &'static str, BTreeSet<String>)>);

impl Places {
    fn of(volume: &VolumeView) -> Self {
        let place = |(label, stable): (&'static str, &'static str)| {
            Some((label, stable, zones(volume.labels.get(label)?)?))
        };
        Self(LABELS.into_iter().filter_map(place).collect())
    }

    fn include(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(label, stable, values)| {
            labels.get(*label).or_else(|| labels.get(*stable)).is_some_and(|value| values.contains(value))
        })
    }
}

/// `a__b` stands for both zones; `None` when one of them is empty.
fn zones(label: &str) -> Option<BTreeSet<String>> {
    label.split("__").map(str::trim).map(|zone| (!zone.is_empty()).then(|| zone.to_owned())).collect()
}

pub struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::Claim(_) => event.claim_of(pod).is_some(),
            ClusterEvent::Class(Changed { old: None, new: Some(new) }) => new.waits,
            ClusterEvent::Volume(Changed { old, new: Some(new) }) => {
                old.as_ref().is_none_or(|old| Places::of(old) != Places::of(new))
            }
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => old.labels != new.labels,
            _ => false,
        }
    }
}

fn places(storage: &Storage, pod: &PodView) -> Result<Places, Rejection> {
    let mut all = Places(Vec::new());
    for used in pod.volume_claims.iter().filter(|c| !c.ephemeral) {
        let Some(claim) = storage.claims.get(&pod.claim_key(&used.name)) else {
            return Err(Rejection::unresolvable(not_found::<PersistentVolumeClaim>(&used.name)));
        };
        if claim.volume_name.is_empty() {
            if claim.class.is_empty() {
                let message = "PersistentVolumeClaim had no pv name and storageClass name";
                return Err(Rejection::unresolvable(message));
            }
            match storage.classes.get(&claim.class) {
                None => return Err(Rejection::unresolvable(not_found::<StorageClass>(&claim.class))),
                Some(class) if class.waits => continue,
                Some(_) => return Err(Rejection::unresolvable("PersistentVolume had no name")),
            }
        }
        let Some(volume) = storage.volumes.get(&claim.volume_name) else {
            return Err(Rejection::unresolvable(not_found::<PersistentVolume>(&claim.volume_name)));
        };
        all.0.extend(Places::of(volume).0);
    }
    Ok(all)
}

impl PreFilter for VolumeZone {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<PreFiltered, Rejection> {
        let places = places(&snapshot.storage, pod)?;
        if places.0.is_empty() {
            return Ok(PreFiltered::Skip);
        }
        state.put(places);
        Ok(PreFiltered::AllNodes)
    }
}

impl Filter for VolumeZone {
    fn filter(&self, state: &CycleState, _: &PodView, node: &NodeInfo) -> Verdict {
        let Some(places) = state.get::<Places>() else { return Ok(()) };
        let labels = &node.node().labels;
        // A cluster without zones has none to mind.
        if LABELS.iter().any(|(label, _)| labels.contains_key(*label)) && !places.include(labels) {
            return Err(Rejection::unresolvable("node(s) had no available volume zone"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{claim, cluster, info, node, pod, stored, volume};

    #[test]
    fn a_volume_of_a_zone_is_mounted_there() {
        let check = |zones: &str, node_zone: Option<&str>, expected: Option<&str>| {
            let mut snapshot = cluster(&[], &[]);
            let zoned = volume("v", "1Gi").edit(|v| {
                v.metadata.labels.insert("topology.kubernetes.io/zone".into(), zones.into());
            });
            stored(&mut snapshot, &[zoned], &[claim("data", "1Gi").bound("v")], &[]);
            let (plugin, mut state) = (VolumeZone, CycleState::default());
            let pod = pod("p").claim("data").view();
            plugin.pre_filter(&mut state, &pod, &snapshot).unwrap();
            let mut on = node("n");
            if let Some(zone) = node_zone {
                on = on.label("topology.kubernetes.io/zone", zone);
            }
            let verdict = plugin.filter(&state, &pod, &info(&on, &[]));
            assert_eq!(verdict.err().map(|r| r.message()).as_deref(), expected);
        };
        let no = Some("node(s) had no available volume zone");
        check("a", Some("a"), None);
        check("a", Some("b"), no);
        check("a__b", Some("b"), None);
        check("a", None, None);
    }
}
