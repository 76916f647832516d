//! What an update of a pod may not do: nearly everything.

use super::{annotation, toleration};
use crate::core::v1::*;
use crate::diff::unified;
use crate::field::{Errors, Path};
use crate::value::Value;
use std::collections::BTreeMap;

const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update of the pod itself.
pub(in super::super) fn update(new: &Pod, old: &Pod, errors: &mut Errors) {
    let path = Path::new("spec");
    annotations(new, old, errors);
    for (containers, before, name) in [
        (&new.spec.containers, &old.spec.containers, "containers"),
        (&new.spec.init_containers, &old.spec.init_containers, "initContainers"),
    ] {
        if containers.len() != before.len() {
            return errors.forbidden(&path.child(name), "pod updates may not add or remove containers");
        }
        for (place, container) in containers.iter().enumerate() {
            let path = path.child(name).index(place);
            errors.need(&path, "image", &container.image);
            super::container::image_padding(container, &path, errors);
        }
    }
    if !deadline(&new.spec, &old.spec, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    tolerations(&new.spec, &old.spec, &path.child("tolerations"), errors);
    for (place, gate) in new.spec.scheduling_gates.iter().enumerate() {
        if !old.spec.scheduling_gates.contains(gate) {
            let text = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            errors.forbidden(&path.child("schedulingGates").index(place).child("name"), text);
        }
    }
    if new.spec == old.spec {
        return;
    }
    let mut rest = new.spec.clone();
    take_over_changeable(&mut rest, &old.spec);
    if !old.spec.scheduling_gates.is_empty() {
        gated(&mut rest, &old.spec, &path, errors);
    }
    if rest != old.spec {
        let diff = unified(&old.spec, &rest);
        errors.forbidden(&path, format!("pod updates may not change fields other than {CHANGEABLE}\n{diff}"));
    }
}

fn annotations(new: &Pod, old: &Pod, errors: &mut Errors) {
    const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    let path = Path::new("metadata").child("annotations");
    let (new, old) = (&new.metadata.annotations, &old.metadata.annotations);
    let mut check = |key: &str, what: &str| {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), format!("may not {what} AppArmor annotations"));
        }
        if key == annotation::STATIC_POD_MIRROR {
            errors.forbidden(&path.key(key), format!("may not {what} mirror pod annotation"));
        }
    };
    for (key, _) in old.iter().filter(|(key, value)| new.get(*key) != Some(value)) {
        check(key, "remove or update");
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        check(key, "add");
    }
}

/// The deadline may be set, and lowered. Tells whether to look further.
fn deadline(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) -> bool {
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            errors.invalid(path, seconds, "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.invalid(path, seconds, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            let text = "must not update from a positive integer to nil value";
            errors.invalid(path, &None::<i64> as &dyn Value, text);
            true
        }
        _ => true,
    }
}

fn tolerations(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    let kept = |before: &Toleration| {
        new.tolerations.iter().any(|toleration| {
            Toleration { toleration_seconds: toleration.toleration_seconds, ..before.clone() } == *toleration
        })
    };
    if !old.tolerations.iter().all(kept) {
        let text = "existing toleration can not be modified except its tolerationSeconds";
        return errors.forbidden(path, text);
    }
    // Checked with the spec as well; upstream reports mistakes in both places.
    toleration::tolerations(&new.tolerations, path, errors);
}

/// Sets back what may change, so that the rest can be compared.
fn take_over_changeable(spec: &mut PodSpec, old: &PodSpec) {
    let images = spec.containers.iter_mut().zip(&old.containers);
    for (container, before) in images.chain(spec.init_containers.iter_mut().zip(&old.init_containers)) {
        container.image = before.image.clone();
    }
    spec.active_deadline_seconds = old.active_deadline_seconds;
    spec.scheduling_gates = old.scheduling_gates.clone();
    spec.tolerations = old.tolerations.clone();
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && spec.termination_grace_period_seconds == Some(1)
    {
        spec.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
}

/// A pod that is held back by gates may become choosier about its node (KEP-3838).
fn gated(spec: &mut PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    if spec.node_selector != old.node_selector {
        if old.node_selector.iter().any(|(key, value)| spec.node_selector.get(key) != Some(value)) {
            let text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.invalid(&path.child("nodeSelector"), &spec.node_selector as &dyn Value, text);
        }
        spec.node_selector = old.node_selector.clone();
    }
    let nodes = |spec: &PodSpec| spec.affinity.as_ref().and_then(|a| a.node_affinity.clone());
    let (new_nodes, old_nodes) = (nodes(spec), nodes(old));
    if new_nodes == old_nodes {
        return;
    }
    let path =
        path.child("affinity").child("nodeAffinity").child("requiredDuringSchedulingIgnoredDuringExecution");
    node_affinity(new_nodes.as_deref(), old_nodes.as_deref(), &path.child("nodeSelectorTerms"), errors);
    let mut affinity = spec.affinity.take().unwrap_or_default();
    affinity.node_affinity = old_nodes;
    let back_to_none = old.affinity.is_none() && *affinity == Affinity::default();
    spec.affinity = (!back_to_none).then_some(affinity);
}

fn node_affinity(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, path: &Path, errors: &mut Errors) {
    let terms = |affinity: Option<&NodeAffinity>| -> Vec<NodeSelectorTerm> {
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        required.map(|r| r.node_selector_terms.clone()).unwrap_or_default()
    };
    let (new, old) = (terms(new), terms(old));
    if !old.is_empty() && new.len() != old.len() {
        let text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(path, &new as &dyn Value, text);
    }
    for (place, (term, before)) in new.iter().zip(&old).enumerate() {
        let empty = before.match_expressions.is_empty() && before.match_fields.is_empty();
        let fine = if empty {
            term == before
        } else {
            term.match_expressions.starts_with(&before.match_expressions)
                && term.match_fields.starts_with(&before.match_fields)
        };
        if !fine {
            let text = "only additions are allowed (no mutations or deletions)";
            errors.invalid(&path.index(place), term as &dyn Value, text);
        }
    }
}

/// A write to `/ephemeralcontainers`, which may only add; `validate` has run.
pub(in super::super) fn ephemeral_containers_update(new: &Pod, old: &Pod, errors: &mut Errors) {
    annotations(new, old, errors);
    if old.metadata.annotations.contains_key(annotation::STATIC_POD_MIRROR) {
        errors.0.clear();
        return errors.forbidden(&Path::new(""), "static pods do not support ephemeral containers");
    }
    let path = Path::new("spec").child("ephemeralContainers");
    let known: BTreeMap<&str, &EphemeralContainer> =
        new.spec.ephemeral_containers.iter().map(|c| (c.common.name.as_str(), c)).collect();
    for before in &old.spec.ephemeral_containers {
        let name = &before.common.name;
        match known.get(name.as_str()) {
            None => {
                errors
                    .forbidden(&path, format!("existing ephemeral containers {name:?} may not be removed\n"));
            }
            Some(container) if *container != before => {
                let diff = unified(before, *container);
                let text = format!("existing ephemeral containers {name:?} may not be changed\n{diff}");
                errors.forbidden(&path, text);
            }
            Some(_) => {}
        }
    }
}
