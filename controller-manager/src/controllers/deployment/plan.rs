//! One round of a Deployment: what to write to which ReplicaSet.

use api_types::apps::v1::{Deployment, DeploymentConditionType, DeploymentStrategyType, ReplicaSet};
use client::controller::{Action, Plan, Step, Target, Told};
use jiff::Timestamp;

use super::scale::{self, size};
use super::{View, revision, status};
use crate::adoption::{self, Adoption, Candidate};
use crate::cached::{controller_of, controller_reference};

/// What was decided; `status.rs` reads it too.
#[derive(Clone, Debug, Default)]
pub(super) struct Decision {
    pub adoption: Adoption,
    /// The ReplicaSet of the current template, as it is cached.
    pub new: Option<ReplicaSet>,
    /// All others, oldest first, as they are cached.
    pub old: Vec<ReplicaSet>,
    /// The ReplicaSet to make for the current template.
    pub create: Option<ReplicaSet>,
    /// ReplicaSets to be written, with the size that each has now.
    pub updates: Vec<(ReplicaSet, i32)>,
    pub deletes: Vec<ReplicaSet>,
    /// The revision that the Deployment should name.
    pub revision: Option<String>,
    /// Whether progress is measured: not while paused, scaling or going.
    pub rollout: bool,
}

impl Decision {
    /// All ReplicaSets.
    pub fn all(&self) -> Vec<ReplicaSet> {
        self.old.iter().chain(&self.new).cloned().collect()
    }

    /// Scales a ReplicaSet, on top of what is to be written to it already.
    fn scale(&mut self, deployment: &Deployment, set: &ReplicaSet, to: i32, force: bool) {
        let known = self.updates.iter().position(|(s, _)| s.metadata.uid == set.metadata.uid);
        if !force && size(set) == to {
            return;
        }
        let mut changed = known.map_or_else(|| set.clone(), |at| self.updates[at].0.clone());
        changed.spec.replicas = Some(to);
        let noted = revision::annotate_scale(deployment, &mut changed);
        if size(set) == to && !noted {
            return;
        }
        match known {
            Some(at) => self.updates[at].0 = changed,
            None => self.updates.push((changed, size(set))),
        }
    }

