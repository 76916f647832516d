//! What is refused in a PersistentVolume.

use super::*;
use crate::core::v1::persistent_volume_claim::validate::{VOLUME_MODES, access_modes, basic};
use crate::core::v1::pod::validate::no_backsteps;
use crate::core::v1::pod::validate::node_selector;
use crate::core::v1::pod::validate::volume::{
    Sources, azure_disk, csi_driver, fibre_channel, flex_options, flocker, host_path, iscsi_name, nfs,
    partition, quobyte,
};
use crate::core::v1::well_known::annotation;
use crate::core::v1::{NodeSelectorTerm, SecretReference};
use crate::diff;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::{IMMUTABLE, immutable};
use crate::names;
use crate::value::{Quantity, Value};

pub(super) fn volume(volume: &PersistentVolume, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = &volume.spec;
    let modes = path.child("accessModes");
    if spec.access_modes.is_empty() {
        errors.required(&modes, "");
    }
    access_modes(&spec.access_modes, &modes, errors);
    capacity(&spec.capacity, &path.child("capacity"), errors);
    let policy = &spec.persistent_volume_reclaim_policy;
    if !policy.is_unset() {
        let path = path.child("persistentVolumeReclaimPolicy");
        errors.choice(&path, policy.as_str(), &["Delete", "Recycle", "Retain"]);
    }
    if let Some(affinity) = &spec.node_affinity {
        let path = path.child("nodeAffinity").child("required");
        match &affinity.required {
            Some(required) => node_selector(required, &path, errors),
            None => errors.required(&path, "must specify required node constraints"),
        }
    }
    source(volume, &path, errors);
    if let Some(host) = &spec.source.host_path
        && is_root(&host.path)
        && *policy == PersistentVolumeReclaimPolicy::Recycle
    {
        let path = path.child("persistentVolumeReclaimPolicy");
        errors.forbidden(&path, "may not be 'recycle' for a hostPath mount of '/'");
    }
    if !spec.storage_class_name.is_empty() {
        let wrong = names::dns1123_subdomain(&spec.storage_class_name);
        errors.wrong(&path.child("storageClassName"), &spec.storage_class_name, wrong);
    }
    if let Some(mode) = &spec.volume_mode {
        errors.choice(&path.child("volumeMode"), mode.as_str(), &VOLUME_MODES);
    }
    if let Some(class) = &spec.volume_attributes_class_name {
        let own = path.child("volumeAttributesClassName");
        if class.is_empty() {
            errors.required(&own, "an empty string is disallowed");
        } else {
            errors.wrong(&own, class, names::dns1123_subdomain(class));
        }
        if spec.source.csi.is_none() {
            let text = "has to be specified when using volumeAttributesClassName";
            errors.required(&path.child("csi"), text);
        }
    }
    mount_options(volume, errors);
}

fn capacity(capacity: &ResourceList, path: &Path, errors: &mut Errors) {
    if capacity.is_empty() {
        errors.required(path, "");
    }
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        errors.not_supported(path, capacity as &dyn Value, &["storage"]);
    }
    for (name, amount) in capacity {
        let path = path.key(name);
        basic(amount, &path, errors);
        if *amount <= Quantity::default() {
            errors.invalid(&path, amount.to_string().as_str(), "must be greater than zero");
        }
    }
}

/// Whether a path means the root, also by detours.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

