//! Volumes: exactly one source each, and that source in order.

use super::{container, descending_path, env, no_backsteps, projected};
use crate::core::v1::persistent_volume_claim::validate::spec as claim_spec;
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::meta::v1::ObjectMeta;
use crate::names;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Checks the list; gives those without mistakes, which containers can mount.
pub(super) fn volumes<'a>(
    volumes: &'a [Volume],
    pod: Option<&ObjectMeta>,
    path: &Path,
    errors: &mut Errors,
) -> BTreeMap<&'a str, &'a VolumeSource> {
    let pod_name = pod.map_or("", |pod| &pod.name);
    let claim_name = |volume: &Volume| format!("{pod_name}-{}", volume.name);
    let created: BTreeSet<String> = volumes
        .iter()
        .filter(|volume| !pod_name.is_empty() && volume.source.ephemeral.is_some())
        .map(claim_name)
        .collect();
    let mut good = BTreeMap::new();
    for (place, volume) in volumes.iter().enumerate() {
        let path = path.index(place);
        let before = errors.0.len();
        source(volume, pod, &path, errors);
        if volume.source.ephemeral.is_some() && !pod_name.is_empty() && !volume.name.is_empty() {
            let claim = claim_name(volume);
            for wrong in names::dns1123_subdomain(&claim) {
                errors.invalid(&path.child("name"), &volume.name, format!("PVC name {claim:?}: {wrong}"));
            }
        }
        if volume.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.wrong(&path.child("name"), &volume.name, names::dns1123_label(&volume.name));
        }
        if good.contains_key(volume.name.as_str()) {
            errors.duplicate(&path.child("name"), &volume.name);
        }
        if errors.0.len() == before {
            good.insert(volume.name.as_str(), &volume.source);
        }
        if let Some(claim) = &volume.source.persistent_volume_claim
            && created.contains(&claim.claim_name)
        {
            errors.invalid(
                &path.child("persistentVolumeClaim").child("claimName"),
                &claim.claim_name,
                "must not reference a PVC that gets created for an ephemeral volume",
            );
        }
    }
    good
}

/// Counts the sources; only the first is looked into.
pub(crate) struct Sources<'e> {
    pub(crate) path: Path,
    pub(crate) errors: &'e mut Errors,
    pub(crate) count: usize,
}

impl Sources<'_> {
    pub(crate) fn next<T: ?Sized>(
        &mut self,
        source: Option<&T>,
        name: &str,
        check: impl FnOnce(&T, &Path, &mut Errors),
    ) {
        let Some(source) = source else { return };
        if self.count > 0 {
            self.errors.forbidden(&self.path.child(name), "may not specify more than 1 volume type");
        } else {
            self.count += 1;
            check(source, &self.path.child(name), self.errors);
        }
    }
}

