//! The configuration of a pod's sandbox for the runtime. Pure.

use std::collections::HashMap;

use api_types::core::v1::pod::sysctl::dotted;
use api_types::core::v1::{Pod, SELinuxOptions, SeccompProfile, SeccompProfileType};

use crate::cgroup::Names;
use crate::cri::labels;
use crate::cri::v1;
use crate::{dns, hosts, resources};

/// What the node adds to the spec.
pub struct Node<'a> {
    /// Names of control groups.
    pub cgroups: &'a Names,
    /// Domain of the cluster.
    pub cluster_domain: &'a str,
    /// Directory of all pods' logs.
    pub pod_logs: &'a str,
}

/// The directory of a pod's logs.
pub fn log_directory(pod_logs: &str, pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!("{pod_logs}/{}_{}_{}", meta.namespace, meta.name, meta.uid)
}

/// The sandbox's configuration, with the `users` that the pod has; an error is worded for the event.
pub fn sandbox_config(
    pod: &Pod,
    attempt: u32,
    dns: &dns::PodDns,
    node: &Node<'_>,
    users: v1::UserNamespace,
) -> Result<v1::PodSandboxConfig, String> {
    let meta = &pod.metadata;
    let hostname =
        if pod.spec.host_network { String::new() } else { hosts::kernel_hostname(pod, node.cluster_domain)? };
    Ok(v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            namespace: meta.namespace.clone(),
            attempt,
        }),
        hostname,
        log_directory: log_directory(node.pod_logs, pod),
        dns_config: Some(dns.config.clone()),
        port_mappings: port_mappings(pod),
        labels: labels::sandbox_labels(pod),
        annotations: meta.annotations.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        linux: Some(linux(pod, node, users)),
    })
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    let mut mappings = Vec::new();
    for port in pod.spec.containers.iter().flat_map(|container| &container.ports) {
        let protocol = match port.protocol.as_str() {
            "UDP" => v1::Protocol::Udp,
            "SCTP" => v1::Protocol::Sctp,
            _ => v1::Protocol::Tcp,
        };
        mappings.push(v1::PortMapping {
            protocol: protocol as i32,
            container_port: port.container_port,
            host_port: port.host_port,
            host_ip: port.host_ip.clone(),
        });
    }
    mappings
}

/// The users of a sandbox's pod.
pub fn users(config: &v1::PodSandboxConfig) -> Option<&v1::UserNamespace> {
    config.linux.as_ref()?.security_context.as_ref()?.namespace_options.as_ref()?.userns_options.as_ref()
}

/// The namespaces that the pod's containers live in.
pub fn namespaces(pod: &Pod, users: Option<v1::UserNamespace>) -> v1::NamespaceOption {
    let mode = |host: bool| if host { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod } as i32;
    let pid = if pod.spec.host_pid {
        v1::NamespaceMode::Node
    } else if pod.spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: mode(pod.spec.host_network),
        pid: pid as i32,
        ipc: mode(pod.spec.host_ipc),
        userns_options: users,
        ..Default::default()
    }
}

fn linux(pod: &Pod, node: &Node<'_>, users: v1::UserNamespace) -> v1::LinuxPodSandboxConfig {
    let context = pod.spec.security_context.as_deref();
    let privileged = pod.spec.containers.iter().chain(&pod.spec.init_containers).any(|container| {
        container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
    });
    let mut security = v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, Some(users))),
        privileged,
        seccomp: Some(v1::SecurityProfile::default()),
        ..Default::default()
    };
    let mut sysctls = HashMap::new();
    if let Some(context) = context {
        security.run_as_user = context.run_as_user.map(|value| v1::Int64Value { value });
        security.run_as_group = context.run_as_group.map(|value| v1::Int64Value { value });
        security.supplemental_groups =
            context.fs_group.iter().chain(&context.supplemental_groups).copied().collect();
        security.selinux_options = context.se_linux_options.as_deref().map(selinux);
        sysctls.extend(context.sysctls.iter().map(|sysctl| (dotted(&sysctl.name), sysctl.value.clone())));
    }
    let limits = resources::pod_limits(pod, true);
    let overhead = (!pod.spec.overhead.is_empty()).then(|| v1::LinuxContainerResources {
        cpu_shares: resources::shares(resources::cpu(&pod.spec.overhead)),
        memory_limit_in_bytes: resources::memory(&pod.spec.overhead),
        ..Default::default()
    });
    v1::LinuxPodSandboxConfig {
        cgroup_parent: node.cgroups.pod(pod),
        security_context: Some(security),
        sysctls,
        overhead,
        resources: Some(v1::LinuxContainerResources {
            cpu_shares: limits.cpu_shares.unwrap_or_default(),
            cpu_quota: limits.cpu_quota.unwrap_or_default().max(0),
            cpu_period: if limits.cpu_quota.is_some() { resources::CPU_PERIOD } else { 0 },
            memory_limit_in_bytes: limits.memory.unwrap_or_default(),
            ..Default::default()
        }),
    }
}

/// SELinux options for the runtime.
pub fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone(),
        role: options.role.clone(),
        r#type: options.type_.clone(),
        level: options.level.clone(),
    }
}

/// A seccomp profile for the runtime, and its older form as text.
pub fn seccomp(profile: &SeccompProfile, root: &str) -> Result<(v1::SecurityProfile, String), String> {
    use v1::security_profile::ProfileType;
    let make = |kind: ProfileType, path: String| v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: path,
    };
    match profile.type_ {
        SeccompProfileType::RuntimeDefault => {
            Ok((make(ProfileType::RuntimeDefault, String::new()), "runtime/default".into()))
        }
        SeccompProfileType::Localhost => match profile.localhost_profile.as_deref() {
            Some(name) if !name.is_empty() => {
                let path = format!("{root}/{name}");
                Ok((make(ProfileType::Localhost, path.clone()), format!("localhost/{path}")))
            }
            _ => Err("localhostProfile must be set if seccompProfile type is Localhost.".into()),
        },
        _ => Ok((make(ProfileType::Unconfined, String::new()), "unconfined".into())),
    }
}
