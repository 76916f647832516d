//! Which claims of a pod are bound, and what the others can get on a node (KEP-490, volume topology
//! aware scheduling). Pure.

use std::sync::Arc;

use super::{Binding, Choice, ClaimView, ClassView, Storage, VolumeView, not_found};
use crate::framework::Rejection;
use crate::node::NodeView;
use crate::pod::PodView;
use api_types::core::v1::PersistentVolumeClaim;

/// The class of volumes that nobody makes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A pod's claims, by what is to be done about them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    pub bound: Vec<Arc<ClaimView>>,
    /// Not bound, and their class waits for the pod to be scheduled.
    pub waiting: Vec<Arc<ClaimView>>,
    /// Not bound, which is for the binder and not for us to change.
    pub immediate: Vec<Arc<ClaimView>>,
}

/// Why a claim of a pod's ephemeral volume is not the pod's.
pub fn not_owner(pod: &PodView, claim: &ClaimView) -> Option<String> {
    (claim.controller != *pod.uid).then(|| {
        let (claim, pod) = (claim.key(), pod.key());
        format!("PVC {claim} was not created for pod {pod} (pod is not owner)")
    })
}

/// Sorts the claims of a pod.
///
/// # Errors
/// When a claim is missing, lost, going, or somebody else's: no node will do.
pub fn claims(storage: &Storage, pod: &PodView) -> Result<Claims, Rejection> {
    let mut all = Claims::default();
    for used in &pod.volume_claims {
        let name = &used.name;
        let Some(claim) = storage.claims.get(&pod.claim_key(name)) else {
            return Err(Rejection::unresolvable(if used.ephemeral {
                format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                )
            } else {
                not_found::<PersistentVolumeClaim>(name)
            }));
        };
        if claim.lost {
            let volume = &claim.volume_name;
            return Err(Rejection::unresolvable(format!(
                "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
            )));
        }
        if claim.deleting {
            let message = format!("persistentvolumeclaim {name:?} is being deleted");
            return Err(Rejection::unresolvable(message));
        }
        if used.ephemeral
            && let Some(why) = not_owner(pod, claim)
        {
            return Err(Rejection::unresolvable(why));
        }
        let waits = || storage.classes.get(&claim.class).is_some_and(|class| class.waits);
        let group = if claim.fully_bound() {
            &mut all.bound
        } else if claim.volume_name.is_empty() && waits() {
            &mut all.waiting
        } else {
            &mut all.immediate
        };
        group.push(claim.clone());
    }
    // Small ones first: a large volume is left to who needs it.
    all.waiting.sort_by_key(|claim| claim.requested);
    Ok(all)
}

/// What the claims get on a node; the reasons when they cannot.
///
/// # Errors
/// Unresolvable with upstream's reasons; an error when a class is missing.
pub fn choose(storage: &Storage, claims: &Claims, node: &NodeView) -> Result<Choice, Rejection> {
    let mut reasons: Vec<&'static str> = Vec::new();
    let mut found_all = true;
    for claim in &claims.bound {
        let Some(volume) = storage.volumes.get(&claim.volume_name) else {
            found_all = false;
            break;
        };
        if !volume.reaches(&node.labels) {
            reasons.push("node(s) didn't match PersistentVolume's node affinity");
            break;
        }
    }
    let (choice, without) = unbound(storage, &claims.waiting, node)?;
    reasons.extend(without);
    if !found_all {
        reasons.push("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
    }
    if reasons.is_empty() {
        return Ok(choice);
    }
    let mut rejection = Rejection::unresolvable(reasons[0]);
    rejection.reasons = reasons.into_iter().map(Into::into).collect();
    Err(rejection)
}

const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const NO_SPACE: &str = "node(s) did not have enough free storage";

fn unbound(
    storage: &Storage,
    waiting: &[Arc<ClaimView>],
    node: &NodeView,
) -> Result<(Choice, Option<&'static str>), Rejection> {
    let mut choice = Choice::default();
    let (mut search, mut provide) = (Vec::new(), Vec::new());
    for claim in waiting {
        match &claim.selected_node {
            // Its volume is being made for another node.
            Some(selected) if **selected != *node.name => return Ok((choice, Some(NO_VOLUME))),
            Some(_) => provide.push(claim),
            None => search.push(claim),
        }
    }
    for claim in search {
        match matching(storage, claim, node, &choice.bindings) {
            Some(volume) => {
                choice.bindings.push(Binding { volume: volume.clone(), claim: claim.clone() });
            }
            None => provide.push(claim),
        }
    }
    for claim in provide {
        if claim.class.is_empty() {
            return Err(Rejection::error(format!("no class for claim {:?}", claim.key())));
        }
        let Some(class) = storage.classes.get(&claim.class) else {
            return Err(Rejection::error(format!("failed to find storage class {:?}", claim.class)));
        };
        if matches!(class.provisioner.as_str(), "" | NO_PROVISIONER) || !class.reaches(&node.labels) {
            return Ok((choice, Some(NO_VOLUME)));
        }
        if !has_room(storage, claim, class, node) {
            return Ok((choice, Some(NO_SPACE)));
        }
        choice.provisions.push(claim.clone());
    }
    Ok((choice, None))
}

/// The smallest free volume for a claim that the node reaches, or the one that is kept for it.
fn matching<'a>(
    storage: &'a Storage,
    claim: &ClaimView,
    node: &NodeView,
    taken: &[Binding],
) -> Option<&'a Arc<VolumeView>> {
    let suits = |volume: &&Arc<VolumeView>| {
        !taken.iter().any(|b| b.volume.name == volume.name)
            && claim.requested.as_ref().is_none_or(|requested| volume.capacity >= *requested)
            && volume.mode == claim.mode
            && volume.attributes_class == claim.attributes_class
            && !volume.deleting
    };
    let candidates = || storage.volumes.all().filter(|v| v.class == claim.class).filter(suits);
    if let Some(kept) = candidates().find(|volume| volume.is_meant_for(claim)) {
        return kept.reaches(&node.labels).then_some(kept);
    }
    candidates()
        .filter(|volume| volume.claim.is_none() && volume.available)
        .filter(|volume| claim.selector.as_ref().is_none_or(|s| s.matches(&volume.labels)))
        .filter(|volume| volume.reaches(&node.labels))
        .filter(|volume| claim.access_modes.iter().all(|mode| volume.access_modes.contains(mode)))
        .min_by(|a, b| a.capacity.cmp(&b.capacity).then_with(|| a.name.cmp(&b.name)))
}

/// Whether the class's driver says that it can make a volume of this size for the node (KEP-1472).
fn has_room(storage: &Storage, claim: &ClaimView, class: &ClassView, node: &NodeView) -> bool {
    let Some(size) = &claim.requested else { return true };
    if !storage.csi_drivers.get(&class.provisioner).is_some_and(|driver| driver.storage_capacity) {
        return true;
    }
    storage.capacities.values().any(|capacity| {
        capacity.class == class.name
            && capacity.limit.as_ref().is_some_and(|limit| limit >= size)
            && capacity.nodes.as_ref().is_some_and(|nodes| nodes.matches(&node.labels))
    })
}