fn source(volume: &Volume, pod: Option<&ObjectMeta>, path: &Path, errors: &mut Errors) {
    let source = &volume.source;
    let mut all = Sources { path: path.clone(), errors, count: 0 };
    all.next(source.empty_dir.as_deref(), "emptyDir", |dir, path, errors| {
        if dir.size_limit.is_some_and(|limit| limit.is_negative()) {
            errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
        }
    });
    all.next(source.host_path.as_deref(), "hostPath", host_path);
    all.next(source.git_repo.as_deref(), "gitRepo", |repo, path, errors| {
        errors.need(path, "repository", &repo.repository);
        descending_path(&repo.directory, &path.child("directory"), errors);
    });
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
    all.next(source.secret.as_deref(), "secret", |secret, path, errors| {
        errors.need(path, "secretName", &secret.secret_name);
        mode(secret.default_mode, &path.child("defaultMode"), errors);
        items(&secret.items, path, errors);
    });
    all.next(source.nfs.as_deref(), "nfs", nfs);
    all.next(source.iscsi.as_deref(), "iscsi", |disk, path, errors| iscsi(disk, &volume.name, path, errors));
    all.next(source.glusterfs.as_deref(), "glusterfs", |fs, path, errors| {
        errors.need(path, "endpoints", &fs.endpoints);
        errors.need(path, "path", &fs.path);
    });
    all.next(source.flocker.as_deref(), "flocker", flocker);
    all.next(source.persistent_volume_claim.as_deref(), "persistentVolumeClaim", |claim, path, errors| {
        errors.need(path, "claimName", &claim.claim_name);
    });
    all.next(source.rbd.as_deref(), "rbd", |disk, path, errors| {
        if disk.monitors.is_empty() {
            errors.required(&path.child("monitors"), "");
        }
        errors.need(path, "image", &disk.image);
    });
    all.next(source.cinder.as_deref(), "cinder", |disk, path, errors| {
        errors.need(path, "volumeID", &disk.volume_id);
        secret_ref(disk.secret_ref.as_deref(), path, errors);
    });
    all.next(source.cephfs.as_deref(), "cephfs", |fs, path, errors| {
        if fs.monitors.is_empty() {
            errors.required(&path.child("monitors"), "");
        }
    });
    all.next(source.quobyte.as_deref(), "quobyte", quobyte);
    all.next(source.downward_api.as_deref(), "downwardAPI", |files, path, errors| {
        mode(files.default_mode, &path.child("defaultMode"), errors);
        // COMPAT: the path lacks the place in the list.
        files.items.iter().for_each(|file| downward_file(file, path, errors));
    });
    all.next(source.fc.as_deref(), "fc", fibre_channel);
    all.next(source.flex_volume.as_deref(), "flexVolume", flex);
    all.next(source.config_map.as_deref(), "configMap", |map, path, errors| {
        errors.need(path, "name", &map.reference.name);
        mode(map.default_mode, &path.child("defaultMode"), errors);
        items(&map.items, path, errors);
    });
    all.next(source.azure_file.as_deref(), "azureFile", |file, path, errors| {
        errors.need(path, "secretName", &file.secret_name);
        errors.need(path, "shareName", &file.share_name);
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
    all.next(source.storageos.as_deref(), "storageos", storage_os);
    all.next(source.projected.as_deref(), "projected", |projected, path, errors| {
        mode(projected.default_mode, &path.child("defaultMode"), errors);
        projected::sources(projected, path, errors);
    });
    all.next(source.scale_io.as_deref(), "scaleIO", |disk, path, errors| {
        errors.need(path, "gateway", &disk.gateway);
        errors.need(path, "system", &disk.system);
        errors.need(path, "volumeName", &disk.volume_name);
    });
    all.next(source.csi.as_deref(), "csi", csi);
    all.next(source.ephemeral.as_deref(), "ephemeral", |own, path, errors| {
        let path = path.child("volumeClaimTemplate");
        match &own.volume_claim_template {
            None => errors.required(&path, ""),
            Some(template) => claim_template(template, &path, errors),
        }
    });
    all.next(source.image.as_deref(), "image", |image, path, errors| {
        if pod.is_some() {
            errors.need(path, "reference", &image.reference);
        }
        container::pull_policy(&image.pull_policy, &path.child("pullPolicy"), errors);
    });
    if all.count == 0 {
        errors.required(path, "must specify a volume type");
    }
}

pub(crate) fn host_path(source: &HostPathVolumeSource, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    errors.need(path, "path", &source.path);
    if source.path.is_empty() {
        return;
    }
    no_backsteps(&source.path, &path.child("path"), errors);
    if let Some(type_) = &source.type_ {
        errors.choice(&path.child("type"), type_.as_str(), &TYPES);
    }
}

pub(crate) fn nfs(nfs: &NFSVolumeSource, path: &Path, errors: &mut Errors) {
    errors.need(path, "server", &nfs.server);
    errors.need(path, "path", &nfs.path);
    if !nfs.path.starts_with('/') {
        errors.invalid(&path.child("path"), &nfs.path, "must be an absolute path");
    }
}

pub(crate) fn partition(number: i32, path: &Path, errors: &mut Errors) {
    if !(0..=255).contains(&number) {
        errors.invalid(&path.child("partition"), number, "must be between 1 and 255, inclusive");
    }
}

pub(super) fn mode(mode: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(mode) = mode
        && !(0..=0o777).contains(&mode)
    {
        errors.invalid(path, mode, FILE_MODE);
    }
}

/// `items` below `path`.
pub(super) fn items(items: &[KeyToPath], path: &Path, errors: &mut Errors) {
    for (place, item) in items.iter().enumerate() {
        let path = path.child("items").index(place);
        errors.need(&path, "key", &item.key);
        errors.need(&path, "path", &item.path);
        file_path(&item.path, &path.child("path"), errors);
        mode(item.mode, &path.child("mode"), errors);
    }
}

/// Where a file is made: relative, without steps up, not among the names kept for atomic updates.
pub(super) fn file_path(value: &str, path: &Path, errors: &mut Errors) {
    descending_path(value, path, errors);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.invalid(path, value, "must not start with '..'");
    }
}

pub(super) fn downward_file(file: &DownwardAPIVolumeFile, path: &Path, errors: &mut Errors) {
    errors.need(path, "path", &file.path);
    file_path(&file.path, &path.child("path"), errors);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            env::field_selector(field, &env::VOLUME_FIELDS, &path.child("fieldRef"), errors);
            if resource.is_some() {
                let text = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(path, "resource", text);
            }
        }
        (None, Some(resource)) => {
            env::resource_selector(resource, true, &path.child("resourceFieldRef"), errors);
        }
        (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file.mode, &path.child("mode"), errors);
}

