//! Which pods a ReplicaSet creates and deletes.
//!
//! Deletion prefers pods that are of least use: unscheduled, pending, not ready, cheap, doubled up
//! on a node, ready for a short time, restarting often, young.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::apps::v1::ReplicaSet;
use api_types::core::v1::{Pod, PodPhase};
use api_types::meta::v1::ObjectMeta;
use client::Key;
use client::controller::{Action, Plan, Step, Target, Told};
use jiff::Timestamp;

use super::{Replicated, View};
use crate::adoption::{self, Adoption};
use crate::cached::{PodFacts, controller_reference};

/// Most pods created or deleted in one go.
const BURST: usize = 500;

/// The active pods that the ReplicaSet claims, and what that takes.
pub(super) fn claim<T: Replicated>(view: &View<T>) -> (Vec<&(Key, Arc<PodFacts>)>, Adoption) {
    let active = view.pods.iter().filter(|(_, pod)| pod.is_active());
    adoption::claim::<T>(&view.set.metadata, view.set.spec.selector.as_deref(), active)
}

/// How many pods are wanted.
pub(super) fn wanted(set: &ReplicaSet) -> usize {
    usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0)
}

/// Adopts, then creates or deletes what the count asks for.
pub(super) fn plan<T: Replicated>(view: &View<T>, now: Timestamp) -> Plan<Adoption> {
    let mut plan = Plan::nothing();
    let (pods, adoption) = claim(view);
    if !adoption.is_nothing() {
        plan.step(Step::Own(adoption));
    }
    if view.set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let wanted = wanted(&view.set);
    if pods.len() < wanted {
        let count = (wanted - pods.len()).min(BURST);
        plan.step(Step::SlowStart((0..count).map(|_| creation(view)).collect()));
    } else if pods.len() > wanted {
        let count = (pods.len() - wanted).min(BURST);
        let chosen = of_least_use(pods, &view.related, now).into_iter().take(count);
        plan.step(Step::Together(chosen.map(|(key, pod)| deletion(view, key, pod)).collect()));
    }
    plan
}

fn creation<T: Replicated>(view: &View<T>) -> Action {
    let set = &view.set;
    let template = &set.spec.template;
    let pod = Pod {
        metadata: ObjectMeta {
            namespace: set.metadata.namespace.clone(),
            generate_name: format!("{}-", set.metadata.name),
            labels: template.metadata.labels.clone(),
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            owner_references: vec![controller_reference::<T>(&set.metadata)],
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        ..Pod::default()
    };
    Action::create(pod)
        .on_success(Told::normal(view.reference(), "SuccessfulCreate", "Created pod: {name}"))
        .on_failure(Told::warning(view.reference(), "FailedCreate", "Error creating: {error}"))
}

fn deletion<T: Replicated>(view: &View<T>, key: &Key, pod: &PodFacts) -> Action {
    Action::delete(Target::new::<Pod>(key.clone(), &pod.uid))
        .on_success(Told::normal(view.reference(), "SuccessfulDelete", format!("Deleted pod: {}", key.name)))
        .on_failure(Told::warning(view.reference(), "FailedDelete", "Error deleting: {error}"))
}

/// The pods in the order in which they are deleted. `related` counts pods by node: where they are
/// doubled up.
fn of_least_use<'a>(
    pods: Vec<&'a (Key, Arc<PodFacts>)>,
    related: &BTreeMap<Box<str>, usize>,
    now: Timestamp,
) -> Vec<(&'a Key, &'a PodFacts)> {
    let mut pods: Vec<_> = pods.into_iter().map(|(key, pod)| (key, &**pod)).collect();
    let doubled = |pod: &PodFacts| related.get(&pod.node).copied().unwrap_or(0);
    pods.sort_by(|(_, a), (_, b)| {
        let by = |first: bool, second: bool| second.cmp(&first);
        by(a.node.is_empty(), b.node.is_empty())
            .then(stage(&a.phase).cmp(&stage(&b.phase)))
            .then(a.ready.is_some().cmp(&b.ready.is_some()))
            .then(a.deletion_cost.cmp(&b.deletion_cost))
            .then(doubled(b).cmp(&doubled(a)))
            .then(match (a.ready, b.ready) {
                (Some(x), Some(y)) => younger_first(x, y, now),
                _ => Ordering::Equal,
            })
            .then(b.restarts.cmp(&a.restarts))
            .then(younger_first(a.created, b.created, now))
            // Last, and not where times differ only: upstream's order goes in circles, and sorting by it panics here.
            .then(a.uid.cmp(&b.uid))
    });
    pods
}

fn stage(phase: &PodPhase) -> u8 {
    match phase {
        PodPhase::Pending => 0,
        PodPhase::Unknown => 1,
        PodPhase::Running => 2,
        _ => 0,
    }
}

/// Compares ages by their order of magnitude, so that among pods of about the same age chance
/// (their UIDs) and not age decides which goes (KEP-2185).
fn younger_first(a: Timestamp, b: Timestamp, now: Timestamp) -> Ordering {
    let magnitude = |at: Timestamp| {
        let age = now.as_second() - at.as_second();
        u64::try_from(age).ok().and_then(u64::checked_ilog2).map_or(-1, i64::from)
    };
    magnitude(a).cmp(&magnitude(b))
}
