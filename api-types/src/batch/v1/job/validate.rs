//! What is refused in a Job's spec. Its status is in `status_validate`.

use super::indexes;
use super::strategy::{CONTROLLER_UID_LABEL, JOB_NAME_LABEL, OLD_CONTROLLER_UID_LABEL, OLD_JOB_NAME_LABEL};
use super::*;
use crate::core::v1::pod::validate::template as pod_template;
use crate::core::v1::{PodSpec, RestartPolicy};
use crate::field::{Errors, Path};
use crate::meta::v1::ConditionStatus;
use crate::meta::v1::validate::{immutable, not_negative};
use crate::names;
use crate::selector::{self, Labels};
use crate::value::Value;
use std::collections::BTreeMap;

const MANY_COMPLETIONS: i32 = 100_000;
const MOST_PARALLEL: i32 = 100_000;
const MOST_FAILED: i32 = 100_000;
/// Of pods at once and of failed indexes, when there are many completions.
const MOST_OF_MANY: i32 = 10_000;

pub(super) fn create(job: &Job, errors: &mut Errors) {
    whole(job, true, errors);
}

fn whole(job: &Job, new_labels: bool, errors: &mut Errors) {
    generated_selector(job, new_labels, errors);
    spec(&job.spec, &Path::new("spec"), errors);
    if is_indexed(&job.spec)
        && let Some(completions) = job.spec.completions.filter(|n| *n > 0)
    {
        // The last index is part of a pod's host name.
        let longest = format!("{}-{}", job.metadata.name, completions - 1);
        if !names::dns1123_label(&longest).is_empty() {
            let text = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.invalid(&Path::new("metadata").child("name"), &job.metadata.name, text);
        }
    }
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode == Some(CompletionMode::Indexed)
}

