//! What is refused in a Deployment.

use super::*;
use crate::apps::v1::share::{at_most_all, bare, number_or_percentage};
use crate::apps::v1::workload::{Counts, collisions, counts, selector_and_template};
use crate::field::{Errors, Path};
use crate::meta::v1::validate::{immutable, not_negative};
use crate::value::Value;

pub(super) fn spec(spec: &DeploymentSpec, errors: &mut Errors) {
    let path = Path::new("spec");
    not_negative(spec.replicas.unwrap_or_default(), &path.child("replicas"), errors);
    selector_and_template(spec.selector.as_deref(), &spec.template, &path, errors);
    strategy(&spec.strategy, &path.child("strategy"), errors);
    not_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
    if let Some(limit) = spec.revision_history_limit {
        not_negative(limit, &path.child("revisionHistoryLimit"), errors);
    }
    if let Some(seconds) = spec.progress_deadline_seconds {
        let path = path.child("progressDeadlineSeconds");
        not_negative(seconds, &path, errors);
        if seconds <= spec.min_ready_seconds {
            errors.invalid(&path, seconds, "must be greater than minReadySeconds");
        }
    }
}

fn strategy(strategy: &DeploymentStrategy, path: &Path, errors: &mut Errors) {
    let limits = path.child("rollingUpdate");
    match (&strategy.type_, &strategy.rolling_update) {
        (DeploymentStrategyType::Recreate, None) => {}
        (DeploymentStrategyType::Recreate, Some(_)) => {
            errors.forbidden(&limits, "may not be specified when strategy `type` is 'Recreate'");
        }
        (DeploymentStrategyType::RollingUpdate, None) => {
            errors.required(&limits, "this should be defaulted and never be nil");
        }
        (DeploymentStrategyType::RollingUpdate, Some(update)) => rolling_update(update, &limits, errors),
        _ => errors.not_supported(path, strategy as &dyn Value, &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(update: &RollingUpdateDeployment, path: &Path, errors: &mut Errors) {
    let zero = IntOrString::default();
    let unavailable = update.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = update.max_surge.as_ref().unwrap_or(&zero);
    let path_of_unavailable = path.child("maxUnavailable");
    number_or_percentage(unavailable, &path_of_unavailable, errors);
    number_or_percentage(surge, &path.child("maxSurge"), errors);
    if bare(unavailable) == 0 && bare(surge) == 0 {
        errors.invalid(&path_of_unavailable, unavailable, "may not be 0 when `maxSurge` is 0");
    }
    at_most_all(unavailable, &path_of_unavailable, errors);
}

pub(super) fn update(new: &Deployment, old: &Deployment, errors: &mut Errors) {
    immutable(&new.spec.selector, &old.spec.selector, &Path::new("spec").child("selector"), errors);
}

pub(super) fn status_update(new: &DeploymentStatus, old: &DeploymentStatus, errors: &mut Errors) {
    let path = Path::new("status");
    counts(
        &Counts {
            replicas: new.replicas,
            parts: &[("updatedReplicas", new.updated_replicas)],
            ready: new.ready_replicas,
            available: new.available_replicas,
            others: &[
                ("observedGeneration", new.observed_generation),
                ("unavailableReplicas", new.unavailable_replicas.into()),
                ("terminatingReplicas", new.terminating_replicas.unwrap_or_default().into()),
                ("collisionCount", new.collision_count.unwrap_or_default().into()),
            ],
        },
        &path,
        errors,
    );
    collisions(new.collision_count, old.collision_count, &path, errors);
}