fn secret_ref(secret: Option<&LocalObjectReference>, path: &Path, errors: &mut Errors) {
    if let Some(secret) = secret {
        errors.need(&path.child("secretRef"), "name", &secret.name);
    }
}

fn iscsi(disk: &ISCSIVolumeSource, volume: &str, path: &Path, errors: &mut Errors) {
    errors.need(path, "targetPortal", &disk.target_portal);
    errors.need(path, "iqn", &disk.iqn);
    if !disk.iqn.is_empty() {
        iscsi_name(&disk.iqn, &path.child("iqn"), errors);
    }
    if !(0..=255).contains(&disk.lun) {
        errors.invalid(&path.child("lun"), disk.lun, "must be between 0 and 255, inclusive");
    }
    if (disk.chap_auth_discovery || disk.chap_auth_session) && disk.secret_ref.is_none() {
        errors.required(&path.child("secretRef"), "");
    }
    if let Some(initiator) = &disk.initiator_name {
        iscsi_name(initiator, &path.child("initiatorname"), errors);
        if volume.len() + 1 + disk.target_portal.len() > 64 {
            let text = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.invalid(&Path::new(path.as_str().trim_end_matches(".iscsi")).child("name"), volume, text);
        }
    }
}

pub(crate) fn iscsi_name(name: &str, path: &Path, errors: &mut Errors) {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let fine = match name.split_at_checked(4) {
        Some(("iqn.", rest)) => {
            // iqn.YEAR-MONTH.NAME: the date is digits.
            let date = rest.get(..7).unwrap_or_default().as_bytes();
            rest.len() > 8
                && date.len() == 7
                && date.iter().enumerate().all(|(i, b)| if i == 4 { *b == b'-' } else { b.is_ascii_digit() })
                && rest.as_bytes()[7] == b'.'
        }
        Some(("eui.", rest)) => rest.len() == 16 && hex(rest),
        Some(("naa.", rest)) => rest.len() == 32 && hex(rest),
        _ => false,
    };
    if !["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix)) {
        errors.invalid(path, name, "must be valid format starting with iqn, eui, or naa");
    } else if !fine {
        errors.invalid(path, name, "must be valid format");
    }
}

pub(crate) fn flocker(source: &FlockerVolumeSource, path: &Path, errors: &mut Errors) {
    match (source.dataset_name.is_empty(), source.dataset_uuid.is_empty()) {
        (true, true) => errors.required(path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let text = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(path, "resource", text);
        }
        _ => {}
    }
    if source.dataset_name.contains('/') {
        errors.invalid(&path.child("datasetName"), &source.dataset_name, "must not contain '/'");
    }
}

pub(crate) fn quobyte(source: &QuobyteVolumeSource, path: &Path, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = path.child("registry");
    if source.registry.is_empty() {
        errors.required(&registry, PAIRS);
    } else if source.tenant.len() >= 65 {
        let text = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&path.child("tenant"), text);
    } else {
        for _ in source.registry.split(',').filter(|pair| !pair.contains(':')) {
            errors.invalid(&registry, &source.registry, PAIRS);
        }
    }
    errors.need(path, "volume", &source.volume);
}

