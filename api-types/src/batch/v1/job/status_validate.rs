//! What is refused in a Job's status: transitions that would mislead those who wait for the Job, also
//! when its controller is not the built-in one (KEP-4368). A rule is applied where the write changes
//! what it is about, so that a status that is wrong already can still be repaired.

use super::indexes;
use super::validate::is_indexed;
use super::*;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::not_negative;
use crate::value::Value;

impl JobStatus {
    /// Whether a condition holds.
    pub fn has(&self, type_: &JobConditionType) -> bool {
        self.conditions.iter().any(|c| c.type_ == *type_ && c.status == ConditionStatus::True)
    }

    /// Whether the Job has ended, well or not.
    pub fn is_finished(&self) -> bool {
        self.has(&JobConditionType::Complete) || self.has(&JobConditionType::Failed)
    }
}

pub(super) fn status_update(new: &Job, old: &Job, errors: &mut Errors) {
    let path = Path::new("status");
    numbers(&new.status, &path, errors);
    conditions(new, old, &path.child("conditions"), errors);
    times(new, old, &path, errors);
    ended(new, old, &path, errors);
    index_lists(new, old, &path, errors);
    forward_only(new, old, &path, errors);
}

fn numbers(status: &JobStatus, path: &Path, errors: &mut Errors) {
    for (name, count) in [
        ("active", status.active),
        ("succeeded", status.succeeded),
        ("failed", status.failed),
        ("ready", status.ready.unwrap_or_default()),
        ("terminating", status.terminating.unwrap_or_default()),
    ] {
        not_negative(count, &path.child(name), errors);
    }
    let Some(pods) = &status.uncounted_terminated_pods else { return };
    let path = path.child("uncountedTerminatedPods");
    let mut seen = std::collections::BTreeSet::new();
    for (name, list) in [("succeeded", &pods.succeeded), ("failed", &pods.failed)] {
        for (place, uid) in list.iter().enumerate() {
            let path = path.child(name).index(place);
            if uid.is_empty() {
                errors.invalid(&path, uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&path, uid);
            }
        }
    }
}

