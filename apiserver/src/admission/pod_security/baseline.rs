//! Checks of the baseline level: nothing that leads out of the pod.

use super::checks::{Subject, Violation, named, plural, quoted, quoted_set, security, setters, violation};
use api_types::core::v1::{
    AppArmorProfileType, Container, ProcMountType, SELinuxOptions, SeccompProfileType,
};
use std::collections::BTreeSet;

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// With the minor version from which on each counts as safe.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

pub(super) fn app_armor(subject: Subject<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut is_bad = |kind: &AppArmorProfileType| {
        let bad = !matches!(kind, AppArmorProfileType::RuntimeDefault | AppArmorProfileType::Localhost);
        if bad {
            values.insert(kind.to_string());
        }
        bad
    };
    let pod = subject.spec.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    let mut bad = Vec::new();
    if pod.is_some_and(|profile| is_bad(&profile.type_)) {
        bad.push("pod".to_owned());
    }
    let containers: Vec<&str> = subject
        .containers()
        .filter(|c| {
            security(c)
                .and_then(|s| s.app_armor_profile.as_ref())
                .is_some_and(|profile| is_bad(&profile.type_))
        })
        .map(|c| c.name.as_str())
        .collect();
    if !containers.is_empty() {
        bad.push(named("container", &containers));
    }
    let allowed = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let annotations: Vec<String> = subject
        .meta
        .annotations
        .iter()
        .filter(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && !allowed(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !annotations.is_empty() {
        bad.push(plural("annotation", annotations.len()));
    }
    if bad.is_empty() {
        return None;
    }
    let all: Vec<String> = values.into_iter().chain(annotations).collect();
    violation(
        &plural("forbidden AppArmor profile", all.len()),
        format!("{} must not set AppArmor profile type to {}", bad.join(" and "), quoted(&all)),
    )
}

pub(super) fn capabilities(subject: Subject<'_>) -> Option<Violation> {
    added_capabilities(subject, &CAPABILITIES)
        .and_then(|detail| violation("non-default capabilities", detail))
}

/// What containers add beyond what is allowed.
pub(super) fn added_capabilities(subject: Subject<'_>, allowed: &[&str]) -> Option<String> {
    let added = |c: &Container| -> Vec<String> {
        let capabilities = security(c).and_then(|s| s.capabilities.as_ref());
        let added = capabilities.map_or(&[][..], |capabilities| &capabilities.add);
        added.iter().filter(|name| !allowed.contains(&name.as_str())).cloned().collect()
    };
    let bad = subject.bad(|c| !added(c).is_empty());
    let values: BTreeSet<String> = subject.containers().flat_map(added).collect();
    (!bad.is_empty()).then(|| {
        format!(
            "{} must not include {} in securityContext.capabilities.add",
            named("container", &bad),
            quoted_set(&values)
        )
    })
}

pub(super) fn host_namespaces(subject: Subject<'_>) -> Option<Violation> {
    let spec = subject.spec;
    let used: Vec<&str> = [
        (spec.host_network, "hostNetwork=true"),
        (spec.host_pid, "hostPID=true"),
        (spec.host_ipc, "hostIPC=true"),
    ]
    .into_iter()
    .filter_map(|(used, text)| used.then_some(text))
    .collect();
    if used.is_empty() { None } else { violation("host namespaces", used.join(", ")) }
}

pub(super) fn host_path(subject: Subject<'_>) -> Option<Violation> {
    let volumes = subject.spec.volumes.iter().filter(|volume| volume.source.host_path.is_some());
    let names: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    if names.is_empty() { None } else { violation("hostPath volumes", named("volume", &names)) }
}

pub(super) fn host_ports(subject: Subject<'_>) -> Option<Violation> {
    let bad = subject.bad(|c| c.ports.iter().any(|port| port.host_port != 0));
    if bad.is_empty() {
        return None;
    }
    let ports: BTreeSet<String> = subject
        .containers()
        .flat_map(|c| &c.ports)
        .filter(|port| port.host_port != 0)
        .map(|port| port.host_port.to_string())
        .collect();
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    let list: Vec<&str> = ports.iter().map(String::as_str).collect();
    violation(
        "hostPort",
        format!(
            "{} {uses} {} {}",
            named("container", &bad),
            plural("hostPort", ports.len()),
            list.join(", ")
        ),
    )
}

pub(super) fn host_probes(subject: Subject<'_>) -> Option<Violation> {
    let hosts = |c: &Container| -> Vec<String> {
        let probes = [&c.liveness_probe, &c.readiness_probe, &c.startup_probe].into_iter().flatten();
        let probes = probes.map(|probe| (&probe.handler.http_get, &probe.handler.tcp_socket));
        let hooks = c.lifecycle.iter().flat_map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]);
        let hooks = hooks.flatten().map(|hook| (&hook.http_get, &hook.tcp_socket));
        probes
            .chain(hooks)
            .flat_map(|(http, tcp)| {
                let http = http.iter().map(|get| get.host.clone());
                http.chain(tcp.iter().map(|socket| socket.host.clone())).collect::<Vec<_>>()
            })
            .filter(|host| !host.is_empty())
            .collect()
    };
    let mut bad = subject.bad(|c| !hosts(c).is_empty());
    if bad.is_empty() {
        return None;
    }
    bad.sort_unstable();
    bad.dedup();
    let all: BTreeSet<String> = subject.containers().flat_map(hosts).collect();
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    violation(
        "probe or lifecycle host",
        format!(
            "{} {uses} {} {}",
            named("container", &bad),
            plural("probe or lifecycle host", all.len()),
            quoted_set(&all)
        ),
    )
}

