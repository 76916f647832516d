//! Counting: what the status says after a round, and which pods lose their finalizer.
//!
//! Order is what makes it safe. The status names pods that ended; only once it is written do they
//! lose the finalizer; only once a cache shows them without do they become numbers.

use api_types::batch::v1::{Job, JobCondition, JobConditionType as Type, JobStatus, UncountedTerminatedPods};
use api_types::core::v1::PodPhase;
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use client::Key;
use client::controller::{Action, Outcome, Plan, Step, Told};

use super::indexes::Indexes;
use super::plan::{Work, decide, release};
use super::pods::{Crew, Worker, is_indexed, is_suspended, number};
use super::policy::Meaning;
use super::{Own, View, verdict};

/// Most pods that the status names at a time.
const MOST_NAMED: usize = 500;

pub(super) fn conclude(view: &View, outcome: &Outcome) -> Plan<Own> {
    let mut plan = Plan::nothing();
    let job = &view.job;
    if matches!(job.spec.completion_mode, Some(api_types::batch::v1::CompletionMode::Other(_))) {
        return plan;
    }
    let crew = Crew::of(view);
    let work = decide(view, &crew);
    let mut round = Round::new(view, &crew, &work, outcome);
    round.settle();
    let released = round.count();
    let finish = round.finish();
    let Round { status, told, .. } = round;
    for told in told {
        plan.tell(told);
    }
    if status != job.status {
        let counted = Own::Counted(Key::of(&job.metadata), crew.backoff);
        plan.act(Action::update_status(Job { status, ..job.clone() }));
        plan.step(Step::Own(counted));
    }
    if !released.is_empty() {
        plan.step(Step::Together(released.iter().map(|w| release(w)).collect()));
    }
    for told in finish {
        plan.tell(told);
    }
    plan
}

struct Round<'a> {
    view: &'a View,
    crew: &'a Crew<'a>,
    status: JobStatus,
    /// What ends the Job.
    verdict: Option<JobCondition>,
    /// There were more pods than the status can name.
    overfull: bool,
    told: Vec<Told>,
}

impl<'a> Round<'a> {
    fn new(view: &'a View, crew: &'a Crew<'a>, work: &Work<'_>, outcome: &Outcome) -> Self {
        let job = &view.job;
        let created = outcome.written.iter().filter(|object| object.kind().kind == "Pod").count();
        // With a failure one cannot tell which were deleted; the next round will.
        let deleted = if outcome.failures.is_empty() { work.delete.as_slice() } else { &[] };
        let active = crew.active();
        let gone = |w: &Worker<'_>| deleted.iter().any(|d| d.key == w.key);
        let ready = active.iter().filter(|w| w.pod.ready.is_some() && !gone(w)).count();
        let mut status = job.status.clone();
        status.active = number(active.len() + created - deleted.len());
        status.ready = Some(number(ready));
        status.terminating = Some(crew.terminating() + number(deleted.len()));
        status.uncounted_terminated_pods.get_or_insert_default();
        if status.start_time.is_none() && !is_suspended(job) {
            status.start_time = Some(Time::whole(view.at));
        }
        let verdict = verdict::of(crew, view.at).filter(|_| outcome.failures.is_empty());
        Self { view, crew, status, verdict, overfull: false, told: Vec::new() }
    }

    /// Complete, suspended or resumed.
    fn settle(&mut self) {
        let job = self.crew.job;
        let judged = verdict::of(self.crew, self.view.at).is_some();
        let idle = self.status.active == 0;
        let complete = match job.spec.completions {
            None => self.crew.succeeded > 0 && idle,
            Some(completions) => self.crew.succeeded >= completions && idle,
        };
        if judged {
            return;
        }
        if complete {
            self.verdict = Some(verdict::success(self.view.at));
        } else if job.metadata.deletion_timestamp.is_none() {
            self.suspend();
        }
    }

    fn suspend(&mut self) {
        let (suspended, now) = (is_suspended(self.crew.job), self.view.at);
        let (status, reason, message) = match suspended {
            true => (ConditionStatus::True, "JobSuspended", "Job suspended"),
            false => (ConditionStatus::False, "JobResumed", "Job resumed"),
        };
        let wanted = JobCondition { status, ..verdict::condition(Type::Suspended, reason, message, now) };
        if !set_condition(&mut self.status.conditions, wanted) {
            return;
        }
        let event = if suspended { "Suspended" } else { "Resumed" };
        self.told.push(Told::normal(self.view.reference(), event, message));
        self.status.start_time = (!suspended).then(|| Time::whole(now));
    }

    /// Names pods that ended, adds up those that were named and are free. Gives those to free.
    fn count(&mut self) -> Vec<Worker<'a>> {
        let (job, crew) = (self.crew.job, self.crew);
        let mut named = self.status.uncounted_terminated_pods.take().map(|named| *named).unwrap_or_default();
        let is_tracked = |uid: &String| crew.all.iter().any(|w| w.facts.tracked && *w.pod.uid == **uid);
        let add_up = |uids: &mut Vec<String>, counter: &mut i32| {
            let before = uids.len();
            uids.retain(is_tracked);
            *counter += number(before - uids.len());
        };
        add_up(&mut named.succeeded, &mut self.status.succeeded);
        add_up(&mut named.failed, &mut self.status.failed);