    fn scales(&self) -> bool {
        self.updates.iter().any(|(set, before)| size(set) != *before)
    }
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan<Adoption> {
    let mut plan = Plan::nothing();
    let deployment = &view.deployment;
    if deployment.spec.selector.as_deref().is_some_and(|s| *s == Default::default()) {
        plan.tell(Told::warning(
            client::events::reference(deployment),
            "SelectingAll",
            "This deployment is selecting all pods. A non-empty selector is required.",
        ));
        return plan;
    }
    // Pausing and resuming are written down first: progress is measured from there.
    if let Some(paused) = status::paused(view, now) {
        plan.act(Action::update_status(paused));
        return plan;
    }
    let decision = decide(view);
    if !decision.adoption.is_nothing() {
        plan.step(Step::Own(decision.adoption.clone()));
    }
    if let Some(created) = &decision.create {
        plan.act(creation(deployment, created));
    }
    for (set, before) in &decision.updates {
        plan.act(update(deployment, set, *before));
    }
    let deletes = decision.deletes.iter().map(|set| Action::delete(Target::of(set))).collect::<Vec<_>>();
    if !deletes.is_empty() {
        plan.step(Step::Together(deletes));
    }
    if let Some(revision) = decision.revision
        && deployment.metadata.annotations.get(revision::REVISION) != Some(&revision)
    {
        let mut annotated = deployment.clone();
        annotated.metadata.annotations.insert(revision::REVISION.into(), revision);
        // COMPAT: by way of the status, as upstream: a change of annotations would count as a new generation.
        plan.act(Action::update_status(annotated));
    }
    plan
}

fn creation(deployment: &Deployment, set: &ReplicaSet) -> Action {
    let about = client::events::reference(deployment);
    // What went wrong is told by status.rs, which knows a collision from an error.
    let action = Action::create(set.clone());
    if size(set) == 0 {
        return action;
    }
    let message = format!("Scaled up replica set {} from 0 to {}", set.metadata.name, size(set));
    action.on_success(Told::normal(about, "ScalingReplicaSet", message))
}

fn update(deployment: &Deployment, set: &ReplicaSet, before: i32) -> Action {
    let action = Action::update(set.clone());
    let after = size(set);
    if before == after {
        return action;
    }
    let direction = if before < after { "up" } else { "down" };
    let name = &set.metadata.name;
    let message = format!("Scaled {direction} replica set {name} from {before} to {after}");
    action.on_success(Told::normal(client::events::reference(deployment), "ScalingReplicaSet", message))
}

/// The whole round.
pub(super) fn decide(view: &View) -> Decision {
    let deployment = &view.deployment;
    let mut decision = claim(view);
    sync_revision(deployment, &mut decision);
    if deployment.metadata.deletion_timestamp.is_some() {
        return decision;
    }
    if deployment.spec.paused || is_scaled(deployment, &decision) {
        rescale(deployment, &mut decision);
        if deployment.spec.paused {
            clean_up(deployment, &mut decision);
        }
        return decision;
    }
    decision.rollout = true;
    match deployment.spec.strategy.type_ {
        DeploymentStrategyType::Recreate => recreate(view, &mut decision),
        _ => roll(deployment, &mut decision),
    }
    decision
}

/// Which ReplicaSets are the Deployment's, and which of them is of the current template: the oldest,
/// should there be several.
fn claim(view: &View) -> Decision {
    let deployment = &view.deployment;
    let keys: Vec<_> = view.sets.iter().map(|s| client::Key::of(&s.metadata)).collect();
    let candidates = view.sets.iter().zip(&keys).map(|(set, key)| Candidate {
        key,
        uid: &set.metadata.uid,
        labels: &set.metadata.labels,
        owner: controller_of(&set.metadata).map(|r| r.uid.as_str()),
        deleting: set.metadata.deletion_timestamp.is_some(),
    });
    let reference = controller_reference::<Deployment>(&deployment.metadata);
    let selector = deployment.spec.selector.as_deref();
    let (claimed, adoption) = adoption::decide(&deployment.metadata, reference, selector, candidates);
    let mut old: Vec<ReplicaSet> =
        view.sets.iter().zip(claimed).filter(|(_, claimed)| *claimed).map(|(set, _)| set.0.clone()).collect();
    old.sort_by(revision::by_age);
    let current =
        old.iter().position(|s| revision::same_template(&s.spec.template, &deployment.spec.template));
    let new = current.map(|at| old.remove(at));
    Decision { adoption, new, old, ..Decision::default() }
}

/// Keeps the annotations of the current ReplicaSet, and the revision that the Deployment names.
fn sync_revision(deployment: &Deployment, decision: &mut Decision) {
    let Some(new) = &decision.new else { return };
    let mut changed = new.clone();
    let annotated = revision::annotate(deployment, &mut changed, revision::next_revision(&decision.old));
    if annotated || changed.spec.min_ready_seconds != deployment.spec.min_ready_seconds {
        changed.spec.min_ready_seconds = deployment.spec.min_ready_seconds;
        decision.updates.push((changed.clone(), size(new)));
    }
    decision.revision = changed.metadata.annotations.get(revision::REVISION).cloned();
}

/// Whether the count changed since the active ReplicaSets were scaled.
fn is_scaled(deployment: &Deployment, decision: &Decision) -> bool {
    decision
        .all()
        .iter()
        .filter(|set| size(set) > 0)
        .filter_map(|set| revision::noted(set, revision::DESIRED))
        .any(|desired| desired != scale::wanted(deployment))
}

/// Scales without rolling out.
fn rescale(deployment: &Deployment, decision: &mut Decision) {
    let wanted = scale::wanted(deployment);
    let all = decision.all();
    let active: Vec<ReplicaSet> = all.iter().filter(|s| size(s) > 0).cloned().collect();
    let only = match active.as_slice() {
        [] => decision.new.clone().or_else(|| decision.old.last().cloned()),
        [one] => Some(one.clone()),
        _ => None,
    };
    if let Some(only) = only {
        return decision.scale(deployment, &only, wanted, false);
    }
    if active.is_empty() {
        return;
    }
    if decision.new.as_ref().is_some_and(|new| is_saturated(deployment, new)) {
        for old in decision.old.clone() {
            decision.scale(deployment, &old, 0, false);
        }
    } else if scale::rolls(deployment) {
        for (set, to) in active.iter().zip(scale::proportional(deployment, &active)) {
            decision.scale(deployment, set, to, true);
        }
    }
}

fn is_saturated(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = scale::wanted(deployment);
    size(set) == wanted
        && revision::noted(set, revision::DESIRED) == Some(wanted)
        && set.status.available_replicas == wanted
}

/// Plans the ReplicaSet of the current template, if there is none.
fn make_new(deployment: &Deployment, decision: &mut Decision) {
    if decision.new.is_none() {
        let replicas = scale::grown(deployment, scale::total(&decision.old), 0);
        let number = revision::next_revision(&decision.old);
        decision.revision = Some(number.to_string());
        decision.create = Some(revision::create(deployment, replicas, number));
    }
}

/// A rolling update: first the new one grows as far as surge allows, then the old ones shrink as far
/// as availability allows. One of them a round.
fn roll(deployment: &Deployment, decision: &mut Decision) {
    make_new(deployment, decision);
    let Some(new) = decision.new.clone() else {
        // It was just made: it counts as it was planned, with nothing available.
        if let Some(created) = decision.create.clone() {
            shrink(deployment, decision, &created);
        }
        return;
    };
    let wanted = scale::wanted(deployment);
    let to = if size(&new) > wanted {
        wanted
    } else {
        scale::grown(deployment, scale::total(&decision.all()), size(&new))
    };
    decision.scale(deployment, &new, to, false);
    if decision.scales() {
        return;
    }
    shrink(deployment, decision, &new);
    if !decision.scales() {
        clean_up_when_complete(deployment, decision);
    }
}

fn shrink(deployment: &Deployment, decision: &mut Decision, new: &ReplicaSet) {
    let sizes = scale::shrunk(deployment, &decision.old, new);
    for (old, to) in decision.old.clone().iter().zip(sizes) {
        decision.scale(deployment, old, to, false);
    }
}

/// Old pods must be gone before new ones come.
fn recreate(view: &View, decision: &mut Decision) {
    let deployment = &view.deployment;
    for old in decision.old.clone() {
        decision.scale(deployment, &old, 0, false);
    }
    if decision.scales() {
        return;
    }
    let new_uid = decision.new.as_ref().map(|s| s.metadata.uid.as_str());
    let counted = decision.old.iter().any(|set| set.status.replicas > 0);
    if counted || view.running.iter().any(|uid| Some(&**uid) != new_uid) {
        return;
    }
    make_new(deployment, decision);
    if let Some(new) = decision.new.clone() {
        decision.scale(deployment, &new, scale::wanted(deployment), false);
        clean_up_when_complete(deployment, decision);
    }
}

fn clean_up_when_complete(deployment: &Deployment, decision: &mut Decision) {
    if status::is_complete(deployment, &deployment.status) {
        clean_up(deployment, decision);
    }
}

/// Deletes the oldest of the old ReplicaSets beyond the history limit.
fn clean_up(deployment: &Deployment, decision: &mut Decision) {
    let limit = deployment.spec.revision_history_limit.filter(|l| *l != i32::MAX);
    let Some(limit) = limit.and_then(|l| usize::try_from(l).ok()) else { return };
    let mut alive: Vec<&ReplicaSet> =
        decision.old.iter().filter(|s| s.metadata.deletion_timestamp.is_none()).collect();
    alive.sort_by(|a, b| match (revision::revision_of(a), revision::revision_of(b)) {
        (Some(x), Some(y)) if x != y => x.cmp(&y),
        _ => revision::by_age(a, b),
    });
    let surplus = alive.len().saturating_sub(limit);
    decision.deletes = alive
        .into_iter()
        .take(surplus)
        .filter(|s| {
            s.status.replicas == 0 && size(s) == 0 && s.metadata.generation <= s.status.observed_generation
        })
        .cloned()
        .collect();
}

/// Whether a Progressing condition is there at all.
pub(super) fn has_progressing(deployment: &Deployment) -> bool {
    deployment.status.conditions.iter().any(|c| c.type_ == DeploymentConditionType::Progressing)
}
