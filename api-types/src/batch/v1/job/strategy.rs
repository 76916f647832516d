//! What happens to a Job on its way to the store: defaults, its own selector, generation.

use super::*;
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::kind::{Strategy, set_generation};
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

    fn selectable_names() -> &'static [&'static str] {
        &["status.successful"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("status.successful", self.status.succeeded.to_string())]
    }
}

impl Job {
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
