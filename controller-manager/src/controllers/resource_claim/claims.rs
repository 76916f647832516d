//! Who uses a claim, and what becomes of one that nobody uses.
//!
//! Users that are pods are taken out when they are done or gone. A pod that is not in the cache may
//! be too new for it: the server is asked before it counts as gone. The last user's leaving frees the
//! devices; a claim without allocation loses the finalizer that keeps it.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use api_types::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Outcome, Plan, Step, Target, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

use super::{FINALIZER, Gone, metrics};
use crate::cached::{DeviceClaimObject, PodFacts, controller_of};

/// See the module. Its keys are claims.
#[derive(Debug, Default)]
pub struct Claims {
    gone: Arc<Gone>,
}

/// A claim and what is known of those that use it.
#[derive(Debug)]
pub struct View {
    pub key: Key,
    pub claim: Arc<DeviceClaimObject>,
    /// For each of `reservedFor`, in its order.
    pub users: Vec<User>,
    /// It was made for a pod that runs nothing any more, or was replaced.
    pub owner_done: bool,
}

/// What is known of one that uses a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Uses it still, or is of a kind that is not known here.
    Stays,
    /// Not in the cache.
    Unknown,
    Leaves,
}

/// Pods of which the server is to be asked whether they are there: names and UIDs.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    pub namespace: Box<str>,
    pub pods: Vec<(String, String)>,
}

fn is_pod(user: &ResourceClaimConsumerReference) -> bool {
    user.api_group.is_empty() && user.resource == "pods"
}

impl Claims {
    fn look(&self, user: &ResourceClaimConsumerReference, pod: Option<&PodFacts>) -> User {
        if !is_pod(user) {
            return User::Stays;
        }
        if self.gone.has(&user.uid) {
            return User::Leaves;
        }
        match pod {
            Some(pod) if *pod.uid == *user.uid && pod.is_done() => User::Leaves,
            Some(pod) if *pod.uid == *user.uid => User::Stays,
            Some(_) | None => User::Unknown,
        }
    }
}

/// Pods that need their claims no more wake these.
fn left(change: &Change<'_, PodFacts>, gone: &Gone, keys: &mut Vec<Key>) {
    let namespace = &change.key.namespace;
    let replaced = change.old.filter(|old| change.new.is_none_or(|new| new.uid != old.uid));
    let done = change.new.filter(|pod| pod.is_done());
    for pod in [replaced, done].into_iter().flatten() {
        let Some(devices) = &pod.devices else { continue };
        keys.extend(devices.names().map(|name| Key::new(namespace.clone(), name)));
    }
    if let Some(pod) = replaced.filter(|pod| pod.devices.is_some()) {
        gone.add(&pod.uid);
    }
}

impl Controller for Claims {
    const NAME: &'static str = "resourceclaim-controller";
    const QUEUE: &'static str = "resource_claim";
    type View = View;
    type Own = Ask;

    fn wakes_on(&self) -> Vec<Wake> {
        let gone = self.gone.clone();
        vec![
            Wake::on::<DeviceClaimObject>(|change, _, keys| {
                metrics::changed(change.old.map(|old| &old.0), change.new.map(|new| &new.0));
                if change.new.is_some() {
                    keys.push(change.key.clone());
                }
            }),
            Wake::on::<PodFacts>(move |change, _, keys| left(change, &gone, keys)),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let claim = caches.store::<DeviceClaimObject>().get(key)?;
        let pods = caches.store::<PodFacts>();
        let find = |name: &str| pods.find(&key.namespace, name);
        let user = |user| self.look(user, find(&user.name).as_deref());
        let users = claim.status.reserved_for.iter().map(user).collect();
        let owner = controller_of(&claim.metadata).filter(|o| o.api_version == "v1" && o.kind == "Pod");
        let owner_done = owner.is_some_and(|owner| {
            find(&owner.name).is_some_and(|pod| *pod.uid != *owner.uid || pod.is_done())
        });
        Some(View { key: key.clone(), claim, users, owner_done })
    }

    fn plan(view: &View, _: Timestamp) -> Plan<Ask> {
        plan(view)
    }

    fn conclude(view: &View, outcome: &Outcome, _: Timestamp) -> Plan<Ask> {
        conclude(view, outcome)
    }

    async fn perform(&self, ask: Ask, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let pods = hands.client.api::<Pod>().namespace(&*ask.namespace);
        let mut again = None;
        for (name, uid) in ask.pods {
            let found = pods.find(&name).await.map_err(|error| Failure::new("look for a pod", error))?;
            if found.is_none_or(|pod| pod.metadata.uid != uid) {
                self.gone.add(&uid);
                again = Some(Duration::ZERO);
            }
        }
        Ok(again)
    }
}

fn has_finalizer(claim: &ResourceClaim) -> bool {
    claim.metadata.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

fn without_finalizer(claim: &ResourceClaim) -> Action {
    let mut claim = claim.clone();
    claim.metadata.finalizers.retain(|finalizer| finalizer != FINALIZER);
    Action::update(claim)
}

/// Only a claim with the finalizer was allocated by a scheduler and can be freed here.
pub(super) fn plan(view: &View) -> Plan<Ask> {
    let mut plan = Plan::nothing();
    let users = &view.claim.status.reserved_for;
    let of = |what: User| users.iter().zip(&view.users).filter(move |(_, user)| **user == what);
    let unknown: Vec<_> = of(User::Unknown).map(|(user, _)| (user.name.clone(), user.uid.clone())).collect();
    if !unknown.is_empty() {
        plan.step(Step::Own(Ask { namespace: view.key.namespace.clone(), pods: unknown }));
    }
    let remain = users.iter().zip(&view.users).filter(|(_, user)| **user != User::Leaves);
    let remaining: Vec<_> = remain.map(|(user, _)| user.clone()).collect();
    let (leaves, unused) = (remaining.len() < users.len(), remaining.is_empty());
    let (protected, deleting) =
        (has_finalizer(&view.claim), view.claim.metadata.deletion_timestamp.is_some());
    let allocated = view.claim.status.allocation.is_some();
    if leaves || (unused && protected && deleting && allocated) {
        let mut claim = view.claim.0.clone();
        claim.status.reserved_for = remaining;
        if unused && protected {
            claim.status.allocation = None;
        }
        plan.act(Action::update_status(claim));
    } else if unused && protected && deleting {
        plan.act(without_finalizer(&view.claim));
    } else if unused {
        discard(view, &mut plan);
    }
    plan
}

/// What follows once the status is written.
pub(super) fn conclude(view: &View, outcome: &Outcome) -> Plan<Ask> {
    let mut plan = Plan::nothing();
    if !outcome.failures.is_empty() {
        return plan;
    }
    let written: Option<&ResourceClaim> = outcome.written.last().and_then(|w| w.as_any().downcast_ref());
    let Some(claim) = written else { return plan };
    if has_finalizer(claim) && claim.status.allocation.is_none() {
        plan.act(without_finalizer(claim));
    }
    if claim.status.reserved_for.is_empty() {
        discard(view, &mut plan);
    }
    plan
}

/// Deletes what was made for a pod that needs it no more. Of a pod that is gone the collector does.
fn discard(view: &View, plan: &mut Plan<Ask>) {
    if view.owner_done && view.claim.metadata.deletion_timestamp.is_none() {
        plan.act(Action::delete(Target::of(&view.claim.0)));
    }
}