/// What the server made must not have been overruled by labels of the user's.
fn generated_selector(job: &Job, new_labels: bool, errors: &mut Errors) {
    if job.spec.manual_selector == Some(true) || job.spec.selector.is_none() {
        return;
    }
    let (uid, name) = (&job.metadata.uid, &job.metadata.name);
    if uid.is_empty() {
        errors.required(&Path::new("metadata").child("uid"), "");
    }
    let mut expected = vec![(OLD_CONTROLLER_UID_LABEL, uid), (OLD_JOB_NAME_LABEL, name)];
    if new_labels {
        expected.extend([(CONTROLLER_UID_LABEL, uid), (JOB_NAME_LABEL, name)]);
    }
    let labels = &job.spec.template.metadata.labels;
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    for (key, value) in &expected {
        match labels.get(*key) {
            None => errors.required(&path.key(key), format!("must be '{value}'")),
            Some(other) if other != *value => {
                // COMPAT: the whole map is shown.
                errors.invalid(&path.key(key), labels as &dyn Value, format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    if Labels::from_spec(job.spec.selector.as_deref()).is_ok_and(|own| !own.matches(&expected)) {
        let path = Path::new("spec").child("selector");
        errors.invalid(&path, &job.spec.selector as &dyn Value, "`selector` not auto-generated");
    }
}

fn spec(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    job_spec(spec, path, errors);
    match &spec.selector {
        None => errors.required(&path.child("selector"), ""),
        Some(own) => selector::validate(own, &path.child("selector"), errors),
    }
    let labels = &spec.template.metadata.labels;
    if Labels::from_spec(spec.selector.as_deref()).is_ok_and(|own| !own.matches(labels)) {
        let path = path.child("template").child("metadata").child("labels");
        errors.invalid(&path, labels as &dyn Value, "`selector` does not match template `labels`");
    }
}

/// A Job's spec, wherever it stands; selectors aside.
pub(crate) fn job_spec(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    for (name, number) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        not_negative(number.unwrap_or_default(), &path.child(name), errors);
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = &spec.managed_by {
        let path = path.child("managedBy");
        names::validate_domain_path(manager, &path, errors);
        if manager.len() > 63 {
            errors.too_long(&path, 63);
        }
    }
    if let Some(mode) = &spec.completion_mode {
        errors.choice(&path.child("completionMode"), mode.as_str(), &["Indexed", "NonIndexed"]);
    }
    if is_indexed(spec) {
        indexed(spec, path, errors);
    } else if matches!(spec.completion_mode, None | Some(CompletionMode::NonIndexed)) {
        for (name, number) in [
            ("backoffLimitPerIndex", spec.backoff_limit_per_index),
            ("maxFailedIndexes", spec.max_failed_indexes),
        ] {
            if let Some(number) = number {
                errors.invalid(&path.child(name), number, "requires indexed completion mode");
            }
        }
    }
    if let Some(policy) = &spec.pod_failure_policy {
        pod_failure_policy(spec, policy, &path.child("podFailurePolicy").child("rules"), errors);
    }
    if let Some(policy) = &spec.success_policy {
        let path = path.child("successPolicy");
        if is_indexed(spec) {
            success_policy(spec, policy, &path.child("rules"), errors);
        } else {
            errors.invalid(&path, &**policy as &dyn Value, "requires indexed completion mode");
        }
    }
    if let Some(policy) = &spec.pod_replacement_policy {
        let known: &[&str] =
            if spec.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        errors.choice(&path.child("podReplacementPolicy"), policy.as_str(), known);
    }
    pod_template(&spec.template, &path.child("template"), errors);
    let policy = &spec.template.spec.restart_policy;
    let path = path.child("template").child("spec").child("restartPolicy");
    match policy {
        RestartPolicy::Always | RestartPolicy::Unset => {
            errors.required(&path, r#"valid values: "OnFailure", "Never""#);
        }
        RestartPolicy::OnFailure if spec.pod_failure_policy.is_some() => {
            let text = r#"only "Never" is supported when podFailurePolicy is specified"#;
            errors.invalid(&path, policy.as_str(), text);
        }
        _ => errors.choice(&path, policy.as_str(), &["OnFailure", "Never"]),
    }
}

fn indexed(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let (parallelism, failed) = (path.child("parallelism"), path.child("maxFailedIndexes"));
    let Some(completions) = spec.completions else {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
        return most(
            spec.parallelism,
            MOST_PARALLEL,
            " when completion mode is Indexed",
            &parallelism,
            errors,
        );
    };
    most(spec.parallelism, MOST_PARALLEL, " when completion mode is Indexed", &parallelism, errors);
    if let Some(number) = spec.max_failed_indexes.filter(|number| *number > completions) {
        errors.invalid(&failed, number, "must be less than or equal to completions");
    }
    most(spec.max_failed_indexes, MOST_FAILED, "", &failed, errors);
    if completions > MANY_COMPLETIONS && spec.backoff_limit_per_index.is_some() {
        let when =
            format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
        if spec.max_failed_indexes.is_none() {
            let text = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.required(&failed, text);
        }
        most(spec.parallelism, MOST_OF_MANY, &when, &parallelism, errors);
        most(spec.max_failed_indexes, MOST_OF_MANY, &when, &failed, errors);
    }
}

fn most(number: Option<i32>, limit: i32, when: &str, path: &Path, errors: &mut Errors) {
    if let Some(number) = number.filter(|number| *number > limit) {
        errors.invalid(path, number, format!("must be less than or equal to {limit}{when}"));
    }
}

fn pod_failure_policy(spec: &JobSpec, policy: &PodFailurePolicy, path: &Path, errors: &mut Errors) {
    const MOST_RULES: usize = 20;
    const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
    if policy.rules.len() > MOST_RULES {
        errors.too_many(path, policy.rules.len(), MOST_RULES);
    }
    for (place, rule) in policy.rules.iter().enumerate() {
        let path = path.index(place);
        let action = path.child("action");
        match rule.action.as_str() {
            "" => errors.required(&action, valid(&ACTIONS)),
            "FailIndex" if spec.backoff_limit_per_index.is_none() => {
                let text = "requires the backoffLimitPerIndex to be set";
                errors.invalid(&action, rule.action.as_str(), text);
            }
            other => errors.choice(&action, other, &ACTIONS),
        }
        if let Some(codes) = &rule.on_exit_codes {
            exit_codes(&spec.template.spec, codes, &path.child("onExitCodes"), errors);
        }
        pod_conditions(&rule.on_pod_conditions, &path.child("onPodConditions"), errors);
        let what = match (rule.on_exit_codes.is_some(), !rule.on_pod_conditions.is_empty()) {
            (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.invalid_without_value(&path, what);
    }
}

/// `valid values: ["a" "b"]`, as Go prints a list.
fn valid(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

fn exit_codes(pod: &PodSpec, own: &PodFailurePolicyOnExitCodesRequirement, path: &Path, errors: &mut Errors) {
    const MOST_VALUES: usize = 255;
    const OPERATORS: [&str; 2] = ["In", "NotIn"];
    let operator = own.operator.as_str();
    if operator.is_empty() {
        errors.required(&path.child("operator"), valid(&OPERATORS));
    } else {
        errors.choice(&path.child("operator"), operator, &OPERATORS);
    }
    if let Some(name) = &own.container_name
        && !pod.containers.iter().chain(&pod.init_containers).any(|container| container.name == *name)
    {
        let text = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, text);
    }
    let path = path.child("values");
    let shown = &own.values as &dyn Value;
    if own.values.is_empty() {
        errors.invalid(&path, shown, "at least one value is required");
    } else if own.values.len() > MOST_VALUES {
        errors.too_many(&path, own.values.len(), MOST_VALUES);
    }
    for (place, value) in own.values.iter().enumerate() {
        let path = path.index(place);
        if operator == "In" && *value == 0 {
            errors.invalid(&path, *value, "must not be 0 for the In operator");
        }
        if own.values[..place].contains(value) {
            errors.duplicate(&path, *value);
        }
    }
    if !own.values.is_sorted() {
        errors.invalid(&path, shown, "must be ordered");
    }
}

fn pod_conditions(patterns: &[PodFailurePolicyOnPodConditionsPattern], path: &Path, errors: &mut Errors) {
    const MOST_PATTERNS: usize = 20;
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    if patterns.len() > MOST_PATTERNS {
        errors.too_many(path, patterns.len(), MOST_PATTERNS);
    }
    for (place, pattern) in patterns.iter().enumerate() {
        let path = path.index(place);
        let type_ = pattern.type_.as_str();
        errors.wrong(&path.child("type"), type_, names::qualified_name(type_));
        match &pattern.status {
            ConditionStatus::Unset => errors.required(&path.child("status"), valid(&STATUSES)),
            status => errors.choice(&path.child("status"), status.as_str(), &STATUSES),
        }
    }
}

fn success_policy(spec: &JobSpec, policy: &SuccessPolicy, path: &Path, errors: &mut Errors) {
    const MOST_RULES: usize = 20;
    const LONGEST: usize = 64 * 1024;
    if policy.rules.is_empty() {
        errors.required(path, "at least one rules must be specified when the successPolicy is specified");
    }
    if policy.rules.len() > MOST_RULES {
        errors.too_many(path, policy.rules.len(), MOST_RULES);
    }
    let completions = spec.completions.unwrap_or_default();
    for (place, rule) in policy.rules.iter().enumerate() {
        let path = path.index(place);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            errors.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if let Some(text) = &rule.succeeded_indexes {
            let path = path.child("succeededIndexes");
            if text.len() > LONGEST {
                errors.too_long(&path, LONGEST);
            }
            match indexes::count(text, completions) {
                Ok(count) => total = count,
                Err(wrong) => {
                    errors.invalid(&path, text, format!("error parsing succeededIndexes: {wrong}"));
                }
            }
        }
        let Some(count) = rule.succeeded_count else { continue };
        let path = path.child("succeededCount");
        not_negative(count, &path, errors);
        if count > completions {
            let text =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.invalid(&path, count, text);
        }
        if rule.succeeded_indexes.is_some() && count > total {
            let text = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.invalid(&path, count, text);
        }
    }
}

pub(super) fn update(new: &Job, old: &Job, errors: &mut Errors) {
    let before = &old.spec.template.metadata.labels;
    let had_labels = before.contains_key(JOB_NAME_LABEL) && before.contains_key(CONTROLLER_UID_LABEL);
    whole(new, had_labels, errors);
    let path = Path::new("spec");
    completions(&new.spec, &old.spec, &path.child("completions"), errors);
    let (new_spec, old_spec) = (&new.spec, &old.spec);
    immutable(&new_spec.selector, &old_spec.selector, &path.child("selector"), errors);
    template(new, old, &path, errors);
    immutable(&new_spec.completion_mode, &old_spec.completion_mode, &path.child("completionMode"), errors);
    immutable(
        &new_spec.pod_failure_policy,
        &old_spec.pod_failure_policy,
        &path.child("podFailurePolicy"),
        errors,
    );
    immutable(
        &new_spec.backoff_limit_per_index,
        &old_spec.backoff_limit_per_index,
        &path.child("backoffLimitPerIndex"),
        errors,
    );
    immutable(&new_spec.managed_by, &old_spec.managed_by, &path.child("managedBy"), errors);
    immutable(&new_spec.success_policy, &old_spec.success_policy, &path.child("successPolicy"), errors);
}

/// An indexed Job grows and shrinks together with its parallelism; others have a fixed aim.
fn completions(new: &JobSpec, old: &JobSpec, path: &Path, errors: &mut Errors) {
    if !is_indexed(new) {
        return immutable(&new.completions, &old.completions, path, errors);
    }
    if let Some(completions) = new.completions
        && new.completions != old.completions
        && new.completions != new.parallelism
    {
        errors.invalid(path, completions, "can only be modified in tandem with spec.parallelism");
    }
}

/// While a Job is suspended and has no pods, its pods may be sent elsewhere and given other
/// resources (KEP-2926, KEP-5440).
fn template(new: &Job, old: &Job, path: &Path, errors: &mut Errors) {
    let suspended = old.spec.suspend == Some(true);
    let stopped = old.status.start_time.is_none() || old.status.has(&JobConditionType::Suspended);
    let mutable = suspended && stopped && old.status.active == 0;
    let (own, mut before) = (&new.spec.template, old.spec.template.clone());
    if mutable {
        let pod = &own.spec;
        match (&pod.affinity, &mut before.spec.affinity) {
            (None, Some(affinity)) => {
                affinity.node_affinity = None;
                if **affinity == Default::default() {
                    before.spec.affinity = None;
                }
            }
            (Some(affinity), old) => {
                old.get_or_insert_default().node_affinity = affinity.node_affinity.clone();
            }
            (None, None) => {}
        }
        before.spec.node_selector = pod.node_selector.clone();
        before.spec.tolerations = pod.tolerations.clone();
        before.spec.scheduling_gates = pod.scheduling_gates.clone();
        before.metadata.annotations = own.metadata.annotations.clone();
        before.metadata.labels = own.metadata.labels.clone();
    }
    if !mutable {
        return immutable(own, &before, &path.child("template"), errors);
    }
    let before = &mut before.spec;
    for (own, before) in [
        (&own.spec.containers, &mut before.containers),
        (&own.spec.init_containers, &mut before.init_containers),
    ] {
        if own.len() == before.len() {
            for (own, before) in own.iter().zip(before).filter(|(own, before)| own.name == before.name) {
                before.resources = own.resources.clone();
            }
        }
    }
    immutable(&own.spec, before, &path.child("template").child("spec"), errors);
}
