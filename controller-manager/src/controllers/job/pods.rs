//! The pods of a Job, told apart: at work, going, ended and not counted yet.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api_types::batch::v1::{CompletionMode, Job, PodReplacementPolicy};
use api_types::core::v1::PodPhase;
use client::Key;

use super::backoff::Backoff;
use super::indexes::Indexes;
use super::policy::{self, Meaning};
use super::{View, verdict};
use crate::adoption::{self, Adoption};
use crate::cached::PodFacts;
use crate::cached::job_pod::{JobFacts, TRACKING};

/// A pod with what Jobs go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worker<'a> {
    pub key: &'a Key,
    pub pod: &'a PodFacts,
    pub facts: &'a JobFacts,
}

/// All there is to know in a round.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    pub job: &'a Job,
    /// In the order of their indexes, if the Job has them.
    pub all: Vec<Worker<'a>>,
    pub adoption: Adoption,
    /// Counted and still to be counted.
    pub succeeded: i32,
    pub failed: i32,
    /// Indexes as the status has them, and with those of pods that ended since.
    pub known_indexes: Indexes,
    pub succeeded_indexes: Indexes,
    /// Of Jobs with a back-off limit for each index.
    pub failed_indexes: Option<Indexes>,
    /// By index: the failed pod that is kept until its replacement knows how often the index failed.
    pub kept: BTreeMap<i32, Worker<'a>>,
    /// With the pods that ended since.
    pub backoff: Backoff,
}

/// Facts of a pod that was no Job's until now.
static STRANGER: LazyLock<JobFacts> = LazyLock::new(JobFacts::default);

pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode == Some(CompletionMode::Indexed)
}

pub(super) fn is_suspended(job: &Job) -> bool {
    job.spec.suspend == Some(true)
}

/// Whether a pod is replaced once it has failed and not already when it is being deleted.
pub(super) fn replaces_failed_only(job: &Job) -> bool {
    job.spec.pod_replacement_policy == Some(PodReplacementPolicy::Failed)
        || job.spec.pod_failure_policy.is_some()
}

pub(super) fn completions(job: &Job) -> i32 {
    job.spec.completions.unwrap_or(0)
}

impl Worker<'_> {
    pub(super) fn has_failed(&self, job: &Job) -> bool {
        self.pod.phase == PodPhase::Failed
            || !replaces_failed_only(job)
                && self.pod.deleting.is_some()
                && self.pod.phase != PodPhase::Succeeded
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.pod.deleting.is_some() && !self.pod.is_finished()
    }

    /// Its index, if the Job has it.
    pub(super) fn index(&self, job: &Job) -> Option<i32> {
        self.facts.index.filter(|index| *index < completions(job))
    }

    /// What its failure means.
    pub(super) fn meaning(&self, job: &Job) -> Meaning {
        policy::meaning(job, self.key, self.facts)
    }

    /// Failures of its index before it, those that the policy ignored included.
    pub(super) fn all_failures(&self) -> i32 {
        self.facts.failures.saturating_add(self.facts.ignored_failures)
    }

    /// Still to be counted: it has the finalizer, and the status does not name it yet.
    fn is_new(&self, job: &Job, named: &[String]) -> bool {
        self.facts.tracked
            && !named.iter().any(|uid| **uid == *self.pod.uid)
            && (!is_indexed(job) || self.index(job).is_some())
    }
}

impl<'a> Crew<'a> {
    pub(super) fn of(view: &'a View) -> Self {
        let job = &view.job;
        let (pods, adoption) =
            adoption::claim::<Job>(&job.metadata, job.spec.selector.as_deref(), view.pods.iter());
        let adoption = Adoption { finalizer: Some(TRACKING), ..adoption };
        let mut all: Vec<Worker<'a>> = pods.into_iter().map(worker).collect();
        if is_indexed(job) {
            all.sort_by_key(|w| w.facts.index.unwrap_or(-1));
        }
        let mut crew = Self {
            job,
            all,
            adoption,
            succeeded: 0,
            failed: 0,
            known_indexes: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            kept: BTreeMap::new(),
            backoff: view.backoff,
        };
        crew.count();
        crew
    }

