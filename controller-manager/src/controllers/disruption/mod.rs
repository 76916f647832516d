//! disruption-controller: keeps the status of PodDisruptionBudgets, by which evictions are allowed.
//!
//! How many pods there should be is asked of their controllers: the built-in ones are in caches, any
//! other kind is asked for its scale (`scale.rs`), and the round goes on with the answer. What cannot
//! be found out allows no disruption. [`StaleDisruptions`] takes back the mark on pods that were to be
//! disrupted and were not.

mod plan;
mod scale;
mod stale;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use api_types::core::v1::ReplicationController;
use api_types::policy::v1::PodDisruptionBudget;
use api_types::selector::Labels;
use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

pub use stale::StaleDisruptions;

use crate::cached::{
    BudgetObject, ControllerObject, DeploymentObject, Owner, PodFacts, ReplicaSetObject, StatefulSetObject,
};

/// See the module.
#[derive(Debug)]
pub struct Disruption;

/// A budget with the pods that it selects and how many their controllers want.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub budget: PodDisruptionBudget,
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    /// By UID of the controller of a pod.
    pub scales: BTreeMap<Box<str>, Scale>,
}

/// How many pods a controller wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Pods wanted, and the UID of who wants them: of a Deployment for all its ReplicaSets.
    Of(Box<str>, i32),
    /// Somebody else's kind: it has to be asked.
    Foreign(Owner),
    /// It could not be found out, and why; `None` when there is no such controller.
    Unknown(Option<String>),
}

impl Controller for Disruption {
    const NAME: &'static str = "disruption-controller";
    const QUEUE: &'static str = "disruption";
    type View = View;
    type Own = View;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<BudgetObject>(),
            Wake::on::<PodFacts>(wake_by_pod),
            Wake::nothing::<ControllerObject>(),
            Wake::nothing::<DeploymentObject>(),
            Wake::nothing::<ReplicaSetObject>(),
            Wake::nothing::<StatefulSetObject>(),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let budget = caches.store::<BudgetObject>().get(key)?.0.clone();
        let selector =
            Labels::from_spec(budget.spec.selector.as_deref()).unwrap_or_else(|_| Labels::nothing());
        let pods = caches.store::<PodFacts>().in_namespace(&key.namespace);
        let pods: Vec<_> = pods.into_iter().filter(|(_, pod)| selector.matches(&pod.labels)).collect();
        let owners = pods.iter().filter_map(|(_, pod)| pod.owner.clone());
        let scales = owners.map(|owner| (owner.uid.clone(), scale(&key.namespace, owner, caches))).collect();
        Some(View { budget, pods, scales })
    }

    fn plan(view: &View, now: Timestamp) -> Plan<View> {
        plan::plan(view, now)
    }

    /// Asks for the scales of foreign controllers, and goes on with them.
    async fn perform(&self, mut view: View, hands: &Hands) -> Result<Option<Duration>, Failure> {
        for scale in view.scales.values_mut() {
            if let Scale::Foreign(owner) = &*scale {
                *scale = scale::ask(&view.budget.metadata.namespace, owner, &hands.client).await;
            }
        }
        let plan = plan::settle(&view, hands.clock.now());
        let again = plan.again;
        hands.all(plan).await.failures.into_iter().next().map_or(Ok(again), Err)
    }
}

/// What the caches know of a pod's controller.
fn scale(namespace: &str, owner: Owner, caches: &Caches) -> Scale {
    let of = |uid: &str, replicas: Option<i32>| Scale::Of(uid.into(), replicas.unwrap_or(1));
    let known = if owner.is::<ReplicaSet>() {
        let set = caches.store::<ReplicaSetObject>().find(namespace, &owner.name);
        set.filter(|set| *set.metadata.uid == *owner.uid).map(|set| {
            let deployment = Owner::of(&set.metadata).filter(Owner::is::<Deployment>).and_then(|owner| {
                let found = caches.store::<DeploymentObject>().find(namespace, &owner.name)?;
                (*found.metadata.uid == *owner.uid).then_some(found)
            });
            match deployment {
                Some(deployment) => of(&deployment.metadata.uid, deployment.spec.replicas),
                None => of(&set.metadata.uid, set.spec.replicas),
            }
        })
    } else if owner.is::<StatefulSet>() {
        let set = caches.store::<StatefulSetObject>().find(namespace, &owner.name);
        set.filter(|s| *s.metadata.uid == *owner.uid).map(|s| of(&s.metadata.uid, s.spec.replicas))
    } else if owner.is::<ReplicationController>() {
        let set = caches.store::<ControllerObject>().find(namespace, &owner.name);
        set.filter(|s| *s.metadata.uid == *owner.uid).map(|s| of(&s.metadata.uid, s.spec.replicas))
    } else {
        return Scale::Foreign(owner);
    };
    known.unwrap_or(Scale::Unknown(None))
}

/// Budgets that select the pod, as it was or as it is.
fn wake_by_pod(change: &Change<'_, PodFacts>, caches: &Caches, keys: &mut Vec<Key>) {
    if let (Some(old), Some(new)) = (change.old, change.new)
        && counts(old) == counts(new)
        && old.labels == new.labels
    {
        return;
    }
    for (key, budget) in caches.store::<BudgetObject>().in_namespace(&change.key.namespace) {
        let Ok(selector) = Labels::from_spec(budget.spec.selector.as_deref()) else { continue };
        if [change.old, change.new].into_iter().flatten().any(|pod| selector.matches(&pod.labels)) {
            keys.push(key);
        }
    }
}

/// What of a pod matters to budgets.
fn counts(pod: &PodFacts) -> (bool, bool, &Option<Owner>) {
    (pod.ready.is_some(), pod.deleting.is_some(), &pod.owner)
}
