//! Adoption: an object that matches a controller's selector and has no controller gets one; one that
//! no longer matches is let go.
//!
//! Deciding is pure ([`decide`]). Performing asks the server first whether the owner is still there
//! and not being deleted: a stale cache must not re-adopt what an orphaning deletion has just
//! let go, since the garbage collector would then delete it.
//! [`wake_by_pod`] and its siblings say whose keys a change of a dependent wakes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use api_types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api_types::batch::v1::Job;
use api_types::core::v1::ReplicationController;
use api_types::kind::Resource;
use api_types::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Status, StatusReason};
use api_types::selector::Labels;
use client::controller::{Action, Failure, Hands, Plan, Step, Target};
use client::informer::{Caches, Change, Projection};
use client::{Error, Key, Patch};
use serde_json::json;

use crate::cached::{Owner, PodFacts, controller_reference};

/// What is to be adopted and let go for one owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adoption {
    pub owner: Key,
    pub owner_uid: String,
    pub reference: OwnerReference,
    /// Key and UID of each.
    pub adopt: Vec<(Key, Box<str>)>,
    pub release: Vec<(Key, Box<str>)>,
    /// Given to what is adopted, taken from what is let go.
    pub finalizer: Option<&'static str>,
}

/// A kind that controls the objects which its selector selects.
pub trait Selecting: Resource {
    fn selector(&self) -> Option<Cow<'_, LabelSelector>>;
}

/// Implements [`Selecting`] for kinds whose spec has a LabelSelector.
macro_rules! selecting {
    ($($kind:ty),* $(,)?) => {$(
        impl Selecting for $kind {
            fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
                self.spec.selector.as_deref().map(Cow::Borrowed)
            }
        }
    )*};
}
selecting!(DaemonSet, Deployment, Job, ReplicaSet, StatefulSet);

impl Selecting for ReplicationController {
    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        let match_labels = self.spec.selector.clone();
        Some(Cow::Owned(LabelSelector { match_labels, ..LabelSelector::default() }))
    }
}

/// Whether a selector selects these labels. None and an empty one select nothing here: a
/// controller that owned everything would be a mistake.
pub fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    match Labels::from_spec(selector) {
        Ok(selector) => !selector.is_everything() && selector.matches(labels),
        Err(_) => false,
    }
}

/// One object that might be claimed.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub key: &'a Key,
    pub uid: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    /// UID of its managing controller.
    pub owner: Option<&'a str>,
    pub deleting: bool,
}

/// The pods that an owner of the kind `T` claims among these, and what that takes.
pub fn claim<'a, T: Resource>(
    owner: &ObjectMeta,
    selector: Option<&LabelSelector>,
    pods: impl Iterator<Item = &'a (Key, Arc<PodFacts>)>,
) -> (Vec<&'a (Key, Arc<PodFacts>)>, Adoption) {
    claim_if::<T>(owner, selector, pods, |_| true)
}

/// As [`claim`], of pods that are `eligible` beside being selected.
pub fn claim_if<'a, T: Resource>(
    owner: &ObjectMeta,
    selector: Option<&LabelSelector>,
    pods: impl Iterator<Item = &'a (Key, Arc<PodFacts>)>,
    eligible: impl Fn(&Key) -> bool,
) -> (Vec<&'a (Key, Arc<PodFacts>)>, Adoption) {
    let pods: Vec<_> = pods.collect();
    let candidates = pods.iter().map(|(key, pod)| Candidate {
        key,
        uid: &pod.uid,
        labels: &pod.labels,
        owner: pod.owner.as_ref().map(|o| &*o.uid),
        deleting: pod.deleting.is_some(),
    });
    let reference = controller_reference::<T>(owner);
    let (claimed, adoption) = decide_if(owner, reference, selector, candidates, |c| eligible(c.key));
    let pods = pods.into_iter().zip(claimed).filter(|(_, claimed)| *claimed).map(|(pod, _)| pod).collect();
    (pods, adoption)
}

