//! The revisions of a DaemonSet: that of the current template, and older ones to return to.

use api_types::apps::v1::{ControllerRevision, DaemonSet};
use api_types::core::v1::Pod;
use client::controller::{Action, Target};
use client::{Key, Patch};
use serde_json::json;

use super::View;
use crate::adoption::{self, Adoption, Candidate};
use crate::cached::{Owner, controller_reference};
use crate::revisions::{self, HASH};

/// What the revisions say, and what has to be written for them to be right.
#[derive(Debug)]
pub(super) struct History {
    /// Hash of the current template, as pods carry it.
    pub hash: String,
    /// Revisions of other templates, oldest first.
    pub old: Vec<ControllerRevision>,
    pub collisions: Option<i32>,
    pub write: Vec<Action>,
}

/// A new revision of the current template.
pub(super) fn fresh(set: &DaemonSet, number: i64, collisions: i32) -> ControllerRevision {
    revisions::new::<DaemonSet>(&set.metadata, &set.spec.template, number, collisions)
}

/// Revisions that are adopted and let go.
pub(super) fn claim(view: &View) -> Adoption {
    let set = &view.set;
    let keyed: Vec<_> =
        view.revisions.iter().map(|r| (Key::of(&r.metadata), r, Owner::of(&r.metadata))).collect();
    let candidates = keyed.iter().map(|(key, revision, owner)| Candidate {
        key,
        uid: &revision.metadata.uid,
        labels: &revision.metadata.labels,
        owner: owner.as_ref().map(|o| &*o.uid),
        deleting: revision.metadata.deletion_timestamp.is_some(),
    });
    let reference = controller_reference::<DaemonSet>(&set.metadata);
    adoption::decide(&set.metadata, reference, set.spec.selector.as_deref(), candidates).1
}

/// Finds the revision of the current template, or says what makes it.
pub(super) fn find(view: &View) -> History {
    let set = &view.set;
    let mut all = view.revisions.clone();
    revisions::sort(&mut all);
    let (mut current, old): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|r| revisions::saves(r, &set.spec.template));
    let number = old.last().map_or(0, |r| r.revision) + 1;
    let mut collisions = set.status.collision_count;
    let mut write = Vec::new();
    let Some(kept) = current.pop() else {
        let mut new = fresh(set, number, collisions.unwrap_or(0));
        let taken = |new: &ControllerRevision| {
            view.occupant.iter().chain(&old).any(|other| other.metadata.name == new.metadata.name)
        };
        while taken(&new) {
            let next = collisions.unwrap_or(0) + 1;
            collisions = Some(next);
            new = fresh(set, number, next);
        }
        let hash = new.metadata.labels[HASH].clone();
        return History { hash, old, collisions, write: vec![Action::create(new)] };
    };
    let hash = kept.metadata.labels.get(HASH).unwrap_or(&kept.metadata.name).clone();
    // Twice the same template: the newer stays, and pods move over to its hash.
    for duplicate in &current {
        for (key, pod) in view.pods.iter().filter(|(_, pod)| pod.owner.is_some()) {
            if pod.labels.get(HASH).is_some_and(|h| duplicate.metadata.labels.get(HASH) == Some(h)) {
                let patch = json!({ "metadata": { "labels": { HASH: hash } } });
                write.push(Action::patch(Target::new::<Pod>(key.clone(), &pod.uid), Patch::Merge(patch)));
            }
        }
        write.push(Action::delete(Target::of(duplicate)));
    }
    if kept.revision < number {
        write.push(Action::update(ControllerRevision { revision: number, ..kept }));
    }
    History { hash, old, collisions, write }
}

impl History {
    /// Deletes the oldest revisions beyond the limit that no pod has.
    pub(super) fn surplus(&self, view: &View) -> Vec<Action> {
        let limit = usize::try_from(view.set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(usize::MAX);
        let count = self.old.len().saturating_sub(limit);
        let uid = &*view.set.metadata.uid;
        let live = |revision: &&ControllerRevision| {
            let hash = revision.metadata.labels.get(HASH);
            let owned = view.pods.iter().filter(|(_, p)| p.owner.as_ref().is_some_and(|o| *o.uid == *uid));
            owned.into_iter().any(|(_, pod)| hash.is_some() && pod.labels.get(HASH) == hash)
        };
        let dead = self.old.iter().filter(|r| !live(r)).take(count);
        dead.map(|revision| Action::delete(Target::of(revision))).collect()
    }
}
