//! ttl-after-finished-controller: deletes Jobs a while after they ended, as their
//! `ttlSecondsAfterFinished` says, and their pods with them.
//!
//! The Job is asked for once more before it goes: its lifetime may have been extended.

use std::time::Duration;

use api_types::batch::v1::Job;
use api_types::meta::v1::DeleteOptions;
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Plan, Step, Target, Wake};
use client::informer::Caches;
use jiff::Timestamp;

use super::job::finish;
use crate::cached::JobObject;

/// See the module.
#[derive(Debug)]
pub struct TtlAfterFinished;

/// A Job that has outlived its time, as the cache has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired(Key);

impl Controller for TtlAfterFinished {
    const NAME: &'static str = "ttl-after-finished-controller";
    const QUEUE: &'static str = "ttl_jobs_to_delete";
    type View = Job;
    type Own = Expired;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<JobObject>()]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Job> {
        Some(caches.store::<JobObject>().get(key)?.0.clone())
    }

    fn plan(job: &Job, now: Timestamp) -> Plan<Expired> {
        let mut plan = Plan::nothing();
        match left(job, now) {
            Some(Duration::ZERO) => {
                plan.step(Step::Own(Expired(Key::of(&job.metadata))));
            }
            Some(left) => {
                plan.look_again(left);
            }
            None => {}
        }
        plan
    }

    async fn perform(&self, Expired(key): Expired, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let fresh = hands.client.api::<Job>().namespace(&*key.namespace).find(&key.name).await;
        let fresh = fresh.map_err(|error| Failure::new("read the Job", error))?;
        let Some(job) = fresh else { return Ok(None) };
        match left(&job, hands.clock.now()) {
            Some(Duration::ZERO) => {}
            left => return Ok(left),
        }
        let options = DeleteOptions { propagation_policy: Some("Foreground".into()), ..Default::default() };
        let mut plan = Plan::nothing();
        plan.act(Action::delete_with(Target::of(&job), options));
        hands.all(plan).await.failures.into_iter().next().map_or(Ok(None), Err)
    }
}

/// How long the Job may stay; `None`: as long as nobody deletes it.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let ttl = job.spec.ttl_seconds_after_finished?;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let ended = finish(job)?.last_transition_time?;
    let left = ended.0.as_second() + i64::from(ttl) - now.as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use api_types::batch::v1::{JobCondition, JobConditionType};
    use api_types::meta::v1::ConditionStatus;
    use api_types::value::Time;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_job_goes_when_its_time_is_over_and_not_before() {
        let mut job = Job::default();
        job.spec.ttl_seconds_after_finished = Some(100);
        assert!(TtlAfterFinished::plan(&job, at(0)).is_nothing(), "it has not ended");
        job.status.conditions = vec![JobCondition {
            type_: JobConditionType::Failed,
            status: ConditionStatus::True,
            last_transition_time: Some(Time(at(1000))),
            ..JobCondition::default()
        }];
        assert_eq!(TtlAfterFinished::plan(&job, at(1040)).again, Some(Duration::from_secs(60)));
        assert_eq!(TtlAfterFinished::plan(&job, at(1100)).steps.len(), 1);
        job.metadata.deletion_timestamp = Some(Time(at(1100)));
        assert!(TtlAfterFinished::plan(&job, at(1100)).is_nothing());
        job.metadata.deletion_timestamp = None;
        job.spec.ttl_seconds_after_finished = None;
        assert!(TtlAfterFinished::plan(&job, at(1100)).is_nothing());
    }
}
