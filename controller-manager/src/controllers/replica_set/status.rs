//! The status of a ReplicaSet.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetConditionType, ReplicaSetStatus};
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use client::controller::Failure;
use jiff::Timestamp;

use super::plan::{claim, wanted};
use super::{Replicated, View};

/// The ReplicaSet with the status that it should have; `None` if it has it.
pub(super) fn next<T: Replicated>(
    view: &View<T>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<ReplicaSet> {
    let status = calculate(view, failure, now);
    if status == view.set.status {
        return None;
    }
    Some(ReplicaSet { status, ..view.set.clone() })
}

fn calculate<T: Replicated>(view: &View<T>, failure: Option<&Failure>, now: Timestamp) -> ReplicaSetStatus {
    let set = &view.set;
    let (pods, _) = claim(view);
    let count = |is: &dyn Fn(&crate::cached::PodFacts) -> bool| {
        i32::try_from(pods.iter().filter(|(_, pod)| is(pod)).count()).unwrap_or(i32::MAX)
    };
    let template = &set.spec.template.metadata.labels;
    let uid = &*set.metadata.uid;
    let terminating = view.pods.iter().filter(|(_, pod)| {
        pod.deleting.is_some() && !pod.is_finished() && pod.owner.as_ref().is_some_and(|o| &*o.uid == uid)
    });
    let mut status = ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: count(&|pod| carries(&pod.labels, template)),
        ready_replicas: count(&|pod| pod.ready.is_some()),
        available_replicas: count(&|pod| pod.is_available(set.spec.min_ready_seconds, now)),
        terminating_replicas: i32::try_from(terminating.count()).ok().filter(|_| T::COUNTS_TERMINATING),
        observed_generation: set.metadata.generation,
        conditions: set.status.conditions.clone(),
    };
    let is_failure = |c: &ReplicaSetCondition| c.type_ == ReplicaSetConditionType::ReplicaFailure;
    match failure {
        Some(failure) if !status.conditions.iter().any(is_failure) => {
            let reason = if pods.len() < wanted(set) { "FailedCreate" } else { "FailedDelete" };
            status.conditions.push(ReplicaSetCondition {
                type_: ReplicaSetConditionType::ReplicaFailure,
                status: ConditionStatus::True,
                last_transition_time: Some(Time::whole(now)),
                reason: reason.into(),
                message: failure.source.to_string(),
            });
        }
        Some(_) => {}
        None => status.conditions.retain(|c| !is_failure(c)),
    }
    status
}

fn carries(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// When the next ready pod becomes available.
pub(super) fn next_look<T: Replicated>(view: &View<T>, now: Timestamp) -> Option<Duration> {
    let min_ready = view.set.spec.min_ready_seconds;
    if min_ready == 0 {
        return None;
    }
    let (pods, _) = claim(view);
    pods.iter()
        .filter(|(_, pod)| !pod.is_available(min_ready, now))
        .filter_map(|(_, pod)| Some(pod.ready?.as_second() + i64::from(min_ready) - now.as_second()))
        .min()
        .map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1)))
}
