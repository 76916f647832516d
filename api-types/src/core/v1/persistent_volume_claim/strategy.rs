//! What happens to a PersistentVolumeClaim on its way to the store: defaults, data sources.

use super::*;
use crate::core::v1::pod::defaults::round_up;
use crate::core::v1::well_known::annotation;
use crate::core::v1::{PersistentVolumeMode, TypedLocalObjectReference, TypedObjectReference};
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy};

impl Strategy for PersistentVolumeClaim {
    fn set_defaults(&mut self) {
        if self.status.phase.is_unset() {
            self.status.phase = PersistentVolumeClaimPhase::Pending;
        }
        defaults(&mut self.spec);
        round_up(&mut self.status.capacity);
        round_up(&mut self.status.allocated_resources);
    }

    fn prepare_for_create(&mut self) {
        self.status = PersistentVolumeClaimStatus {
            phase: PersistentVolumeClaimPhase::Pending,
            ..PersistentVolumeClaimStatus::default()
        };
        settle_data_source(&mut self.spec, None);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        settle_data_source(&mut self.spec, Some(&old.spec));
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
    }

    fn validate_create(&self, errors: &mut Errors) {
        validate::create(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        // An object of an earlier version may say its data source in one of the fields only.
        let mut old = old.clone();
        pair_data_sources(&mut old.spec);
        validate::update(self, &old, errors);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        validate::status_update(self, errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.metadata.annotations.contains_key(annotation::STORAGE_CLASS) {
            warnings.push(format!(
                "metadata.annotations[{}]: deprecated since v1.8; use \"storageClassName\" attribute instead",
                annotation::STORAGE_CLASS
            ));
        }
        warnings.extend(spec_warnings(&self.spec, &Path::new("spec")));
        warnings
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Status", "Stage in the claim's life.", |claim: &Self, _| {
                    match claim.metadata.deletion_timestamp {
                        Some(_) => "Terminating".into(),
                        None => claim.status.phase.as_str().into(),
                    }
                }),
                Column::text("Volume", "The volume that it is bound to.", |claim: &Self, _| {
                    claim.spec.volume_name.as_str().into()
                }),
                Column::text("Capacity", "How much the volume holds.", |claim: &Self, _| {
                    if claim.spec.volume_name.is_empty() {
                        return "".into();
                    }
                    claim.status.capacity.get("storage").copied().unwrap_or_default().to_string().into()
                }),
                Column::text("Access Modes", "Ways in which it can be mounted.", |claim: &Self, _| {
                    if claim.spec.volume_name.is_empty() {
                        return "".into();
                    }
                    access_modes(&claim.status.access_modes).into()
                }),
                Column::text("StorageClass", "Class of the claim.", |claim: &Self, _| {
                    claim.class().unwrap_or_default().into()
                }),
                Column::text("VolumeAttributesClass", "Parameters asked for.", |claim: &Self, _| {
                    claim.spec.volume_attributes_class_name.as_deref().unwrap_or("<unset>").into()
                }),
                Column::age(),
                Column::text("VolumeMode", "Filesystem or raw block device.", |claim: &Self, _| {
                    claim.spec.volume_mode.as_ref().map_or("<unset>", |mode| mode.as_str()).into()
                })
                .wide(),
            ]
        }
    }

    // COMPAT: `name` beside `metadata.name` is a slip of the first release that clients rely on.
    fn selectable_names() -> &'static [&'static str] {
        &["name"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.metadata.name.clone())]
    }
}

impl PersistentVolumeClaim {
    /// Name of the class asked for; the annotation is older and goes first. `None` leaves the choice
    /// to the cluster.
    pub fn class(&self) -> Option<&str> {
        let annotated = self.metadata.annotations.get(annotation::STORAGE_CLASS);
        annotated.or(self.spec.storage_class_name.as_ref()).map(String::as_str)
    }
}

/// What is warned of in a claim's spec.
pub(crate) fn spec_warnings(spec: &PersistentVolumeClaimSpec, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, list) in [("requests", &spec.resources.requests), ("limits", &spec.resources.limits)] {
        if let Some(amount) = list.get("storage").filter(|amount| !amount.is_whole()) {
            let path = path.child("resources").child(name).key("storage");
            warnings
                .push(format!("{path}: fractional byte value \"{amount}\" is invalid, must be an integer"));
        }
    }
    warnings
}

/// Access modes as tables show them, always in the same order.
pub(crate) fn access_modes(modes: &[PersistentVolumeAccessMode]) -> String {
    let short = [
        (PersistentVolumeAccessMode::ReadWriteOnce, "RWO"),
        (PersistentVolumeAccessMode::ReadOnlyMany, "ROX"),
        (PersistentVolumeAccessMode::ReadWriteMany, "RWX"),
        (PersistentVolumeAccessMode::ReadWriteOncePod, "RWOP"),
    ];
    let shown: Vec<&str> =
        short.iter().filter(|(mode, _)| modes.contains(mode)).map(|(_, text)| *text).collect();
    shown.join(",")
}

/// Defaults of a claim's spec, wherever it stands.
pub(crate) fn defaults(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode.get_or_insert(PersistentVolumeMode::Filesystem);
    round_up(&mut spec.resources.limits);
    round_up(&mut spec.resources.requests);
}

/// Drops an old data source that means nothing, and lets the old and the new field say the same
/// (KEP-1495).
fn settle_data_source(spec: &mut PersistentVolumeClaimSpec, old: Option<&PersistentVolumeClaimSpec>) {
    // References into other namespaces belong to a feature that is off (CrossNamespaceVolumeDataSource).
    let crosses =
        spec.data_source_ref.as_ref().and_then(|r| r.namespace.as_ref()).is_some_and(|n| !n.is_empty());
    if crosses && old.is_none_or(|old| old.data_source_ref.is_none()) {
        spec.data_source_ref = None;
    }
    let before = old.is_some_and(|old| old.data_source.is_some() || old.data_source_ref.is_some());
    if !before
        && spec.data_source_ref.is_none()
        && spec.data_source.as_deref().is_some_and(|source| !is_known(source))
    {
        spec.data_source = None;
    }
    pair_data_sources(spec);
}

/// Copies the data source to the field that lacks it.
fn pair_data_sources(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(Box::new(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            }));
        }
        (None, Some(reference)) if reference.namespace.as_deref().unwrap_or_default().is_empty() => {
            spec.data_source = Some(Box::new(TypedLocalObjectReference {
                api_group: reference.api_group.clone(),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
            }));
        }
        _ => {}
    }
}

/// Whether a volume can be filled from it: another claim, or a snapshot.
fn is_known(source: &TypedLocalObjectReference) -> bool {
    let group = source.api_group.as_deref().unwrap_or_default();
    matches!(
        (group, source.kind.as_str()),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}
