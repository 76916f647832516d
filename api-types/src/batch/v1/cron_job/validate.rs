//! What is refused in a CronJob.

use super::*;
use crate::batch::v1::job::validate::job_spec;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::not_negative;
use crate::schedule::Schedule;
use crate::value::Value;
use jiff::tz::TimeZone;

/// A Job is named after its CronJob, a dash and ten digits, and must stay within a label.
const LONGEST_NAME: usize = 52;

pub(super) fn create(job: &CronJob, errors: &mut Errors) {
    spec(&job.spec, None, errors);
    if job.metadata.name.len() > LONGEST_NAME {
        let text = format!("must be no more than {LONGEST_NAME} characters");
        errors.invalid(&Path::new("metadata").child("name"), &job.metadata.name, text);
    }
}

pub(super) fn update(new: &CronJob, old: &CronJob, errors: &mut Errors) {
    spec(&new.spec, Some(&old.spec), errors);
}

fn spec(spec: &CronJobSpec, old: Option<&CronJobSpec>, errors: &mut Errors) {
    let path = Path::new("spec");
    let schedule_path = path.child("schedule");
    if spec.schedule.is_empty() {
        errors.required(&schedule_path, "");
    } else {
        schedule(spec, old, &schedule_path, errors);
    }
    if let Some(seconds) = spec.starting_deadline_seconds {
        not_negative(seconds, &path.child("startingDeadlineSeconds"), errors);
    }
    if old.is_none_or(|old| old.time_zone != spec.time_zone)
        && let Some(zone) = &spec.time_zone
    {
        time_zone(zone, &path.child("timeZone"), errors);
    }
    let policy = spec.concurrency_policy.as_str();
    errors.required_choice(&path.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
    let job = path.child("jobTemplate").child("spec");
    let own = &spec.job_template.spec;
    job_spec(own, &job, errors);
    if let Some(selector) = &own.selector {
        let text = "`selector` will be auto-generated";
        errors.invalid(&job.child("selector"), &**selector as &dyn Value, text);
    }
    if own.manual_selector == Some(true) {
        errors.not_supported(&job.child("manualSelector"), true, &["nil", "false"]);
    }
    for (name, limit) in [
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ] {
        not_negative(limit.unwrap_or_default(), &path.child(name), errors);
    }
}

/// A time zone in the schedule is passed over where it was before.
fn schedule(spec: &CronJobSpec, old: Option<&CronJobSpec>, path: &Path, errors: &mut Errors) {
    let text = &spec.schedule;
    match Schedule::parse(text) {
        Err(wrong) => errors.invalid(path, text, wrong.to_string()),
        Ok(Schedule { zone: Some(zone), .. }) if !is_known(&zone) => {
            let wrong = format!("provided bad location {zone}: unknown time zone {zone}");
            errors.invalid(path, text, wrong);
        }
        Ok(_) => {}
    }
    if !text.contains("TZ") {
        return;
    }
    if old.is_none_or(|old| !old.schedule.contains("TZ")) {
        let wrong = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(path, text, wrong);
    } else if spec.time_zone.is_some() {
        errors.invalid(path, text, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

fn time_zone(zone: &str, path: &Path, errors: &mut Errors) {
    if zone.is_empty() {
        return errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    let is_part = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.chars().all(allowed)
    };
    if !zone.split('/').all(is_part) {
        return errors.invalid(path, zone, format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("Local") {
        let text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, zone, text);
    }
    if zone != "Local" && !is_known(zone) {
        errors.invalid(path, zone, format!("unknown time zone {zone}"));
    }
}

/// Whether the IANA database has the zone under exactly this name.
fn is_known(zone: &str) -> bool {
    matches!(zone, "" | "UTC") || TimeZone::get(zone).is_ok_and(|found| found.iana_name() == Some(zone))
}
