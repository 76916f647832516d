//! job-controller: runs pods until as many as a Job asks for have succeeded.
//!
//! Each pod carries a finalizer until it is counted, so that none is counted twice or missed: the
//! status first names those that ended (`uncountedTerminatedPods`), then they lose the finalizer,
//! then their names become numbers (KEP-2307). A round is: tell the pods apart (`pods.rs`), see
//! whether the Job is over (`verdict.rs`), make and take away pods (`plan.rs`), and afterwards count
//! (`tracking.rs`). `indexes.rs` and `policy.rs` have what indexed Jobs and failure policies need.
//! [`Orphans`] frees pods whose Job is gone.

mod backoff;
mod indexes;
mod orphans;
mod plan;
mod pods;
mod policy;
#[cfg(test)]
mod tests;
mod tracking;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use api_types::batch::v1::{Job, JobConditionType};
use api_types::core::v1::{ObjectReference, Pod};
use api_types::meta::v1::ConditionStatus;
use client::Key;
use client::controller::{Controller, Failure, Hands, Outcome, Plan, Wake};
use client::informer::Caches;
use daemon::clock::SharedClock;
use jiff::Timestamp;

pub use backoff::Backoff;
use backoff::Backoffs;
pub use orphans::Orphans;

use crate::adoption::{self, Adoption};
use crate::cached::{JobObject, PodFacts};

/// How long changes of pods are gathered. COMPAT: upstream's; pods that end together are counted together, and none
/// of them is deleted because another was seen first.
const BATCH: Duration = Duration::from_secs(1);
/// The value of `managedBy` that means this controller.
const OURSELVES: &str = "kubernetes.io/job-controller";

/// See the module.
#[derive(Debug)]
pub struct Jobs {
    clock: SharedClock,
    backoffs: Backoffs,
}

impl Jobs {
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, backoffs: Backoffs::default() }
    }
}

/// A Job with its pods.
#[derive(Clone, Debug)]
pub struct View {
    pub job: Job,
    /// Its pods, and those without a controller in its namespace.
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    /// Failures since the last success.
    pub backoff: Backoff,
    /// When the round began: what is done and what is counted afterwards must agree about it.
    pub at: Timestamp,
}

/// Actions of its own.
#[derive(Debug)]
pub enum Own {
    Pods(Adoption),
    /// These failures have been counted.
    Counted(Key, Backoff),
}

impl Controller for Jobs {
    const NAME: &'static str = "job-controller";
    const QUEUE: &'static str = "job";
    type View = View;
    type Own = Own;

    fn backoff(&self) -> client::queue::Backoff {
        client::queue::Backoff::own(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<JobObject>(), Wake::later::<PodFacts>(BATCH, adoption::wake_by_pod::<JobObject>)]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let job = caches.store::<JobObject>().get(key).filter(|job| !is_finished(job));
        let Some(job) = job else {
            self.backoffs.forget(key);
            return None;
        };
        if is_managed_elsewhere(&job) {
            return None;
        }
        let store = caches.store::<PodFacts>();
        let mut pods = store.by_index("owner", &job.metadata.uid);
        pods.extend(store.by_index("orphans", &key.namespace));
        Some(View { job: job.0.clone(), pods, backoff: self.backoffs.of(key), at: self.clock.now() })
    }

    fn plan(view: &View, _: Timestamp) -> Plan<Own> {
        plan::plan(view)
    }

    fn conclude(view: &View, outcome: &Outcome, _: Timestamp) -> Plan<Own> {
        tracking::conclude(view, outcome)
    }

    async fn perform(&self, own: Own, hands: &Hands) -> Result<Option<Duration>, Failure> {
        match own {
            Own::Pods(adoption) => adoption::perform::<Job, Pod>(adoption, hands).await?,
            Own::Counted(key, backoff) => self.backoffs.set(key, backoff),
        }
        Ok(None)
    }
}

impl View {
    /// For events.
    fn reference(&self) -> ObjectReference {
        client::events::reference(&self.job)
    }
}

/// Whether the Job is complete or has failed.
pub(crate) fn is_finished(job: &Job) -> bool {
    finish(job).is_some()
}

/// The condition that says how the Job ended.
pub(crate) fn finish(job: &Job) -> Option<&api_types::batch::v1::JobCondition> {
    let ends = |c: &&api_types::batch::v1::JobCondition| {
        matches!(c.type_, JobConditionType::Complete | JobConditionType::Failed)
            && c.status == ConditionStatus::True
    };
    job.status.conditions.iter().find(ends)
}

/// Whether another controller runs the Job (KEP-4368).
fn is_managed_elsewhere(job: &Job) -> bool {
    job.spec.managed_by.as_ref().is_some_and(|by| by != OURSELVES)
}