pub(super) fn privileged(subject: Subject<'_>) -> Option<Violation> {
    let bad = subject.bad(|c| security(c).and_then(|s| s.privileged) == Some(true));
    if bad.is_empty() {
        return None;
    }
    violation(
        "privileged",
        format!("{} must not set securityContext.privileged=true", named("container", &bad)),
    )
}

pub(super) fn proc_mount(subject: Subject<'_>) -> Option<Violation> {
    if subject.version.has(35) && subject.has_user_namespace() { None } else { any_proc_mount(subject) }
}

pub(super) fn any_proc_mount(subject: Subject<'_>) -> Option<Violation> {
    let mount = |c: &Container| {
        security(c).and_then(|s| s.proc_mount.clone()).filter(|mount| *mount != ProcMountType::Default)
    };
    let bad = subject.bad(|c| mount(c).is_some());
    if bad.is_empty() {
        return None;
    }
    let values: BTreeSet<String> = subject.containers().filter_map(mount).map(|m| m.to_string()).collect();
    violation(
        "procMount",
        format!(
            "{} must not set securityContext.procMount to {}",
            named("container", &bad),
            quoted_set(&values)
        ),
    )
}

pub(super) fn se_linux(subject: Subject<'_>) -> Option<Violation> {
    let is_type = |text: &str| {
        matches!(text, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (text == "container_engine_t" && subject.version.has(31))
    };
    let bad = |options: &SELinuxOptions| {
        !is_type(&options.type_) || !options.user.is_empty() || !options.role.is_empty()
    };
    let of = |c: &Container| security(c).and_then(|s| s.se_linux_options.as_deref().cloned());
    let pod = subject.spec.security_context.as_ref().and_then(|context| context.se_linux_options.as_deref());
    let containers = subject.bad(|c| of(c).is_some_and(|options| bad(&options)));
    let setters = setters(pod.is_some_and(bad), &containers)?;
    let all: Vec<SELinuxOptions> =
        pod.cloned().into_iter().chain(subject.containers().filter_map(of)).collect();
    let types: BTreeSet<String> = all.iter().map(|o| o.type_.clone()).filter(|text| !is_type(text)).collect();
    let mut parts = Vec::new();
    if !types.is_empty() {
        parts.push(format!("{} {}", plural("type", types.len()), quoted_set(&types)));
    }
    if all.iter().any(|options| !options.user.is_empty()) {
        parts.push("user may not be set".to_owned());
    }
    if all.iter().any(|options| !options.role.is_empty()) {
        parts.push("role may not be set".to_owned());
    }
    violation(
        "seLinuxOptions",
        format!("{setters} set forbidden securityContext.seLinuxOptions: {}", parts.join("; ")),
    )
}

pub(super) fn seccomp(subject: Subject<'_>) -> Option<Violation> {
    if subject.version.has(19) { bad_seccomp_types(subject) } else { seccomp_annotations(subject) }
}

/// Profiles that are set to something else than the runtime's or a local one.
pub(super) fn bad_seccomp_types(subject: Subject<'_>) -> Option<Violation> {
    let bad = |kind: &SeccompProfileType| {
        !matches!(kind, SeccompProfileType::RuntimeDefault | SeccompProfileType::Localhost)
    };
    let of = |c: &Container| security(c).and_then(|s| s.seccomp_profile.as_ref()).map(|p| p.type_.clone());
    let pod = subject.spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    let pod = pod.map(|profile| profile.type_.clone()).filter(bad);
    let containers = subject.bad(|c| of(c).is_some_and(|kind| bad(&kind)));
    let setters = setters(pod.is_some(), &containers)?;
    let values: BTreeSet<String> = pod
        .into_iter()
        .chain(subject.containers().filter_map(of).filter(bad))
        .map(|kind| kind.to_string())
        .collect();
    violation(
        "seccompProfile",
        format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted_set(&values)),
    )
}

/// Before v1.19 profiles were set by annotations.
fn seccomp_annotations(subject: Subject<'_>) -> Option<Violation> {
    let allowed = |v: &str| matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
    let containers = subject.containers().map(|c| format!("{SECCOMP_CONTAINER_ANNOTATION}{}", c.name));
    let found: BTreeSet<String> = containers
        .chain([SECCOMP_POD_ANNOTATION.to_owned()])
        .filter_map(|key| {
            let value = subject.meta.annotations.get(&key).filter(|value| !allowed(value))?;
            Some(format!("{key}={value:?}"))
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let list: Vec<&str> = found.iter().map(String::as_str).collect();
    violation(
        "seccompProfile",
        format!("forbidden {} {}", plural("annotation", found.len()), list.join(", ")),
    )
}

pub(super) fn sysctls(subject: Subject<'_>) -> Option<Violation> {
    let is_safe =
        |name: &str| SYSCTLS.iter().any(|(safe, since)| *safe == name && subject.version.has(*since));
    let set = subject.spec.security_context.as_ref().map_or(&[][..], |context| &context.sysctls);
    let bad: Vec<&str> =
        set.iter().map(|sysctl| sysctl.name.as_str()).filter(|name| !is_safe(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

pub(super) fn windows_host_process(subject: Subject<'_>) -> Option<Violation> {
    let pod = subject.spec.security_context.as_ref().and_then(|context| context.windows_options.as_ref());
    let containers = subject.bad(|c| {
        security(c).and_then(|s| s.windows_options.as_ref()).and_then(|w| w.host_process) == Some(true)
    });
    let setters = setters(pod.and_then(|w| w.host_process) == Some(true), &containers)?;
    violation(
        "hostProcess",
        format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
