//! deployment-controller: moves a Deployment's pods from one template to the next by scaling
//! ReplicaSets, one for each template.
//!
//! One round is: claim ReplicaSets, find or make the one of the current template, then either scale
//! (the count changed, or the Deployment is paused) or roll out. `plan.rs` puts the round together
//! from `revision.rs` (which ReplicaSet is which), `scale.rs` (arithmetic of surge and
//! availability); `status.rs` writes what was seen. Each ReplicaSet is written at most once a round.

mod plan;
mod revision;
mod scale;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{Deployment, DeploymentStrategyType, ReplicaSet};
use client::Key;
use client::controller::{Controller, Failure, Hands, Outcome, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

pub use view::View;

use crate::adoption::{self, Adoption};
use crate::cached::{DeploymentObject, Owner, PodFacts, ReplicaSetObject};

/// See the module.
#[derive(Debug)]
pub struct Deployments;

impl Controller for Deployments {
    const NAME: &'static str = "deployment-controller";
    const QUEUE: &'static str = "deployment";
    type View = View;
    type Own = Adoption;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<DeploymentObject>(),
            Wake::on::<ReplicaSetObject>(wake_owner),
            Wake::on::<PodFacts>(wake_recreate),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        View::observe(key, caches)
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Adoption> {
        plan::plan(view, now)
    }

    fn conclude(view: &View, outcome: &Outcome, now: Timestamp) -> Plan<Adoption> {
        status::conclude(view, outcome, now)
    }

    async fn perform(&self, own: Adoption, hands: &Hands) -> Result<Option<Duration>, Failure> {
        adoption::perform::<Deployment, ReplicaSet>(own, hands).await.map(|()| None)
    }
}

/// The ReplicaSet's Deployment, before and after; an orphan wakes all that select it.
fn wake_owner(change: &Change<'_, ReplicaSetObject>, caches: &Caches, keys: &mut Vec<Key>) {
    let owner = |set: Option<&Arc<ReplicaSetObject>>| set.and_then(|s| Owner::of(&s.metadata));
    let owners = (owner(change.old), owner(change.new));
    let orphan = change.new.map(|set| &set.metadata.labels);
    adoption::wake::<DeploymentObject>(&change.key.namespace, owners, orphan, caches, keys);
}

/// A Deployment that recreates waits for its old pods to be gone or finished.
fn wake_recreate(change: &Change<'_, PodFacts>, caches: &Caches, keys: &mut Vec<Key>) {
    let ended = match (change.old, change.new) {
        (Some(_), None) => true,
        (Some(old), Some(new)) => !old.is_finished() && new.is_finished(),
        _ => false,
    };
    let Some(owner) = change.old.filter(|_| ended).and_then(|pod| pod.owner.as_ref()) else { return };
    let namespace = &change.key.namespace;
    let Some(set) = caches.store::<ReplicaSetObject>().find(namespace, &owner.name) else { return };
    let Some(owner) = Owner::of(&set.metadata) else { return };
    let key = Key::new(namespace.clone(), owner.name);
    let recreates = caches
        .store::<DeploymentObject>()
        .get(&key)
        .is_some_and(|d| d.spec.strategy.type_ == DeploymentStrategyType::Recreate);
    if recreates {
        keys.push(key);
    }
}
