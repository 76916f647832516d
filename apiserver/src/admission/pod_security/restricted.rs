//! Checks of the restricted level: everything locked down that can be.

use super::baseline::{added_capabilities, bad_seccomp_types};
use super::checks::{Subject, Violation, named, plural, quoted, security, setters, violation};
use api_types::core::v1::{Container, VolumeSource};
use std::collections::BTreeSet;

pub(super) fn privilege_escalation(subject: Subject<'_>) -> Option<Violation> {
    if subject.version.has(25) && subject.is_windows() {
        return None;
    }
    let bad = subject.bad(|c| security(c).and_then(|s| s.allow_privilege_escalation) != Some(false));
    if bad.is_empty() {
        return None;
    }
    violation(
        "allowPrivilegeEscalation != false",
        format!("{} must set securityContext.allowPrivilegeEscalation=false", named("container", &bad)),
    )
}

pub(super) fn capabilities(subject: Subject<'_>) -> Option<Violation> {
    if subject.version.has(25) && subject.is_windows() {
        return None;
    }
    let drops_all = |c: &Container| {
        let capabilities = security(c).and_then(|s| s.capabilities.as_ref());
        capabilities.is_some_and(|capabilities| capabilities.drop.iter().any(|name| name == "ALL"))
    };
    let missing = subject.bad(|c| !drops_all(c));
    let mut details = Vec::new();
    if !missing.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            named("container", &missing)
        ));
    }
    details.extend(added_capabilities(subject, &["NET_BIND_SERVICE"]));
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

pub(super) fn volumes(subject: Subject<'_>) -> Option<Violation> {
    let bad: Vec<(&str, &str)> = subject
        .spec
        .volumes
        .iter()
        .filter_map(|volume| restricted_type(&volume.source).map(|kind| (volume.name.as_str(), kind)))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<&str> = bad.iter().map(|(name, _)| *name).collect();
    let types: BTreeSet<&str> = bad.iter().map(|(_, kind)| *kind).collect();
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    violation(
        "restricted volume types",
        format!(
            "{} {uses} {} {}",
            named("volume", &names),
            plural("restricted volume type", types.len()),
            quoted(&types.into_iter().collect::<Vec<_>>())
        ),
    )
}

/// The type of a volume that is not allowed.
fn restricted_type(source: &VolumeSource) -> Option<&'static str> {
    let allowed = source.config_map.is_some()
        || source.csi.is_some()
        || source.downward_api.is_some()
        || source.empty_dir.is_some()
        || source.ephemeral.is_some()
        || source.image.is_some()
        || source.persistent_volume_claim.is_some()
        || source.projected.is_some()
        || source.secret.is_some();
    if allowed {
        return None;
    }
    let types = [
        (source.host_path.is_some(), "hostPath"),
        (source.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (source.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (source.git_repo.is_some(), "gitRepo"),
        (source.nfs.is_some(), "nfs"),
        (source.iscsi.is_some(), "iscsi"),
        (source.glusterfs.is_some(), "glusterfs"),
        (source.rbd.is_some(), "rbd"),
        (source.flex_volume.is_some(), "flexVolume"),
        (source.cinder.is_some(), "cinder"),
        (source.cephfs.is_some(), "cephfs"),
        (source.flocker.is_some(), "flocker"),
        (source.fc.is_some(), "fc"),
        (source.azure_file.is_some(), "azureFile"),
        (source.vsphere_volume.is_some(), "vsphereVolume"),
        (source.quobyte.is_some(), "quobyte"),
        (source.azure_disk.is_some(), "azureDisk"),
        (source.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (source.portworx_volume.is_some(), "portworxVolume"),
        (source.scale_io.is_some(), "scaleIO"),
        (source.storageos.is_some(), "storageos"),
    ];
    Some(types.into_iter().find(|(is, _)| *is).map_or("unknown", |(_, name)| name))
}

pub(super) fn run_as_non_root(subject: Subject<'_>) -> Option<Violation> {
    if subject.version.has(35) && subject.has_user_namespace() {
        return None;
    }
    let of = |c: &Container| security(c).and_then(|s| s.run_as_non_root);
    let pod = subject.spec.security_context.as_ref().and_then(|context| context.run_as_non_root);
    let containers = subject.bad(|c| of(c) == Some(false));
    let detail = match setters(pod == Some(false), &containers) {
        Some(setters) => format!("{setters} must not set securityContext.runAsNonRoot=false"),
        None => {
            let unset = subject.bad(|c| of(c).is_none() && pod != Some(true));
            if unset.is_empty() {
                return None;
            }
            format!("pod or {} must set securityContext.runAsNonRoot=true", named("container", &unset))
        }
    };
    violation("runAsNonRoot != true", detail)
}

pub(super) fn run_as_user(subject: Subject<'_>) -> Option<Violation> {
    if subject.version.has(35) && subject.has_user_namespace() {
        return None;
    }
    let pod = subject.spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let containers = subject.bad(|c| security(c).and_then(|s| s.run_as_user) == Some(0));
    let setters = setters(pod == Some(0), &containers)?;
    violation("runAsUser=0", format!("{setters} must not set runAsUser=0"))
}

pub(super) fn seccomp(subject: Subject<'_>) -> Option<Violation> {
    if subject.version.has(25) && subject.is_windows() {
        return None;
    }
    if let Some(bad) = bad_seccomp_types(subject) {
        return Some(bad);
    }
    // What is set is good by now.
    let pod = subject.spec.security_context.as_ref().is_some_and(|context| context.seccomp_profile.is_some());
    let unset = subject.bad(|c| !pod && security(c).is_none_or(|s| s.seccomp_profile.is_none()));
    if unset.is_empty() {
        return None;
    }
    violation(
        "seccompProfile",
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            named("container", &unset)
        ),
    )
}