    fn count(&mut self) {
        let job = self.job;
        let (named_succeeded, named_failed) = verdict::uncounted(job);
        let succeeded: Vec<_> = self
            .all
            .iter()
            .filter(|w| w.pod.phase == PodPhase::Succeeded && w.is_new(job, named_succeeded))
            .collect();
        let failed: Vec<_> =
            self.all.iter().filter(|w| w.has_failed(job) && w.is_new(job, named_failed)).collect();
        let counting = failed.iter().filter(|w| w.meaning(job) != Meaning::Ignored).count();
        let ends = |workers: &[&Worker<'_>]| workers.iter().map(|w| w.facts.finished).collect::<Vec<_>>();
        let backoff = self.backoff.with(&ends(&succeeded), &ends(&failed));
        let (succeeded, failed) =
            (number(succeeded.len() + named_succeeded.len()), number(counting + named_failed.len()));
        self.backoff = backoff;
        self.succeeded = job.status.succeeded + succeeded;
        self.failed = job.status.failed + failed;
        if is_indexed(job) {
            self.count_indexes();
            self.succeeded = self.succeeded_indexes.count();
        }
    }

    fn count_indexes(&mut self) {
        let job = self.job;
        self.known_indexes = Indexes::parse(&job.status.completed_indexes, completions(job));
        let tracked = || self.all.iter().filter(|w| w.facts.tracked);
        let done = tracked().filter(|w| w.pod.phase == PodPhase::Succeeded).filter_map(|w| w.index(job));
        self.succeeded_indexes = self.known_indexes.with(&Indexes::of(done));
        let Some(limit) = job.spec.backoff_limit_per_index else { return };
        let known = job.status.failed_indexes.as_deref().unwrap_or("");
        let lost = tracked().filter(|w| w.has_failed(job)).filter(|w| match w.meaning(job) {
            Meaning::FailsIndex => true,
            Meaning::Ignored => false,
            Meaning::Counts | Meaning::FailsJob(_) => w.facts.failures >= limit,
        });
        let lost = Indexes::of(lost.filter_map(|w| w.index(job)));
        let failed = Indexes::parse(known, completions(job)).with(&lost);
        let active = Indexes::of(self.active().iter().filter_map(|w| w.facts.index));
        let mut kept: BTreeMap<i32, Worker<'a>> = BTreeMap::new();
        for worker in self.all.iter().filter(|w| w.facts.tracked && w.has_failed(job)) {
            let Some(index) = worker.index(job) else { continue };
            if self.succeeded_indexes.has(index) || failed.has(index) || active.has(index) {
                continue;
            }
            let later = |known: &Worker<'_>| {
                known.all_failures() <= worker.all_failures() && worker.facts.finished >= known.facts.finished
            };
            if kept.get(&index).is_none_or(later) {
                kept.insert(index, *worker);
            }
        }
        self.kept = kept;
        self.failed_indexes = Some(failed);
    }

    pub(super) fn active(&self) -> Vec<Worker<'a>> {
        self.all.iter().filter(|w| w.pod.is_active()).copied().collect()
    }

    pub(super) fn terminating(&self) -> i32 {
        number(self.all.iter().filter(|w| w.is_terminating()).count())
    }

    /// At least this many active pods to take away: of an index that has more than one or does not
    /// exist, then those of least use.
    pub(super) fn surplus(&self, at_least: usize) -> Vec<Worker<'a>> {
        let mut left = self.active();
        left.sort_by(of_least_use);
        let mut gone = Vec::new();
        if is_indexed(self.job) {
            // The one of most use stays.
            let mut by_index: BTreeMap<i32, Worker<'a>> = BTreeMap::new();
            for worker in std::mem::take(&mut left) {
                match worker.index(self.job) {
                    Some(index) => gone.extend(by_index.insert(index, worker)),
                    None => gone.push(worker),
                }
            }
            left = by_index.into_values().collect();
            left.sort_by(of_least_use);
        }
        let more = at_least.saturating_sub(gone.len());
        gone.extend(left.into_iter().take(more));
        gone
    }
}

fn worker(entry: &(Key, Arc<PodFacts>)) -> Worker<'_> {
    let (key, pod) = entry;
    Worker { key, pod, facts: pod.job.as_deref().unwrap_or(&STRANGER) }
}

/// Unscheduled, pending, not ready, shortly ready, often restarted and young ones first.
fn of_least_use(a: &Worker<'_>, b: &Worker<'_>) -> Ordering {
    let stage = |phase: &PodPhase| match phase {
        PodPhase::Running => 2,
        PodPhase::Unknown => 1,
        _ => 0,
    };
    let (a, b) = (a.pod, b.pod);
    (!a.node.is_empty())
        .cmp(&!b.node.is_empty())
        .then(stage(&a.phase).cmp(&stage(&b.phase)))
        .then(a.ready.is_some().cmp(&b.ready.is_some()))
        .then(b.ready.cmp(&a.ready))
        .then(b.restarts.cmp(&a.restarts))
        .then(b.created.cmp(&a.created))
}

pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
