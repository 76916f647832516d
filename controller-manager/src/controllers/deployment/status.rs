//! The status of a Deployment: counts, and the conditions Available, Progressing, ReplicaFailure.

use std::time::Duration;

use api_types::apps::v1::{
    Deployment, DeploymentCondition, DeploymentConditionType, DeploymentStatus, ReplicaSet,
    ReplicaSetConditionType,
};
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use client::controller::{Action, Effect, Outcome, Plan, Told};
use jiff::Timestamp;

use super::plan::{Decision, decide, has_progressing};
use super::{View, revision, scale};
use crate::adoption::Adoption;
use crate::cached::controller_of;

use DeploymentConditionType::{Available, Progressing, ReplicaFailure};

const CREATED: &str = "NewReplicaSetCreated";
const FOUND: &str = "FoundNewReplicaSet";
const UPDATED: &str = "ReplicaSetUpdated";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const CREATE_ERROR: &str = "ReplicaSetCreateError";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// Seconds without progress after which a rollout counts as stuck.
fn deadline(deployment: &Deployment) -> Option<i32> {
    deployment.spec.progress_deadline_seconds.filter(|s| *s != i32::MAX)
}

fn progressing(status: &DeploymentStatus) -> Option<&DeploymentCondition> {
    status.conditions.iter().find(|c| c.type_ == Progressing)
}

/// All replicas are of the current template and available, and no others are left.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = scale::wanted(deployment);
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Something moved since the status was last written.
fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn condition(
    type_: DeploymentConditionType,
    status: ConditionStatus,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_,
        status,
        last_update_time: Some(Time::whole(now)),
        last_transition_time: Some(Time::whole(now)),
        reason: reason.into(),
        message,
    }
}

/// Puts a condition in. Status and reason as before leave everything as it was; the transition time
/// follows the status alone.
fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(known) = status.conditions.iter().find(|c| c.type_ == new.type_) {
        if known.status == new.status && known.reason == new.reason {
            return;
        }
        if known.status == new.status {
            new.last_transition_time = known.last_transition_time;
        }
    }
    remove(status, &new.type_);
    status.conditions.push(new);
}

fn remove(status: &mut DeploymentStatus, type_: &DeploymentConditionType) {
    status.conditions.retain(|c| c.type_ != *type_);
}

/// The Deployment with its condition for a pause that just began or ended.
pub(super) fn paused(view: &View, now: Timestamp) -> Option<Deployment> {
    let deployment = &view.deployment;
    if deployment.metadata.deletion_timestamp.is_some() {
        return None;
    }
    deadline(deployment)?;
    let reason = progressing(&deployment.status).map(|c| c.reason.as_str());
    let (reason, message) = match (deployment.spec.paused, reason) {
        (_, Some(TIMED_OUT)) | (true, Some(PAUSED)) => return None,
        (true, _) => (PAUSED, "Deployment is paused"),
        (false, Some(PAUSED)) => (RESUMED, "Deployment is resumed"),
        (false, _) => return None,
    };
    let mut deployment = deployment.clone();
    set(
        &mut deployment.status,
        condition(Progressing, ConditionStatus::Unknown, reason, message.into(), now),
    );
    Some(deployment)
}

/// What is written once the ReplicaSets were seen to.
pub(super) fn conclude(view: &View, outcome: &Outcome, now: Timestamp) -> Plan<Adoption> {
    let mut plan = Plan::nothing();
    let deployment = &view.deployment;
    if paused(view, now).is_some() {
        return plan;
    }
    if deployment.spec.selector.as_deref().is_some_and(|s| *s == Default::default()) {
        if deployment.status.observed_generation < deployment.metadata.generation {
            let mut seen = deployment.clone();
            seen.status.observed_generation = deployment.metadata.generation;
            plan.act(Action::update_status(seen));
        }
        return plan;
    }
    let decision = decide(view);
    if !outcome.failures.is_empty() {
        failed(view, &decision, outcome, now, &mut plan);
        return plan;
    }
    let status = next(deployment, &decision, now);
    if status != deployment.status {
        // On top of what the round wrote to the Deployment itself: its annotation.
        let written = outcome.written.iter().find_map(|o| o.as_any().downcast_ref::<Deployment>());
        let base = written.unwrap_or(deployment).clone();
        plan.act(Action::update_status(Deployment { status, ..base }));
    } else if decision.rollout
        && let Some(delay) = until_timeout(deployment, &status, now)
    {
        plan.look_again(delay);
    }
    plan
}

/// The ReplicaSet could not be made: a name that is taken by another template raises the collision
/// count, anything else shows as a condition.
fn failed(view: &View, decision: &Decision, outcome: &Outcome, now: Timestamp, plan: &mut Plan<Adoption>) {
    let deployment = &view.deployment;
    let Some(planned) = &decision.create else { return };
    let creation = Effect::Create(Box::new(planned.clone())).describe();
    let Some(failure) = outcome.failures.iter().find(|f| f.what == creation) else { return };
    let mut changed = deployment.clone();
    if failure.source.is_already_exists() {
        let Some(occupant) = &view.occupant else { return };
        let ours = controller_of(&occupant.metadata).is_some_and(|r| r.uid == deployment.metadata.uid);
        if ours && revision::same_template(&occupant.spec.template, &deployment.spec.template) {
            return;
        }
        changed.status.collision_count = Some(deployment.status.collision_count.unwrap_or(0) + 1);
    } else {
        let message =
            format!("Failed to create new replica set {:?}: {}", planned.metadata.name, failure.source);
        plan.tell(Told::warning(client::events::reference(deployment), CREATE_ERROR, message.clone()));
        if deadline(deployment).is_some() {
            set(
                &mut changed.status,
                condition(Progressing, ConditionStatus::False, CREATE_ERROR, message, now),
            );
        }
    }
    if changed.status != deployment.status {
        plan.act(Action::update_status(changed));
    }
}