        let mut freed = Vec::new();
        let mut new_indexes = Vec::new();
        for worker in crew.all.iter().filter(|w| w.facts.tracked) {
            if !self.may_free(worker) {
                continue;
            }
            freed.push(*worker);
            let uid = worker.pod.uid.to_string();
            if worker.pod.phase == PodPhase::Succeeded && !named.failed.contains(&uid) {
                if is_indexed(job) {
                    new_indexes.extend(worker.index(job).filter(|i| !crew.known_indexes.has(*i)));
                } else if !named.succeeded.contains(&uid) {
                    named.succeeded.push(uid);
                }
            } else if self.counts_as_failed(worker, &named, &uid) {
                named.failed.push(uid);
            }
            if new_indexes.len() + named.succeeded.len() + named.failed.len() >= MOST_NAMED {
                self.overfull = true;
                break;
            }
        }
        self.status.uncounted_terminated_pods = Some(Box::new(named));
        if is_indexed(job) {
            let all = crew.known_indexes.with(&Indexes::of(new_indexes));
            self.status.succeeded = all.count();
            self.status.completed_indexes = all.to_string();
            self.status.failed_indexes = crew.failed_indexes.as_ref().map(ToString::to_string);
        }
        freed
    }

    fn counts_as_failed(&self, worker: &Worker<'_>, named: &UncountedTerminatedPods, uid: &String) -> bool {
        let job = self.crew.job;
        let over = self.verdict.as_ref().is_some_and(|v| v.type_ != Type::SuccessCriteriaMet);
        (worker.has_failed(job) || over)
            && !named.failed.contains(uid)
            && (!is_indexed(job) || worker.index(job).is_some())
            && worker.meaning(job) != Meaning::Ignored
    }

    /// Whether a pod need not be looked at any more.
    fn may_free(&self, worker: &Worker<'_>) -> bool {
        let job = self.crew.job;
        let over = job.metadata.deletion_timestamp.is_some() || self.verdict.is_some();
        if over || worker.pod.phase == PodPhase::Succeeded {
            return true;
        }
        let kept = || {
            let kept = worker.facts.index.and_then(|index| self.crew.kept.get(&index));
            kept.is_some_and(|kept| kept.pod.uid == worker.pod.uid)
        };
        worker.has_failed(job) && !kept()
    }

    /// Writes down what ends the Job; the end itself once everything is counted and gone.
    fn finish(&mut self) -> Vec<Told> {
        let Some(verdict) = self.verdict.take() else { return Vec::new() };
        let now = self.view.at;
        let last = match verdict.type_ {
            Type::FailureTarget => Type::Failed,
            Type::SuccessCriteriaMet => Type::Complete,
            _ => verdict.type_.clone(),
        };
        if last != verdict.type_ && verdict::holds(self.crew.job, verdict.type_.clone()).is_none() {
            self.status.conditions.push(verdict.clone());
        }
        let named = self.status.uncounted_terminated_pods.as_ref();
        let counted = named.is_none_or(|n| n.succeeded.is_empty() && n.failed.is_empty());
        // Pods that are not freed yet are not counted yet.
        let free = !self.crew.all.iter().any(|w| w.facts.tracked);
        if self.overfull || !counted || !free || self.status.terminating != Some(0) {
            return Vec::new();
        }
        let end = verdict::condition(last, &verdict.reason, &verdict.message, now);
        let reference = self.view.reference();
        let mut told = Vec::new();
        if end.type_ == Type::Complete {
            self.status.completion_time = end.last_transition_time;
            if self.crew.job.spec.completions.is_some_and(|wanted| self.status.succeeded > wanted) {
                let message = "Too many succeeded pods running after completion count reached";
                told.push(Told::warning(reference.clone(), "TooManySucceededPods", message));
            }
            told.push(Told::normal(reference, "Completed", "Job completed"));
        } else {
            told.push(Told {
                regarding: reference,
                type_: client::events::WARNING,
                reason: known_reason(&end.reason),
                message: end.message.clone(),
            });
        }
        set_condition(&mut self.status.conditions, end);
        told
    }
}

/// A failure's reason is the reason of its event.
fn known_reason(reason: &str) -> &'static str {
    const KNOWN: [&str; 5] = [
        "PodFailurePolicy",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
    ];
    KNOWN.into_iter().find(|known| *known == reason).unwrap_or("Failed")
}

/// Puts the condition into the list; tells whether that changed anything. One that would be new and
/// does not hold is left out.
fn set_condition(conditions: &mut Vec<JobCondition>, wanted: JobCondition) -> bool {
    let says = |c: &JobCondition| (c.status.clone(), c.reason.clone(), c.message.clone());
    match conditions.iter_mut().find(|c| c.type_ == wanted.type_) {
        Some(known) if says(known) == says(&wanted) => false,
        Some(known) => {
            *known = wanted;
            true
        }
        None if wanted.status == ConditionStatus::False => false,
        None => {
            conditions.push(wanted);
            true
        }
    }
}
