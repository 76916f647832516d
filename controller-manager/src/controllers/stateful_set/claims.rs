//! The claims of a numbered pod: their names, what is missing, and who owns them.
//!
//! Owned by the StatefulSet a claim goes with it (`whenDeleted: Delete`), owned by a pod that is too
//! many it goes with the pod (`whenScaled: Delete`; KEP-1847). A claim that has another controller is
//! left alone.

use std::sync::Arc;

use api_types::apps::v1::{PersistentVolumeClaimRetentionPolicyType as Retention, StatefulSet};
use api_types::core::v1::{PersistentVolumeClaim, Pod};
use api_types::kind::Resource;
use api_types::meta::v1::{ObjectMeta, OwnerReference};
use client::controller::{Action, Told};

use super::{View, crew};
use crate::cached::{ClaimObject, controller_reference};

/// Names of the claims of the pod with this number.
pub(super) fn names(set: &StatefulSet, ordinal: i32) -> impl Iterator<Item = String> + '_ {
    set.spec.volume_claim_templates.iter().map(move |template| name(set, template, ordinal))
}

/// Name of one of them.
pub(super) fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.metadata.name, set.metadata.name)
}

/// The claim made from a template.
fn claim(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> PersistentVolumeClaim {
    let mut claim = template.clone();
    claim.metadata.name = name(set, template, ordinal);
    claim.metadata.namespace.clone_from(&set.metadata.namespace);
    if let Some(selector) = &set.spec.selector {
        claim.metadata.labels.extend(selector.match_labels.clone());
    }
    claim
}

/// What creates the claims of a pod that are missing.
pub(super) fn missing(view: &View, pod: &str, ordinal: i32) -> Vec<Action> {
    let set = &view.set;
    let absent = set.spec.volume_claim_templates.iter().map(|template| claim(set, template, ordinal));
    let absent = absent.filter(|claim| !view.claims.contains_key(&claim.metadata.name));
    absent
        .map(|claim| {
            let what = format!(
                "Create Claim {} Pod {pod} in StatefulSet {}",
                claim.metadata.name, set.metadata.name
            );
            let failed = format!("{what} failed error: {{error}}");
            Action::create(claim)
                .on_success(Told::normal(view.reference(), "SuccessfulCreate", format!("{what} success")))
                .on_failure(Told::warning(view.reference(), "FailedCreate", failed))
        })
        .collect()
}

/// A claim of the pod that is being deleted: the pod must wait for a new one.
pub(super) fn going(view: &View, ordinal: i32) -> Option<&ClaimObject> {
    present(view, ordinal).find(|claim| claim.metadata.deletion_timestamp.is_some()).map(Arc::as_ref)
}

/// Whether a claim goes with an earlier pod of this name, which a new pod must wait for.
pub(super) fn stale(view: &View, pod: &ObjectMeta, ordinal: i32) -> bool {
    policy(&view.set).1 == Retention::Delete && present(view, ordinal).any(|c| is_stale::<Pod>(c, pod))
}

fn present(view: &View, ordinal: i32) -> impl Iterator<Item = &Arc<ClaimObject>> {
    names(&view.set, ordinal).filter_map(|name| view.claims.get(&name))
}

/// Claims of a pod whose owners are not what the retention policy says, with those that it says.
pub(super) fn reowned(view: &View, pod: &ObjectMeta, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let set = &view.set;
    let wrong = present(view, ordinal).filter(|claim| !is_right(set, pod, ordinal, claim));
    wrong
        .map(|claim| {
            let mut claim = claim.0.clone();
            let references = owners(set, pod, ordinal, &claim);
            claim.metadata.owner_references = references;
            claim
        })
        .collect()
}

/// `whenDeleted` and `whenScaled`.
fn policy(set: &StatefulSet) -> (Retention, Retention) {
    let retained = |wanted: &Retention| match wanted {
        Retention::Delete => Retention::Delete,
        _ => Retention::Retain,
    };
    match &set.spec.persistent_volume_claim_retention_policy {
        Some(policy) => (retained(&policy.when_deleted), retained(&policy.when_scaled)),
        None => (Retention::Retain, Retention::Retain),
    }
}

/// Whether the reference is to an object of this kind and name, whatever its UID.
fn names_object<T: Resource>(reference: &OwnerReference, meta: &ObjectMeta) -> bool {
    reference.api_version == T::KIND.api_version
        && reference.kind == T::KIND.kind
        && reference.name == meta.name
}

fn is_stale<T: Resource>(claim: &PersistentVolumeClaim, owner: &ObjectMeta) -> bool {
    let reference = claim.metadata.owner_references.iter().find(|r| names_object::<T>(r, owner));
    reference.is_some_and(|r| r.uid != owner.uid)
}

fn is_owned(claim: &PersistentVolumeClaim, owner: &ObjectMeta) -> bool {
    claim.metadata.owner_references.iter().any(|r| r.uid == owner.uid)
}

/// Whether somebody else controls the claim, or an earlier owner of our names does.
fn is_contested(set: &StatefulSet, pod: &ObjectMeta, claim: &PersistentVolumeClaim) -> bool {
    if policy(set) == (Retention::Retain, Retention::Retain) {
        return false;
    }
    claim.metadata.owner_references.iter().any(|r| {
        if names_object::<StatefulSet>(r, &set.metadata) {
            r.uid != set.metadata.uid
        } else if names_object::<Pod>(r, pod) {
            r.uid != pod.uid
        } else {
            r.controller == Some(true)
        }
    })
}

fn is_right(set: &StatefulSet, pod: &ObjectMeta, ordinal: i32, claim: &PersistentVolumeClaim) -> bool {
    // What an earlier owner of the name has is not ours to change: it will be collected.
    if is_stale::<StatefulSet>(claim, &set.metadata) || is_stale::<Pod>(claim, pod) {
        return true;
    }
    let (by_set, by_pod) = (is_owned(claim, &set.metadata), is_owned(claim, pod));
    if is_contested(set, pod, claim) {
        return !by_set && !by_pod;
    }
    let ours = |r: &&OwnerReference| r.uid == set.metadata.uid || r.uid == pod.uid;
    if claim.metadata.owner_references.iter().filter(ours).any(|r| r.controller != Some(true)) {
        return false;
    }
    let surplus = !crew::range(set).contains(&ordinal);
    (by_set, by_pod) == wanted_owners(set, surplus)
}

/// Whether the StatefulSet and whether the pod shall own the claim.
fn wanted_owners(set: &StatefulSet, surplus: bool) -> (bool, bool) {
    match policy(set) {
        (Retention::Delete, Retention::Delete) => (!surplus, surplus),
        (Retention::Delete, _) => (true, false),
        (_, Retention::Delete) => (false, surplus),
        _ => (false, false),
    }
}

fn owners(
    set: &StatefulSet,
    pod: &ObjectMeta,
    ordinal: i32,
    claim: &PersistentVolumeClaim,
) -> Vec<OwnerReference> {
    let others =
        |r: &&OwnerReference| !names_object::<StatefulSet>(r, &set.metadata) && !names_object::<Pod>(r, pod);
    let mut references: Vec<_> = claim.metadata.owner_references.iter().filter(others).cloned().collect();
    if is_contested(set, pod, claim) {
        return references;
    }
    let (by_set, by_pod) = wanted_owners(set, !crew::range(set).contains(&ordinal));
    if by_set {
        references.push(controller_reference::<StatefulSet>(&set.metadata));
    }
    if by_pod {
        references.push(controller_reference::<Pod>(pod));
    }
    references
}
