//! RuntimeClass: a pod gets its class's overhead, node selector and tolerations (KEP-688).

use super::{Context, Operation, Plugin, Refusal, Request};
use api_types::core::v1::{Pod, TaintEffect, Toleration, TolerationOperator};
use api_types::node::v1::RuntimeClass as Class;
use std::sync::Arc;

pub struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        let Some(class) = class_of(request, context)? else { return Ok(()) };
        let Some(pod) = request.object::<Pod>() else { return Ok(()) };
        if let Some(overhead) = &class.overhead
            && !pod.spec.overhead.is_empty()
            && pod.spec.overhead != overhead.pod_fixed
        {
            return Err(request.forbidden(MISMATCH).into());
        }
        if let Some(scheduling) = &class.scheduling {
            for (key, value) in &scheduling.node_selector {
                if let Some(own) = pod.spec.node_selector.get(key).filter(|own| *own != value) {
                    return Err(request
                        .forbidden(format!(
                            "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; \
                             pod.spec.nodeSelector[{key}] = {own}"
                        ))
                        .into());
                }
            }
        }
        let Some(pod) = request.object_mut::<Pod>() else { return Ok(()) };
        if let Some(overhead) = &class.overhead {
            pod.spec.overhead = overhead.pod_fixed.clone();
        }
        if let Some(scheduling) = &class.scheduling {
            pod.spec.node_selector.extend(scheduling.node_selector.clone());
            let own = std::mem::take(&mut pod.spec.tolerations);
            pod.spec.tolerations = merged(own.into_iter().chain(scheduling.tolerations.clone()).collect());
        }
        Ok(())
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("", "pods", "") {
            return Ok(());
        }
        let class = class_of(request, context)?;
        let Some(pod) = request.object::<Pod>() else { return Ok(()) };
        match class.as_ref().and_then(|class| class.overhead.as_ref()) {
            Some(overhead) if overhead.pod_fixed != pod.spec.overhead => {
                Err(request.forbidden(MISMATCH).into())
            }
            None if !pod.spec.overhead.is_empty() => {
                let why =
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(request.forbidden(why).into())
            }
            _ => Ok(()),
        }
    }
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// The class that a pod names.
fn class_of(request: &Request<'_>, context: Context<'_>) -> Result<Option<Arc<Class>>, Refusal> {
    if !request.is_about("", "pods", "") {
        return Ok(None);
    }
    let Some(name) = request.object::<Pod>().and_then(|pod| pod.spec.runtime_class_name.as_ref()) else {
        return Ok(None);
    };
    match context.views.runtime_classes.get("", name) {
        Some(class) => Ok(Some(class)),
        None => {
            let why = format!("pod rejected: RuntimeClass {name:?} not found");
            Err(Refusal::missing(request.forbidden(why)))
        }
    }
}

/// Leaves out tolerations that another one includes; of equal ones the first stays.
fn merged(all: Vec<Toleration>) -> Vec<Toleration> {
    let mut merged: Vec<Toleration> = Vec::new();
    for (place, toleration) in all.iter().enumerate() {
        let before = merged.iter().any(|other| includes(other, toleration));
        let after = all[place + 1..].iter().any(|other| other != toleration && includes(other, toleration));
        if !before && !after {
            merged.push(toleration.clone());
        }
    }
    merged
}

/// Whether `wide` tolerates all that `narrow` does.
fn includes(wide: &Toleration, narrow: &Toleration) -> bool {
    if wide == narrow {
        return true;
    }
    let exists = wide.operator == TolerationOperator::Exists;
    if narrow.key != wide.key && !(wide.key.is_empty() && exists) {
        return false;
    }
    if narrow.effect != wide.effect && wide.effect != TaintEffect::Unset {
        return false;
    }
    if wide.effect == TaintEffect::NoExecute
        && let Some(limit) = wide.toleration_seconds
        && narrow.toleration_seconds.is_none_or(|seconds| seconds > limit)
    {
        return false;
    }
    match wide.operator {
        TolerationOperator::Equal | TolerationOperator::Unset => {
            narrow.operator == TolerationOperator::Equal && narrow.value == wide.value
        }
        _ => exists,
    }
}
