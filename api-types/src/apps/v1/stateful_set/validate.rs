//! What is refused in a StatefulSet. Updates are lenient about what they cannot change.

use super::*;
use crate::apps::v1::share::{at_most_all, bare, number_or_percentage};
use crate::apps::v1::workload::{always_running, collisions};
use crate::core::v1::persistent_volume_claim::validate::spec as claim_spec;
use crate::core::v1::pod::validate::template as pod_template;
use crate::core::v1::{PersistentVolumeClaimVolumeSource, Volume, VolumeSource};
use crate::field::{Errors, Path};
use crate::meta::v1::validate::not_negative;
use crate::names;
use crate::selector::{self, Labels};
use crate::value::Value;

/// What is passed over in a set that is there already.
#[derive(Clone, Copy, Default)]
struct Lenience {
    /// The service's name and the claims cannot be changed any more.
    fixed_parts: bool,
    /// The template was wrong before.
    template: bool,
}

pub(super) fn create(set: &StatefulSet, errors: &mut Errors) {
    spec(&set.spec, Lenience::default(), errors);
}

pub(super) fn update(new: &StatefulSet, old: &StatefulSet, errors: &mut Errors) {
    let mut lenience = Lenience { fixed_parts: true, template: false };
    let mut before = Errors::default();
    spec(&old.spec, lenience, &mut before);
    lenience.template = !before.is_empty();
    spec(&new.spec, lenience, errors);
    let changeable = StatefulSetSpec {
        replicas: old.spec.replicas,
        template: old.spec.template.clone(),
        update_strategy: old.spec.update_strategy.clone(),
        min_ready_seconds: old.spec.min_ready_seconds,
        ordinals: old.spec.ordinals.clone(),
        revision_history_limit: old.spec.revision_history_limit,
        persistent_volume_claim_retention_policy: old.spec.persistent_volume_claim_retention_policy.clone(),
        ..new.spec.clone()
    };
    if changeable != old.spec {
        errors.forbidden(
            &Path::new("spec"),
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

fn spec(spec: &StatefulSetSpec, lenience: Lenience, errors: &mut Errors) {
    let path = Path::new("spec");
    let policy_path = path.child("podManagementPolicy");
    match spec.pod_management_policy.as_str() {
        "" => errors.required(&policy_path, ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(&policy_path, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    strategy(&spec.update_strategy, &path.child("updateStrategy"), errors);
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        for (name, policy) in
            [("whenDeleted", &retention.when_deleted), ("whenScaled", &retention.when_scaled)]
        {
            errors.choice(&path.child(name), policy.as_str(), &["Retain", "Delete"]);
        }
    }
    if !lenience.fixed_parts {
        for (place, claim) in spec.volume_claim_templates.iter().enumerate() {
            claim_spec(&claim.spec, &path.child("volumeClaimTemplates").index(place).child("spec"), errors);
        }
    }
    not_negative(spec.replicas.unwrap_or_default(), &path.child("replicas"), errors);
    not_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
    if let Some(ordinals) = &spec.ordinals {
        not_negative(ordinals.start, &path.child("ordinals").child("start"), errors);
    }
    if !lenience.fixed_parts && !spec.service_name.is_empty() {
        let wrong = names::dns1123_label(&spec.service_name);
        errors.wrong(&path.child("serviceName"), &spec.service_name, wrong);
    }
    selector_and_template(spec, lenience, &path, errors);
}

fn strategy(strategy: &StatefulSetUpdateStrategy, path: &Path, errors: &mut Errors) {
    let limits = path.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("", _) => errors.required(path, ""),
        ("OnDelete", Some(update)) => {
            let text = "only allowed for updateStrategy 'RollingUpdate'";
            errors.invalid(&limits, &**update as &dyn Value, text);
        }
        ("RollingUpdate", Some(update)) => rolling_update(update, &limits, errors),
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => errors.invalid(path, strategy as &dyn Value, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn rolling_update(update: &RollingUpdateStatefulSetStrategy, path: &Path, errors: &mut Errors) {
    not_negative(update.partition.unwrap_or_default(), &path.child("partition"), errors);
    let Some(unavailable) = &update.max_unavailable else { return };
    let path = path.child("maxUnavailable");
    number_or_percentage(unavailable, &path, errors);
    if bare(unavailable) == 0 {
        errors.invalid(&path, unavailable, "cannot be 0");
    }
    at_most_all(unavailable, &path, errors);
}

fn selector_and_template(spec: &StatefulSetSpec, lenience: Lenience, path: &Path, errors: &mut Errors) {
    let (selector_path, template_path) = (path.child("selector"), path.child("template"));
    match spec.selector.as_deref() {
        None => errors.required(&selector_path, ""),
        Some(own) => {
            selector::validate(own, &selector_path, errors);
            if own.match_labels.is_empty() && own.match_expressions.is_empty() {
                let text = "empty selector is invalid for statefulset";
                errors.invalid(&selector_path, own as &dyn Value, text);
            }
        }
    }
    match (Labels::from_spec(spec.selector.as_deref()), spec.selector.as_deref()) {
        (Err(_), Some(own)) => errors.invalid(&selector_path, own as &dyn Value, ""),
        (Err(_), None) => {}
        (Ok(labels), _) => {
            let own = &spec.template.metadata.labels;
            // COMPAT: no selector at all matches nothing, which upstream counts as "not empty".
            if !labels.is_everything() && !labels.matches(own) {
                let text = "`selector` does not match template `labels`";
                errors.invalid(&template_path.child("metadata").child("labels"), own as &dyn Value, text);
            }
            if !lenience.template {
                pod_template(&as_made(spec), &template_path, errors);
            }
        }
    }
    always_running(&spec.template, "StatefulSet", &template_path, errors);
}

/// The template with what the controller puts in: names of its own, and a volume for each claim.
fn as_made(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    template.spec.subdomain.clear();
    template.spec.hostname.clear();
    let claims: BTreeMap<&str, Volume> = spec
        .volume_claim_templates
        .iter()
        .map(|claim| {
            let name = claim.metadata.name.clone();
            let source = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: false };
            let source =
                VolumeSource { persistent_volume_claim: Some(Box::new(source)), ..VolumeSource::default() };
            (claim.metadata.name.as_str(), Volume { name, source })
        })
        .collect();
    if !claims.is_empty() {
        let own = std::mem::take(&mut template.spec.volumes);
        let kept = own.into_iter().filter(|volume| !claims.contains_key(volume.name.as_str()));
        template.spec.volumes = claims.values().cloned().chain(kept).collect();
    }
    template
}

pub(super) fn status_update(new: &StatefulSetStatus, old: &StatefulSetStatus, errors: &mut Errors) {
    let path = Path::new("status");
    let parts = [
        ("readyReplicas", new.ready_replicas),
        ("currentReplicas", new.current_replicas),
        ("updatedReplicas", new.updated_replicas),
        ("availableReplicas", new.available_replicas),
    ];
    not_negative(new.replicas, &path.child("replicas"), errors);
    for (name, count) in parts {
        not_negative(count, &path.child(name), errors);
    }
    not_negative(new.observed_generation, &path.child("observedGeneration"), errors);
    not_negative(new.collision_count.unwrap_or_default(), &path.child("collisionCount"), errors);
    for (name, count) in parts.into_iter().filter(|(_, count)| *count > new.replicas) {
        errors.invalid(&path.child(name), count, "cannot be greater than status.replicas");
    }
    if new.available_replicas > new.ready_replicas {
        let text = "cannot be greater than status.readyReplicas";
        errors.invalid(&path.child("availableReplicas"), new.available_replicas, text);
    }
    collisions(new.collision_count, old.collision_count, &path, errors);
}