/// Whether each candidate is claimed, and what has to be written for it to be so.
pub fn decide<'a>(
    owner: &ObjectMeta,
    reference: OwnerReference,
    selector: Option<&LabelSelector>,
    candidates: impl Iterator<Item = Candidate<'a>>,
) -> (Vec<bool>, Adoption) {
    decide_if(owner, reference, selector, candidates, |_| true)
}

fn decide_if<'a>(
    owner: &ObjectMeta,
    reference: OwnerReference,
    selector: Option<&LabelSelector>,
    candidates: impl Iterator<Item = Candidate<'a>>,
    eligible: impl Fn(&Candidate<'a>) -> bool,
) -> (Vec<bool>, Adoption) {
    let selector = Labels::from_spec(selector).ok().filter(|selector| !selector.is_everything());
    let mut adoption =
        Adoption { owner: Key::of(owner), owner_uid: owner.uid.clone(), reference, ..Adoption::default() };
    let owner_goes = owner.deletion_timestamp.is_some();
    let claimed = candidates
        .map(|candidate| {
            let selected = selector.as_ref().is_some_and(|s| s.matches(candidate.labels));
            let matches = selected && eligible(&candidate);
            match candidate.owner {
                Some(uid) if uid != owner.uid => false,
                Some(_) if matches => true,
                Some(_) => {
                    if !owner_goes {
                        adoption.release.push((candidate.key.clone(), candidate.uid.into()));
                    }
                    false
                }
                None if owner_goes || !matches || candidate.deleting => false,
                None => {
                    adoption.adopt.push((candidate.key.clone(), candidate.uid.into()));
                    true
                }
            }
        })
        .collect();
    (claimed, adoption)
}

impl Adoption {
    pub fn is_nothing(&self) -> bool {
        self.adopt.is_empty() && self.release.is_empty()
    }

    /// The patches, for dependents of the kind `D`.
    fn plan<D: Resource>(&self) -> Plan {
        let patch = |(key, uid): &(Key, Box<str>), references: serde_json::Value, finalizers: &str| {
            let mut body = json!({ "metadata": { "uid": **uid, "ownerReferences": references } });
            if let Some(finalizer) = self.finalizer {
                body["metadata"][finalizers] = json!([finalizer]);
            }
            Action::patch(Target::new::<D>(key.clone(), uid), Patch::Strategic(body))
        };
        let r = &self.reference;
        let added = json!([{
            "apiVersion": r.api_version, "kind": r.kind, "name": r.name, "uid": r.uid,
            "controller": true, "blockOwnerDeletion": true,
        }]);
        let removed = json!([{ "$patch": "delete", "uid": self.owner_uid }]);
        let mut plan = Plan::nothing();
        plan.step(Step::Together(
            self.adopt
                .iter()
                .map(|one| patch(one, added.clone(), "finalizers"))
                .chain(
                    self.release
                        .iter()
                        .map(|one| patch(one, removed.clone(), "$deleteFromPrimitiveList/finalizers")),
                )
                .collect(),
        ));
        plan
    }
}

