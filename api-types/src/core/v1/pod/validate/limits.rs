//! Requests and limits of containers and of the pod as a whole.

use super::Scope;
use crate::core::v1::pod::demand;
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::NEGATIVE;
use crate::names;
use crate::value::Quantity;
use std::collections::BTreeSet;

/// Resources that have a plain name, without a domain.
const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

const INTEGER: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

pub(super) fn of_container(
    scope: &Scope<'_>,
    resources: &ResourceRequirements,
    path: &Path,
    errors: &mut Errors,
) {
    requirements(resources, container_resource, path, errors);
    claims(&resources.claims, &scope.claims, &path.child("claims"), errors);
}

/// What a pod costs besides its containers; checked like limits.
pub(crate) fn overhead(overhead: &ResourceList, path: &Path, errors: &mut Errors) {
    let limits = ResourceRequirements { limits: overhead.clone(), ..ResourceRequirements::default() };
    requirements(&limits, container_resource, path, errors);
}

fn requirements(
    resources: &ResourceRequirements,
    check_name: fn(&str, &Path, &mut Errors),
    path: &Path,
    errors: &mut Errors,
) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    for (name, amount) in &resources.limits {
        let path = limits.key(name);
        check_name(name, &path, errors);
        quantity(name, amount, &path, errors);
        whole_pages(name, amount, &path, errors);
    }
    for (name, amount) in &resources.requests {
        let path = requests.key(name);
        check_name(name, &path, errors);
        quantity(name, amount, &path, errors);
        match resources.limits.get(name) {
            Some(limit) if !may_overcommit(name) && amount != limit => {
                let text = format!("must be equal to {name} limit of {limit}");
                errors.invalid(&requests, *amount, text);
            }
            Some(limit) if amount > limit => {
                let text = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&requests, *amount, text);
            }
            None if !may_overcommit(name) => {
                errors.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        whole_pages(name, amount, &path, errors);
    }
    let all = || resources.limits.keys().chain(resources.requests.keys());
    if all().any(|name| demand::is_huge_page(name)) && !all().any(|name| matches!(&**name, "cpu" | "memory"))
    {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// An amount of a resource: not negative, and whole where only whole ones exist.
pub(crate) fn quantity(name: &str, amount: &Quantity, path: &Path, errors: &mut Errors) {
    if amount.is_negative() {
        errors.invalid(path, *amount, NEGATIVE);
    }
    if (INTEGER.contains(&name) || is_extended(name)) && !amount.is_whole() {
        errors.invalid(path, *amount, "must be an integer");
    }
}

fn whole_pages(name: &str, amount: &Quantity, path: &Path, errors: &mut Errors) {
    let Some(size) = name.strip_prefix(well_known::resource::HUGE_PAGES_PREFIX) else { return };
    let divisible =
        Quantity::parse(size).is_ok_and(|size| size.value() > 0 && amount.value() % size.value() == 0);
    if !divisible {
        errors.invalid(path, *amount, format!("{amount} is not positive integer multiple of {name}"));
    }
}

pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// A resource of a device plugin, such as `example.com/gpu`.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !demand::is_huge_page(name)
}

/// The name of any resource; tells whether it is well formed.
pub(crate) fn resource_name(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        errors.wrong(path, name, wrong);
        return false;
    }
    let known =
        STANDARD.contains(&name) || name.starts_with("requests.hugepages-") || demand::is_huge_page(name);
    if !name.contains('/') && !known {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

pub(crate) fn container_resource(name: &str, path: &Path, errors: &mut Errors) {
    resource_name(name, path, errors);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !demand::is_huge_page(name) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource(name: &str, path: &Path, errors: &mut Errors) {
    if resource_name(name, path, errors) && !demand::is_pod_level(name) {
        errors.not_supported(path, name, &["cpu", "memory"]);
    }
}

/// A claim is used once, either whole or by single requests.
fn claims(claims: &[ResourceClaim], known: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (place, claim) in claims.iter().enumerate() {
        let path = path.index(place);
        let (name, request) = (claim.name.as_str(), claim.request.as_str());
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        if seen.contains(&(name, "")) {
            errors.duplicate(&path, name);
        } else {
            if !request.is_empty() {
                errors.wrong(&path.child("request"), request, names::dns1123_label(request));
            }
            if seen.contains(&(name, request)) {
                errors.duplicate(&path, format!("{name}/{request}").as_str());
            } else if request.is_empty() && seen.iter().any(|(other, _)| *other == name) {
                errors.duplicate(&path, name);
            }
            seen.insert((name, request));
        }
        if !known.contains(name) {
            errors.not_found(&path, name);
            let detail = match known.is_empty() {
                true => " which is empty".to_owned(),
                false => format!(": {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            if let Some(last) = errors.0.last_mut() {
                last.detail = format!("must be one of the names in pod.spec.resourceClaims{detail}");
            }
        }
    }
}

/// Resources of the pod as a whole (KEP-2837).
pub(super) fn pod_level(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let Some(own) = &scope.spec.resources else { return };
    if scope.spec.os.as_ref().is_some_and(|os| os.name == OSName::Windows) {
        return errors.forbidden(path, "may not be set for a windows pod");
    }
    if !own.claims.is_empty() {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(own, pod_resource, path, errors);
    claims(&own.claims, &scope.claims, &path.child("claims"), errors);
    for (name, asked) in demand::of_containers(scope.spec, |r| &r.requests) {
        if let Some(request) = own.requests.get(&name).filter(|request| asked > **request) {
            let text = format!("must be greater than or equal to aggregate container requests of {asked}");
            errors.invalid(&path.child("requests").key(&name), *request, text);
        }
    }
    for (name, limited) in demand::of_containers(scope.spec, |r| &r.limits) {
        if let Some(limit) =
            own.limits.get(&name).filter(|limit| demand::is_huge_page(&name) && limited > **limit)
        {
            let text = format!("must be greater than or equal to aggregate container limits of {limited}");
            errors.invalid(&path.child("limits").key(&name), *limit, text);
        }
    }
    for (place, container) in scope.spec.containers.iter().enumerate() {
        for (name, limit) in &container.resources.limits {
            if let Some(whole) = own.limits.get(name).filter(|whole| limit > *whole) {
                let path = path.child("containers").index(place).key(name).child("limits");
                errors.invalid(&path, *limit, format!("must be less than or equal to pod limits of {whole}"));
            }
        }
    }
}
