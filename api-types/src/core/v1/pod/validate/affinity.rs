//! Affinity to nodes and pods, and spreading.

use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::meta::v1::LabelSelector;
use crate::{names, selector};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NOT_POSITIVE: &str = "must be greater than zero";
const WEIGHT: &str = "must be in the range 1-100";

pub(super) fn affinity(affinity: &Affinity, path: &Path, errors: &mut Errors) {
    if let Some(nodes) = &affinity.node_affinity {
        node_affinity(nodes, &path.child("nodeAffinity"), errors);
    }
    if let Some(near) = &affinity.pod_affinity {
        pods(
            &near.required_during_scheduling_ignored_during_execution,
            &near.preferred_during_scheduling_ignored_during_execution,
            &path.child("podAffinity"),
            errors,
        );
    }
    if let Some(apart) = &affinity.pod_anti_affinity {
        pods(
            &apart.required_during_scheduling_ignored_during_execution,
            &apart.preferred_during_scheduling_ignored_during_execution,
            &path.child("podAntiAffinity"),
            errors,
        );
    }
}

fn node_affinity(affinity: &NodeAffinity, path: &Path, errors: &mut Errors) {
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        node_selector(required, &path.child(REQUIRED), errors);
    }
    let preferred = &affinity.preferred_during_scheduling_ignored_during_execution;
    for (place, term) in preferred.iter().enumerate() {
        let path = path.child(PREFERRED).index(place);
        if !(1..=100).contains(&term.weight) {
            errors.invalid(&path.child("weight"), term.weight, WEIGHT);
        }
        // COMPAT: values that no label can have are taken in preferences.
        node_term(&term.preference, false, &path.child("preference"), errors);
    }
}

/// Terms of which a node must fulfil one.
pub(crate) fn node_selector(selector: &NodeSelector, path: &Path, errors: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (place, term) in selector.node_selector_terms.iter().enumerate() {
        node_term(term, true, &path.index(place), errors);
    }
}

fn node_term(term: &NodeSelectorTerm, check_values: bool, path: &Path, errors: &mut Errors) {
    for (place, requirement) in term.match_expressions.iter().enumerate() {
        node_label(requirement, check_values, &path.child("matchExpressions").index(place), errors);
    }
    for (place, requirement) in term.match_fields.iter().enumerate() {
        node_field(requirement, &path.child("matchFields").index(place), errors);
    }
}