/// Performs the adoption of dependents `D` by an owner of the kind `O`.
///
/// # Errors
/// When the owner is gone or going, or a patch fails. A dependent that is gone is no error.
pub async fn perform<O: Resource, D: Resource>(adoption: Adoption, hands: &Hands) -> Result<(), Failure> {
    if !adoption.adopt.is_empty() {
        let api = hands.client.api::<O>().namespace(&*adoption.owner.namespace);
        let fresh = api.get(&adoption.owner.name).await;
        let fresh = fresh.map_err(|e| Failure::new("adoption: read the owner", e))?;
        let meta = fresh.metadata();
        if meta.uid != adoption.owner_uid || meta.deletion_timestamp.is_some() {
            // Told as a conflict: the cache is behind, and the next look will not adopt.
            let message = format!("{} {} is gone or being deleted", O::KIND.kind, adoption.owner);
            let status = Status { reason: StatusReason::Conflict, code: 409, message, ..Status::default() };
            return Err(Failure::new("adoption", Error::Status(Box::new(status))));
        }
    }
    let outcome = hands.all(adoption.plan::<D>()).await;
    let mut failures = outcome.failures.into_iter();
    // Gone, or another object of the name: there is nothing to claim any more.
    match failures.find(|f| !f.source.is_not_found() && !f.source.is_invalid()) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Wakes the owner of a dependent, as it was before and is after a change; a dependent without one
/// (its labels are `orphan`) wakes all that select it.
pub fn wake<O>(
    namespace: &str,
    (before, after): (Option<Owner>, Option<Owner>),
    orphan: Option<&BTreeMap<String, String>>,
    caches: &Caches,
    keys: &mut Vec<Key>,
) where
    O: Projection + Deref<Target = O::Source>,
    O::Source: Selecting,
{
    let before = before.filter(|b| Some(b) != after.as_ref());
    for owner in [&before, &after].into_iter().flatten() {
        if owner.is::<O::Source>() {
            keys.push(Key::new(namespace, owner.name.clone()));
        }
    }
    if let (None, Some(labels)) = (after, orphan) {
        for (key, owner) in caches.store::<O>().in_namespace(namespace) {
            if selects(owner.selector().as_deref(), labels) {
                keys.push(key);
            }
        }
    }
}

/// [`wake`] for pods.
pub fn wake_by_pod<O>(change: &Change<'_, PodFacts>, caches: &Caches, keys: &mut Vec<Key>)
where
    O: Projection + Deref<Target = O::Source>,
    O::Source: Selecting,
{
    let owner = |pod: Option<&Arc<PodFacts>>| pod.and_then(|p| p.owner.clone());
    let orphan = change.new.filter(|pod| pod.deleting.is_none()).map(|pod| &pod.labels);
    let owners = (owner(change.old), owner(change.new));
    wake::<O>(&change.key.namespace, owners, orphan, caches, keys);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(app: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("app".into(), app.into())])
    }

    fn check(owner: Option<&str>, app: &str, deleting: bool, owner_goes: bool) -> (bool, usize, usize) {
        let mut meta = ObjectMeta { uid: "me".into(), name: "rs".into(), ..Default::default() };
        meta.deletion_timestamp = owner_goes.then(Default::default);
        let selector = LabelSelector { match_labels: labels("web"), ..Default::default() };
        let (key, labels) = (Key::new("ns", "pod"), labels(app));
        let candidate = Candidate { key: &key, uid: "u", labels: &labels, owner, deleting };
        let (claimed, adoption) =
            decide(&meta, OwnerReference::default(), Some(&selector), std::iter::once(candidate));
        (claimed[0], adoption.adopt.len(), adoption.release.len())
    }

    #[test]
    fn ours_stay_matching_orphans_come_others_are_left() {
        assert_eq!(check(Some("me"), "web", false, false), (true, 0, 0));
        assert_eq!(check(Some("me"), "db", false, false), (false, 0, 1));
        assert_eq!(check(Some("other"), "web", false, false), (false, 0, 0));
        assert_eq!(check(None, "web", false, false), (true, 1, 0));
        assert_eq!(check(None, "db", false, false), (false, 0, 0));
        assert_eq!(check(None, "web", true, false), (false, 0, 0), "what is going is not adopted");
    }

    #[test]
    fn an_owner_that_goes_claims_nothing_new_and_lets_nothing_go() {
        assert_eq!(check(None, "web", false, true), (false, 0, 0));
        assert_eq!(check(Some("me"), "db", false, true), (false, 0, 0));
        assert_eq!(check(Some("me"), "web", false, true), (true, 0, 0));
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!selects(None, &labels("web")));
        assert!(!selects(Some(&LabelSelector::default()), &labels("web")));
    }
}
