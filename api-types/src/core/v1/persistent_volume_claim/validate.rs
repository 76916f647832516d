//! What is refused in a PersistentVolumeClaim, and in the claims that others carry as templates.

use super::*;
use crate::core::v1::pod::validate::{is_native, quantity};
use crate::core::v1::well_known::annotation;
use crate::diff;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::{IMMUTABLE, immutable};
use crate::value::{Quantity, Value};
use crate::{names, selector};

pub(crate) const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(crate) const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// A claim's spec, wherever it stands.
pub(crate) fn spec(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut Errors) {
    checked(spec, true, path, errors);
}

fn checked(spec: &PersistentVolumeClaimSpec, check_groups: bool, path: &Path, errors: &mut Errors) {
    let modes = path.child("accessModes");
    if spec.access_modes.is_empty() {
        errors.required(&modes, "at least 1 access mode is required");
    }
    if let Some(own) = &spec.selector {
        selector::validate(own, &path.child("selector"), errors);
    }
    access_modes(&spec.access_modes, &modes, errors);
    let storage = path.child("resources").key("storage");
    match spec.resources.requests.get("storage") {
        None => errors.required(&storage, ""),
        Some(amount) if *amount <= Quantity::default() => {
            errors.invalid(&storage, *amount, "must be greater than zero");
        }
        Some(amount) => quantity("storage", amount, &storage, errors),
    }
    class(spec.storage_class_name.as_deref(), &path.child("storageClassName"), errors);
    if let Some(mode) = &spec.volume_mode {
        errors.choice(&path.child("volumeMode"), mode.as_str(), &VOLUME_MODES);
    }
    data_sources(spec, check_groups, path, errors);
    class(spec.volume_attributes_class_name.as_deref(), &path.child("volumeAttributesClassName"), errors);
}

