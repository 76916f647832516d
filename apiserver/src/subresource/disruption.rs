//! What a disruption budget says about the eviction of one pod (API doc "Disruptions", KEP-3017).
//! Pure: budgets and pods in, the budget's new status or a refusal out.

use api_types::core::v1::{ConditionStatus, Pod, PodConditionType, PodPhase};
use api_types::meta::v1::{Condition, StatusCause};
use api_types::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, UnhealthyPodEvictionPolicyType};
use api_types::selector::Labels;
use api_types::value::Time;

use crate::status::{ApiError, Qualified};

/// Evictions that the controller has not confirmed; more are a sign that it is not there.
const MOST_UNCONFIRMED: usize = 2000;
const ALLOWED: &str = "DisruptionAllowed";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Whether a pod serves nobody, so that its loss disturbs nothing.
pub fn needs_no_budget(pod: &Pod) -> bool {
    matches!(pod.status.phase, PodPhase::Succeeded | PodPhase::Failed | PodPhase::Pending)
        || pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod may begin to serve at any time.
pub fn may_become_ready(pod: &Pod) -> bool {
    !matches!(pod.status.phase, PodPhase::Succeeded | PodPhase::Failed)
        && pod.metadata.deletion_timestamp.is_none()
}

/// Whether a budget is about the pod. No selector selects nothing, an empty one everything.
pub fn selects(budget: &PodDisruptionBudgetSpec, pod: &Pod) -> bool {
    Labels::from_spec(budget.selector.as_deref()).is_ok_and(|labels| labels.matches(&pod.metadata.labels))
}

/// Whether a pod that is not ready can go without being counted.
pub fn lets_unhealthy_go(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let ready = |c: &api_types::core::v1::PodCondition| {
        c.type_ == PodConditionType::Ready && c.status == ConditionStatus::True
    };
    if pod.status.conditions.iter().any(ready) {
        return false;
    }
    let status = &budget.status;
    budget.spec.unhealthy_pod_eviction_policy == Some(UnhealthyPodEvictionPolicyType::AlwaysAllow)
        || (status.current_healthy >= status.desired_healthy && status.desired_healthy > 0)
}

/// Takes one disruption out of the budget and notes the pod.
///
/// # Errors
/// 429 when there is none to take, 403 for a status that cannot be.
pub fn take_one(budget: &mut PodDisruptionBudget, pod: &str, now: Time) -> Result<(), ApiError> {
    let name = budget.metadata.name.clone();
    let status = &mut budget.status;
    if status.observed_generation < budget.metadata.generation {
        return Err(being_processed(&name));
    }
    let forbidden = |why: &str| ApiError::Forbidden {
        of: Qualified { group: "policy".into(), resource: "poddisruptionbudget".into() },
        name: name.clone(),
        why: why.to_owned(),
    };
    if status.disruptions_allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    if status.disrupted_pods.len() > MOST_UNCONFIRMED {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(forbidden(why));
    }
    if status.disruptions_allowed == 0 {
        let prefix = format!("The disruption budget {name}");
        let condition = status
            .conditions
            .iter()
            .find(|c| c.type_ == ALLOWED && c.status == ConditionStatus::False && !c.message.is_empty());
        let why = match condition {
            Some(c) if c.reason == "SyncFailed" => {
                format!(
                    "{prefix} does not allow evicting pods currently because it failed sync: {}",
                    c.message
                )
            }
            _ if status.current_healthy <= status.desired_healthy => format!(
                "{prefix} needs {} healthy pods and has {} currently",
                status.desired_healthy, status.current_healthy
            ),
            Some(c) => {
                format!("{prefix} does not allow evicting pods currently ({}): {}", c.reason, c.message)
            }
            None => format!("{prefix} does not allow evicting pods currently"),
        };
        return Err(refused(0, why));
    }
    status.disruptions_allowed -= 1;
    if status.disruptions_allowed == 0 {
        used_up(&mut status.conditions, status.observed_generation, now);
    }
    status.disrupted_pods.insert(pod.to_owned(), Some(now));
    Ok(())
}

/// A 429 for a budget whose status is behind.
pub fn being_processed(budget: &str) -> ApiError {
    refused(10, format!("The disruption budget {budget} is still being processed by the server."))
}

fn refused(retry_after: i32, cause: String) -> ApiError {
    let mut status = ApiError::TooManyRequests { message: REFUSED.to_owned(), retry_after }.status();
    let cause = StatusCause { reason: "DisruptionBudget".into(), message: cause, ..StatusCause::default() };
    status.details.get_or_insert_default().causes.push(cause);
    ApiError::Said(Box::new(status))
}

fn used_up(conditions: &mut Vec<Condition>, generation: i64, now: Time) {
    let condition = Condition {
        type_: ALLOWED.to_owned(),
        status: ConditionStatus::False,
        observed_generation: generation,
        last_transition_time: Some(now),
        reason: "InsufficientPods".to_owned(),
        message: String::new(),
    };
    match conditions.iter_mut().find(|c| c.type_ == ALLOWED) {
        Some(present) if present.status == ConditionStatus::False => {
            let since = present.last_transition_time;
            *present = Condition { last_transition_time: since, ..condition };
        }
        Some(present) => *present = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(change: impl FnOnce(&mut PodDisruptionBudget)) -> PodDisruptionBudget {
        let mut own = PodDisruptionBudget::default();
        own.metadata.name = "web".into();
        own.status.desired_healthy = 2;
        own.status.current_healthy = 3;
        change(&mut own);
        own
    }

    fn refusal(change: impl FnOnce(&mut PodDisruptionBudget)) -> (i32, i32, String) {
        let status = take_one(&mut budget(change), "web-1", Time::default()).expect_err("refused").status();
        let details = status.details.expect("details");
        (status.code, details.retry_after_seconds, details.causes[0].message.clone())
    }

    #[test]
    fn a_disruption_is_taken_and_noted() {
        let mut own = budget(|b| b.status.disruptions_allowed = 2);
        take_one(&mut own, "web-1", Time::default()).expect("allowed");
        assert!(own.status.conditions.is_empty(), "one is left");
        take_one(&mut own, "web-2", Time::default()).expect("allowed");
        assert_eq!(own.status.disrupted_pods.len(), 2);
        assert_eq!(own.status.conditions[0].reason, "InsufficientPods");
        assert!(take_one(&mut own, "web-3", Time::default()).is_err());
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(
            refusal(|b| b.metadata.generation = 1),
            (429, 10, "The disruption budget web is still being processed by the server.".into())
        );
        assert_eq!(
            refusal(|b| b.status.current_healthy = 2),
            (429, 0, "The disruption budget web needs 2 healthy pods and has 2 currently".into())
        );
        assert_eq!(
            refusal(|b| {
                b.status.conditions = vec![Condition {
                    type_: ALLOWED.into(),
                    status: ConditionStatus::False,
                    reason: "SyncFailed".into(),
                    message: "no scale".into(),
                    ..Condition::default()
                }];
            }),
            (429, 0, "The disruption budget web does not allow evicting pods currently because it failed sync: no scale".into())
        );
    }

    #[test]
    fn unhealthy_pods_go_when_enough_are_healthy_or_always() {
        let pod = Pod::default();
        assert!(lets_unhealthy_go(&budget(|_| {}), &pod));
        assert!(!lets_unhealthy_go(&budget(|b| b.status.current_healthy = 1), &pod));
        let always = budget(|b| {
            b.status.current_healthy = 1;
            b.spec.unhealthy_pod_eviction_policy = Some(UnhealthyPodEvictionPolicyType::AlwaysAllow);
        });
        assert!(lets_unhealthy_go(&always, &pod));
        let mut ready = Pod::default();
        ready.status.conditions = vec![api_types::core::v1::PodCondition {
            type_: PodConditionType::Ready,
            status: ConditionStatus::True,
            ..Default::default()
        }];
        assert!(!lets_unhealthy_go(&always, &ready));
    }
}
