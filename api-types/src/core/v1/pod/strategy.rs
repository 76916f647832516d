//! What happens to a Pod on its way to the store.

use super::*;
use crate::field::Errors;
use crate::kind::{Column, Strategy, set_generation};
use crate::meta::v1::{ConditionStatus, LabelSelector, LabelSelectorOperator, LabelSelectorRequirement};
use crate::value::Time;

impl Strategy for Pod {
    fn set_defaults(&mut self) {
        defaults::pod(self);
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
        gates::drop_disabled(&mut self.spec);
        self.status = PodStatus {
            phase: PodPhase::Pending,
            qos_class: demand::qos_class(&self.spec),
            ..PodStatus::default()
        };
        if !self.spec.scheduling_gates.is_empty() {
            self.status.conditions.push(gated(self.metadata.creation_timestamp));
        }
        merge_label_keys(self);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        gates::drop_disabled(&mut self.spec);
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
        self.metadata.deletion_timestamp = None;
        // COMPAT: old kubelets send owner references that garbage collection cannot use.
        self.metadata.owner_references = old.metadata.owner_references.clone();
        if self.status.qos_class.is_unset() {
            self.status.qos_class = old.status.qos_class.clone();
        }
        keep_observed_generations(&mut self.status, &old.status);
    }

    fn validate(&self, errors: &mut Errors) {
        validate::pod(self, errors);
    }

    fn validate_create(&self, errors: &mut Errors) {
        validate::create(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        validate::status_update(self, old, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old.is_some() { Vec::new() } else { warnings::pod(self) }
    }

    fn selectable_names() -> &'static [&'static str] {
        // status.podIPs is taken as a name and has no value, as in upstream.
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        let Self { spec, status, .. } = self;
        vec![
            ("spec.nodeName", spec.node_name.clone()),
            ("spec.restartPolicy", spec.restart_policy.to_string()),
            ("spec.schedulerName", spec.scheduler_name.clone()),
            ("spec.serviceAccountName", spec.service_account_name.clone()),
            ("spec.hostNetwork", spec.host_network.to_string()),
            ("status.phase", status.phase.to_string()),
            ("status.podIP", status.pod_ips.first().map(|first| first.ip.clone()).unwrap_or_default()),
            ("status.nominatedNodeName", status.nominated_node_name.clone()),
        ]
    }

    fn columns() -> &'static [Column<Self>] {
        columns::COLUMNS
    }
}

impl Pod {
    /// What a write to `/ephemeralcontainers` may change: these containers.
    pub fn prepare_for_ephemeral_containers(&mut self, old: &Self) {
        let containers = std::mem::take(&mut self.spec.ephemeral_containers);
        self.spec = PodSpec { ephemeral_containers: containers, ..old.spec.clone() };
        self.status = old.status.clone();
        self.metadata.keep_for_status(&old.metadata);
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    /// In place of `validate_update` for such a write; `validate` has run.
    pub fn validate_ephemeral_containers(&self, old: &Self, errors: &mut Errors) {
        validate::ephemeral_containers_update(self, old, errors);
    }
}

/// What a pod with scheduling gates says of itself from the start (KEP-3521).
fn gated(since: Option<Time>) -> PodCondition {
    PodCondition {
        type_: PodConditionType::PodScheduled,
        status: ConditionStatus::False,
        reason: "SchedulingGated".to_owned(),
        message: "Scheduling is blocked due to non-empty scheduling gates".to_owned(),
        last_transition_time: since,
        ..PodCondition::default()
    }
}

/// Writes matchLabelKeys and mismatchLabelKeys into the selectors that they belong to, with the
/// pod's own labels (KEP-3633, KEP-3243).
fn merge_label_keys(pod: &mut Pod) {
    let labels = &pod.metadata.labels;
    if let Some(affinity) = &mut pod.spec.affinity {
        let near = affinity.pod_affinity.iter_mut().flat_map(|a| {
            let preferred = &mut a.preferred_during_scheduling_ignored_during_execution;
            preferred
                .iter_mut()
                .map(|weighted| &mut weighted.pod_affinity_term)
                .chain(&mut a.required_during_scheduling_ignored_during_execution)
        });
        let apart = affinity.pod_anti_affinity.iter_mut().flat_map(|a| {
            let preferred = &mut a.preferred_during_scheduling_ignored_during_execution;
            preferred
                .iter_mut()
                .map(|weighted| &mut weighted.pod_affinity_term)
                .chain(&mut a.required_during_scheduling_ignored_during_execution)
        });
        for term in near.chain(apart) {
            // Without a selector a term matches no pod; keys do not change that.
            let Some(selector) = &mut term.label_selector else { continue };
            extend(selector, &term.match_label_keys, LabelSelectorOperator::In, labels);
            extend(selector, &term.mismatch_label_keys, LabelSelectorOperator::NotIn, labels);
        }
    }
    for constraint in &mut pod.spec.topology_spread_constraints {
        if let Some(selector) = &mut constraint.label_selector {
            extend(selector, &constraint.match_label_keys, LabelSelectorOperator::In, labels);
        }
    }
}

fn extend(
    selector: &mut LabelSelector,
    keys: &[String],
    operator: LabelSelectorOperator,
    labels: &BTreeMap<String, String>,
) {
    selector.match_expressions.extend(keys.iter().filter_map(|key| {
        Some(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.clone(),
            values: vec![labels.get(key)?.clone()],
        })
    }));
}

/// A writer that does not know observedGeneration does not wipe it, neither in the status nor in
/// its conditions (paired by type, in order).
fn keep_observed_generations(status: &mut PodStatus, old: &PodStatus) {
    if status.observed_generation == 0 {
        status.observed_generation = old.observed_generation;
    }
    let mut known: Vec<(&PodConditionType, i64)> =
        old.conditions.iter().map(|c| (&c.type_, c.observed_generation)).collect();
    for condition in &mut status.conditions {
        let Some(at) = known.iter().position(|(type_, _)| **type_ == condition.type_) else { continue };
        let (_, generation) = known.remove(at);
        if condition.observed_generation == 0 {
            condition.observed_generation = generation;
        }
    }
}