fn source(volume: &PersistentVolume, path: &Path, errors: &mut Errors) {
    let spec = &volume.spec;
    let source = &spec.source;
    let mut all = Sources { path: path.clone(), errors, count: 0 };
    all.next(source.host_path.as_deref(), "hostPath", host_path);
    all.next(source.gce_persistent_disk.as_deref(), "gcePersistentDisk", |disk, _, errors| {
        // COMPAT: upstream's path for what is inside.
        let path = path.child("persistentDisk");
        errors.need(&path, "pdName", &disk.pd_name);
        partition(disk.partition, &path, errors);
    });
    all.next(source.aws_elastic_block_store.as_deref(), "awsElasticBlockStore", |disk, path, errors| {
        errors.need(path, "volumeID", &disk.volume_id);
        partition(disk.partition, path, errors);
    });
    all.next(source.glusterfs.as_deref(), "glusterfs", |fs, path, errors| {
        errors.need(path, "endpoints", &fs.endpoints);
        errors.need(path, "path", &fs.path);
        let path = path.child("endpointsNamespace");
        match fs.endpoints_namespace.as_deref() {
            None => {}
            Some("") => {
                let text = "if the endpointnamespace is set, it must be a valid namespace name";
                errors.invalid(&path, "", text);
            }
            Some(namespace) => errors.wrong(&path, namespace, names::dns1123_label(namespace)),
        }
    });
    all.next(source.flocker.as_deref(), "flocker", flocker);
    all.next(source.nfs.as_deref(), "nfs", nfs);
    all.next(source.rbd.as_deref(), "rbd", |disk, path, errors| {
        if disk.monitors.is_empty() {
            errors.required(&path.child("monitors"), "");
        }
        errors.need(path, "image", &disk.image);
    });
    all.next(source.quobyte.as_deref(), "quobyte", quobyte);
    all.next(source.cephfs.as_deref(), "cephfs", |fs, path, errors| {
        if fs.monitors.is_empty() {
            errors.required(&path.child("monitors"), "");
        }
    });
    let name = &volume.metadata.name;
    all.next(source.iscsi.as_deref(), "iscsi", |disk, path, errors| iscsi(disk, name, path, errors));
    all.next(source.cinder.as_deref(), "cinder", |disk, path, errors| {
        errors.need(path, "volumeID", &disk.volume_id);
        secret_given(disk.secret_ref.as_deref(), path, errors);
    });
    all.next(source.fc.as_deref(), "fc", fibre_channel);
    if let Some(flex) = &source.flex_volume {
        // COMPAT: this one is looked into even as a second source.
        all.count += 1;
        let path = path.child("flexVolume");
        all.errors.need(&path, "driver", &flex.driver);
        flex_options(&flex.options, &path, all.errors);
    }
    all.next(source.azure_file.as_deref(), "azureFile", |file, path, errors| {
        errors.need(path, "secretName", &file.secret_name);
        errors.need(path, "shareName", &file.share_name);
        if file.secret_namespace.as_deref() == Some("") {
            errors.required(&path.child("secretNamespace"), "");
        }
    });
    all.next(source.vsphere_volume.as_deref(), "vsphereVolume", |disk, path, errors| {
        errors.need(path, "volumePath", &disk.volume_path);
    });
    all.next(source.photon_persistent_disk.as_deref(), "photonPersistentDisk", |disk, path, errors| {
        errors.need(path, "pdID", &disk.pd_id);
    });
    all.next(source.portworx_volume.as_deref(), "portworxVolume", |disk, path, errors| {
        errors.need(path, "volumeID", &disk.volume_id);
    });
    all.next(source.azure_disk.as_deref(), "azureDisk", azure_disk);
    all.next(source.scale_io.as_deref(), "scaleIO", |disk, path, errors| {
        errors.need(path, "gateway", &disk.gateway);
        errors.need(path, "system", &disk.system);
        errors.need(path, "volumeName", &disk.volume_name);
    });
    let spec_path = path;
    all.next(source.local.as_deref(), "local", |local, path, errors| {
        errors.need(path, "path", &local.path);
        if !local.path.is_empty() {
            no_backsteps(&local.path, &path.child("path"), errors);
        }
        if spec.node_affinity.is_none() {
            errors.required(&spec_path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    });
    all.next(source.storageos.as_deref(), "storageos", |disk, path, errors| {
        errors.need(path, "volumeName", &disk.volume_name);
        for (name, value) in [("volumeName", &disk.volume_name), ("volumeNamespace", &disk.volume_namespace)]
        {
            if !value.is_empty() {
                errors.wrong(&path.child(name), value, names::dns1123_label(value));
            }
        }
        if let Some(secret) = &disk.secret_ref {
            let path = path.child("secretRef");
            errors.need(&path, "name", &secret.name);
            errors.need(&path, "namespace", &secret.namespace);
        }
    });
    all.next(source.csi.as_deref(), "csi", csi);
    if all.count == 0 {
        errors.required(path, "must specify a volume type");
    }
}

fn secret_given(secret: Option<&SecretReference>, path: &Path, errors: &mut Errors) {
    if let Some(secret) = secret {
        let path = path.child("secretRef");
        errors.need(&path, "name", &secret.name);
        errors.need(&path, "namespace", &secret.namespace);
    }
}

fn iscsi(disk: &ISCSIPersistentVolumeSource, volume: &str, path: &Path, errors: &mut Errors) {
    errors.need(path, "targetPortal", &disk.target_portal);
    if disk.initiator_name.is_some() && volume.len() + 1 + disk.target_portal.len() > 64 {
        let text = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.invalid(&path.child("targetportal"), &disk.target_portal, text);
    }
    errors.need(path, "iqn", &disk.iqn);
    if !disk.iqn.is_empty() {
        iscsi_name(&disk.iqn, &path.child("iqn"), errors);
    }
    if !(0..=255).contains(&disk.lun) {
        errors.invalid(&path.child("lun"), disk.lun, "must be between 0 and 255, inclusive");
    }
    let secret = path.child("secretRef");
    match &disk.secret_ref {
        None if disk.chap_auth_discovery || disk.chap_auth_session => errors.required(&secret, ""),
        Some(own) => errors.need(&secret, "name", &own.name),
        None => {}
    }
    if let Some(initiator) = &disk.initiator_name {
        iscsi_name(initiator, &path.child("initiatorname"), errors);
    }
}

fn csi(csi: &CSIPersistentVolumeSource, path: &Path, errors: &mut Errors) {
    csi_driver(&csi.driver, &path.child("driver"), errors);
    errors.need(path, "volumeHandle", &csi.volume_handle);
    for (name, secret) in [
        ("controllerPublishSecretRef", &csi.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &csi.controller_expand_secret_ref),
        ("nodePublishSecretRef", &csi.node_publish_secret_ref),
        ("nodeExpandSecretRef", &csi.node_expand_secret_ref),
    ] {
        let Some(secret) = secret else { continue };
        let path = path.child(name);
        for (part, value, check) in [
            ("name", &secret.name, names::dns1123_subdomain as fn(&str) -> Vec<String>),
            ("namespace", &secret.namespace, names::dns1123_label),
        ] {
            errors.need(&path, part, value);
            if !value.is_empty() {
                errors.wrong(&path.child(part), value, check(value));
            }
        }
    }
}

/// Only some sources can be mounted with options.
fn mount_options(volume: &PersistentVolume, errors: &mut Errors) {
    let source = &volume.spec.source;
    let can = source.gce_persistent_disk.is_some()
        || source.aws_elastic_block_store.is_some()
        || source.glusterfs.is_some()
        || source.nfs.is_some()
        || source.rbd.is_some()
        || source.quobyte.is_some()
        || source.iscsi.is_some()
        || source.cinder.is_some()
        || source.cephfs.is_some()
        || source.azure_file.is_some()
        || source.vsphere_volume.is_some()
        || source.azure_disk.is_some()
        || source.photon_persistent_disk.is_some();
    if !can && volume.metadata.annotations.contains_key(annotation::MOUNT_OPTIONS) {
        let path = Path::new("metadata").child("annotations").child(annotation::MOUNT_OPTIONS);
        errors.forbidden(&path, "may not specify mount options for this volume type");
    }
}

pub(super) fn update(new: &PersistentVolume, old: &PersistentVolume, errors: &mut Errors) {
    let mut own = new.spec.source.clone();
    // A secret for growing the volume may be given later.
    if let (Some(csi), Some(before)) = (&mut own.csi, &old.spec.source.csi)
        && before.controller_expand_secret_ref.is_none()
    {
        csi.controller_expand_secret_ref = None;
    }
    if own != old.spec.source {
        let difference = diff::unified(&old.spec.source as &dyn Value, &own as &dyn Value);
        errors.forbidden(
            &Path::new("spec").child("persistentvolumesource"),
            format!("spec.persistentvolumesource is immutable after creation\n{difference}"),
        );
    }
    immutable(&new.spec.volume_mode, &old.spec.volume_mode, &Path::new("volumeMode"), errors);
    if let Some(before) = &old.spec.node_affinity
        && !same_nodes(new.spec.node_affinity.as_deref(), before)
    {
        errors.invalid(
            &Path::new("nodeAffinity"),
            &new.spec.node_affinity as &dyn Value,
            format!("{IMMUTABLE}, except for updating from beta label to GA"),
        );
    }
    if old.spec.volume_attributes_class_name.is_some() && new.spec.volume_attributes_class_name.is_none() {
        let path = Path::new("spec").child("volumeAttributesClassName");
        errors.forbidden(&path, "update from non-nil value to nil is forbidden");
    }
}

/// Whether two affinities differ at most in that labels have got their final names.
fn same_nodes(new: Option<&VolumeNodeAffinity>, old: &VolumeNodeAffinity) -> bool {
    const RENAMED: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let Some(new) = new else { return false };
    let mut renamed = old.clone();
    let new_terms = new.required.iter().flat_map(|r| &r.node_selector_terms);
    let terms = renamed.required.iter_mut().flat_map(|r| &mut r.node_selector_terms);
    let take_over = |(term, new): (&mut NodeSelectorTerm, &NodeSelectorTerm)| {
        for (expression, new) in term.match_expressions.iter_mut().zip(&new.match_expressions) {
            if RENAMED.contains(&(expression.key.as_str(), new.key.as_str())) {
                expression.key = new.key.clone();
            }
        }
    };
    terms.zip(new_terms).for_each(take_over);
    renamed == *new
}
