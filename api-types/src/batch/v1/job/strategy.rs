//! What happens to a Job on its way to the store: defaults, its own selector, generation.

use super::*;
use crate::apps::v1::workload::name_warning;
use crate::columns::{container_images, container_names, human_duration, selector};
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::core::v1::pod::warnings::template as template_warnings;
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy, set_generation};
use crate::meta::v1::ConditionStatus;

/// Labels that tie pods to their Job; the old names are kept for those who select by them.
pub const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";
pub const CONTROLLER_UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
pub const OLD_JOB_NAME_LABEL: &str = "job-name";
pub const OLD_CONTROLLER_UID_LABEL: &str = "controller-uid";

impl Strategy for Job {
    const ORPHANS_DEPENDENTS: bool = true;

    fn set_defaults(&mut self) {
        let labels = &self.spec.template.metadata.labels;
        if self.metadata.labels.is_empty() {
            self.metadata.labels = labels.clone();
        }
        defaults(&mut self.spec);
    }

    fn prepare_for_create(&mut self) {
        if self.spec.manual_selector != Some(true) {
            self.make_selector();
        }
        self.status = JobStatus::default();
        self.metadata.generation = 1;
        drop_disabled(&mut self.spec.template.spec);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        drop_disabled(&mut self.spec.template.spec);
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate_create(&self, errors: &mut Errors) {
        validate::create(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        status_validate::status_update(self, old, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_some_and(|old| old.metadata.generation == self.metadata.generation) {
            return warnings;
        }
        if old.is_none() {
            warnings.extend(name_warning(&self.metadata));
        }
        warnings.extend(spec_warnings(&self.spec, &Path::new("spec")));
        warnings
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Status", "How far the Job is.", |job: &Self, _| job.stage().into()),
                Column::text("Completions", "Pods that succeeded out of those needed.", |job: &Self, _| {
                    job.progress().into()
                }),
                Column::text("Duration", "Time from start to end, or until now.", |job: &Self, now| {
                    let Some(start) = job.status.start_time else { return "".into() };
                    let end = job.status.completion_time.map_or(now, |end| end.0);
                    human_duration(end.duration_since(start.0).as_millis() as i64 / 1000).into()
                }),
                Column::age(),
                Column::text("Containers", "Names of the template's containers.", |job: &Self, _| {
                    container_names(&job.spec.template)
                })
                .wide(),
                Column::text("Images", "Images of the template's containers.", |job: &Self, _| {
                    container_images(&job.spec.template)
                })
                .wide(),
                Column::text("Selector", "Labels by which the Job knows its pods.", |job: &Self, _| {
                    selector(job.spec.selector.as_deref(), "<none>")
                })
                .wide(),
            ]
        }
    }

    fn selectable_names() -> &'static [&'static str] {
        &["status.successful"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("status.successful", self.status.succeeded.to_string())]
    }
}

impl Job {
    fn stage(&self) -> &'static str {
        use JobConditionType::{Complete, Failed, FailureTarget, SuccessCriteriaMet, Suspended};
        let has = |type_| self.status.has(&type_);
        match () {
            () if has(Complete) => "Complete",
            () if has(Failed) => "Failed",
            () if self.metadata.deletion_timestamp.is_some() => "Terminating",
            () if has(Suspended) => "Suspended",
            () if has(FailureTarget) => "FailureTarget",
            () if has(SuccessCriteriaMet) => "SuccessCriteriaMet",
            () => "Running",
        }
    }

    fn progress(&self) -> String {
        let succeeded = self.status.succeeded;
        match (self.spec.completions, self.spec.parallelism.unwrap_or_default()) {
            (Some(completions), _) => format!("{succeeded}/{completions}"),
            (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
            (None, _) => format!("{succeeded}/1"),
        }
    }

    /// Labels the template with the Job's name and UID and selects by the UID. Labels of a user's
    /// own stay; validation refuses those that contradict.
    fn make_selector(&mut self) {
        let labels = &mut self.spec.template.metadata.labels;
        for (key, value) in [
            (OLD_JOB_NAME_LABEL, &self.metadata.name),
            (JOB_NAME_LABEL, &self.metadata.name),
            (OLD_CONTROLLER_UID_LABEL, &self.metadata.uid),
            (CONTROLLER_UID_LABEL, &self.metadata.uid),
        ] {
            labels.entry(key.to_owned()).or_insert_with(|| value.clone());
        }
        let selector = self.spec.selector.get_or_insert_default();
        let uid = || self.metadata.uid.clone();
        selector.match_labels.entry(CONTROLLER_UID_LABEL.to_owned()).or_insert_with(uid);
    }
}

/// Defaults of a Job's spec.
fn defaults(spec: &mut JobSpec) {
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    let limit = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 };
    spec.backoff_limit.get_or_insert(limit);
    spec.completion_mode.get_or_insert(CompletionMode::NonIndexed);
    spec.suspend.get_or_insert(false);
    spec.pod_replacement_policy.get_or_insert(match spec.pod_failure_policy {
        Some(_) => PodReplacementPolicy::Failed,
        None => PodReplacementPolicy::TerminatingOrFailed,
    });
    spec.manual_selector.get_or_insert(false);
    template_defaults(spec);
}

/// Defaults of what stands inside a Job's spec; a CronJob's Jobs get the others when they are made.
pub(crate) fn template_defaults(spec: &mut JobSpec) {
    for pattern in spec
        .pod_failure_policy
        .iter_mut()
        .flat_map(|policy| policy.rules.iter_mut().flat_map(|rule| rule.on_pod_conditions.iter_mut()))
    {
        if pattern.status.is_unset() {
            pattern.status = ConditionStatus::True;
        }
    }
    template(&mut spec.template.spec);
}

/// What is warned of in a Job's spec; `path` is the spec's.
pub(crate) fn spec_warnings(spec: &JobSpec, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    if spec.completion_mode == Some(CompletionMode::Indexed)
        && spec.completions.unwrap_or_default() > 100_000
        && spec.parallelism.unwrap_or_default() > 10_000
    {
        warnings.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    warnings.extend(template_warnings(&spec.template, &path.child("template")));
    warnings
}
