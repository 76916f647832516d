//! Adoption: an object that matches a controller's selector and has no controller gets one; one that
//! no longer matches is let go.
//!
//! Deciding is pure ([`decide`]). Performing asks the server first whether the owner is still there
//! and not being deleted: a stale cache must not re-adopt what an orphaning deletion has just
//! let go, since the garbage collector would then delete it.

use std::collections::BTreeMap;

use api_types::kind::Resource;
use api_types::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Status, StatusReason};
use api_types::selector::Labels;
use client::controller::{Action, Failure, Hands, Plan, Step, Target};
use client::{Error, Key, Patch};
use serde_json::json;

/// What is to be adopted and let go for one owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adoption {
    pub owner: Key,
    pub owner_uid: String,
    pub reference: OwnerReference,
    /// Key and UID of each.
    pub adopt: Vec<(Key, Box<str>)>,
    pub release: Vec<(Key, Box<str>)>,
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

/// Whether each candidate is claimed, and what has to be written for it to be so.
pub fn decide<'a>(
    owner: &ObjectMeta,
    reference: OwnerReference,
    selector: Option<&LabelSelector>,
    candidates: impl Iterator<Item = Candidate<'a>>,
) -> (Vec<bool>, Adoption) {
    let mut adoption =
        Adoption { owner: Key::of(owner), owner_uid: owner.uid.clone(), reference, ..Adoption::default() };
    let owner_goes = owner.deletion_timestamp.is_some();
    let claimed = candidates
        .map(|candidate| {
            let matches = selects(selector, candidate.labels);
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
        let patch = |(key, uid): &(Key, Box<str>), references: serde_json::Value| {
            let body = json!({ "metadata": { "uid": **uid, "ownerReferences": references } });
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
                .map(|one| patch(one, added.clone()))
                .chain(self.release.iter().map(|one| patch(one, removed.clone())))
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
