//! Which revision is which: that of the current template, and that which the pods had before.

use api_types::apps::v1::{ControllerRevision, StatefulSet};
use api_types::core::v1::PodTemplateSpec;
use client::controller::{Action, Target};

use super::View;
use crate::revisions;

/// The label of a StatefulSet's revision that has its hash.
const OWN_HASH: &str = "controller.kubernetes.io/hash";

/// The revisions of a round.
#[derive(Debug)]
pub(super) struct Revisions {
    /// What stable pods have.
    pub current: ControllerRevision,
    /// What pods shall have.
    pub update: ControllerRevision,
    pub collisions: i32,
    /// What makes `update` so.
    pub write: Option<Action>,
}

/// A new revision of the current template.
pub(super) fn fresh(set: &StatefulSet, number: i64, collisions: i32) -> ControllerRevision {
    let mut new = revisions::new::<StatefulSet>(&set.metadata, &set.spec.template, number, collisions);
    // COMPAT: on the pods it is the revision's name, on the revision its hash under a label of its own.
    if let Some(hash) = new.metadata.labels.remove(revisions::HASH) {
        new.metadata.labels.insert(OWN_HASH.into(), hash);
    }
    new
}

/// The revisions, oldest first.
pub(super) fn sorted(view: &View) -> Vec<ControllerRevision> {
    let mut all = view.revisions.clone();
    revisions::sort(&mut all);
    all
}

/// Finds the revisions, or says what is to be written for them to be there.
pub(super) fn find(view: &View) -> Revisions {
    let set = &view.set;
    let all = sorted(view);
    let mut collisions = set.status.collision_count.unwrap_or(0);
    let number = all.last().map_or(0, |newest| newest.revision) + 1;
    let equal = all.iter().rev().find(|r| revisions::saves(r, &set.spec.template));
    let (update, write) = match equal {
        Some(equal) if Some(equal) == all.last() => (equal.clone(), None),
        // An older template is wanted again: its revision becomes the newest.
        Some(equal) => {
            let renumbered = ControllerRevision { revision: number, ..equal.clone() };
            (renumbered.clone(), Some(Action::update(renumbered)))
        }
        None => {
            let mut new = fresh(set, number, collisions);
            let taken = |new: &ControllerRevision| {
                view.occupant.as_ref().is_some_and(|other| other.metadata.name == new.metadata.name)
                    || all.iter().any(|other| other.metadata.name == new.metadata.name)
            };
            while taken(&new) {
                collisions += 1;
                new = fresh(set, number, collisions);
            }
            (new.clone(), Some(Action::create(new)))
        }
    };
    let named = |r: &&ControllerRevision| r.metadata.name == set.status.current_revision;
    let current = all.iter().find(named).unwrap_or(&update).clone();
    Revisions { current, update, collisions, write }
}

impl Revisions {
    /// The template of the current revision.
    pub(super) fn current_template(&self, set: &StatefulSet) -> PodTemplateSpec {
        revisions::template(&self.current).unwrap_or_else(|| set.spec.template.clone())
    }
}

/// Deletes the oldest revisions beyond the limit that no pod has.
pub(super) fn surplus(view: &View, found: &Revisions) -> Vec<Action> {
    let used = |name: &str| {
        name == found.current.metadata.name
            || name == found.update.metadata.name
            || view.pods.iter().any(|(_, pod)| pod.labels.get(revisions::HASH).is_some_and(|h| h == name))
    };
    let limit = usize::try_from(view.set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(usize::MAX);
    let unused: Vec<_> = sorted(view).into_iter().filter(|r| !used(&r.metadata.name)).collect();
    let count = unused.len().saturating_sub(limit);
    unused.iter().take(count).map(|revision| Action::delete(Target::of(revision))).collect()
}