/// The status that the Deployment should have.
pub(super) fn next(deployment: &Deployment, decision: &Decision, now: Timestamp) -> DeploymentStatus {
    let mut status = count(deployment, decision, now);
    if deadline(deployment).is_some() {
        if let Some(created) = &decision.create {
            let message = format!("Created new replica set {:?}", created.metadata.name);
            set(&mut status, condition(Progressing, ConditionStatus::True, CREATED, message, now));
        } else if let (Some(new), false) = (&decision.new, has_progressing(deployment)) {
            let message = format!("Found new replica set {:?}", new.metadata.name);
            set(&mut status, condition(Progressing, ConditionStatus::True, FOUND, message, now));
        }
    }
    if decision.rollout {
        estimate(deployment, decision, &mut status, now);
        replica_failure(decision, &mut status);
    }
    status
}

fn count(deployment: &Deployment, decision: &Decision, now: Timestamp) -> DeploymentStatus {
    let all = decision.all();
    let sum = |of: fn(&ReplicaSet) -> i32| all.iter().map(of).sum::<i32>();
    let available = sum(|s| s.status.available_replicas);
    let asked: i32 = scale::total(&all) + decision.create.as_ref().map_or(0, scale::size);
    let terminating = all.iter().try_fold(0, |sum, set| match set.status.terminating_replicas {
        Some(terminating) => Some(sum + terminating),
        None if set.status.observed_generation == 0 => Some(sum),
        None => None,
    });
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(|s| s.status.replicas),
        updated_replicas: decision.new.as_ref().map_or(0, |s| s.status.replicas),
        ready_replicas: sum(|s| s.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (asked - available).max(0),
        terminating_replicas: terminating,
        collision_count: deployment.status.collision_count,
        conditions: deployment.status.conditions.clone(),
    };
    let enough = available >= scale::wanted(deployment) - scale::max_unavailable(deployment);
    let (holds, reason, message) = if enough {
        (ConditionStatus::True, "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        (
            ConditionStatus::False,
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    set(&mut status, condition(Available, holds, reason, message.into(), now));
    status
}

/// The Progressing condition.
fn estimate(deployment: &Deployment, decision: &Decision, status: &mut DeploymentStatus, now: Timestamp) {
    if deadline(deployment).is_none() {
        return remove(status, &Progressing);
    }
    let current = progressing(status).cloned();
    let done =
        status.replicas == status.updated_replicas && current.as_ref().is_some_and(|c| c.reason == AVAILABLE);
    if done {
        return;
    }
    let new = decision.new.as_ref().or(decision.create.as_ref());
    let subject = match new {
        Some(set) => format!("ReplicaSet {:?}", set.metadata.name),
        None => format!("Deployment {:?}", deployment.metadata.name),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(status, condition(Progressing, ConditionStatus::True, AVAILABLE, message, now));
    } else if has_progressed(&deployment.status, status) {
        let message = format!("{subject} is progressing.");
        let mut new = condition(Progressing, ConditionStatus::True, UPDATED, message, now);
        // Any progress moves the update time on, whatever the reason was.
        if let Some(current) = current.filter(|c| c.status == ConditionStatus::True) {
            new.last_transition_time = current.last_transition_time;
        }
        remove(status, &Progressing);
        status.conditions.push(new);
    } else if has_timed_out(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        set(status, condition(Progressing, ConditionStatus::False, TIMED_OUT, message, now));
    }
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(seconds), Some(condition)) = (deadline(deployment), progressing(status)) else { return false };
    match condition.reason.as_str() {
        AVAILABLE => false,
        TIMED_OUT => true,
        _ => {
            let from = condition.last_update_time.map_or(0, |t| t.0.as_second());
            from + i64::from(seconds) < now.as_second()
        }
    }
}

/// When to look whether the rollout is stuck.
fn until_timeout(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let (seconds, condition) = (deadline(deployment)?, progressing(status)?);
    if is_complete(deployment, status) || condition.reason == TIMED_OUT {
        return None;
    }
    let at = condition.last_update_time.map_or(0, |t| t.0.as_second()) + i64::from(seconds);
    // One more, since times are kept in whole seconds.
    let left = u64::try_from(at - now.as_second()).unwrap_or(0) + 1;
    Some(Duration::from_secs(left))
}

/// A failure of the new ReplicaSet, or else of any, shows on the Deployment.
fn replica_failure(decision: &Decision, status: &mut DeploymentStatus) {
    let failure = |set: &ReplicaSet| {
        set.status.conditions.iter().find(|c| c.type_ == ReplicaSetConditionType::ReplicaFailure).cloned()
    };
    let found = decision.new.as_ref().and_then(failure).or_else(|| decision.old.iter().find_map(failure));
    match found {
        Some(c) => set(
            status,
            DeploymentCondition {
                type_: ReplicaFailure,
                status: c.status,
                last_update_time: c.last_transition_time,
                last_transition_time: c.last_transition_time,
                reason: c.reason,
                message: c.message,
            },
        ),
        None => remove(status, &ReplicaFailure),
    }
}