fn conditions(new: &Job, old: &Job, path: &Path, errors: &mut Errors) {
    use JobConditionType::{Complete, Failed, FailureTarget, SuccessCriteriaMet};
    let (status, before) = (&new.status, &old.status);
    let has = |type_| status.has(&type_);
    let changed = |type_: JobConditionType| status.has(&type_) != before.has(&type_);
    let completed = changed(Complete);
    let failed = changed(Failed);
    let failed_indexes = status.failed_indexes != before.failed_indexes;
    let mut refuse = |when: bool, text: &str| {
        if when {
            errors.invalid_without_value(path, text);
        }
    };
    refuse(
        (completed || failed) && has(Complete) && has(Failed),
        "cannot set Complete=True and Failed=true conditions",
    );
    refuse(
        (completed || changed(FailureTarget)) && has(Complete) && has(FailureTarget),
        "cannot set Complete=True and FailureTarget=true conditions",
    );
    refuse(
        (failed || failed_indexes) && has(Failed) && !has(FailureTarget),
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    refuse(
        (completed || changed(SuccessCriteriaMet)) && has(Complete) && !has(SuccessCriteriaMet),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
    refuse(
        has(SuccessCriteriaMet) && has(Failed),
        "cannot set SuccessCriteriaMet=True and Failed=true conditions",
    );
    refuse(
        has(SuccessCriteriaMet) && has(FailureTarget),
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    );
    refuse(
        new.spec.success_policy.is_some() && !has(SuccessCriteriaMet) && has(Complete),
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
    );
}

fn times(new: &Job, old: &Job, path: &Path, errors: &mut Errors) {
    use JobConditionType::Complete;
    let (status, before) = (&new.status, &old.status);
    let completion = path.child("completionTime");
    let shown = &status.completion_time as &dyn Value;
    let is_complete = status.has(&Complete);
    let end_changed = status.completion_time != before.completion_time;
    let start_changed = status.start_time != before.start_time;
    if is_complete != before.has(&Complete) || end_changed {
        if status.completion_time.is_some() && !is_complete {
            let text = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid(&completion, shown, text);
        }
        if status.completion_time.is_none() && is_complete {
            errors.required(&completion, "completionTime is required for Complete jobs");
        }
    }
    if (start_changed || end_changed)
        && let (Some(start), Some(end)) = (status.start_time, status.completion_time)
        && end < start
    {
        errors.invalid(&completion, shown, "must be equal to or after `startTime`");
    }
}

fn ended(new: &Job, old: &Job, path: &Path, errors: &mut Errors) {
    let (status, before) = (&new.status, &old.status);
    let finished = status.is_finished();
    let changed = finished != before.is_finished();
    if !finished {
        return more_ready_than_active(status, before, path, errors);
    }
    if (changed || status.active != before.active) && status.active > 0 {
        errors.invalid(&path.child("active"), status.active, "active>0 is invalid for finished job");
    }
    // A Job that never had anything to do need not have started.
    let empty = new.spec.suspend == Some(true) && new.spec.completions == Some(0);
    if (changed || status.start_time != before.start_time) && !empty && status.start_time.is_none() {
        errors.required(&path.child("startTime"), "startTime is required for finished job");
    }
    let pods = &status.uncounted_terminated_pods;
    if (changed || *pods != before.uncounted_terminated_pods)
        && pods.as_ref().is_some_and(|pods| !pods.failed.is_empty() || !pods.succeeded.is_empty())
    {
        let path = path.child("uncountedTerminatedPods");
        errors.invalid(&path, pods as &dyn Value, "must be empty for finished job");
    }
    if let Some(count) = status.terminating.filter(|count| *count > 0)
        && (changed || status.terminating != before.terminating)
    {
        errors.invalid(&path.child("terminating"), count, "terminating>0 is invalid for finished job");
    }
    more_ready_than_active(status, before, path, errors);
}

fn more_ready_than_active(status: &JobStatus, before: &JobStatus, path: &Path, errors: &mut Errors) {
    if let Some(ready) = status.ready.filter(|ready| *ready > status.active)
        && (status.ready != before.ready || status.active != before.active)
    {
        errors.invalid(&path.child("ready"), ready, "cannot set more ready pods than active");
    }
}

fn index_lists(new: &Job, old: &Job, path: &Path, errors: &mut Errors) {
    let (status, before) = (&new.status, &old.status);
    let completed_changed = status.completed_indexes != before.completed_indexes;
    let failed_changed = status.failed_indexes != before.failed_indexes;
    let (completed_path, failed_path) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let completed = &status.completed_indexes;
    if completed_changed {
        if let Some(completions) = new.spec.completions
            && let Err(wrong) = indexes::count(completed, completions)
        {
            errors.invalid(&completed_path, completed, format!("error parsing completedIndexes: {wrong}"));
        }
        if !completed.is_empty() && !is_indexed(&new.spec) {
            let text = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.invalid(&completed_path, completed, text);
        }
    }
    let Some(failed) = &status.failed_indexes else { return };
    if failed_changed {
        if new.spec.backoff_limit_per_index.is_none() {
            let text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.invalid(&failed_path, failed, text);
        } else if let Some(completions) = new.spec.completions
            && let Err(wrong) = indexes::count(failed, completions)
        {
            errors.invalid(&failed_path, failed, format!("error parsing failedIndexes: {wrong}"));
        }
    }
    if (failed_changed || completed_changed)
        && let Some(index) = new.spec.completions.and_then(|n| indexes::overlap(completed, failed, n))
    {
        let text = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(&failed_path, failed, text);
    }
}

/// What has happened cannot be undone.
fn forward_only(new: &Job, old: &Job, path: &Path, errors: &mut Errors) {
    use JobConditionType::{Complete, Failed, FailureTarget, SuccessCriteriaMet, Suspended};
    let (status, before) = (&new.status, &old.status);
    let conditions = path.child("conditions");
    for type_ in [Failed, Complete, FailureTarget] {
        if before.has(&type_) && !status.has(&type_) {
            let text = format!("cannot disable the terminal {type_}=True condition");
            errors.invalid_without_value(&conditions, text);
        }
    }
    if status.failed < before.failed {
        errors.invalid(&path.child("failed"), status.failed, "cannot decrease the failed counter");
    }
    // An indexed Job that is made smaller loses indexes that have succeeded.
    let shrinks = is_indexed(&new.spec) && new.spec.completions == new.spec.parallelism;
    if !shrinks && status.succeeded < before.succeeded {
        errors.invalid(&path.child("succeeded"), status.succeeded, "cannot decrease the succeeded counter");
    }
    if status.completion_time.is_some()
        && before.completion_time.is_some()
        && status.completion_time != before.completion_time
    {
        let shown = &status.completion_time as &dyn Value;
        errors.invalid(&path.child("completionTime"), shown, "field is immutable");
    }
    let resumes = before.has(&Suspended)
        && status.conditions.iter().any(|c| c.type_ == Suspended && c.status == ConditionStatus::False);
    if before.start_time.is_some()
        && status.start_time != before.start_time
        && !resumes
        && new.spec.suspend != Some(true)
    {
        let shown = &status.start_time as &dyn Value;
        errors.invalid(&path.child("startTime"), shown, "field is immutable for unsuspended job once set");
    }
    if before.has(&SuccessCriteriaMet) && !status.has(&SuccessCriteriaMet) {
        errors.invalid_without_value(&conditions, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if before.has(&Complete) && !before.has(&SuccessCriteriaMet) && status.has(&SuccessCriteriaMet) {
        let text = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.invalid_without_value(&conditions, text);
    }
}
