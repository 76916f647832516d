//! The status of a DaemonSet: counts over nodes.

use std::time::Duration;

use api_types::apps::v1::{DaemonSet, DaemonSetStatus};
use api_types::meta::v1::LabelSelector;
use client::controller::{Action, Outcome, Plan};
use jiff::Timestamp;

use super::fit::Fit;
use super::plan::{by_node, is_updated};
use super::{Own, View, history};

pub(super) fn conclude(view: &View, outcome: &Outcome, now: Timestamp) -> Plan<Own> {
    let mut plan = Plan::nothing();
    let set = &view.set;
    let selects_all = set.spec.selector.as_deref() == Some(&LabelSelector::default());
    if selects_all || set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let history = history::find(view);
    // Nothing was done with a revision that could not be written.
    if !history.write.is_empty() && outcome.done == 0 {
        return plan;
    }
    let status = calculate(view, &history, now);
    if set.spec.min_ready_seconds > 0 && status.number_ready != status.number_available {
        plan.look_again(Duration::from_secs(set.spec.min_ready_seconds.unsigned_abs().into()));
    }
    if status != set.status {
        plan.act(Action::update_status(DaemonSet { status, ..set.clone() }));
    }
    plan
}

fn calculate(view: &View, history: &history::History, now: Timestamp) -> DaemonSetStatus {
    let set = &view.set;
    let (pods, _) = by_node(view);
    let fit = Fit::of(set);
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: history.collisions,
        conditions: set.status.conditions.clone(),
        ..DaemonSetStatus::default()
    };
    for (node, facts) in &view.nodes {
        let first = pods.get(&*node.name).and_then(|daemons| daemons.first());
        if !fit.verdict(&node.name, facts).run {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some((_, pod)) = first else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pod.ready.is_some());
        status.number_available += i32::from(pod.is_available(set.spec.min_ready_seconds, now));
        status.updated_number_scheduled += i32::from(is_updated(set, pod, &history.hash));
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    status
}
