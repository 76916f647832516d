//! The configuration of a container for the runtime. Pure: whatever must be read or made on the node
//! (volumes, sub-paths, the hosts file, the image's user) comes in ready.

use std::collections::BTreeMap;

use api_types::core::v1::{
    AppArmorProfileType, Container, Lifecycle, MountPropagationMode, Pod, ProcMountType, SecurityContext,
    SupplementalGroupsPolicy,
};

use super::sandbox_config::{namespaces, seccomp, selinux};
use crate::cri::{labels, v1};
use crate::environment::expand;

/// Proc and sys files that a container must not see.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Proc files that a container must not write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The user that the image names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// Its number, when it has one.
    pub uid: Option<i64>,
    /// Its name, when it has no number.
    pub name: String,
}

/// A mount that is ready on the node.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ReadyMount {
    /// Where in the container.
    pub container_path: String,
    /// Where on the node.
    pub host_path: String,
    /// Whether the container may only read.
    pub read_only: bool,
    /// Nor what is mounted below it.
    pub recursive: bool,
    /// How mounts made later travel.
    pub propagation: Option<MountPropagationMode>,
    /// The image whose content is mounted, in place of a path of the node; and the path in it.
    pub image: Option<(v1::ImageSpec, String)>,
}

/// All that goes into a container beside its spec.
pub struct Inputs<'a> {
    /// Starts before this one.
    pub restart_count: i32,
    /// The image, as the runtime knows it.
    pub image_ref: &'a str,
    /// The image's user.
    pub image_user: ImageUser,
    /// Variables.
    pub environment: Vec<(String, String)>,
    /// Mounts.
    pub mounts: Vec<ReadyMount>,
    /// Devices.
    pub devices: Vec<v1::Device>,
    /// Annotations beside the kubelet's own.
    pub annotations: BTreeMap<String, String>,
    /// Devices that the runtime knows by name.
    pub named_devices: Vec<String>,
    /// Limits.
    pub resources: v1::LinuxContainerResources,
    /// Where localhost seccomp profiles are.
    pub seccomp_root: &'a str,
    /// Containers without a profile get the runtime's default.
    pub seccomp_default: bool,
    /// The container whose processes an ephemeral one sees.
    pub target: Option<String>,
    /// The runtime understands strict supplemental groups.
    pub strict_groups: bool,
    /// The users of the pod's sandbox.
    pub users: Option<v1::UserNamespace>,
}

/// The container's configuration; an error is worded for its status.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    inputs: Inputs<'_>,
) -> Result<v1::ContainerConfig, String> {
    check_user(pod, container, &inputs.image_user)?;
    let lookup = |name: &str| {
        inputs.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let expand_all = |words: &[String]| words.iter().map(|word| expand(word, lookup)).collect();
    let attempt = u32::try_from(inputs.restart_count).unwrap_or_default();
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt }),
        image: Some(v1::ImageSpec {
            image: inputs.image_ref.into(),
            user_specified_image: container.image.clone(),
            ..Default::default()
        }),
        command: expand_all(&container.command),
        args: expand_all(&container.args),
        working_dir: container.working_dir.clone(),
        mounts: inputs.mounts.iter().map(|ready| mount(ready, inputs.users.as_ref())).collect(),
        devices: inputs.devices.clone(),
        labels: labels::container_labels(pod, container),
        annotations: inputs
            .annotations
            .clone()
            .into_iter()
            .chain(labels::container_annotations(pod, container, inputs.restart_count))
            .collect(),
        cdi_devices: inputs.named_devices.iter().map(|name| v1::CdiDevice { name: name.clone() }).collect(),
        log_path: format!("{}/{}.log", container.name, inputs.restart_count),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        stop_signal: stop_signal(container.lifecycle.as_deref()),
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(security(pod, container, &inputs)?),
            resources: Some(inputs.resources),
        }),
        envs: inputs
            .environment
            .into_iter()
            .map(|(key, value)| v1::KeyValue { key, value: value.into_bytes() })
            .collect(),
    })
}

