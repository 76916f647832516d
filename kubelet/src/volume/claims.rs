//! Claims: from a pod's volume to the PersistentVolume behind it.
//!
//! What a pod's claims are bound to is asked for when the pod's volumes are first set up, and kept while
//! the pod lives: a bound claim stays bound. [`check`] is pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api_types::core::v1::{
    Node, NodeSelectorOperator, NodeSelectorRequirement, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeClaimPhase, PersistentVolumeMode, Pod, Volume,
};
use client::Client;
use parking_lot::Mutex;

use super::desired;

/// What is behind a volume that is a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The PersistentVolume.
    pub volume: Arc<PersistentVolume>,
    /// The pod may only read.
    pub read_only: bool,
}

/// Why a claim is of no use to a pod here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Nothing can be tried with it.
    #[error("{0}")]
    Unprocessed(String),
    /// Its volume is not for this node; the whole of an event.
    #[error("{0}")]
    Elsewhere(String),
}

impl From<String> for Unusable {
    fn from(error: String) -> Self {
        Self::Unprocessed(error)
    }
}

/// By the volume's name in the pod.
pub type Claims = BTreeMap<String, Claimed>;

/// The claims of this node's pods.
pub struct ClaimCache {
    client: Client,
    node: String,
    pods: Mutex<HashMap<String, Claims>>,
}

/// The claim that a volume stands for, and whether it was made for this pod alone.
fn claim(pod: &Pod, volume: &Volume) -> Option<(String, bool, bool)> {
    if let Some(source) = &volume.source.persistent_volume_claim {
        return Some((source.claim_name.clone(), source.read_only, false));
    }
    volume.source.ephemeral.is_some().then(|| (format!("{}-{}", pod.metadata.name, volume.name), false, true))
}

impl ClaimCache {
    /// Nothing is known yet.
    pub fn new(client: Client, node: &str) -> Self {
        Self { client, node: node.into(), pods: Mutex::default() }
    }

    /// What the pod's claims are bound to; an error names the volume.
    pub async fn of(&self, pod: &Pod) -> Result<Claims, (String, Unusable)> {
        let uid = &pod.metadata.uid;
        let mut claims = self.pods.lock().get(uid).cloned().unwrap_or_default();
        for volume in desired::mounted(pod) {
            let Some((name, read_only, own)) = claim(pod, volume) else { continue };
            if claims.contains_key(&volume.name) {
                continue;
            }
            let bound = self.resolve(pod, &name, own).await.map_err(|error| (volume.name.clone(), error))?;
            claims.insert(volume.name.clone(), Claimed { volume: Arc::new(bound), read_only });
        }
        if !claims.is_empty() {
            self.pods.lock().insert(uid.clone(), claims.clone());
        }
        Ok(claims)
    }

    /// What is known of the pod's claims; nothing is asked for.
    pub fn known(&self, uid: &str) -> Claims {
        self.pods.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.pods.lock().remove(uid);
    }

    async fn resolve(&self, pod: &Pod, name: &str, own: bool) -> Result<PersistentVolume, Unusable> {
        let namespace = &pod.metadata.namespace;
        let place = format!("{namespace}/{name}");
        let claims = self.client.api::<PersistentVolumeClaim>().namespace(namespace);
        let claim = claims.get(name).await.map_err(|error| {
            format!("error processing PVC {place}: failed to fetch PVC from API server: {error}")
        })?;
        let wrong = |error: String| format!("error processing PVC {place}: {error}");
        check_claim(pod, &claim, own).map_err(wrong)?;
        let volumes = self.client.api::<PersistentVolume>();
        let volume = volumes.get(&claim.spec.volume_name).await.map_err(|error| {
            wrong(format!("failed to fetch PV {} from API server: {error}", claim.spec.volume_name))
        })?;
        let node =
            self.client.api::<Node>().get(&self.node).await.map_err(|error| wrong(error.to_string()))?;
        check_volume(&claim, &volume, &node)?;
        Ok(volume)
    }
}

/// Whether a claim can be used by the pod.
fn check_claim(pod: &Pod, claim: &PersistentVolumeClaim, own: bool) -> Result<(), String> {
    let meta = &claim.metadata;
    let place = format!("{}/{}", meta.namespace, meta.name);
    if own {
        let ours = meta
            .owner_references
            .iter()
            .any(|owner| owner.controller == Some(true) && owner.uid == pod.metadata.uid);
        if !ours {
            let pod = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            return Err(format!("PVC {place} was not created for pod {pod} (pod is not owner)"));
        }
    }
    if meta.deletion_timestamp.is_some() {
        return Err("PVC is being deleted".into());
    }
    if claim.status.phase != PersistentVolumeClaimPhase::Bound || claim.spec.volume_name.is_empty() {
        return Err(format!(
            "PVC {place} has non-bound phase ({:?}) or empty pvc.Spec.VolumeName ({:?})",
            claim.status.phase.as_str(),
            claim.spec.volume_name
        ));
    }
    Ok(())
}