fn node_label(requirement: &NodeSelectorRequirement, check_values: bool, path: &Path, errors: &mut Errors) {
    let values = path.child("values");
    match &requirement.operator {
        NodeSelectorOperator::In | NodeSelectorOperator::NotIn => {
            if requirement.values.is_empty() {
                errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
        }
        NodeSelectorOperator::Exists | NodeSelectorOperator::DoesNotExist => {
            if !requirement.values.is_empty() {
                let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&values, text);
            }
        }
        NodeSelectorOperator::Gt | NodeSelectorOperator::Lt => {
            if requirement.values.len() != 1 {
                errors.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
        }
        other => errors.invalid(&path.child("operator"), other.as_str(), "not a valid selector operator"),
    }
    errors.wrong(&path.child("key"), &requirement.key, names::qualified_name(&requirement.key));
    if check_values {
        for (place, value) in requirement.values.iter().enumerate() {
            errors.wrong(&values.index(place), value, names::label_value(value));
        }
    }
}

fn node_field(requirement: &NodeSelectorRequirement, path: &Path, errors: &mut Errors) {
    match &requirement.operator {
        NodeSelectorOperator::In | NodeSelectorOperator::NotIn => {
            if requirement.values.len() != 1 {
                let text =
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(&path.child("values"), text);
            }
        }
        other => errors.invalid(&path.child("operator"), other.as_str(), "not a valid selector operator"),
    }
    if requirement.key != "metadata.name" {
        errors.invalid(&path.child("key"), &requirement.key, "not a valid field selector key");
        return;
    }
    for (place, value) in requirement.values.iter().enumerate() {
        errors.wrong(&path.child("values").index(place), value, names::dns1123_subdomain(value));
    }
}

fn pods(
    required: &[PodAffinityTerm],
    preferred: &[WeightedPodAffinityTerm],
    path: &Path,
    errors: &mut Errors,
) {
    for (place, term) in required.iter().enumerate() {
        pod_term(term, &path.child(REQUIRED).index(place), errors);
    }
    for (place, weighted) in preferred.iter().enumerate() {
        let path = path.child(PREFERRED).index(place);
        if !(1..=100).contains(&weighted.weight) {
            errors.invalid(&path.child("weight"), weighted.weight, WEIGHT);
        }
        pod_term(&weighted.pod_affinity_term, &path.child("podAffinityTerm"), errors);
    }
}

fn pod_term(term: &PodAffinityTerm, path: &Path, errors: &mut Errors) {
    for (name, spec) in
        [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(spec) = spec {
            selector::validate(spec, &path.child(name), errors);
        }
    }
    for name in &term.namespaces {
        errors.wrong(&path.child("namespace"), name, names::dns1123_label(name));
    }
    label_keys(
        &term.match_label_keys,
        &term.mismatch_label_keys,
        term.label_selector.as_deref(),
        path,
        errors,
    );
    let key = path.child("topologyKey");
    if term.topology_key.is_empty() {
        errors.required(&key, "can not be empty");
    }
    errors.wrong(&key, &term.topology_key, names::qualified_name(&term.topology_key));
}

/// matchLabelKeys and mismatchLabelKeys; `path` is that of what holds them.
fn label_keys(
    keys: &[String],
    mismatch: &[String],
    selector: Option<&LabelSelector>,
    path: &Path,
    errors: &mut Errors,
) {
    for (name, keys) in [("matchLabelKeys", keys), ("mismatchLabelKeys", mismatch)] {
        let path = path.child(name);
        if !keys.is_empty() && selector.is_none() {
            errors.forbidden(&path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (place, key) in keys.iter().enumerate() {
            errors.wrong(&path.index(place), key, names::qualified_name(key));
        }
    }
    if let Some(selector) = selector {
        // The server has put each key into the selector once; a second time is the user's.
        let mut known: Vec<&String> = selector.match_labels.keys().collect();
        for expression in &selector.match_expressions {
            if let Some(place) = keys.iter().rposition(|key| *key == expression.key)
                && known.contains(&&expression.key)
            {
                let text = "exists in both matchLabelKeys and labelSelector";
                errors.invalid(&path.index(place), &expression.key, text);
            }
            known.push(&expression.key);
        }
    }
    for (place, key) in keys.iter().enumerate().filter(|(_, key)| mismatch.contains(key)) {
        let text = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&path.child("matchLabelKeys").index(place), key, text);
    }
}

pub(super) fn spread(constraints: &[TopologySpreadConstraint], path: &Path, errors: &mut Errors) {
    for (place, constraint) in constraints.iter().enumerate() {
        let path = path.index(place);
        if constraint.max_skew <= 0 {
            errors.invalid(&path.child("maxSkew"), constraint.max_skew, NOT_POSITIVE);
        }
        if constraint.topology_key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        let action = constraint.when_unsatisfiable.as_str();
        errors.choice(&path.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        let same = |other: &TopologySpreadConstraint| {
            other.topology_key == constraint.topology_key
                && other.when_unsatisfiable == constraint.when_unsatisfiable
        };
        if constraints[place + 1..].iter().any(same) {
            errors.duplicate(
                &path.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{}, {action}}}", constraint.topology_key).as_str(),
            );
        }
        min_domains(constraint, &path.child("minDomains"), errors);
        for (name, policy) in [
            ("nodeAffinityPolicy", &constraint.node_affinity_policy),
            ("nodeTaintsPolicy", &constraint.node_taints_policy),
        ] {
            if let Some(policy) = policy {
                errors.choice(&path.child(name), policy.as_str(), &["Honor", "Ignore"]);
            }
        }
        let selector = constraint.label_selector.as_deref();
        label_keys(&constraint.match_label_keys, &[], selector, &path, errors);
        if let Some(selector) = selector {
            selector::validate(selector, &path.child("labelSelector"), errors);
        }
    }
}

fn min_domains(constraint: &TopologySpreadConstraint, path: &Path, errors: &mut Errors) {
    let Some(domains) = constraint.min_domains else { return };
    if domains <= 0 {
        errors.invalid(path, domains, NOT_POSITIVE);
    }
    let action = &constraint.when_unsatisfiable;
    if *action != UnsatisfiableConstraintAction::DoNotSchedule {
        let text = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.invalid(path, domains, text);
    }
}
