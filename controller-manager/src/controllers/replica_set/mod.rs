//! replicaset-controller: keeps as many pods of a template as a ReplicaSet asks for.
//!
//! `view.rs` reads the caches, `plan.rs` decides about pods, `status.rs` about the status, which is
//! written after the pods were seen to, so that it can tell of failures.

mod plan;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::ReplicaSet;
use api_types::kind::Resource as _;
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Outcome, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

pub use view::View;

use crate::adoption::{self, Adoption};
use crate::cached::{Owner, PodFacts, ReplicaSetObject};

/// See the module.
#[derive(Debug)]
pub struct ReplicaSets;

impl Controller for ReplicaSets {
    const NAME: &'static str = "replicaset-controller";
    const QUEUE: &'static str = "replicaset";
    type View = View;
    type Own = Adoption;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<ReplicaSetObject>(), Wake::on::<PodFacts>(wake_owner)]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        View::observe(key, caches)
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Adoption> {
        plan::plan(view, now)
    }

    fn conclude(view: &View, outcome: &Outcome, now: Timestamp) -> Plan<Adoption> {
        let mut plan = Plan::nothing();
        if let Some(updated) = status::next(view, outcome.failures.first(), now) {
            plan.act(Action::update_status(updated));
        }
        if let Some(delay) = status::next_look(view, now) {
            plan.look_again(delay);
        }
        plan
    }

    async fn perform(&self, own: Adoption, hands: &Hands) -> Result<Option<Duration>, Failure> {
        adoption::perform::<ReplicaSet, api_types::core::v1::Pod>(own, hands).await.map(|()| None)
    }
}

/// The pod's ReplicaSet, before and after; an orphan wakes all that select it.
fn wake_owner(change: &Change<'_, PodFacts>, caches: &Caches, keys: &mut Vec<Key>) {
    let namespace = &change.key.namespace;
    let owner = |pod: Option<&Arc<PodFacts>>| pod.and_then(|p| p.owner.clone());
    let (before, after) = (owner(change.old), owner(change.new));
    let mut wake = |owner: &Owner| {
        if owner.is::<ReplicaSet>() {
            keys.push(Key::new(namespace.clone(), owner.name.clone()));
        }
    };
    if let Some(before) = before.as_ref().filter(|b| Some(*b) != after.as_ref()) {
        wake(before);
    }
    match (&after, change.new) {
        (Some(after), _) => wake(after),
        (None, Some(orphan)) if orphan.is_active() => {
            for (key, set) in caches.store::<ReplicaSetObject>().in_namespace(namespace) {
                if adoption::selects(set.spec.selector.as_deref(), &orphan.labels) {
                    keys.push(key);
                }
            }
        }
        (None, _) => {}
    }
}

/// For messages.
pub(crate) fn reference(set: &ReplicaSet) -> api_types::core::v1::ObjectReference {
    debug_assert!(!set.metadata().uid.is_empty());
    client::events::reference(set)
}
