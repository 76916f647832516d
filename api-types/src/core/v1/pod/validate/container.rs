//! Containers proper, init containers and debug containers.

use super::{Scope, env, limits, mounts, probe, security};
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::names;
use std::collections::BTreeSet;

/// All containers of a spec; `path` is the spec's.
pub(super) fn containers(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    main(scope, &path.child("containers"), errors);
    init(scope, &path.child("initContainers"), errors);
    debug(scope, &path.child("ephemeralContainers"), errors);
}

fn main(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let containers = &scope.spec.containers;
    if containers.is_empty() {
        errors.required(path, "");
        return;
    }
    let mut seen = BTreeSet::new();
    for (place, container) in containers.iter().enumerate() {
        let path = path.index(place);
        common(scope, container, &path, errors);
        if !seen.insert(&container.name) {
            errors.duplicate(&path.child("name"), &container.name);
        }
        probe::lifecycle_and_probes(scope.spec, container, &path, errors);
        restarts(container, &path, errors);
    }
    host_ports(containers, path, errors);
}

fn init(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let mut seen: BTreeSet<&str> = scope.spec.containers.iter().map(|c| c.name.as_str()).collect();
    for (place, container) in scope.spec.init_containers.iter().enumerate() {
        let path_here = path.index(place);
        common(scope, container, &path_here, errors);
        restarts(container, &path_here, errors);
        if !container.name.is_empty() && !seen.insert(&container.name) {
            errors.duplicate(&path_here.child("name"), &container.name);
        }
        // Init containers run one by one: ports conflict only within one.
        host_ports(std::slice::from_ref(container), path, errors);
        if container.is_sidecar() {
            probe::lifecycle_and_probes(scope.spec, container, &path_here, errors);
            continue;
        }
        for (set, name) in [
            (container.lifecycle.is_some(), "lifecycle"),
            (container.liveness_probe.is_some(), "livenessProbe"),
            (container.readiness_probe.is_some(), "readinessProbe"),
            (container.startup_probe.is_some(), "startupProbe"),
        ] {
            if set {
                errors.forbidden(
                    &path_here.child(name),
                    "may not be set for init containers without restartPolicy=Always",
                );
            }
        }
        for (i, policy) in container.resize_policy.iter().enumerate() {
            if policy.restart_policy == ResourceResizeRestartPolicy::RestartContainer {
                errors.invalid(
                    &path_here.child("resizePolicy").index(i).child("restartPolicy"),
                    policy.restart_policy.as_str(),
                    "must not be set to 'RestartContainer' for non-sidecar initContainers",
                );
            }
        }
    }
}

fn debug(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    const NOT_ALLOWED: &str = "cannot be set for an Ephemeral Container";
    let others: BTreeSet<&str> =
        scope.spec.containers.iter().chain(&scope.spec.init_containers).map(|c| c.name.as_str()).collect();
    let mut seen = others.clone();
    for (place, container) in scope.spec.ephemeral_containers.iter().enumerate() {
        let path = path.index(place);
        let own = &container.common;
        common(scope, own, &path, errors);
        image_padding(own, &path, errors);
        if !seen.insert(&own.name) {
            errors.duplicate(&path.child("name"), &own.name);
        }
        let target = container.target_container_name.as_str();
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for (set, name) in [
            (!own.ports.is_empty(), "ports"),
            (own.resources != ResourceRequirements::default(), "resources"),
            (!own.resize_policy.is_empty(), "resizePolicy"),
            (own.restart_policy.is_some(), "restartPolicy"),
            (!own.restart_policy_rules.is_empty(), "restartPolicyRules"),
            (own.liveness_probe.is_some(), "livenessProbe"),
            (own.readiness_probe.is_some(), "readinessProbe"),
            (own.startup_probe.is_some(), "startupProbe"),
            (own.lifecycle.is_some(), "lifecycle"),
        ] {
            if set {
                errors.forbidden(&path.child(name), NOT_ALLOWED);
            }
        }
        for (i, mount) in own.volume_mounts.iter().enumerate() {
            let path = path.child("volumeMounts").index(i);
            for (value, name) in [(&mount.sub_path, "subPath"), (&mount.sub_path_expr, "subPathExpr")] {
                if !value.is_empty() {
                    errors.forbidden(&path.child(name), NOT_ALLOWED);
                }
            }
        }
    }
}

