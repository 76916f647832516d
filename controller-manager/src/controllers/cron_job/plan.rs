//! What a round does: old Jobs go, a due one is made, the status keeps the list.

use api_types::batch::v1::{ConcurrencyPolicy, CronJob, CronJobStatus, Job, JobConditionType};
use api_types::core::v1::ObjectReference;
use api_types::kind::Resource as _;
use api_types::meta::v1::{DeleteOptions, ObjectMeta};
use api_types::value::Time;
use client::Key;
use client::controller::{Action, Outcome, Plan, Target, Told};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::View;
use super::times::{Broken, Clockwork, job_name};
use crate::cached::{JobObject, controller_reference};
use crate::controllers::job::finish;

/// The time that a Job was made for.
const TIMESTAMP: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// What is found out in a round.
struct Round<'a> {
    view: &'a View,
    plan: Plan,
    status: CronJobStatus,
    /// A Job is made for this time, or is there already and only has to be listed.
    started: Option<Timestamp>,
}

pub(super) fn plan(view: &View) -> Plan {
    let mut round = Round::new(view);
    round.run();
    round.plan
}

/// Writes the status, with the Job that was made.
pub(super) fn conclude(view: &View, outcome: &Outcome) -> Plan {
    let mut round = Round::new(view);
    round.run();
    let mut status = round.status;
    let made = outcome.written.iter().filter_map(|object| object.as_any().downcast_ref::<Job>());
    let made = made.map(reference).next();
    if let Some(at) = round.started {
        let name = job_name(&view.cron, at);
        let known = || view.jobs.iter().find(|job| job.metadata.name == name).map(|job| reference(job));
        if let Some(job) = made.or_else(known) {
            status.active.push(job);
            status.last_schedule_time = Some(Time::whole(at));
        }
    }
    let mut plan = Plan::nothing();
    if status != view.cron.status {
        plan.act(Action::update_status(CronJob { status, ..view.cron.clone() }));
    }
    plan
}

/// As the list of active Jobs has it.
fn reference(job: &Job) -> ObjectReference {
    client::events::reference(job)
}

impl<'a> Round<'a> {
    fn new(view: &'a View) -> Self {
        Self { view, plan: Plan::nothing(), status: view.cron.status.clone(), started: None }
    }

