//! What happens to a PersistentVolumeClaim on its way to the store: defaults, data sources.

use super::*;
use crate::core::v1::pod::defaults::round_up;
use crate::core::v1::{PersistentVolumeMode, TypedLocalObjectReference, TypedObjectReference};
use crate::kind::Strategy;

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

    // COMPAT: `name` beside `metadata.name` is a slip of the first release that clients rely on.
    fn selectable_names() -> &'static [&'static str] {
        &["name"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.metadata.name.clone())]
    }
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
    // Namespaces in references belong to a feature that is off (CrossNamespaceVolumeDataSource).
    if !old.is_some_and(|old| old.data_source_ref.as_ref().is_some_and(|r| r.namespace.is_some()))
        && let Some(reference) = &mut spec.data_source_ref
    {
        reference.namespace = None;
    }
    let kept = old.is_some_and(|old| old.data_source_ref.is_some()) || spec.data_source_ref.is_some();
    if !kept && spec.data_source.as_deref().is_some_and(|source| !is_known(source)) {
        spec.data_source = None;
    }
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
