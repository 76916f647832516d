//! The status of a StatefulSet: what was there before the round.

use std::time::Duration;

use api_types::apps::v1::{StatefulSet, StatefulSetStatus, StatefulSetUpdateStrategyType};
use client::controller::{Action, Outcome, Plan};
use jiff::Timestamp;

use super::crew::{self, Crew, Member};
use super::revision::{self, Revisions};
use super::{Own, View, plan};

pub(super) fn conclude(view: &View, outcome: &Outcome, now: Timestamp) -> Plan<Own> {
    let mut plan = Plan::nothing();
    let found = revision::find(view);
    // Nothing was done with a revision that could not be written.
    if found.write.is_some() && outcome.written.is_empty() {
        return plan;
    }
    let status = calculate(view, &found, now);
    if status.ready_replicas != status.available_replicas {
        plan.look_again(next_available(view, now));
    }
    if differs(&status, &view.set.status) {
        plan.act(Action::update_status(StatefulSet { status, ..view.set.clone() }));
    }
    plan
}

fn calculate(view: &View, found: &Revisions, now: Timestamp) -> StatefulSetStatus {
    let set = &view.set;
    let (pods, _) = plan::claimed(view);
    let crew = Crew::of(set, &pods);
    let members: Vec<_> = crew.wanted.iter().flatten().chain(&crew.condemned).copied().collect();
    let count = |is: &dyn Fn(&Member<'_>) -> bool| {
        i32::try_from(members.iter().filter(|m| is(m)).count()).unwrap_or(i32::MAX)
    };
    let of =
        |revision: &str| count(&|m| !m.pod.phase.is_unset() && !m.is_going() && m.revision() == revision);
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|m| !m.pod.phase.is_unset()),
        ready_replicas: count(&|m| m.is_running_and_ready()),
        available_replicas: count(&|m| m.is_running_and_ready() && m.is_available(set, now)),
        current_replicas: of(&found.current.metadata.name),
        updated_replicas: of(&found.update.metadata.name),
        current_revision: found.current.metadata.name.clone(),
        update_revision: found.update.metadata.name.clone(),
        collision_count: Some(found.collisions),
        conditions: set.status.conditions.clone(),
    };
    let wanted = crew::replicas(set);
    let complete =
        [status.updated_replicas, status.ready_replicas, status.replicas].iter().all(|n| *n == wanted);
    if set.spec.update_strategy.type_ == StatefulSetUpdateStrategyType::RollingUpdate && complete {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

/// Whether it is worth a write.
fn differs(new: &StatefulSetStatus, old: &StatefulSetStatus) -> bool {
    let counts = |s: &StatefulSetStatus| {
        [s.replicas, s.ready_replicas, s.available_replicas, s.current_replicas, s.updated_replicas]
    };
    new.observed_generation > old.observed_generation
        || counts(new) != counts(old)
        || new.current_revision != old.current_revision
        || new.update_revision != old.update_revision
}

/// When the next ready pod becomes available.
fn next_available(view: &View, now: Timestamp) -> Duration {
    let seconds = i64::from(view.set.spec.min_ready_seconds);
    let (pods, _) = plan::claimed(view);
    let left = pods.iter().filter_map(|(_, pod)| Some(pod.ready?.as_second() + seconds - now.as_second()));
    let next = left.filter(|left| *left > 0).min().unwrap_or(seconds);
    Duration::from_secs(u64::try_from(next).unwrap_or(0).max(1))
}