pub(crate) fn fibre_channel(disk: &FCVolumeSource, path: &Path, errors: &mut Errors) {
    let names = path.child("targetWWNs");
    match (disk.target_wwns.is_empty(), disk.wwids.is_empty()) {
        (true, true) => errors.required(&names, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            let text = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(&names, &disk.target_wwns as &dyn Value, text);
        }
        _ => {}
    }
    if !disk.target_wwns.is_empty() {
        match disk.lun {
            None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
            Some(0..=255) => {}
            Some(lun) => errors.invalid(&path.child("lun"), lun, "must be between 0 and 255, inclusive"),
        }
    }
}

fn flex(source: &FlexVolumeSource, path: &Path, errors: &mut Errors) {
    errors.need(path, "driver", &source.driver);
    flex_options(&source.options, path, errors);
}

/// Options of a plugin stay out of names that are kept for Kubernetes itself.
pub(crate) fn flex_options(options: &BTreeMap<String, String>, path: &Path, errors: &mut Errors) {
    for key in options.keys() {
        let domain = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let text = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&path.child("options").key(key), key, text);
        }
    }
}

pub(crate) fn azure_disk(disk: &AzureDiskVolumeSource, path: &Path, errors: &mut Errors) {
    errors.need(path, "diskName", &disk.disk_name);
    errors.need(path, "diskURI", &disk.disk_uri);
    if let Some(caching) = &disk.caching_mode {
        errors.choice(&path.child("cachingMode"), caching.as_str(), &["None", "ReadOnly", "ReadWrite"]);
    }
    let Some(kind) = &disk.kind else { return };
    errors.choice(&path.child("kind"), kind.as_str(), &["Dedicated", "Managed", "Shared"]);
    let (prefix, form) = if *kind == AzureDataDiskKind::Managed {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if !disk.disk_uri.starts_with(prefix) {
        errors.not_supported(&path.child("diskURI"), &disk.disk_uri, &[form]);
    }
}

fn storage_os(disk: &StorageOSVolumeSource, path: &Path, errors: &mut Errors) {
    errors.need(path, "volumeName", &disk.volume_name);
    for (name, value) in [("volumeName", &disk.volume_name), ("volumeNamespace", &disk.volume_namespace)] {
        if !value.is_empty() {
            errors.wrong(&path.child(name), value, names::dns1123_label(value));
        }
    }
    secret_ref(disk.secret_ref.as_deref(), path, errors);
}

fn csi(source: &CSIVolumeSource, path: &Path, errors: &mut Errors) {
    csi_driver(&source.driver, &path.child("driver"), errors);
    if let Some(secret) = &source.node_publish_secret_ref {
        errors.need(&path.child("nodePublishSecretRef"), "name", &secret.name);
        if !secret.name.is_empty() {
            errors.wrong(&path.child("name"), &secret.name, names::dns1123_subdomain(&secret.name));
        }
    }
}

/// The name of a CSI driver.
pub(crate) fn csi_driver(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > 63 {
        errors.too_long(path, 63);
    }
    errors.wrong(path, name, names::dns1123_subdomain(&name.to_lowercase()));
}

fn claim_template(template: &PersistentVolumeClaimTemplate, path: &Path, errors: &mut Errors) {
    let meta = path.child("metadata");
    names::validate_annotations(&template.metadata.annotations, &meta.child("annotations"), errors);
    names::validate_labels(&template.metadata.labels, &meta.child("labels"), errors);
    for (set, name) in [
        (!template.metadata.name.is_empty(), "name"),
        (!template.metadata.generate_name.is_empty(), "generateName"),
        (!template.metadata.namespace.is_empty(), "namespace"),
        (!template.metadata.owner_references.is_empty(), "ownerReferences"),
        (!template.metadata.finalizers.is_empty(), "finalizers"),
    ] {
        if set {
            errors.forbidden(&meta.child(name), "cannot be set");
        }
    }
    claim_spec(&template.spec, &path.child("spec"), errors);
}