/// Whether a volume is the claim's, and can be used on the node.
fn check_volume(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
    node: &Node,
) -> Result<(), Unusable> {
    let name = &volume.metadata.name;
    let uid = &claim.metadata.uid;
    let bound = volume.spec.claim_ref.as_ref().map(|reference| reference.uid.clone()).unwrap_or_default();
    if bound != *uid {
        return Err(Unusable::Unprocessed(format!(
            "found PV object {name:?} bound to unexpected PVC: its claim's UID is {bound:?}, the pod's claim has {uid:?}"
        )));
    }
    let required = volume.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    if let Some(selector) = required {
        let fits = selector.node_selector_terms.iter().any(|term| {
            let label = |requirement: &NodeSelectorRequirement| {
                fits(requirement, node.metadata.labels.get(&requirement.key).map(String::as_str))
            };
            let field = |requirement: &NodeSelectorRequirement| {
                requirement.key == "metadata.name" && fits(requirement, Some(&node.metadata.name))
            };
            let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
            !empty && term.match_expressions.iter().all(label) && term.match_fields.iter().all(field)
        });
        if !fits {
            let block = volume.spec.volume_mode == Some(PersistentVolumeMode::Block);
            let what = if block { "MapVolume" } else { "MountVolume" };
            return Err(Unusable::Elsewhere(format!(
                "{what}.NodeAffinity check failed for volume {name:?} : no matching NodeSelectorTerms"
            )));
        }
    }
    Ok(())
}

fn fits(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| requirement.values.iter().any(|one| one == value));
    let compare = |greater: bool| {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
        match (number(value), number(requirement.values.first().map(String::as_str))) {
            (Some(value), Some(bound)) => {
                if greater {
                    value > bound
                } else {
                    value < bound
                }
            }
            _ => false,
        }
    };
    match requirement.operator {
        NodeSelectorOperator::In => listed,
        NodeSelectorOperator::NotIn => !listed,
        NodeSelectorOperator::Exists => value.is_some(),
        NodeSelectorOperator::DoesNotExist => value.is_none(),
        NodeSelectorOperator::Gt => compare(true),
        NodeSelectorOperator::Lt => compare(false),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::{NodeSelector, NodeSelectorTerm, ObjectReference, VolumeNodeAffinity};

    fn bound() -> (PersistentVolumeClaim, PersistentVolume) {
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = "data".into();
        claim.metadata.namespace = "ns".into();
        claim.metadata.uid = "c".into();
        claim.spec.volume_name = "pv".into();
        claim.status.phase = PersistentVolumeClaimPhase::Bound;
        let mut volume = PersistentVolume::default();
        volume.metadata.name = "pv".into();
        volume.spec.claim_ref = Some(Box::new(ObjectReference { uid: "c".into(), ..Default::default() }));
        (claim, volume)
    }

    #[test]
    fn a_claim_must_be_bound_and_the_pods() {
        let (mut claim, _) = bound();
        let pod = Pod::default();
        assert_eq!(check_claim(&pod, &claim, false), Ok(()));
        assert!(check_claim(&pod, &claim, true).unwrap_err().contains("pod is not owner"));
        claim.status.phase = PersistentVolumeClaimPhase::Pending;
        claim.spec.volume_name.clear();
        assert_eq!(
            check_claim(&pod, &claim, false).unwrap_err(),
            "PVC ns/data has non-bound phase (\"Pending\") or empty pvc.Spec.VolumeName (\"\")"
        );
    }

    #[test]
    fn a_volume_must_be_the_claims_and_the_nodes() {
        let (claim, mut volume) = bound();
        let mut node = Node::default();
        node.metadata.labels.insert("kubernetes.io/hostname".into(), "a".into());
        assert_eq!(check_volume(&claim, &volume, &node), Ok(()));
        let requirement = NodeSelectorRequirement {
            key: "kubernetes.io/hostname".into(),
            operator: NodeSelectorOperator::In,
            values: vec!["b".into()],
        };
        let term = NodeSelectorTerm { match_expressions: vec![requirement], ..Default::default() };
        let required = Some(Box::new(NodeSelector { node_selector_terms: vec![term] }));
        volume.spec.node_affinity = Some(Box::new(VolumeNodeAffinity { required }));
        assert!(
            check_volume(&claim, &volume, &node)
                .unwrap_err()
                .to_string()
                .contains("no matching NodeSelectorTerms")
        );
        node.metadata.labels.insert("kubernetes.io/hostname".into(), "b".into());
        assert_eq!(check_volume(&claim, &volume, &node), Ok(()));
        volume.spec.claim_ref = None;
        assert!(check_volume(&claim, &volume, &node).unwrap_err().to_string().contains("unexpected PVC"));
    }
}
