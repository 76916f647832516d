//! Priority: looks up the number behind a pod's PriorityClass, and keeps to one default class.

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::views::{PriorityClassView, Views};
use api_types::core::v1::{Pod, PreemptionPolicy};
use api_types::scheduling::v1::PriorityClass;
use std::sync::Arc;

pub struct Priority;

impl Plugin for Priority {
    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("", "pods", "") {
            return Ok(());
        }
        if request.operation == Operation::Update {
            keep(request);
            return Ok(());
        }
        let Some(pod) = request.object::<Pod>() else { return Ok(()) };
        let name = pod.spec.priority_class_name.clone();
        let (name, value, policy) = if name.is_empty() {
            match default_class(context.views) {
                Some((name, class)) => (name, class.value, class.preemption_policy.clone()),
                None => (String::new(), 0, Some(PreemptionPolicy::PreemptLowerPriority)),
            }
        } else {
            let Some(class) = context.views.priority_classes.get("", &name) else {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(Refusal::missing(request.forbidden(why)));
            };
            (name, class.value, class.preemption_policy.clone())
        };
        if let Some(given) = pod.spec.priority.filter(|given| *given != value) {
            return Err(request
                .forbidden(format!(
                    "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                     controller computed {value} from the given PriorityClass name"
                ))
                .into());
        }
        if let (Some(given), Some(policy)) = (&pod.spec.preemption_policy, &policy)
            && given != policy
        {
            return Err(request
                .forbidden(format!(
                    "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority \
                     admission controller computed {policy} from the given PriorityClass name"
                ))
                .into());
        }
        let Some(pod) = request.object_mut::<Pod>() else { return Ok(()) };
        pod.spec.priority_class_name = name;
        pod.spec.priority = Some(value);
        if policy.is_some() {
            pod.spec.preemption_policy = policy;
        }
        Ok(())
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("scheduling.k8s.io", "priorityclasses", "") {
            return Ok(());
        }
        let Some(class) = request.object::<PriorityClass>().filter(|class| class.global_default) else {
            return Ok(());
        };
        match default_class(context.views) {
            Some((name, _)) if request.operation == Operation::Create || name != class.metadata.name => {
                Err(request
                    .forbidden(format!(
                        "PriorityClass {name} is already marked as default. Only one default can exist"
                    ))
                    .into())
            }
            _ => Ok(()),
        }
    }
}

/// An update that says nothing keeps what creation found.
fn keep(request: &mut Request<'_>) {
    let Some((priority, policy)) =
        request.old::<Pod>().map(|old| (old.spec.priority, old.spec.preemption_policy.clone()))
    else {
        return;
    };
    if let Some(pod) = request.object_mut::<Pod>() {
        pod.spec.priority = pod.spec.priority.or(priority);
        if pod.spec.preemption_policy.is_none() {
            pod.spec.preemption_policy = policy;
        }
    }
}

/// The default class; of several, that of the least value.
fn default_class(views: &Views) -> Option<(String, Arc<PriorityClassView>)> {
    views
        .priority_classes
        .keys()
        .into_iter()
        .filter_map(|(_, name)| views.priority_classes.get("", &name).map(|class| (name, class)))
        .filter(|(_, class)| class.global_default)
        .min_by_key(|(_, class)| class.value)
}
