//! What is refused in a ResourceQuota: resources that nobody counts, scopes that do not go together.

use super::*;
use crate::core::v1::pod::validate::{quantity, resource_name};
use crate::field::{Errors, Path};
use crate::meta::v1::validate::IMMUTABLE;
use crate::value::Value;
use std::collections::BTreeSet;

/// Resources with a plain name that quotas count.
const COUNTED: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_counted(name: &str) -> bool {
    COUNTED.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

pub(super) fn quota(quota: &ResourceQuota, errors: &mut Errors) {
    let path = Path::new("spec");
    amounts(&quota.spec.hard, &path.child("hard"), errors);
    scopes(&quota.spec, &path.child("scopes"), errors);
    selector(&quota.spec, &path.child("scopeSelector").child("matchExpressions"), errors);
}

fn amounts(list: &ResourceList, path: &Path, errors: &mut Errors) {
    for (name, amount) in list {
        let path = path.key(name);
        resource_name(name, &path, errors);
        if !name.contains('/') && !is_counted(name) {
            errors.invalid(&path, name, "must be a standard resource for quota");
        }
        quantity(name, amount, &path, errors);
    }
}

/// Whether objects of a scope use the resource.
fn fits(scope: &ResourceQuotaScope, resource: &str) -> bool {
    const COMPUTE: [&str; 6] =
        ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        ResourceQuotaScope::Terminating
        | ResourceQuotaScope::NotTerminating
        | ResourceQuotaScope::NotBestEffort
        | ResourceQuotaScope::PriorityClass
        | ResourceQuotaScope::CrossNamespacePodAffinity => resource == "pods" || COMPUTE.contains(&resource),
        ResourceQuotaScope::BestEffort => resource == "pods",
        ResourceQuotaScope::VolumeAttributesClass => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

fn conflict(scopes: &BTreeSet<&ResourceQuotaScope>) -> impl Iterator<Item = ()> {
    let pairs = [
        (ResourceQuotaScope::BestEffort, ResourceQuotaScope::NotBestEffort),
        (ResourceQuotaScope::Terminating, ResourceQuotaScope::NotTerminating),
    ];
    pairs
        .into_iter()
        .filter(|(a, b)| scopes.contains(a) && scopes.contains(b))
        .map(|_| ())
        .collect::<Vec<_>>()
        .into_iter()
}

fn scopes(spec: &ResourceQuotaSpec, path: &Path, errors: &mut Errors) {
    let all = &spec.scopes as &dyn Value;
    for scope in &spec.scopes {
        if !ResourceQuotaScope::KNOWN.contains(&scope.as_str()) {
            errors.invalid(path, all, "unsupported scope");
        }
        for _ in spec.hard.keys().filter(|name| is_counted(name) && !fits(scope, name)) {
            errors.invalid(path, all, "unsupported scope applied to resource");
        }
    }
    for () in conflict(&spec.scopes.iter().collect()) {
        errors.invalid(path, all, "conflicting scopes");
    }
}

fn selector(spec: &ResourceQuotaSpec, path: &Path, errors: &mut Errors) {
    let Some(selector) = &spec.scope_selector else { return };
    for requirement in &selector.match_expressions {
        let scope = &requirement.scope_name;
        if !ResourceQuotaScope::KNOWN.contains(&scope.as_str()) {
            errors.invalid(&path.child("scopeName"), scope.as_str(), "unsupported scope");
        }
        for _ in spec.hard.keys().filter(|name| is_counted(name) && !fits(scope, name)) {
            errors.invalid(path, &**selector as &dyn Value, "unsupported scope applied to resource");
        }
        let takes_no_values = !matches!(
            scope,
            ResourceQuotaScope::PriorityClass
                | ResourceQuotaScope::VolumeAttributesClass
                | ResourceQuotaScope::Unset
                | ResourceQuotaScope::Other(_)
        );
        let operator = requirement.operator.as_str();
        if takes_no_values && operator != "Exists" {
            let text = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&path.child("operator"), operator, text);
        }
        match operator {
            "In" | "NotIn" if requirement.values.is_empty() => {
                let text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&path.child("values"), text);
            }
            "Exists" | "DoesNotExist" if !requirement.values.is_empty() => {
                let text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(&path.child("values"), &requirement.values as &dyn Value, text);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
    }
    for () in conflict(&selector.match_expressions.iter().map(|r| &r.scope_name).collect()) {
        errors.invalid(path, &spec.scopes as &dyn Value, "conflicting scopes");
    }
}

pub(super) fn update(new: &ResourceQuota, old: &ResourceQuota, errors: &mut Errors) {
    let set = |quota: &ResourceQuota| quota.spec.scopes.iter().cloned().collect::<BTreeSet<_>>();
    if set(new) != set(old) {
        let path = Path::new("spec").child("scopes");
        errors.invalid(&path, &new.spec.scopes as &dyn Value, IMMUTABLE);
    }
}

pub(super) fn status_update(new: &ResourceQuota, errors: &mut Errors) {
    let path = Path::new("status");
    amounts(&new.status.hard, &path.child("hard"), errors);
    amounts(&new.status.used, &path.child("used"), errors);
}
