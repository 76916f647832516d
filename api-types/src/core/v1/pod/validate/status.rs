//! What a write to a pod's `/status` may not do.

use crate::addresses;
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::immutable;
use crate::names;
use crate::value::Value;

pub(in super::super) fn status_update(new: &Pod, old: &Pod, errors: &mut Errors) {
    const NOT_NEGATIVE: &str = "must be a non-negative integer";
    let path = Path::new("status");
    let status = &new.status;
    for (place, condition) in status.conditions.iter().enumerate() {
        let path = path.child("conditions").index(place);
        if condition.observed_generation < 0 {
            errors.invalid(&path.child("observedGeneration"), condition.observed_generation, NOT_NEGATIVE);
        }
        let type_ = condition.type_.as_str();
        errors.wrong(&path.child("Type"), type_, names::qualified_name(type_));
    }
    nominated_node(new, old, &path.child("nominatedNodeName"), errors);
    if status.observed_generation < 0 {
        errors.invalid(&path.child("observedGeneration"), status.observed_generation, NOT_NEGATIVE);
    }
    immutable(&status.qos_class, &old.status.qos_class, &path.child("qosClass"), errors);
    for (containers, before, specs, name) in [
        (
            &status.container_statuses,
            &old.status.container_statuses,
            &old.spec.containers,
            "containerStatuses",
        ),
        (
            &status.init_container_statuses,
            &old.status.init_container_statuses,
            &old.spec.init_containers,
            "initContainerStatuses",
        ),
    ] {
        let may_restart = |name: &str, exit_code: i32| {
            let container = specs.iter().find(|c| c.name == name);
            container.is_some_and(|c| should_restart(c, &old.spec, exit_code))
        };
        if !any_restarts_all(&old.spec) {
            transitions(containers, before, may_restart, &path.child(name), errors);
        }
    }
    transitions(
        &status.ephemeral_container_statuses,
        &old.status.ephemeral_container_statuses,
        |_, _| false,
        &path.child("ephemeralContainerStatuses"),
        errors,
    );
    pod_addresses(status, &path, errors);
}

fn nominated_node(new: &Pod, old: &Pod, path: &Path, errors: &mut Errors) {
    let name = &new.status.nominated_node_name;
    if *name == old.status.nominated_node_name || name.is_empty() {
        return;
    }
    errors.wrong(path, name, names::dns1123_subdomain(name));
    if !old.spec.node_name.is_empty() {
        errors.forbidden(path, "may not be set on pods that are already bound to a node");
    }
}

/// Whether a container's end may make every container start anew (KEP-5532).
fn any_restarts_all(spec: &PodSpec) -> bool {
    spec.containers
        .iter()
        .chain(&spec.init_containers)
        .flat_map(|c| &c.restart_policy_rules)
        .any(|rule| rule.action == ContainerRestartRuleAction::RestartAllContainers)
}

/// Whether a container that ended so is started again: its rules first, then its policy, then the
/// pod's (KEP-5307).
pub fn should_restart(container: &Container, spec: &PodSpec, exit_code: i32) -> bool {
    for rule in &container.restart_policy_rules {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.contains(&exit_code);
        let matches = match codes.operator {
            ContainerRestartRuleOnExitCodesOperator::In => listed,
            ContainerRestartRuleOnExitCodesOperator::NotIn => !listed,
            _ => false,
        };
        if matches && rule.action == ContainerRestartRuleAction::Restart {
            return true;
        }
    }
    let policy = container.restart_policy.as_ref().map_or(spec.restart_policy.as_str(), |p| p.as_str());
    match policy {
        "Always" => true,
        "OnFailure" => exit_code != 0,
        _ => false,
    }
}

/// A container that has ended for good does not come back.
fn transitions(
    new: &[ContainerStatus],
    old: &[ContainerStatus],
    may_restart: impl Fn(&str, i32) -> bool,
    path: &Path,
    errors: &mut Errors,
) {
    for (place, before) in old.iter().enumerate() {
        let Some(ended) = &before.state.terminated else { continue };
        let back = new.iter().any(|c| c.name == before.name && c.state.terminated.is_none());
        if back && !may_restart(&before.name, ended.exit_code) {
            let text = "may not be transitioned to non-terminated state";
            errors.forbidden(&path.index(place).child("state"), text);
        }
    }
}

fn pod_addresses(status: &PodStatus, path: &Path, errors: &mut Errors) {
    let pod_ips: Vec<&str> = status.pod_ips.iter().map(|ip| ip.ip.as_str()).collect();
    let host_ips: Vec<&str> = status.host_ips.iter().map(|ip| ip.ip.as_str()).collect();
    let lists: [(&[&str], &dyn Value, Path); 2] = [
        (&pod_ips, &status.pod_ips, path.child("podIPs")),
        (&host_ips, &status.host_ips, path.child("hostIPs")),
    ];
    if let Some(first) = host_ips.first().filter(|first| **first != status.host_ip) {
        let path = path.child("hostIPs").index(0).child("ip");
        errors.invalid(&path, *first, "must be equal to `hostIP`");
    }
    for (ips, shown, path) in lists {
        for (place, ip) in ips.iter().enumerate() {
            addresses::legacy_ip(ip, &path.index(place), errors);
        }
        addresses::one_per_family(ips, shown, &path, errors);
    }
}
