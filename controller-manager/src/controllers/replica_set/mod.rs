//! replicaset-controller and replicationcontroller-controller: keep as many pods of a template as
//! their object asks for.
//!
//! A ReplicationController is an older spelling of a ReplicaSet: [`Replicated`] turns one into the
//! other, and everything below knows ReplicaSets only. `view.rs` reads the caches, `plan.rs` decides
//! about pods, `status.rs` about the status, which is written after the pods were seen to, so that it
//! can tell of failures.

mod plan;
mod replicated;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::marker::PhantomData;
use std::time::Duration;

use api_types::core::v1::Pod;
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Outcome, Plan, Wake};
use client::informer::Caches;
use jiff::Timestamp;

pub use replicated::Replicated;
pub use view::View;

use crate::adoption::{self, Adoption};
use crate::cached::PodFacts;

/// See the module.
#[derive(Debug)]
pub struct Replicas<T>(PhantomData<fn() -> T>);

impl<T> Default for Replicas<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Replicated> Controller for Replicas<T> {
    const NAME: &'static str = T::NAME;
    const QUEUE: &'static str = T::QUEUE;
    type View = View<T>;
    type Own = Adoption;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<T::Cached>(),
            Wake::on::<PodFacts>(|change, caches, keys| {
                adoption::wake_by_pod::<T::Cached>(change, caches, keys);
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View<T>> {
        View::observe(key, caches)
    }

    fn plan(view: &View<T>, now: Timestamp) -> Plan<Adoption> {
        plan::plan(view, now)
    }

    fn conclude(view: &View<T>, outcome: &Outcome, now: Timestamp) -> Plan<Adoption> {
        let mut plan = Plan::nothing();
        if let Some(updated) = status::next(view, outcome.failures.first(), now) {
            plan.act(Action::update_status(T::from_set(updated)));
        }
        if let Some(delay) = status::next_look(view, now) {
            plan.look_again(delay);
        }
        plan
    }

    async fn perform(&self, own: Adoption, hands: &Hands) -> Result<Option<Duration>, Failure> {
        adoption::perform::<T, Pod>(own, hands).await.map(|()| None)
    }
}
