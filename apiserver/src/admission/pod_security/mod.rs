//! PodSecurity: namespaces say by labels which of the Pod Security Standards their pods must keep to
//! (API doc "Pod Security Admission").
//!
//! `level` reads the labels, `checks` is the table of checks; baseline looks for what breaks out of a
//! pod, restricted also for what is not locked down.

mod baseline;
mod checks;
mod level;
mod restricted;
#[cfg(test)]
mod tests;

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::status::ApiError;
use api_types::apps::v1::{Deployment, ReplicaSet};
use api_types::core::v1::{Container, Namespace, Pod, PodSpec};
use api_types::meta::v1::ObjectMeta;
use checks::violations;
use level::Policy;
use std::collections::BTreeMap;

/// Subresources of pods that change nothing of what is checked.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

pub struct PodSecurity;

impl Plugin for PodSecurity {
    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if request.is_about("", "namespaces", "") {
            return Ok(check_labels(request)?);
        }
        let Some((meta, spec)) = changed_pod(request) else { return Ok(()) };
        let enforce = policy(request, context)?.enforce;
        match violations(enforce, meta, spec) {
            Some(found) => Err(request
                .forbidden(format!("violates PodSecurity {:?}: {found}", enforce.to_string()))
                .into()),
            None => Ok(()),
        }
    }

    fn warnings(&self, request: &Request<'_>, context: Context<'_>) -> Vec<String> {
        let Some((meta, spec)) = changed_pod(request).or_else(|| template(request)) else {
            return Vec::new();
        };
        let Ok(Policy { warn, .. }) = policy(request, context) else { return Vec::new() };
        violations(warn, meta, spec)
            .map(|found| format!("would violate PodSecurity {:?}: {found}", warn.to_string()))
            .into_iter()
            .collect()
    }
}

/// The policy of the request's namespace. Labels that cannot be read count as the strictest.
fn policy(request: &Request<'_>, context: Context<'_>) -> Result<Policy, Refusal> {
    let namespace = request.namespace;
    let view = context.views.namespaces.get("", namespace).ok_or_else(|| {
        Refusal::missing(ApiError::Internal(format!("failed to lookup namespace {namespace:?}")))
    })?;
    Ok(Policy::of(&view.labels).0)
}

/// New labels must be readable; bad ones that are there already may stay.
fn check_labels(request: &Request<'_>) -> Result<(), ApiError> {
    let Some(new) = request.object::<Namespace>() else { return Ok(()) };
    let none = BTreeMap::new();
    let old = request.old::<Namespace>().map_or(&none, |old| &old.metadata.labels);
    let (_, errors) = Policy::of(&new.metadata.labels);
    if errors.is_empty() || errors == Policy::of(old).1 {
        return Ok(());
    }
    Err(ApiError::invalid(request.kind, &new.metadata.name, errors))
}

/// The pod in the request, unless an update leaves its containers' images as they are.
fn changed_pod<'a>(request: &'a Request<'_>) -> Option<(&'a ObjectMeta, &'a PodSpec)> {
    if request.kind.resource != "pods" || IGNORED.contains(&request.subresource) {
        return None;
    }
    let pod = request.object::<Pod>()?;
    if let Some(old) = request.old::<Pod>()
        && !is_significant(&pod.spec, &old.spec)
    {
        return None;
    }
    Some((&pod.metadata, &pod.spec))
}

/// The pod template of a controller's object: its pods will be checked, so this only warns.
fn template<'a>(request: &'a Request<'_>) -> Option<(&'a ObjectMeta, &'a PodSpec)> {
    if !request.subresource.is_empty() {
        return None;
    }
    let template = match request.object::<Deployment>() {
        Some(deployment) => &deployment.spec.template,
        None => &request.object::<ReplicaSet>()?.spec.template,
    };
    Some((&template.metadata, &template.spec))
}

fn is_significant(new: &PodSpec, old: &PodSpec) -> bool {
    let images = |containers: &[Container]| containers.iter().map(|c| c.image.clone()).collect::<Vec<_>>();
    images(&new.containers) != images(&old.containers)
        || images(&new.init_containers) != images(&old.init_containers)
        || new.ephemeral_containers.iter().any(|container| {
            let same =
                |old: &&api_types::core::v1::EphemeralContainer| old.common.name == container.common.name;
            old.ephemeral_containers
                .iter()
                .find(same)
                .is_none_or(|old| old.common.image != container.common.image)
        })
}
