//! The arithmetic of budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::IntOrString;
use api_types::core::v1::ObjectReference;
use api_types::meta::v1::{Condition, ConditionStatus};
use api_types::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use api_types::value::Time;
use client::Key;
use client::controller::{Action, Plan, Step, Told};
use jiff::Timestamp;

use super::{Scale, View};
use crate::cached::PodFacts;
use crate::selector_text;
use crate::service_pods::reference;

/// How long an evicted pod counts as gone before it is.
const DELETION: Duration = Duration::from_secs(120);
const CONDITION: &str = "DisruptionAllowed";

/// How many pods there should be, and how many of them healthy.
struct Expected {
    pods: i32,
    healthy: i32,
    /// Pods without a controller were among those to be counted.
    unmanaged: bool,
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan<View> {
    if asks_controllers(&view.budget) && view.scales.values().any(|s| matches!(s, Scale::Foreign(_))) {
        let mut plan = Plan::nothing();
        plan.step(Step::Own(view.clone()));
        return plan;
    }
    let settled = settle(view, now);
    let steps = settled.steps.into_iter().map(|step| match step {
        Step::Do(action) => Step::Do(action),
        Step::SlowStart(actions) => Step::SlowStart(actions),
        Step::Together(actions) => Step::Together(actions),
        Step::Tell(told) => Step::Tell(told),
        Step::Own(never) => match never {},
    });
    Plan { steps: steps.collect(), again: settled.again }
}

/// Only numbers of pods can do without knowing how many are wanted.
fn asks_controllers(budget: &PodDisruptionBudget) -> bool {
    let spec = &budget.spec;
    spec.max_unavailable.is_some() || spec.min_available.as_ref().is_some_and(|m| m.as_int().is_none())
}

/// Writes the status, once all scales are known.
pub(super) fn settle(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let budget = &view.budget;
    let told = || client::events::reference(budget);
    if view.pods.is_empty() {
        plan.tell(Told::normal(told(), "NoPods", "No matching pods found"));
    }
    let expected = match expected(view) {
        Ok(expected) => expected,
        Err(error) => {
            let message = format!("Failed to calculate the number of expected pods: {error}");
            plan.tell(Told::warning(told(), "CalculateExpectedPodCountFailed", message));
            write(&mut plan, budget, fail_safe(budget, &error, now));
            return plan;
        }
    };
    if expected.unmanaged {
        let message = format!(
            "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, \
             the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To \
             account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
            selector_text::of(budget.spec.selector.as_deref())
        );
        plan.tell(Told::warning(told(), "UnmanagedPods", message));
    }
    let disrupted = disrupted(view, now, &mut plan);
    let healthy = view.pods.iter().filter(|(key, pod)| {
        pod.deleting.is_none() && pod.ready.is_some() && !disrupted.contains_key(&*key.name)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let allowed = if expected.pods > 0 { (healthy - expected.healthy).max(0) } else { 0 };
    let mut status = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disrupted_pods: disrupted,
        disruptions_allowed: allowed,
        current_healthy: healthy,
        desired_healthy: expected.healthy,
        expected_pods: expected.pods,
        conditions: budget.status.conditions.clone(),
    };
    let (holds, reason) = match allowed {
        0 => (ConditionStatus::False, "InsufficientPods"),
        _ => (ConditionStatus::True, "SufficientPods"),
    };
    let generation = status.observed_generation;
    set_condition(&mut status.conditions, holds, reason, "", generation, now);
    write(&mut plan, budget, status);
    plan
}

fn write(plan: &mut Plan, budget: &PodDisruptionBudget, status: PodDisruptionBudgetStatus) {
    if status != budget.status {
        plan.act(Action::update_status(PodDisruptionBudget { status, ..budget.clone() }));
    }
}

fn fail_safe(budget: &PodDisruptionBudget, error: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone();
    status.disruptions_allowed = 0;
    let generation = status.observed_generation;
    set_condition(&mut status.conditions, ConditionStatus::False, "SyncFailed", error, generation, now);
    status
}

fn set_condition(
    conditions: &mut Vec<Condition>,
    status: ConditionStatus,
    reason: &str,
    message: &str,
    observed_generation: i64,
    now: Timestamp,
) {
    let known = conditions.iter().position(|c| c.type_ == CONDITION);
    let since = known.map(|place| &conditions[place]).filter(|c| c.status == status);
    let condition = Condition {
        type_: CONDITION.into(),
        last_transition_time: since.and_then(|c| c.last_transition_time).or(Some(Time::whole(now))),
        status,
        observed_generation,
        reason: reason.into(),
        message: message.into(),
    };
    match known {
        Some(place) => conditions[place] = condition,
        None => conditions.push(condition),
    }
}

fn expected(view: &View) -> Result<Expected, String> {
    let spec = &view.budget.spec;
    let scaled = |value: &IntOrString, total: i32| {
        value.scaled(total, true).ok_or_else(|| {
            "invalid value for IntOrString: invalid type: string is not a percentage".to_owned()
        })
    };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let (pods, unmanaged) = wanted(view)?;
            Ok(Expected { pods, healthy: (pods - scaled(most, pods)?).max(0), unmanaged })
        }
        (None, Some(least)) => match least.as_int() {
            Some(healthy) => {
                let pods = i32::try_from(view.pods.len()).unwrap_or(i32::MAX);
                Ok(Expected { pods, healthy, unmanaged: false })
            }
            None => {
                let (pods, unmanaged) = wanted(view)?;
                Ok(Expected { pods, healthy: scaled(least, pods)?, unmanaged })
            }
        },
        (None, None) => Ok(Expected { pods: 0, healthy: 0, unmanaged: false }),
    }
}

/// How many pods their controllers want together, and whether some have none.
fn wanted(view: &View) -> Result<(i32, bool), String> {
    let mut scales: BTreeMap<&str, i32> = BTreeMap::new();
    let mut unmanaged = false;
    for (key, pod) in &view.pods {
        let Some(owner) = &pod.owner else {
            unmanaged = true;
            continue;
        };
        match view.scales.get(&owner.uid) {
            Some(Scale::Of(uid, count)) => {
                scales.insert(uid, *count);
            }
            Some(Scale::Unknown(Some(error))) => return Err(error.clone()),
            _ => return Err(format!("found no controllers for pod {:?}", key.name)),
        }
    }
    Ok((scales.values().sum(), unmanaged))
}

/// Pods that an eviction has marked and that are still to go.
fn disrupted(view: &View, now: Timestamp, plan: &mut Plan) -> BTreeMap<String, Option<Time>> {
    let budget = &view.budget;
    let mut still = BTreeMap::new();
    for (key, pod) in view.pods.iter().filter(|(_, pod)| pod.deleting.is_none()) {
        let Some(Some(since)) = budget.status.disrupted_pods.get(&*key.name) else { continue };
        let passed = Duration::try_from(now - since.0).unwrap_or_default();
        match DELETION.checked_sub(passed) {
            Some(left) => {
                plan.look_again(left + Duration::from_secs(1));
                still.insert(key.name.to_string(), Some(*since));
            }
            None => {
                // COMPAT: upstream's text has the namespace twice.
                let namespace = &budget.metadata.namespace;
                let message =
                    format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
                plan.tell(Told::warning(pod_reference(key, pod), "NotDeleted", message));
            }
        }
    }
    still
}

fn pod_reference(key: &Key, pod: &PodFacts) -> ObjectReference {
    reference(key, pod)
}
