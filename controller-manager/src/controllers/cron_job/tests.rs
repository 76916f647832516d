//! Views in, actions and events out.

use std::sync::Arc;
use std::time::Duration;

use api_types::batch::v1::{CronJob, CronJobStatus, Job, JobCondition, JobConditionType};
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use client::controller::{Controller as _, Outcome, Plan, Step};
use jiff::Timestamp;

use super::{CronJobs, View};
use crate::cached::JobObject;

fn at(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

/// Hourly since midnight, looked at at this time.
fn view(now: &str) -> View {
    let mut cron = CronJob::default();
    cron.metadata.namespace = "ns".into();
    cron.metadata.name = "report".into();
    cron.metadata.uid = "cron-uid".into();
    cron.metadata.creation_timestamp = Some(Time(at("00:00:00")));
    cron.spec.schedule = "0 * * * *".into();
    cron.spec.time_zone = Some("Etc/UTC".into());
    View { cron, at: at(now), ..View::default() }
}

fn job(view: &mut View, name: &str, ended: Option<JobConditionType>, listed: bool) {
    let mut job = Job::default();
    job.metadata.namespace = "ns".into();
    job.metadata.name = name.into();
    job.metadata.uid = format!("uid-{name}");
    if let Some(type_) = ended {
        let condition = JobCondition { type_, status: ConditionStatus::True, ..JobCondition::default() };
        job.status.conditions = vec![condition];
        job.status.completion_time = Some(Time(at("00:30:00")));
    }
    if listed {
        view.cron.status.active.push(client::events::reference(&job));
    }
    view.jobs.push(Arc::new(JobObject(job)));
}

fn done(plan: &Plan) -> Vec<String> {
    let told = |step: &Step| match step {
        Step::Tell(told) => format!("{}: {}", told.reason, told.message),
        Step::Do(action) => action.effect.describe(),
        other => panic!("{other:?}"),
    };
    plan.steps.iter().map(told).collect()
}

fn plan(view: &View) -> Vec<String> {
    done(&CronJobs::plan(view, view.at))
}

fn status(view: &View, outcome: &Outcome) -> Option<CronJobStatus> {
    let plan = CronJobs::conclude(view, outcome, view.at);
    plan.actions().first().map(|a| a.effect.object::<CronJob>().unwrap().status.clone())
}

/// Name of the Job of a time.
fn name(text: &str) -> String {
    format!("report-{}", at(text).as_second() / 60)
}

#[test]
fn a_job_is_made_when_its_time_has_come() {
    let early = CronJobs::plan(&view("00:59:00"), at("00:59:00"));
    assert!(early.steps.is_empty());
    assert_eq!(early.again, Some(Duration::from_millis(60_100)));

    let given = view("01:00:00");
    assert_eq!(plan(&given), [format!("create Job ns/{}", name("01:00:00"))]);
    let plan = CronJobs::plan(&given, given.at);
    let job: &Job = plan.actions()[0].effect.object().unwrap();
    let stamp = &job.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    assert_eq!(stamp, "2026-01-01T01:00:00Z");
    assert_eq!(job.metadata.owner_references[0].kind, "CronJob");
    assert_eq!(plan.again, Some(Duration::from_millis(3_600_100)));

    let outcome = Outcome { written: vec![Box::new(job.clone())], ..Outcome::default() };
    let written = status(&given, &outcome).unwrap();
    assert_eq!(written.last_schedule_time, Some(Time(at("01:00:00"))));
    assert_eq!(written.active[0].name, name("01:00:00"));
    assert_eq!(status(&given, &Outcome::default()), None, "it could not be made");
}

#[test]
fn a_job_is_made_once() {
    let mut given = view("01:20:00");
    given.cron.status.last_schedule_time = Some(Time(at("01:00:00")));
    assert!(plan(&given).is_empty());
    let mut given = view("01:20:00");
    job(&mut given, &name("01:00:00"), None, false);
    assert!(plan(&given).is_empty(), "it is there, and only has to be listed");
    assert_eq!(status(&given, &Outcome::default()).unwrap().active.len(), 1);
}

#[test]
fn only_the_latest_missed_time_counts() {
    let given = view("05:30:00");
    assert_eq!(plan(&given), [format!("create Job ns/{}", name("05:00:00"))]);
    let mut given = view("05:30:00");
    given.cron.spec.schedule = "* * * * *".into();
    let told = plan(&given);
    assert!(told[0].starts_with("TooManyMissedTimes: too many missed start times."), "{told:?}");
    assert_eq!(told[1], format!("create Job ns/{}", name("05:30:00")));
}

#[test]
fn a_new_schedule_makes_no_job_for_the_past() {
    let given = View { since: Some(at("05:20:00")), ..view("05:30:00") };
    assert!(plan(&given).is_empty());
    let given = View { since: Some(at("05:20:00")), ..view("06:00:00") };
    assert_eq!(plan(&given).len(), 1);
}

#[test]
fn what_is_too_late_is_not_started() {
    let mut given = view("01:00:20");
    given.cron.spec.starting_deadline_seconds = Some(30);
    assert_eq!(plan(&given).len(), 1);
    let mut given = view("01:10:00");
    given.cron.spec.starting_deadline_seconds = Some(30);
    assert!(plan(&given).is_empty());
}

#[test]
fn concurrency_is_as_the_policy_says() {
    let running = |policy: &str| {
        let mut given = view("01:00:00");
        given.cron.spec.concurrency_policy = policy.into();
        job(&mut given, "report-1", None, true);
        given
    };
    let create = format!("create Job ns/{}", name("01:00:00"));
    assert_eq!(plan(&running("Allow")), [create.as_str()]);
    assert_eq!(
        plan(&running("Forbid")),
        [
            "JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid"
        ]
    );
    assert_eq!(plan(&running("Replace")), ["delete Job ns/report-1", create.as_str()]);
}

#[test]
fn ended_and_missing_jobs_leave_the_list() {
    let mut given = view("00:40:00");
    job(&mut given, "report-1", Some(JobConditionType::Complete), true);
    job(&mut given, "report-2", None, true);
    let gone = api_types::core::v1::ObjectReference {
        name: "report-3".into(),
        uid: "uid-report-3".into(),
        ..Default::default()
    };
    given.cron.status.active.push(gone);
    assert_eq!(
        plan(&given),
        [
            "SawCompletedJob: Saw completed job: report-1, condition: Complete",
            "MissingJob: Active job went missing: report-3"
        ]
    );
    let written = status(&given, &Outcome::default()).unwrap();
    assert_eq!(written.active.iter().map(|j| j.name.as_str()).collect::<Vec<_>>(), ["report-2"]);
    assert_eq!(written.last_successful_time, Some(Time(at("00:30:00"))));
}

#[test]
fn old_jobs_go_beyond_the_limits() {
    let mut given = view("00:40:00");
    for name in ["a", "b", "c"] {
        job(&mut given, name, Some(JobConditionType::Complete), false);
    }
    job(&mut given, "d", Some(JobConditionType::Failed), false);
    given.cron.spec.successful_jobs_history_limit = Some(1);
    given.cron.spec.failed_jobs_history_limit = Some(0);
    assert_eq!(plan(&given), ["delete Job ns/a", "delete Job ns/b", "delete Job ns/d"]);
}

#[test]
fn suspended_broken_and_going_ones_start_nothing() {
    let mut given = view("01:00:00");
    given.cron.spec.suspend = Some(true);
    assert!(plan(&given).is_empty());
    let mut given = view("01:00:00");
    given.cron.metadata.deletion_timestamp = Some(Time(at("00:50:00")));
    assert!(plan(&given).is_empty());
    let mut given = view("01:00:00");
    given.cron.spec.schedule = "0 0 0".into();
    assert_eq!(
        plan(&given),
        [
            "UnparseableSchedule: unparseable schedule: \"0 0 0\" : expected exactly 5 fields, found 3: [0 0 0]"
        ]
    );
    let mut given = view("01:00:00");
    given.cron.spec.time_zone = Some("Moon/Crater".into());
    assert_eq!(
        plan(&given),
        ["UnknownTimeZone: invalid timeZone: \"Moon/Crater\": unknown time zone Moon/Crater"]
    );
}

#[test]
fn strangers_are_told_of() {
    let mut given = view("00:40:00");
    job(&mut given, "mine", None, false);
    assert_eq!(plan(&given), ["UnexpectedJob: Saw a job that the controller did not create or forgot: mine"]);
}
