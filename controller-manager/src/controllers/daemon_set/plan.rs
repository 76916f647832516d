//! Which pods are made and which go.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::apps::v1::{DaemonSet, DaemonSetUpdateStrategyType};
use api_types::core::v1::{Pod, PodPhase};
use api_types::meta::v1::{LabelSelector, ObjectMeta};
use client::Key;
use client::controller::{Action, Plan, Step, Target, Told};
use jiff::Timestamp;

use super::fit::{self, Fit};
use super::history::{self, History};
use super::{Own, View, update};
use crate::adoption::{self, Adoption};
use crate::cached::{PodFacts, controller_reference};
use crate::revisions::HASH;

/// Most pods created or deleted in one go.
const BURST: usize = 250;
/// Before there were hashes, and still on pods: the number of the template.
pub(super) const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// A pod of the DaemonSet.
pub(super) type Daemon<'a> = &'a (Key, Arc<PodFacts>);
/// The pods by the node that they are on or made for.
pub(super) type ByNode<'a> = BTreeMap<&'a str, Vec<Daemon<'a>>>;

/// What is created and deleted.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    pub create: Vec<&'a str>,
    pub delete: Vec<&'a Key>,
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan<Own> {
    let mut plan = Plan::nothing();
    let set = &view.set;
    if set.spec.selector.as_deref() == Some(&LabelSelector::default()) {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        plan.tell(Told::warning(view.reference(), "SelectingAll", message));
        return plan;
    }
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let revisions = history::claim(view);
    if !revisions.is_nothing() {
        plan.step(Step::Own(Own::Revisions(revisions)));
    }
    let history = history::find(view);
    let (pods, adoption) = by_node(view);
    if !adoption.is_nothing() {
        plan.step(Step::Own(Own::Pods(adoption)));
    }
    let mut changes = manage(view, &pods, &history, now, &mut plan);
    let rolls = set.spec.update_strategy.type_ == DaemonSetUpdateStrategyType::RollingUpdate;
    if changes.create.is_empty() && changes.delete.is_empty() && rolls {
        changes = update::rolling(view, pods, &history.hash, now);
    }
    let surplus = history.surplus(view);
    // The template is written before the pods that carry its hash.
    for write in history.write {
        plan.act(write);
    }
    perform(view, &history.hash, &changes, &mut plan);
    for delete in surplus {
        plan.act(delete);
    }
    plan
}

/// The pods that the DaemonSet claims, by node, without those that are finished and being deleted.
pub(super) fn by_node(view: &View) -> (ByNode<'_>, Adoption) {
    let set = &view.set;
    let selector = set.spec.selector.as_deref();
    let (claimed, adoption) = adoption::claim::<DaemonSet>(&set.metadata, selector, view.pods.iter());
    let mut pods = ByNode::new();
    for daemon in claimed {
        let pod = &daemon.1;
        let node = if pod.node.is_empty() { pod.intended.as_deref() } else { Some(&*pod.node) };
        let Some(node) = node.filter(|_| !(pod.is_finished() && pod.deleting.is_some())) else { continue };
        pods.entry(node).or_default().push(daemon);
    }
    for pods in pods.values_mut() {
        pods.sort_by(|a, b| senior(a, b));
    }
    (pods, adoption)
}

/// Scheduled before unscheduled, older before younger.
fn senior((a_key, a): &(Key, Arc<PodFacts>), (b_key, b): &(Key, Arc<PodFacts>)) -> Ordering {
    (a.node.is_empty(), a.created, &a_key.name).cmp(&(b.node.is_empty(), b.created, &b_key.name))
}

/// A pod on each node that fits and none on others; failed and finished ones are replaced.
fn manage<'a>(
    view: &'a View,
    pods: &ByNode<'a>,
    history: &History,
    now: Timestamp,
    plan: &mut Plan<Own>,
) -> Changes<'a> {
    let fit = Fit::of(&view.set);
    let mut changes = Changes::default();
    for (node, facts) in &view.nodes {
        let verdict = fit.verdict(&node.name, facts);
        let daemons = pods.get(&*node.name);
        match daemons {
            None if verdict.run => changes.create.push(&node.name),
            Some(daemons) if verdict.stay => {
                stay(view, &node.name, daemons, verdict.run, &history.hash, now, (&mut changes, plan));
            }
            Some(daemons) => {
                changes
                    .delete
                    .extend(daemons.iter().filter(|(_, p)| p.deleting.is_none()).map(|(key, _)| key));
            }
            None => {}
        }
    }
    // Made for a node that went before they were scheduled.
    let known = |name: &str| view.nodes.iter().any(|(node, _)| *node.name == *name);
    for (_, daemons) in pods.iter().filter(|(node, _)| !known(node)) {
        changes.delete.extend(daemons.iter().filter(|(_, pod)| pod.node.is_empty()).map(|(key, _)| key));
    }
    changes
}