/// What holds for containers of every sort.
fn common(scope: &Scope<'_>, container: &Container, path: &Path, errors: &mut Errors) {
    if container.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.wrong(&path.child("name"), &container.name, names::dns1123_label(&container.name));
    }
    errors.need(path, "image", &container.image);
    errors.required_choice(
        &path.child("terminationMessagePolicy"),
        container.termination_message_policy.as_str(),
        &["File", "FallbackToLogsOnError"],
    );
    ports(&container.ports, &path.child("ports"), errors);
    env::variables(&container.env, &path.child("env"), errors);
    env::sources(&container.env_from, &path.child("envFrom"), errors);
    mounts::mounts(scope, container, &path.child("volumeMounts"), errors);
    mounts::devices(scope, container, &path.child("volumeDevices"), errors);
    pull_policy(&container.image_pull_policy, &path.child("imagePullPolicy"), errors);
    limits::of_container(scope, &container.resources, &path.child("resources"), errors);
    resize_policies(scope.spec, &container.resize_policy, &path.child("resizePolicy"), errors);
    if let Some(context) = &container.security_context {
        security::of_container(context, scope.spec, &path.child("securityContext"), errors);
    }
}

/// COMPAT: templates may have blanks around an image, pods may not.
pub(super) fn image_padding(container: &Container, path: &Path, errors: &mut Errors) {
    if container.image.trim() != container.image {
        let text = "must not have leading or trailing whitespace";
        errors.invalid(&path.child("image"), &container.image, text);
    }
}

pub(super) fn pull_policy(policy: &PullPolicy, path: &Path, errors: &mut Errors) {
    errors.required_choice(path, policy.as_str(), &["Always", "IfNotPresent", "Never"]);
}

fn ports(ports: &[ContainerPort], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (place, port) in ports.iter().enumerate() {
        let path = path.index(place);
        if !port.name.is_empty() {
            let wrong = names::port_name(&port.name);
            if !wrong.is_empty() {
                errors.wrong(&path.child("name"), &port.name, wrong);
            } else if !seen.insert(&port.name) {
                errors.duplicate(&path.child("name"), &port.name);
            }
        }
        if port.container_port == 0 {
            errors.required(&path.child("containerPort"), "");
        } else {
            number(port.container_port, &path.child("containerPort"), errors);
        }
        if port.host_port != 0 {
            number(port.host_port, &path.child("hostPort"), errors);
        }
        errors.required_choice(&path.child("protocol"), port.protocol.as_str(), &["SCTP", "TCP", "UDP"]);
    }
}

pub(super) fn number(port: i32, path: &Path, errors: &mut Errors) {
    for wrong in names::port_number(port) {
        errors.invalid(path, port, wrong);
    }
}

/// A port of a node can lead to one container only.
fn host_ports(containers: &[Container], path: &Path, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    for (place, container) in containers.iter().enumerate() {
        for (i, port) in container.ports.iter().enumerate().filter(|(_, port)| port.host_port != 0) {
            let key = format!("{}/{}/{}", port.protocol, port.host_ip, port.host_port);
            if taken.contains(&key) {
                errors.duplicate(&path.index(place).child("ports").index(i).child("hostPort"), &key);
            }
            taken.insert(key);
        }
    }
}

/// Restart policy of a single container, and exceptions by exit code (KEP-5307, KEP-5532).
fn restarts(container: &Container, path: &Path, errors: &mut Errors) {
    let rules = &container.restart_policy_rules;
    match &container.restart_policy {
        None if rules.is_empty() => return,
        None => errors
            .required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used"),
        Some(policy) => {
            errors.choice(&path.child("restartPolicy"), policy.as_str(), &["Always", "Never", "OnFailure"]);
        }
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > 20 {
        errors.too_many(&path, rules.len(), 20);
    }
    for (place, rule) in rules.iter().enumerate() {
        let path = path.index(place);
        errors.choice(&path.child("action"), rule.action.as_str(), &["Restart", "RestartAllContainers"]);
        let path = path.child("exitCodes");
        let Some(codes) = &rule.exit_codes else {
            errors.required(&path, "must be specified");
            continue;
        };
        errors.choice(&path.child("operator"), codes.operator.as_str(), &["In", "NotIn"]);
        if codes.values.len() > 255 {
            errors.too_many(&path.child("values"), codes.values.len(), 255);
        }
    }
}

fn resize_policies(spec: &PodSpec, policies: &[ContainerResizePolicy], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (place, policy) in policies.iter().enumerate() {
        if !seen.insert(&policy.resource_name) {
            errors.duplicate(&path.index(place), &policy.resource_name);
        }
        errors.required_choice(path, &policy.resource_name, &["cpu", "memory"]);
        let restart = policy.restart_policy.as_str();
        errors.required_choice(path, restart, &["NotRequired", "RestartContainer"]);
        if spec.restart_policy == RestartPolicy::Never
            && policy.restart_policy != ResourceResizeRestartPolicy::NotRequired
        {
            let text = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.invalid(path, restart, text);
        }
    }
}
