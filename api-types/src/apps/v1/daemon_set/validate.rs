//! What is refused in a DaemonSet.

use super::*;
use crate::apps::v1::share::{at_most_all, bare, number_or_percentage};
use crate::apps::v1::workload::{always_running, collisions};
use crate::core::v1::pod::validate::template as pod_template;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::{immutable, not_negative};
use crate::selector::{self, Labels};
use crate::value::Value;

pub(super) fn spec(spec: &DaemonSetSpec, errors: &mut Errors) {
    let path = Path::new("spec");
    let (selector_path, template) = (path.child("selector"), path.child("template"));
    if let Some(selector) = &spec.selector {
        selector::validate(selector, &selector_path, errors);
    }
    let labels = &spec.template.metadata.labels;
    if Labels::from_spec(spec.selector.as_deref()).is_ok_and(|selector| !selector.matches(labels)) {
        let text = "`selector` does not match template `labels`";
        errors.invalid(&template.child("metadata").child("labels"), labels as &dyn Value, text);
    }
    if let Some(selector) = spec.selector.as_deref()
        && selector.match_labels.is_empty()
        && selector.match_expressions.is_empty()
    {
        let text = "empty selector is invalid for daemonset";
        errors.invalid(&selector_path, selector as &dyn Value, text);
    }
    pod_template(&spec.template, &template, errors);
    always_running(&spec.template, "DaemonSet", &template, errors);
    not_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
    strategy(&spec.update_strategy, &path.child("updateStrategy"), errors);
    if let Some(limit) = spec.revision_history_limit {
        not_negative(limit, &path.child("revisionHistoryLimit"), errors);
    }
}

fn strategy(strategy: &DaemonSetUpdateStrategy, path: &Path, errors: &mut Errors) {
    match (&strategy.type_, &strategy.rolling_update) {
        (DaemonSetUpdateStrategyType::OnDelete, _) => {}
        (DaemonSetUpdateStrategyType::RollingUpdate, None) => {
            errors.required(&path.child("rollingUpdate"), "");
        }
        (DaemonSetUpdateStrategyType::RollingUpdate, Some(update)) => {
            rolling_update(update, &path.child("rollingUpdate"), errors);
        }
        _ => errors.not_supported(path, strategy as &dyn Value, &["RollingUpdate", "OnDelete"]),
    }
}

/// A node either goes without a pod for a while or runs two; not both, and not neither.
fn rolling_update(update: &RollingUpdateDaemonSet, path: &Path, errors: &mut Errors) {
    let zero = IntOrString::default();
    let unavailable = update.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = update.max_surge.as_ref().unwrap_or(&zero);
    let (path_of_unavailable, path_of_surge) = (path.child("maxUnavailable"), path.child("maxSurge"));
    number_or_percentage(unavailable, &path_of_unavailable, errors);
    number_or_percentage(surge, &path_of_surge, errors);
    at_most_all(unavailable, &path_of_unavailable, errors);
    at_most_all(surge, &path_of_surge, errors);
    match (bare(unavailable) != 0, bare(surge) != 0) {
        (true, true) => {
            errors.invalid(&path_of_surge, surge, "may not be set when maxUnavailable is non-zero");
        }
        (false, false) => errors.required(&path_of_unavailable, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

pub(super) fn update(new: &DaemonSet, old: &DaemonSet, errors: &mut Errors) {
    immutable(&new.spec.selector, &old.spec.selector, &Path::new("spec").child("selector"), errors);
}

pub(super) fn status_update(new: &DaemonSetStatus, old: &DaemonSetStatus, errors: &mut Errors) {
    let path = Path::new("status");
    for (name, count) in [
        ("currentNumberScheduled", i64::from(new.current_number_scheduled)),
        ("numberMisscheduled", new.number_misscheduled.into()),
        ("desiredNumberScheduled", new.desired_number_scheduled.into()),
        ("numberReady", new.number_ready.into()),
        ("observedGeneration", new.observed_generation),
        ("updatedNumberScheduled", new.updated_number_scheduled.into()),
        ("numberAvailable", new.number_available.into()),
        ("numberUnavailable", new.number_unavailable.into()),
        ("collisionCount", new.collision_count.unwrap_or_default().into()),
    ] {
        not_negative(count, &path.child(name), errors);
    }
    collisions(new.collision_count, old.collision_count, &path, errors);
}
