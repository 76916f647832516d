//! What a Job goes by of its pods: how they ended, which index they work on, and whether they are
//! still to be counted.

use api_types::batch::v1::Job;
use api_types::core::v1::{ConditionStatus, ContainerStatus, Pod, PodCondition, PodConditionType, PodPhase};
use jiff::Timestamp;

use super::Owner;

/// On pods that a Job has not counted yet.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The index that a pod works on.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the index failed before this pod: counted, and ignored by the policy.
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// A pod's facts that only Jobs need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobFacts {
    /// Whether it has the finalizer of pods that are still to be counted.
    pub tracked: bool,
    /// The index that it works on.
    pub index: Option<i32>,
    /// Failures of its index before it.
    pub failures: i32,
    pub ignored_failures: i32,
    /// Containers that ended, the ordinary ones first.
    pub ended: Box<[Ended]>,
    /// Restarts of all containers.
    pub restarts: i32,
    pub conditions: Box<[PodCondition]>,
    /// When it finished, as well as that can be known.
    pub finished: Timestamp,
}

/// A container that ended with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub container: Box<str>,
    pub code: i32,
}

impl JobFacts {
    /// Of pods that a Job controls or has to count.
    pub(super) fn of(pod: &Pod) -> Option<Box<Self>> {
        let tracked = pod.metadata.finalizers.iter().any(|f| f == TRACKING);
        if !tracked && !Owner::of(&pod.metadata).is_some_and(|owner| owner.is::<Job>()) {
            return None;
        }
        let annotation =
            |name: &str| pod.metadata.annotations.get(name)?.parse::<i32>().ok().filter(|n| *n >= 0);
        let statuses = || pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        let ended = statuses().filter_map(|status| {
            let terminated = status.state.terminated.as_ref().filter(|t| t.exit_code != 0)?;
            Some(Ended { container: status.name.as_str().into(), code: terminated.exit_code })
        });
        let over = matches!(pod.status.phase, PodPhase::Failed | PodPhase::Succeeded)
            || pod.metadata.deletion_timestamp.is_some();
        Some(Box::new(Self {
            tracked,
            index: annotation(INDEX),
            failures: annotation(FAILURES).unwrap_or(0),
            ignored_failures: annotation(IGNORED_FAILURES).unwrap_or(0),
            ended: ended.collect(),
            restarts: statuses().map(|s| s.restart_count).sum(),
            // Policies look at conditions of pods that failed only.
            conditions: if over { pod.status.conditions.clone().into() } else { Box::default() },
            finished: finished(pod),
        }))
    }
}

/// When the last container ended, or else the pod stopped being ready, or else was deleted or created.
fn finished(pod: &Pod) -> Timestamp {
    let sidecar = |status: &ContainerStatus| {
        let spec = pod.spec.init_containers.iter().find(|c| c.name == status.name);
        spec.is_some_and(|c| c.restart_policy.as_ref().is_some_and(|p| *p == "Always"))
    };
    let sidecars = pod.status.init_container_statuses.iter().filter(|s| sidecar(s));
    let ended: Option<Vec<Timestamp>> = pod
        .status
        .container_statuses
        .iter()
        .chain(sidecars)
        .map(|s| s.state.terminated.as_ref()?.finished_at.map(|t| t.0))
        .collect();
    let unready = || {
        let ready = pod.status.conditions.iter().find(|c| c.type_ == PodConditionType::Ready)?;
        let since = ready.last_transition_time.map(|t| t.0)?;
        (ready.status == ConditionStatus::False).then_some(since)
    };
    let deleted = || {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let at = pod.metadata.deletion_timestamp?.0;
        Timestamp::from_second(at.as_second() - grace).ok()
    };
    let created = || pod.metadata.creation_timestamp.map(|t| t.0);
    ended
        .and_then(|times| times.into_iter().max())
        .or_else(unready)
        .or_else(deleted)
        .or_else(created)
        .unwrap_or_default()
}
