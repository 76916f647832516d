//! daemonset-controller: keeps a pod on every node that a DaemonSet fits.
//!
//! Which nodes those are is decided here (`fit.rs`); each pod is made for one node by its affinity
//! and the scheduler binds it. `plan.rs` makes and takes away pods, `update.rs` replaces those of an
//! older template, `history.rs` keeps the templates, `status.rs` counts.
//!
//! Failed pods are deleted at once the first time and then after a back-off for each node
//! (`backoff.rs`), so that a pod that a node refuses is not made over and over.

mod backoff;
mod fit;
mod history;
mod plan;
mod status;
#[cfg(test)]
mod tests;
mod update;
mod view;

use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{ControllerRevision, DaemonSet};
use api_types::core::v1::Pod;
use client::Key;
use client::controller::{Controller, Failure, Hands, Outcome, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

pub use view::View;

use crate::adoption::{self, Adoption};
use crate::cached::{DaemonSetObject, NodeFacts, Owner, PodFacts, RevisionObject};
use backoff::Backoffs;

/// See the module.
#[derive(Debug, Default)]
pub struct DaemonSets {
    backoffs: Backoffs,
}

/// Actions of its own.
#[derive(Debug)]
pub enum Own {
    Pods(Adoption),
    Revisions(Adoption),
    /// A failed pod of this node is deleted: the next one has to wait longer.
    Failed {
        set: Key,
        node: Box<str>,
    },
}

impl Controller for DaemonSets {
    const NAME: &'static str = "daemonset-controller";
    const QUEUE: &'static str = "daemonset";
    type View = View;
    type Own = Own;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<DaemonSetObject>(),
            Wake::on::<PodFacts>(adoption::wake_by_pod::<DaemonSetObject>),
            Wake::on::<RevisionObject>(wake_by_revision),
            Wake::on::<NodeFacts>(wake_by_node),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let view = View::observe(key, caches, &self.backoffs);
        if view.is_none() {
            self.backoffs.forget(key);
        }
        view
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Own> {
        plan::plan(view, now)
    }

    fn conclude(view: &View, outcome: &Outcome, now: Timestamp) -> Plan<Own> {
        status::conclude(view, outcome, now)
    }

    async fn perform(&self, own: Own, hands: &Hands) -> Result<Option<Duration>, Failure> {
        match own {
            Own::Pods(adoption) => adoption::perform::<DaemonSet, Pod>(adoption, hands).await,
            Own::Revisions(adoption) => {
                adoption::perform::<DaemonSet, ControllerRevision>(adoption, hands).await
            }
            Own::Failed { set, node } => {
                self.backoffs.failed(&set, &node, hands.clock.now());
                Ok(())
            }
        }
        .map(|()| None)
    }
}

/// The revision's DaemonSet.
fn wake_by_revision(change: &Change<'_, RevisionObject>, caches: &Caches, keys: &mut Vec<Key>) {
    let owner = |revision: Option<&Arc<RevisionObject>>| revision.and_then(|r| Owner::of(&r.metadata));
    let owners = (owner(change.old), owner(change.new));
    let orphan = change.new.map(|revision| &revision.metadata.labels);
    adoption::wake::<DaemonSetObject>(&change.key.namespace, owners, orphan, caches, keys);
}

/// A node that came, went, or changed in what decides about fitting wakes all DaemonSets.
fn wake_by_node(change: &Change<'_, NodeFacts>, caches: &Caches, keys: &mut Vec<Key>) {
    let same = |old: &NodeFacts, new: &NodeFacts| old.labels == new.labels && old.taints == new.taints;
    if let (Some(old), Some(new)) = (change.old, change.new)
        && same(old, new)
    {
        return;
    }
    keys.extend(caches.store::<DaemonSetObject>().all().into_iter().map(|(key, _)| key));
}