/// COMPAT: who owns what is mounted is mapped as the users are, whatever it is: volumes, files of the pod, images.
fn mount(ready: &ReadyMount, users: Option<&v1::UserNamespace>) -> v1::Mount {
    let propagation = match ready.propagation {
        Some(MountPropagationMode::HostToContainer) => v1::MountPropagation::PropagationHostToContainer,
        Some(MountPropagationMode::Bidirectional) => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    v1::Mount {
        container_path: ready.container_path.clone(),
        host_path: ready.host_path.clone(),
        readonly: ready.read_only,
        recursive_read_only: ready.recursive,
        propagation: propagation as i32,
        uid_mappings: users.map(|users| users.uids.clone()).unwrap_or_default(),
        gid_mappings: users.map(|users| users.gids.clone()).unwrap_or_default(),
        image: ready.image.as_ref().map(|(image, _)| image.clone()),
        image_sub_path: ready.image.as_ref().map(|(_, path)| path.clone()).unwrap_or_default(),
        ..Default::default()
    }
}

/// The runtime's number of the stop signal; the numbers follow the order of the names in CRI.
fn stop_signal(lifecycle: Option<&Lifecycle>) -> i32 {
    const NAMES: [&str; 35] = [
        "SIGABRT",
        "SIGALRM",
        "SIGBUS",
        "SIGCHLD",
        "SIGCLD",
        "SIGCONT",
        "SIGFPE",
        "SIGHUP",
        "SIGILL",
        "SIGINT",
        "SIGIO",
        "SIGIOT",
        "SIGKILL",
        "SIGPIPE",
        "SIGPOLL",
        "SIGPROF",
        "SIGPWR",
        "SIGQUIT",
        "SIGSEGV",
        "SIGSTKFLT",
        "SIGSTOP",
        "SIGSYS",
        "SIGTERM",
        "SIGTRAP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGUSR1",
        "SIGUSR2",
        "SIGVTALRM",
        "SIGWINCH",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGRTMIN",
    ];
    let Some(signal) = lifecycle.and_then(|lifecycle| lifecycle.stop_signal.as_ref()) else { return 0 };
    let name = signal.as_str();
    let number = |text: &str| text.parse::<i32>().unwrap_or_default();
    if let Some(place) = NAMES.iter().position(|known| *known == name) {
        i32::try_from(place).unwrap_or_default() + 1
    } else if let Some(offset) = name.strip_prefix("SIGRTMIN+") {
        35 + number(offset)
    } else if let Some(offset) = name.strip_prefix("SIGRTMAX-") {
        65 - number(offset)
    } else if name == "SIGRTMAX" {
        65
    } else {
        0
    }
}

/// `runAsNonRoot`, as far as numbers tell.
fn check_user(pod: &Pod, container: &Container, image: &ImageUser) -> Result<(), String> {
    let own = container.security_context.as_deref();
    let pods = pod.spec.security_context.as_deref();
    let non_root = own
        .and_then(|context| context.run_as_non_root)
        .or(pods.and_then(|context| context.run_as_non_root))
        .unwrap_or_default();
    if !non_root {
        return Ok(());
    }
    let shown = format!(
        "(pod: \"{}_{}({})\", container: {})",
        pod.metadata.name, pod.metadata.namespace, pod.metadata.uid, container.name
    );
    let user = own.and_then(|context| context.run_as_user).or(pods.and_then(|context| context.run_as_user));
    match (user, image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {shown}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {shown}")),
        (None, None) if !image.name.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {shown}",
            image.name
        )),
        _ => Ok(()),
    }
}

