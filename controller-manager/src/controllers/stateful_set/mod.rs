//! statefulset-controller: keeps numbered pods, each with its name and its volumes.
//!
//! A round is: find or save the revision of the current template (`revision.rs`), sort the pods by
//! their numbers (`crew.rs`), then one thing after the other (`plan.rs`): pods that are wanted, in
//! order or all at once; pods that are too many, from the highest number; pods of an older template.
//! Claims are made before their pods (`claims.rs`) and owned as the retention policy says. The
//! status tells of what was there before the round.

mod claims;
mod crew;
mod plan;
mod revision;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{ControllerRevision, StatefulSet};
use api_types::core::v1::Pod;
use client::Key;
use client::controller::{Controller, Failure, Hands, Outcome, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

pub use view::View;

use crate::adoption::{self, Adoption};
use crate::cached::{ClaimObject, Owner, PodFacts, RevisionObject, StatefulSetObject};

/// See the module.
#[derive(Debug)]
pub struct StatefulSets;

/// What is adopted.
#[derive(Debug)]
pub enum Own {
    Pods(Adoption),
    Revisions(Adoption),
}

impl Controller for StatefulSets {
    const NAME: &'static str = "statefulset-controller";
    const QUEUE: &'static str = "statefulset";
    type View = View;
    type Own = Own;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<StatefulSetObject>(),
            Wake::on::<PodFacts>(adoption::wake_by_pod::<StatefulSetObject>),
            Wake::on::<RevisionObject>(wake_by_revision),
            Wake::nothing::<ClaimObject>(),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        View::observe(key, caches)
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Own> {
        plan::plan(view, now)
    }

    fn conclude(view: &View, outcome: &Outcome, now: Timestamp) -> Plan<Own> {
        status::conclude(view, outcome, now)
    }

    async fn perform(&self, own: Own, hands: &Hands) -> Result<Option<Duration>, Failure> {
        match own {
            Own::Pods(adoption) => adoption::perform::<StatefulSet, Pod>(adoption, hands).await,
            Own::Revisions(adoption) => {
                adoption::perform::<StatefulSet, ControllerRevision>(adoption, hands).await
            }
        }
        .map(|()| None)
    }
}

/// The revision's StatefulSet.
fn wake_by_revision(change: &Change<'_, RevisionObject>, caches: &Caches, keys: &mut Vec<Key>) {
    let owner = |revision: Option<&Arc<RevisionObject>>| revision.and_then(|r| Owner::of(&r.metadata));
    let owners = (owner(change.old), owner(change.new));
    adoption::wake::<StatefulSetObject>(&change.key.namespace, owners, None, caches, keys);
}
