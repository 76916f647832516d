//! Users, capabilities, confinement, kernel settings, and what the pod's operating system allows.

use super::{descending_path, each_container};
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::value::Value;
use regex::Regex;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Settings of the pod; `path` is the spec's.
pub(super) fn of_pod(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(context) = &spec.security_context else { return };
    let path = path.child("securityContext");
    for (name, id) in [
        ("fsGroup", context.fs_group),
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
    ] {
        id_number(id, &path.child(name), errors);
    }
    for (place, group) in context.supplemental_groups.iter().enumerate() {
        id_number(Some(*group), &path.child("supplementalGroups").index(place), errors);
    }
    if spec.host_pid && spec.share_process_namespace == Some(true) {
        errors.invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    sysctls(spec, &context.sysctls, &path.child("sysctls"), errors);
    if let Some(policy) = &context.fs_group_change_policy {
        let known = ["Always", "OnRootMismatch"];
        errors.choice(&path.child("fsGroupChangePolicy"), policy.as_str(), &known);
    }
    seccomp(context.seccomp_profile.as_deref(), &path.child("seccompProfile"), errors);
    app_armor(context.app_armor_profile.as_deref(), &path.child("appArmorProfile"), errors);
    if let Some(policy) = &context.supplemental_groups_policy {
        let known = ["Merge", "Strict"];
        errors.choice(&path.child("supplementalGroupsPolicy"), policy.as_str(), &known);
    }
    if let Some(policy) = &context.se_linux_change_policy {
        let known = ["MountOption", "Recursive"];
        errors.choice(&path.child("seLinuxChangePolicy"), policy.as_str(), &known);
    }
}

/// Settings of one container.
pub(super) fn of_container(context: &SecurityContext, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    id_number(context.run_as_user, &path.child("runAsUser"), errors);
    id_number(context.run_as_group, &path.child("runAsGroup"), errors);
    if let Some(mount) = &context.proc_mount {
        let path = path.child("procMount");
        errors.choice(&path, mount.as_str(), &["Default", "Unmasked"]);
        if *mount == ProcMountType::Unmasked && spec.host_users != Some(false) {
            errors.invalid(&path, mount.as_str(), "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(context.seccomp_profile.as_deref(), &path.child("seccompProfile"), errors);
    if context.allow_privilege_escalation == Some(false) {
        let shown = context as &dyn Value;
        if context.privileged == Some(true) {
            let text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(path, shown, text);
        }
        for _ in context.capabilities.iter().flat_map(|c| &c.add).filter(|add| *add == "CAP_SYS_ADMIN") {
            let text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, shown, text);
        }
    }
    app_armor(context.app_armor_profile.as_deref(), &path.child("appArmorProfile"), errors);
}

fn id_number(id: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(id) = id
        && !(0..=i64::from(i32::MAX)).contains(&id)
    {
        errors.invalid(path, id, "must be between 0 and 2147483647, inclusive");
    }
}

fn seccomp(profile: Option<&SeccompProfile>, path: &Path, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let type_path = path.child("type");
    match profile.type_.as_str() {
        "" => errors.required(&type_path, "type is required when seccompProfile is set"),
        type_ => errors.choice(&type_path, type_, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
    let path = path.child("localhostProfile");
    match (&profile.type_, &profile.localhost_profile) {
        (SeccompProfileType::Localhost, None) => {
            errors.required(&path, "must be set when seccomp type is Localhost");
        }
        (SeccompProfileType::Localhost, Some(file)) => descending_path(file, &path, errors),
        (_, Some(_)) => {
            let text = "can only be set when seccomp type is Localhost";
            errors.invalid(&path, profile as &dyn Value, text);
        }
        (_, None) => {}
    }
}

fn app_armor(profile: Option<&AppArmorProfile>, path: &Path, errors: &mut Errors) {
    const PATH_LIMIT: usize = 4095;
    const MUST: &str = "must be set when AppArmor type is Localhost";
    let Some(profile) = profile else { return };
    let local = path.child("localhostProfile");
    match (&profile.type_, profile.localhost_profile.as_deref()) {
        (AppArmorProfileType::Localhost, None) => errors.required(&local, MUST),
        (AppArmorProfileType::Localhost, Some(name)) => {
            if name.trim() != name {
                errors.invalid(&local, name, "must not be padded with whitespace");
            } else if name.is_empty() {
                errors.required(&local, MUST);
            }
            if name.len() > PATH_LIMIT {
                errors.too_long(&local, PATH_LIMIT);
            }
        }
        (AppArmorProfileType::RuntimeDefault | AppArmorProfileType::Unconfined, Some(name)) => {
            errors.invalid(&local, name, "can only be set when AppArmor type is Localhost");
        }
        (AppArmorProfileType::RuntimeDefault | AppArmorProfileType::Unconfined, None) => {}
        (AppArmorProfileType::Unset, _) => {
            errors.required(&path.child("type"), "type is required when appArmorProfile is set");
        }
        (AppArmorProfileType::Other(other), _) => {
            errors.not_supported(
                &path.child("type"),
                &**other,
                &["Localhost", "RuntimeDefault", "Unconfined"],
            );
        }
    }
}

fn sysctls(spec: &PodSpec, sysctls: &[Sysctl], path: &Path, errors: &mut Errors) {
    const PATTERN: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(PATTERN).expect("a constant pattern"));
    let mut seen = BTreeSet::new();
    for (place, sysctl) in sysctls.iter().enumerate() {
        let (name, path) = (sysctl.name.as_str(), path.index(place).child("name"));
        if name.is_empty() {
            errors.required(&path, "");
        } else if name.len() > 253 || !NAME.is_match(name) {
            errors.invalid(
                &path,
                name,
                format!("must have at most 253 characters and match regex {PATTERN}"),
            );
        } else if seen.contains(name) {
            errors.duplicate(&path, name);
        }
        seen.insert(name);
        match sysctl::namespace(name) {
            Some(sysctl::Namespace::Net) if spec.host_network => {
                errors.invalid(&path, name, "may not be specified when 'hostNetwork' is true");
            }
            Some(sysctl::Namespace::Ipc) if spec.host_ipc => {
                errors.invalid(&path, name, "may not be specified when 'hostIPC' is true");
            }
            _ => {}
        }
    }
}

/// A pod in its own user namespace cannot share the node's others; `path` is the spec's.
pub(super) fn host_users(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if spec.host_users != Some(false) {
        return;
    }
    // COMPAT: two of the names begin with a capital.
    for (set, name) in
        [(spec.host_network, "hostNetwork"), (spec.host_pid, "HostPID"), (spec.host_ipc, "HostIPC")]
    {
        if set {
            errors.forbidden(&path.child(name), "when `hostUsers` is false");
        }
    }
    for (container, path) in each_container(spec, path) {
        if !container.volume_devices.is_empty() {
            errors.forbidden(&path.child("volumeDevices"), "when `hostUsers` is false");
        }
    }
}

/// What `spec.os` rules out; `path` is the spec's.
pub(super) fn operating_system(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(os) = &spec.os else { return };
    match os.name {
        OSName::Unset => errors.required(&path.child("os").child("name"), ""),
        OSName::Other(_) => errors.not_supported(&path.child("os"), os.name.as_str(), &["linux", "windows"]),
        OSName::Linux => {
            const NOT_ON_LINUX: &str = "windows options cannot be set for a linux pod";
            let here = path.child("securityContext").child("windowsOptions");
            if spec.security_context.as_ref().is_some_and(|c| c.windows_options.is_some()) {
                errors.forbidden(&here, NOT_ON_LINUX);
            }
            for (container, path) in each_container(spec, path) {
                if container.security_context.as_ref().is_some_and(|c| c.windows_options.is_some()) {
                    errors.forbidden(&path.child("securityContext").child("windowsOptions"), NOT_ON_LINUX);
                }
            }
        }
        OSName::Windows => windows(spec, path, errors),
    }
}

fn windows(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let default = PodSecurityContext::default();
    let pod = spec.security_context.as_deref().unwrap_or(&default);
    let own = |name: &str| path.child("securityContext").child(name);
    let mut refuse = |set: bool, path: Path| {
        if set {
            errors.forbidden(&path, "cannot be set for a windows pod");
        }
    };
    refuse(pod.app_armor_profile.is_some(), own("appArmorProfile"));
    refuse(pod.se_linux_options.is_some(), own("seLinuxOptions"));
    refuse(spec.host_users.is_some(), path.child("hostUsers"));
    refuse(spec.host_pid, path.child("hostPID"));
    refuse(spec.host_ipc, path.child("hostIPC"));
    refuse(pod.seccomp_profile.is_some(), own("seccompProfile"));
    refuse(pod.fs_group.is_some(), own("fsGroup"));
    refuse(pod.fs_group_change_policy.is_some(), own("fsGroupChangePolicy"));
    refuse(!pod.sysctls.is_empty(), own("sysctls"));
    refuse(spec.share_process_namespace.is_some(), path.child("shareProcessNamespace"));
    refuse(pod.run_as_user.is_some(), own("runAsUser"));
    refuse(pod.run_as_group.is_some(), own("runAsGroup"));
    refuse(!pod.supplemental_groups.is_empty(), own("supplementalGroups"));
    refuse(pod.supplemental_groups_policy.is_some(), own("supplementalGroupsPolicy"));
    refuse(pod.se_linux_change_policy.is_some(), own("seLinuxChangePolicy"));
    for (container, path) in each_container(spec, path) {
        let Some(context) = &container.security_context else { continue };
        let path = path.child("securityContext");
        refuse(context.app_armor_profile.is_some(), path.child("appArmorProfile"));
        refuse(context.se_linux_options.is_some(), path.child("seLinuxOptions"));
        refuse(context.seccomp_profile.is_some(), path.child("seccompProfile"));
        refuse(context.capabilities.is_some(), path.child("capabilities"));
        refuse(context.read_only_root_filesystem.is_some(), path.child("readOnlyRootFilesystem"));
        refuse(context.privileged.is_some(), path.child("privileged"));
        refuse(context.allow_privilege_escalation.is_some(), path.child("allowPrivilegeEscalation"));
        refuse(context.proc_mount.is_some(), path.child("procMount"));
        refuse(context.run_as_user.is_some(), path.child("runAsUser"));
        refuse(context.run_as_group.is_some(), path.child("runAsGroup"));
    }
}