fn stay<'a>(
    view: &View,
    node: &'a str,
    daemons: &[Daemon<'a>],
    run: bool,
    hash: &str,
    now: Timestamp,
    (changes, plan): (&mut Changes<'a>, &mut Plan<Own>),
) {
    let mut running: Vec<Daemon<'a>> = Vec::new();
    for daemon in daemons.iter().filter(|(_, pod)| pod.deleting.is_none()) {
        let (key, pod) = daemon;
        match pod.phase {
            PodPhase::Failed => {
                if let Some(left) = view.backoffs.get(node).and_then(|b| b.left(now)) {
                    plan.look_again(left);
                    continue;
                }
                let message = format!("Found failed daemon pod {key} on node {node}, will try to kill it");
                plan.tell(Told::warning(view.reference(), "FailedDaemonPod", message));
                let set = Key::of(&view.set.metadata);
                plan.step(Step::Own(Own::Failed { set, node: node.into() }));
                changes.delete.push(key);
            }
            PodPhase::Succeeded => {
                let message =
                    format!("Found succeeded daemon pod {key} on node {node}, will try to delete it");
                plan.tell(Told::normal(view.reference(), "SucceededDaemonPod", message));
                changes.delete.push(key);
            }
            _ => running.push(daemon),
        }
    }
    if !update::surges(&view.set) {
        changes.delete.extend(running.iter().skip(1).map(|(key, _)| key));
        return;
    }
    if running.is_empty() && run {
        changes.create.push(node);
        return;
    }
    if running.len() <= 1 {
        return;
    }
    // While surging, one pod of the new template and one of an old one may be there.
    let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|(_, pod)| carries(pod, hash));
    changes.delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).map(|(key, _)| key));
    if let (Some((_, new)), Some((old_key, old))) = (new.first(), old.first())
        && (old.ready.is_none() || new.is_available(view.set.spec.min_ready_seconds, now))
    {
        changes.delete.push(old_key);
    }
}

/// Whether the pod has the hash of the current template.
fn carries(pod: &PodFacts, hash: &str) -> bool {
    pod.labels.get(HASH).is_some_and(|h| h == hash)
}

/// Whether the pod is of the current template, by its hash or its number.
pub(super) fn is_updated(set: &DaemonSet, pod: &PodFacts, hash: &str) -> bool {
    let generation = generation(set);
    carries(pod, hash) || generation.is_some_and(|g| pod.labels.get(GENERATION_LABEL) == Some(&g.to_string()))
}

fn generation(set: &DaemonSet) -> Option<i64> {
    set.metadata.annotations.get(GENERATION)?.parse().ok()
}

fn perform(view: &View, hash: &str, changes: &Changes<'_>, plan: &mut Plan<Own>) {
    let creations: Vec<_> =
        changes.create.iter().take(BURST).map(|node| creation(view, hash, node)).collect();
    if !creations.is_empty() {
        plan.step(Step::SlowStart(creations));
    }
    let uid = |name: &Key| view.pods.iter().find(|(key, _)| key == name).map_or("", |(_, pod)| &*pod.uid);
    let deletions: Vec<_> = changes
        .delete
        .iter()
        .take(BURST)
        .map(|key| {
            let told = format!("Deleted pod: {}", key.name);
            Action::delete(Target::new::<Pod>((*key).clone(), uid(key)))
                .on_success(Told::normal(view.reference(), "SuccessfulDelete", told))
                .on_failure(Told::warning(view.reference(), "FailedDelete", "Error deleting: {error}"))
        })
        .collect();
    if !deletions.is_empty() {
        plan.step(Step::Together(deletions));
    }
}

fn creation(view: &View, hash: &str, node: &str) -> Action {
    let set = &view.set;
    let template = &set.spec.template;
    let mut labels = template.metadata.labels.clone();
    if let Some(generation) = generation(set) {
        labels.insert(GENERATION_LABEL.into(), generation.to_string());
    }
    labels.insert(HASH.into(), hash.into());
    let mut spec = template.spec.clone();
    fit::tolerate(&mut spec.tolerations, spec.host_network);
    fit::aim(&mut spec, node);
    let pod = Pod {
        metadata: ObjectMeta {
            namespace: set.metadata.namespace.clone(),
            generate_name: format!("{}-", set.metadata.name),
            labels,
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            owner_references: vec![controller_reference::<DaemonSet>(&set.metadata)],
            ..ObjectMeta::default()
        },
        spec,
        ..Pod::default()
    };
    Action::create(pod)
        .on_success(Told::normal(view.reference(), "SuccessfulCreate", "Created pod: {name}"))
        .on_failure(Told::warning(view.reference(), "FailedCreate", "Error creating: {error}"))
}
