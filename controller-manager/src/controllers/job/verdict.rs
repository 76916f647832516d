//! Whether a Job is over, and how: the conditions that say so.

use std::time::Duration;

use api_types::batch::v1::{Job, JobCondition, JobConditionType as Type};
use api_types::core::v1::{PodPhase, RestartPolicy};
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use jiff::Timestamp;

use super::pods::{Crew, completions, is_indexed, is_suspended};
use super::policy::{self, Meaning};

/// UIDs of pods that the status names and has not added up: succeeded, failed.
pub(super) fn uncounted(job: &Job) -> (&[String], &[String]) {
    match &job.status.uncounted_terminated_pods {
        Some(pods) => (&pods.succeeded, &pods.failed),
        None => (&[], &[]),
    }
}

pub(super) fn condition(type_: Type, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_,
        status: ConditionStatus::True,
        last_probe_time: Some(Time::whole(now)),
        last_transition_time: Some(Time::whole(now)),
        reason: reason.into(),
        message: message.into(),
    }
}

/// The condition of a type, if it holds.
pub(super) fn holds(job: &Job, type_: Type) -> Option<&JobCondition> {
    job.status.conditions.iter().find(|c| c.type_ == type_ && c.status == ConditionStatus::True)
}

/// What ends the Job, if something does: `SuccessCriteriaMet`, `FailureTarget`, or `Failed` once the
/// latter has been written.
pub(super) fn of(crew: &Crew<'_>, now: Timestamp) -> Option<JobCondition> {
    let job = crew.job;
    if let Some(met) = holds(job, Type::SuccessCriteriaMet) {
        return Some(met.clone());
    }
    if let Some(target) = holds(job, Type::FailureTarget) {
        return Some(condition(Type::Failed, &target.reason, &target.message, now));
    }
    let failure = |reason: &str, message: &str| Some(condition(Type::FailureTarget, reason, message, now));
    let meanings = || crew.all.iter().filter(|w| w.has_failed(job)).map(|w| w.meaning(job));
    if let Some(message) =
        meanings().find_map(|m| if let Meaning::FailsJob(text) = m { Some(text) } else { None })
    {
        return failure("PodFailurePolicy", &message);
    }
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if crew.failed > limit || restarts_exceed(crew, limit) {
        return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline(job, now) == Some(Duration::ZERO) {
        return failure("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    if !is_indexed(job) {
        return None;
    }
    if let Some(failed) = &crew.failed_indexes {
        if job.spec.max_failed_indexes.is_some_and(|most| failed.count() > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return failure("MaxFailedIndexesExceeded", message);
        }
        let ended = failed.count() + crew.succeeded_indexes.count();
        if failed.count() > 0 && ended >= completions(job) {
            return failure("FailedIndexes", "Job has failed indexes");
        }
    }
    let message = policy::success(job, &crew.succeeded_indexes)?;
    Some(condition(Type::SuccessCriteriaMet, "SuccessPolicy", &message, now))
}

/// Containers that are restarted in place count as failures, too.
fn restarts_exceed(crew: &Crew<'_>, limit: i32) -> bool {
    if crew.job.spec.template.spec.restart_policy != RestartPolicy::OnFailure {
        return false;
    }
    let working = crew.all.iter().filter(|w| matches!(w.pod.phase, PodPhase::Running | PodPhase::Pending));
    let restarts: i32 = working.map(|w| w.facts.restarts).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// What is left of `activeDeadlineSeconds`; zero when it has passed.
pub(super) fn deadline(job: &Job, now: Timestamp) -> Option<Duration> {
    let seconds = job.spec.active_deadline_seconds.filter(|_| !is_suspended(job))?;
    let since = job.status.start_time.map_or(now, |t| t.0);
    let left = since.as_second() + seconds - now.as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// When all is done.
pub(super) fn success(now: Timestamp) -> JobCondition {
    let message = "Reached expected number of succeeded pods";
    condition(Type::SuccessCriteriaMet, "CompletionsReached", message, now)
}
