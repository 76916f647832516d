//! Where volumes and block devices appear in a container.

use super::{Scope, descending_path};
use crate::core::v1::*;
use crate::field::{Errors, Path};
use std::collections::BTreeSet;

/// `path` is that of the list.
pub(super) fn mounts(scope: &Scope<'_>, container: &Container, path: &Path, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    for (place, mount) in container.volume_mounts.iter().enumerate() {
        let here = path.index(place);
        errors.need(&here, "name", &mount.name);
        if !scope.volumes.contains_key(mount.name.as_str()) {
            errors.not_found(&here.child("name"), &mount.name);
        }
        errors.need(&here, "mountPath", &mount.mount_path);
        if !taken.insert(&mount.mount_path) {
            errors.invalid(&here.child("mountPath"), &mount.mount_path, "must be unique");
        }
        if container.volume_devices.iter().any(|device| device.name == mount.name) {
            errors.invalid(&here.child("name"), &mount.name, "must not already exist in volumeDevices");
        }
        if container.volume_devices.iter().any(|device| device.device_path == mount.mount_path) {
            let text = "must not already exist as a path in volumeDevices";
            errors.invalid(&here.child("mountPath"), &mount.mount_path, text);
        }
        // COMPAT: the paths of these four lack the place in the list.
        if !mount.sub_path.is_empty() {
            descending_path(&mount.sub_path, &path.child("subPath"), errors);
        }
        if !mount.sub_path_expr.is_empty() {
            if !mount.sub_path.is_empty() {
                let text = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(&here.child("subPathExpr"), &mount.sub_path_expr, text);
            }
            descending_path(&mount.sub_path_expr, &path.child("subPathExpr"), errors);
        }
        propagation(container, mount, &path.child("mountPropagation"), errors);
        recursive_read_only(mount, &path.child("recursiveReadOnly"), errors);
    }
}

fn propagation(container: &Container, mount: &VolumeMount, path: &Path, errors: &mut Errors) {
    let Some(mode) = &mount.mount_propagation else { return };
    errors.choice(path, mode.as_str(), &["Bidirectional", "HostToContainer", "None"]);
    let privileged = container.security_context.as_ref().is_some_and(|c| c.privileged == Some(true));
    if *mode == MountPropagationMode::Bidirectional && !privileged {
        let text = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(path, text);
    }
}

fn recursive_read_only(mount: &VolumeMount, path: &Path, errors: &mut Errors) {
    match &mount.recursive_read_only {
        None | Some(RecursiveReadOnlyMode::Disabled) => {}
        Some(RecursiveReadOnlyMode::Enabled | RecursiveReadOnlyMode::IfPossible) => {
            if !mount.read_only {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if mount.mount_propagation.as_ref().is_some_and(|mode| *mode != MountPropagationMode::None) {
                let text = "may only be specified when mountPropagation is None or not specified";
                errors.forbidden(path, text);
            }
        }
        Some(other) => {
            errors.not_supported(path, other.as_str(), &["Disabled", "Enabled", "IfPossible"]);
        }
    }
}

/// `path` is that of the list.
pub(super) fn devices(scope: &Scope<'_>, container: &Container, path: &Path, errors: &mut Errors) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (place, device) in container.volume_devices.iter().enumerate() {
        let path = path.index(place);
        let (name_path, device_path) = (path.child("name"), path.child("devicePath"));
        errors.need(&path, "name", &device.name);
        if names.contains(&device.name) {
            errors.invalid(&name_path, &device.name, "must be unique");
        }
        match scope.volumes.get(device.name.as_str()) {
            None => errors.not_found(&name_path, &device.name),
            Some(source) if source.persistent_volume_claim.is_none() && source.ephemeral.is_none() => errors
                .invalid(
                    &name_path,
                    &device.name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ),
            Some(_) => {}
        }
        errors.need(&path, "devicePath", &device.device_path);
        if paths.contains(&device.device_path) {
            errors.invalid(&device_path, &device.device_path, "must be unique");
        }
        if device.device_path.split('/').any(|part| part == "..") {
            errors.invalid(&device_path, &device.device_path, "can not contain backsteps ('..')");
        } else {
            paths.insert(&device.device_path);
        }
        if container.volume_mounts.iter().any(|mount| mount.name == device.name) {
            errors.invalid(&name_path, &device.name, "must not already exist in volumeMounts");
        }
        if container.volume_mounts.iter().any(|mount| mount.mount_path == device.device_path) {
            let text = "must not already exist as a path in volumeMounts";
            errors.invalid(&device_path, &device.device_path, text);
        }
        if !device.name.is_empty() {
            names.insert(&device.name);
        }
    }
}