fn security(
    pod: &Pod,
    container: &Container,
    inputs: &Inputs<'_>,
) -> Result<v1::LinuxContainerSecurityContext, String> {
    let empty = SecurityContext::default();
    let own = container.security_context.as_deref().unwrap_or(&empty);
    let pods = pod.spec.security_context.as_deref().cloned().unwrap_or_default();
    let number = |value: i64| v1::Int64Value { value };
    let mut namespaces = namespaces(pod, inputs.users.clone());
    if let Some(target) =
        inputs.target.as_ref().filter(|_| namespaces.pid == v1::NamespaceMode::Container as i32)
    {
        namespaces.pid = v1::NamespaceMode::Target as i32;
        namespaces.target_id = target.clone();
    }
    let run_as_user = own.run_as_user.or(pods.run_as_user);
    let mut context = v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|capabilities| v1::Capability {
            add_capabilities: capabilities.add.clone(),
            drop_capabilities: capabilities.drop.clone(),
            ..Default::default()
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(namespaces),
        selinux_options: own.se_linux_options.as_deref().or(pods.se_linux_options.as_deref()).map(selinux),
        run_as_user: run_as_user.or(inputs.image_user.uid).map(number),
        run_as_group: own.run_as_group.or(pods.run_as_group).map(number),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: pods.fs_group.iter().chain(&pods.supplemental_groups).copied().collect(),
        // Nothing else may gain more than it has, unless it has everything already.
        no_new_privs: own.allow_privilege_escalation == Some(false),
        ..Default::default()
    };
    if run_as_user.is_none() {
        context.run_as_username = inputs.image_user.name.clone();
    }
    if pods.supplemental_groups_policy == Some(SupplementalGroupsPolicy::Strict) {
        if !inputs.strict_groups {
            return Err("the container runtime does not support the supplementalGroupsPolicy Strict".into());
        }
        context.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict as i32;
    }
    if own.proc_mount != Some(ProcMountType::Unmasked) {
        context.masked_paths = MASKED.map(String::from).into();
        context.readonly_paths = READ_ONLY.map(String::from).into();
    }
    let profile = own.seccomp_profile.as_deref().or(pods.seccomp_profile.as_deref());
    let (seccomp, path) = match profile {
        Some(profile) => seccomp(profile, inputs.seccomp_root)?,
        None => {
            use v1::security_profile::ProfileType;
            let (kind, path) = if inputs.seccomp_default {
                (ProfileType::RuntimeDefault, "runtime/default")
            } else {
                (ProfileType::Unconfined, "unconfined")
            };
            (v1::SecurityProfile { profile_type: kind as i32, ..Default::default() }, path.to_owned())
        }
    };
    context.seccomp = Some(seccomp);
    context.seccomp_profile_path = path;
    apparmor(own, &pods.app_armor_profile, &mut context);
    Ok(context)
}

fn apparmor(
    own: &SecurityContext,
    pods: &Option<Box<api_types::core::v1::AppArmorProfile>>,
    context: &mut v1::LinuxContainerSecurityContext,
) {
    use v1::security_profile::ProfileType;
    let Some(profile) = own.app_armor_profile.as_deref().or(pods.as_deref()) else { return };
    let name = profile.localhost_profile.clone().unwrap_or_default();
    let (kind, old) = match profile.type_ {
        AppArmorProfileType::RuntimeDefault => (ProfileType::RuntimeDefault, "runtime/default".to_owned()),
        AppArmorProfileType::Localhost => (ProfileType::Localhost, format!("localhost/{name}")),
        _ => (ProfileType::Unconfined, "unconfined".to_owned()),
    };
    context.apparmor = Some(v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: if kind == ProfileType::Localhost { name } else { String::new() },
    });
    context.apparmor_profile = old;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_belongs_to_whom_the_pods_users_are() {
        let ready = ReadyMount { container_path: "/data".into(), ..Default::default() };
        let all = vec![v1::IdMapping { host_id: 65536, container_id: 0, length: 65536 }];
        let own =
            v1::UserNamespace { mode: v1::NamespaceMode::Pod as i32, uids: all.clone(), gids: all.clone() };
        let mounted = mount(&ready, Some(&own));
        assert_eq!((mounted.uid_mappings, mounted.gid_mappings), (all.clone(), all));
        let nodes = v1::UserNamespace { mode: v1::NamespaceMode::Node as i32, ..Default::default() };
        assert!(mount(&ready, Some(&nodes)).uid_mappings.is_empty());
        assert!(mount(&ready, None).gid_mappings.is_empty());
    }
}
