//! What the checks of workloads have in common: selector and template, counts in the status.

use crate::core::v1::pod::validate::template as pod_template;
use crate::core::v1::pod::warnings::template as pod_template_warnings;
use crate::core::v1::{PodTemplateSpec, RestartPolicy};
use crate::field::{Errors, Path};
use crate::meta::v1::validate::not_negative;
use crate::meta::v1::{LabelSelector, ObjectMeta};
use crate::selector::{self, Labels};
use crate::value::Value;

/// The selector and the template that must match it; `path` is the spec's.
pub(crate) fn selector_and_template(
    spec: Option<&LabelSelector>,
    template: &PodTemplateSpec,
    path: &Path,
    errors: &mut Errors,
) {
    let selector_path = path.child("selector");
    match spec {
        None => errors.required(&selector_path, ""),
        Some(spec) => {
            selector::validate(spec, &selector_path, errors);
            if spec.match_labels.is_empty() && spec.match_expressions.is_empty() {
                let text = "empty selector is invalid for deployment";
                errors.invalid(&selector_path, spec as &dyn Value, text);
            }
        }
    }
    let Ok(labels) = Labels::from_spec(spec) else {
        if let Some(spec) = spec {
            errors.invalid(&selector_path, spec as &dyn Value, "invalid label selector");
        }
        return;
    };
    let path = path.child("template");
    let own = &template.metadata.labels;
    if !labels.is_everything() && !labels.matches(own) {
        let text = "`selector` does not match template `labels`";
        errors.invalid(&path.child("metadata").child("labels"), own as &dyn Value, text);
    }
    pod_template(template, &path, errors);
    always_running(template, "ReplicaSet", &path, errors);
}

/// Pods of most workloads run until they are deleted; `path` is the template's.
pub(crate) fn always_running(template: &PodTemplateSpec, kind: &str, path: &Path, errors: &mut Errors) {
    let path = path.child("spec");
    if template.spec.restart_policy != RestartPolicy::Always {
        let policy = template.spec.restart_policy.as_str();
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always"]);
    }
    if template.spec.active_deadline_seconds.is_some() {
        let text = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&path.child("activeDeadlineSeconds"), text);
    }
}

/// Numbers of pods in a status.
pub(crate) struct Counts<'a> {
    pub replicas: i32,
    /// Counts that are part of `replicas`, by field.
    pub parts: &'a [(&'a str, i32)],
    pub ready: i32,
    pub available: i32,
    /// Counts that only must not be negative.
    pub others: &'a [(&'a str, i64)],
}

/// Refuses counts that contradict each other; `path` is the status's.
pub(crate) fn counts(counts: &Counts<'_>, path: &Path, errors: &mut Errors) {
    not_negative(counts.replicas, &path.child("replicas"), errors);
    let ready = [("readyReplicas", counts.ready), ("availableReplicas", counts.available)];
    let parts = || counts.parts.iter().chain(&ready);
    for (name, count) in parts() {
        not_negative(*count, &path.child(name), errors);
    }
    for (name, count) in counts.others {
        not_negative(*count, &path.child(name), errors);
    }
    for (name, count) in parts().filter(|(_, count)| *count > counts.replicas) {
        errors.invalid(&path.child(name), *count, "cannot be greater than status.replicas");
    }
    if counts.available > counts.ready {
        let text = "cannot be greater than readyReplicas";
        errors.invalid(&path.child("availableReplicas"), counts.available, text);
    }
}

/// A name that pods' names are made of should suit them.
pub(crate) fn name_warning(meta: &ObjectMeta) -> Option<String> {
    let wrong = crate::names::dns1123_label(&meta.name);
    (!wrong.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        )
    })
}

/// The count of collisions only grows; `path` is the status's.
pub(crate) fn collisions(new: Option<i32>, old: Option<i32>, path: &Path, errors: &mut Errors) {
    if new.unwrap_or_default() < old.unwrap_or_default() {
        errors.invalid(&path.child("collisionCount"), new.unwrap_or_default(), "cannot be decremented");
    }
}

/// What is warned of in a template, and in a name that pods' names are made of. Updates that leave
/// the spec alone are passed over.
pub(crate) fn template_warnings(
    meta: &ObjectMeta,
    template: &PodTemplateSpec,
    old: Option<&ObjectMeta>,
) -> Vec<String> {
    if old.is_some_and(|old| old.generation == meta.generation) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    if old.is_none() {
        warnings.extend(name_warning(meta));
    }
    warnings.extend(pod_template_warnings(template, &Path::new("spec").child("template")));
    warnings
}