/// Known modes; the one for a single pod stands alone.
pub(crate) fn access_modes(modes: &[PersistentVolumeAccessMode], path: &Path, errors: &mut Errors) {
    for mode in modes {
        errors.choice(path, mode.as_str(), &ACCESS_MODES);
    }
    let is_single =
        |mode: &&PersistentVolumeAccessMode| **mode == PersistentVolumeAccessMode::ReadWriteOncePod;
    let others = modes.iter().any(|m| !is_single(&m) && ACCESS_MODES.contains(&m.as_str()));
    if others && modes.iter().any(|m| is_single(&m)) {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn class(name: Option<&str>, path: &Path, errors: &mut Errors) {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        errors.wrong(path, name, names::dns1123_subdomain(name));
    }
}

fn data_sources(spec: &PersistentVolumeClaimSpec, check_groups: bool, path: &Path, errors: &mut Errors) {
    if let Some(source) = &spec.data_source {
        let group = source.api_group.as_deref();
        data_source(group, &source.kind, &source.name, check_groups, &path.child("dataSource"), errors);
    }
    let Some(reference) = &spec.data_source_ref else { return };
    let own = path.child("dataSourceRef");
    let group = reference.api_group.as_deref();
    data_source(group, &reference.kind, &reference.name, check_groups, &own, errors);
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    if !namespace.is_empty() {
        errors.wrong(&own.child("namespace"), namespace, names::dns1123_label(namespace));
    }
    let Some(source) = &spec.data_source else { return };
    let value = path.child("dataSource");
    if !namespace.is_empty() {
        let text = "may not be specified when dataSourceRef.namespace is specified";
        errors.invalid(path, value.as_str(), text);
    } else if (&source.api_group, &source.kind, &source.name)
        != (&reference.api_group, &reference.kind, &reference.name)
    {
        errors.invalid(path, value.as_str(), "must match dataSourceRef");
    }
}

fn data_source(
    group: Option<&str>,
    kind: &str,
    name: &str,
    check_group: bool,
    path: &Path,
    errors: &mut Errors,
) {
    errors.need(path, "name", name);
    errors.need(path, "kind", kind);
    let group = group.unwrap_or_default();
    if group.is_empty() {
        if kind != "PersistentVolumeClaim" {
            let text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid(path, kind, text);
        }
    } else if check_group {
        errors.wrong(&path.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
}

pub(super) fn create(claim: &PersistentVolumeClaim, errors: &mut Errors) {
    spec(&claim.spec, &Path::new("spec"), errors);
}

pub(super) fn update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut Errors) {
    let path = Path::new("spec");
    // Groups that were wrong before they were checked may stay.
    let had_group = old.spec.data_source.as_ref().is_some_and(|s| s.api_group.is_some())
        || old.spec.data_source_ref.as_ref().is_some_and(|s| s.api_group.is_some());
    checked(&new.spec, !had_group, &path, errors);
    fixed(new, old, errors);
    let size = |spec: &PersistentVolumeClaimSpec| {
        spec.resources.requests.get("storage").copied().unwrap_or_default()
    };
    let held = old.status.capacity.get("storage").copied().unwrap_or_default();
    if size(&new.spec) < size(&old.spec) && size(&new.spec) <= held {
        let path = path.child("resources").child("requests").child("storage");
        errors.forbidden(&path, "field can not be less than status.capacity");
    }
    immutable(&new.spec.volume_mode, &old.spec.volume_mode, &Path::new("volumeMode"), errors);
    if old.status.current_volume_attributes_class_name.is_some() {
        let path = path.child("volumeAttributesClassName");
        let text = |what: &str| {
            format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil")
        };
        match (&old.spec.volume_attributes_class_name, &new.spec.volume_attributes_class_name) {
            (before, after) if before == after => {}
            (_, None) => errors.forbidden(&path, text("nil")),
            (_, Some(class)) if class.is_empty() => errors.forbidden(&path, text("empty string")),
            _ => {}
        }
    }
}

/// A claim stays as it was made, but for the volume that it gets, its class if it had none, and,
/// once it is bound, its size and its attributes.
fn fixed(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut Errors) {
    let (mut own, mut before) = (new.spec.clone(), old.spec.clone());
    if before.volume_name.is_empty() {
        before.volume_name = own.volume_name.clone();
    }
    let annotated =
        |claim: &PersistentVolumeClaim| claim.metadata.annotations.get(annotation::STORAGE_CLASS).cloned();
    let (annotation_before, annotation_now) = (annotated(old), annotated(new));
    let moved = annotation_before.is_some()
        && before.storage_class_name.is_none()
        && own.storage_class_name == annotation_before
        && (annotation_now.is_none() || annotation_now == annotation_before);
    if moved {
        own.storage_class_name = None;
    } else {
        let value = annotation_now.unwrap_or_default();
        if value != annotation_before.clone().unwrap_or_default() {
            let path = Path::new("metadata").child("annotations").key(annotation::STORAGE_CLASS);
            errors.invalid(&path, &value, IMMUTABLE);
        }
        let named = own.storage_class_name.is_some() && before.storage_class_name.is_none();
        if named && (annotation_before.is_none() || annotation_before == own.storage_class_name) {
            own.storage_class_name = None;
        }
    }
    if new.status.phase == PersistentVolumeClaimPhase::Bound {
        if !own.resources.requests.is_empty() {
            let size = before.resources.requests.get("storage").copied().unwrap_or_default();
            own.resources.requests.insert("storage".to_owned(), size);
        }
        own.volume_attributes_class_name = before.volume_attributes_class_name.clone();
    }
    if own != before {
        let difference = diff::unified(&before as &dyn Value, &own as &dyn Value);
        errors.forbidden(
            &Path::new("spec"),
            format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
            ),
        );
    }
}

pub(super) fn status_update(new: &PersistentVolumeClaim, errors: &mut Errors) {
    const STAGES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizePending",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
    ];
    if new.spec.access_modes.is_empty() {
        // COMPAT: the capital letter is upstream's.
        errors.required(&Path::new("Spec").child("accessModes"), "");
    }
    let path = Path::new("status");
    let capacity = path.child("capacity");
    for (name, amount) in &new.status.capacity {
        basic(amount, &capacity.key(name), errors);
    }
    let stages = path.child("allocatedResourceStatuses");
    for (name, stage) in &new.status.allocated_resource_statuses {
        resource_key(name, &stages, errors);
        if !STAGES.contains(&stage.as_str()) {
            let mut sorted = STAGES;
            sorted.sort_unstable();
            errors.not_supported(&stages, name, &sorted);
        }
    }
    let allocated = path.child("allocatedResources");
    for (name, amount) in &new.status.allocated_resources {
        if resource_key(name, &allocated, errors) {
            let path = allocated.key(name);
            if !basic(amount, &path, errors) {
                quantity("storage", amount, &path, errors);
            }
        }
    }
}

/// Storage, or a resource of somebody else's; tells whether it is.
fn resource_key(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        errors.wrong(path, name, wrong);
        return false;
    }
    if is_native(name) && name != "storage" {
        errors.not_supported(path, name, &["storage"]);
        return false;
    }
    true
}

/// Refuses an amount below zero; tells whether it did.
pub(crate) fn basic(amount: &Quantity, path: &Path, errors: &mut Errors) -> bool {
    if amount.value() < 0 {
        errors.invalid(path, amount.value(), "must be a valid resource quantity");
    }
    amount.value() < 0
}