    fn run(&mut self) {
        self.clean_up();
        self.look_at_jobs();
        let spec = &self.view.cron.spec;
        if self.view.cron.metadata.deletion_timestamp.is_some() {
            return;
        }
        if let Some(zone) = spec.time_zone.as_deref().filter(|z| !z.is_empty())
            && (self.view.zones.0)(zone).is_none()
        {
            let message = format!("invalid timeZone: {zone:?}: unknown time zone {zone}");
            return self.warn("UnknownTimeZone", message);
        }
        if spec.suspend == Some(true) {
            return;
        }
        if spec.schedule.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.warn("UnsupportedSchedule", message);
        }
        match Clockwork::of(self.view) {
            Ok(clockwork) => self.start(&clockwork),
            Err(Broken::Schedule(error)) => {
                self.warn(
                    "UnparseableSchedule",
                    format!("unparseable schedule: {:?} : {error}", spec.schedule),
                );
            }
            Err(Broken::Zone(zone)) => {
                let error = format!("provided bad location {zone}: unknown time zone {zone}");
                self.warn(
                    "UnparseableSchedule",
                    format!("unparseable schedule: {:?} : {error}", spec.schedule),
                );
            }
        }
    }

    fn warn(&mut self, reason: &'static str, message: impl Into<String>) {
        self.plan.tell(Told::warning(self.view.reference(), reason, message));
    }

    fn tell(&mut self, reason: &'static str, message: impl Into<String>) {
        self.plan.tell(Told::normal(self.view.reference(), reason, message));
    }

    fn is_listed(&self, uid: &str) -> bool {
        self.status.active.iter().any(|job| job.uid == uid)
    }

    /// The oldest finished Jobs beyond the limits go.
    fn clean_up(&mut self) {
        let spec = &self.view.cron.spec;
        let ended = [
            (JobConditionType::Complete, spec.successful_jobs_history_limit),
            (JobConditionType::Failed, spec.failed_jobs_history_limit),
        ];
        for (how, limit) in ended {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let is_such = |job: &&&JobObject| finish(job).is_some_and(|c| c.type_ == how);
            let jobs = self.view.jobs.iter().map(|job| &**job);
            let mut jobs: Vec<&JobObject> =
                jobs.collect::<Vec<_>>().iter().filter(is_such).copied().collect();
            let started = |job: &JobObject| (job.status.start_time.is_none(), job.status.start_time);
            jobs.sort_by(|a, b| (started(a), &a.metadata.name).cmp(&(started(b), &b.metadata.name)));
            let surplus = jobs.len().saturating_sub(limit);
            for job in jobs.into_iter().take(surplus).filter(|j| j.metadata.deletion_timestamp.is_none()) {
                self.delete(job);
            }
        }
    }

    fn delete(&mut self, job: &Job) {
        let options = DeleteOptions { propagation_policy: Some("Background".into()), ..Default::default() };
        let told = format!("Deleted job {}", job.metadata.name);
        let delete = Action::delete_with(Target::of(job), options)
            .on_success(Told::normal(self.view.reference(), "SuccessfulDelete", told))
            .on_failure(Told::warning(self.view.reference(), "FailedDelete", "Deleted job: {error}"));
        self.plan.act(delete);
        self.status.active.retain(|known| known.uid != job.metadata.uid);
    }

    /// Ended and missing Jobs leave the list.
    fn look_at_jobs(&mut self) {
        for job in &self.view.jobs {
            let (name, uid) = (&job.metadata.name, &job.metadata.uid);
            let Some(end) = finish(job) else {
                if !self.is_listed(uid) && self.is_unexpected(job) {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.warn("UnexpectedJob", message);
                }
                continue;
            };
            if self.is_listed(uid) {
                self.status.active.retain(|known| known.uid != *uid);
                self.tell("SawCompletedJob", format!("Saw completed job: {name}, condition: {}", end.type_));
            }
            if end.type_ == JobConditionType::Complete
                && let Some(at) = job.status.completion_time
                && self.status.last_successful_time.is_none_or(|known| at > known)
            {
                self.status.last_successful_time = Some(at);
            }
        }
        let present = |uid: &str| self.view.jobs.iter().any(|job| job.metadata.uid == uid);
        let (kept, missing): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.status.active).into_iter().partition(|job| present(&job.uid));
        self.status.active = kept;
        for job in missing {
            self.tell("MissingJob", format!("Active job went missing: {}", job.name));
        }
    }

    /// Not the Job that was made for a time and could not be listed.
    fn is_unexpected(&self, job: &Job) -> bool {
        let due = Clockwork::of(self.view).ok().and_then(|clockwork| clockwork.due(self.view));
        due.is_none_or(|due| job.metadata.name != job_name(&self.view.cron, due.at))
    }

    /// Makes the Job that is due, if one is.
    fn start(&mut self, clockwork: &Clockwork) {
        let cron = &self.view.cron;
        let again = |round: &mut Self, after: Option<Timestamp>| {
            if let Some(delay) = clockwork.until_next(round.view, after) {
                round.plan.look_again(delay);
            }
        };
        let Some(due) = clockwork.due(self.view) else { return again(self, None) };
        if due.many_missed {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.warn("TooManyMissedTimes", message);
        }
        let deadline = cron.spec.starting_deadline_seconds;
        if deadline.is_some_and(|seconds| due.at.as_second() + seconds < self.view.at.as_second()) {
            let at = due.at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z").to_string();
            self.warn("MissSchedule", format!("Missed scheduled time to start a job: {at}"));
            return again(self, None);
        }
        let name = job_name(cron, due.at);
        let listed = self.status.active.iter().any(|job| job.name == name);
        if listed || cron.status.last_schedule_time.is_some_and(|last| last.0 == due.at) {
            return again(self, None);
        }
        if cron.spec.concurrency_policy == ConcurrencyPolicy::Forbid && !self.status.active.is_empty() {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.tell("JobAlreadyActive", message);
            return again(self, None);
        }
        if cron.spec.concurrency_policy == ConcurrencyPolicy::Replace {
            let active = std::mem::take(&mut self.status.active);
            for job in self.view.jobs.iter().filter(|j| active.iter().any(|a| a.uid == j.metadata.uid)) {
                self.delete(job);
            }
        }
        self.started = Some(due.at);
        if !self.view.jobs.iter().any(|job| job.metadata.name == name) {
            let create = Action::create(self.job(due.at))
                .on_success(Told::normal(self.view.reference(), "SuccessfulCreate", "Created job {name}"))
                .on_failure(Told::warning(
                    self.view.reference(),
                    "FailedCreate",
                    "Error creating job: {error}",
                ));
            self.plan.act(create);
        }
        again(self, Some(due.at));
    }

    fn job(&self, at: Timestamp) -> Job {
        let (cron, template) = (&self.view.cron, &self.view.cron.spec.job_template);
        let mut annotations = template.metadata.annotations.clone();
        annotations.insert(TIMESTAMP.into(), Clockwork::stamp(self.view, at));
        Job {
            metadata: ObjectMeta {
                name: job_name(cron, at),
                namespace: Key::of(cron.metadata()).namespace.into(),
                labels: template.metadata.labels.clone(),
                annotations,
                owner_references: vec![controller_reference::<CronJob>(&cron.metadata)],
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            ..Job::default()
        }
    }
}
