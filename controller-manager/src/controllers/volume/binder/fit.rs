//! Which volume suits a claim: class, mode, access modes, labels, size; the smallest of those.

use api_types::core::v1::well_known::resource;
use api_types::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeMode, PersistentVolumePhase,
};
use api_types::selector::Labels;
use api_types::value::Quantity;

use super::{CLASS_BETA, ClaimView};

/// Name of the class that a claim asks for; empty for none.
pub(super) fn class_of(claim: &PersistentVolumeClaim) -> &str {
    let beta = claim.metadata.annotations.get(CLASS_BETA);
    beta.or(claim.spec.storage_class_name.as_ref()).map_or("", String::as_str)
}

/// Whether a claim says anything about its class.
pub(super) fn names_class(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.annotations.contains_key(CLASS_BETA) || claim.spec.storage_class_name.is_some()
}

fn class_of_volume(volume: &PersistentVolume) -> &str {
    let beta = volume.metadata.annotations.get(CLASS_BETA);
    beta.map_or(volume.spec.storage_class_name.as_str(), String::as_str)
}

fn mode(mode: Option<&PersistentVolumeMode>) -> &str {
    mode.map_or("Filesystem", PersistentVolumeMode::as_str)
}

/// Whether one is for file systems and the other a raw device.
pub(super) fn modes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    mode(claim.spec.volume_mode.as_ref()) != mode(volume.spec.volume_mode.as_ref())
}

/// Whether the volume names the claim, in person or only by name.
pub(super) fn is_meant_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|r| {
        let meta = &claim.metadata;
        r.name == meta.name && r.namespace == meta.namespace && (r.uid.is_empty() || r.uid == meta.uid)
    })
}

fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    claim.spec.resources.requests.get(resource::STORAGE).cloned().unwrap_or_default()
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    volume.spec.capacity.get(resource::STORAGE).cloned().unwrap_or_default()
}

/// Why a volume that a claim asks for by name cannot be its volume.
pub(super) fn unfit(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    if capacity(volume) < requested(claim) {
        Some("requested PV is too small")
    } else if class_of_volume(volume) != class_of(claim) {
        Some("storageClassName does not match")
    } else if volume.spec.volume_attributes_class_name != claim.spec.volume_attributes_class_name {
        Some("volumeAttributesClassName does not match")
    } else if modes_differ(claim, volume) {
        Some("incompatible volumeMode")
    } else if !offers_modes(volume, claim) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

fn offers_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
}

/// The volume for a claim: one that is meant for it, or else the smallest free one. While the
/// claim waits for its pod to be scheduled (`delayed`), the former only.
pub(super) fn best(view: &ClaimView, delayed: bool) -> Option<&PersistentVolume> {
    let claim = &view.claim;
    let volumes = || view.volumes.iter().map(|volume| &volume.0);
    let meant = volumes().filter(|volume| is_meant_for(volume, claim));
    let suits =
        |volume: &&PersistentVolume| !modes_differ(claim, volume) && capacity(volume) >= requested(claim);
    if let Some(volume) = meant.min_by_key(|volume| capacity(volume)).filter(suits) {
        return Some(volume);
    }
    if delayed {
        return None;
    }
    let selector = claim.spec.selector.as_deref();
    let selector = selector.map(|s| Labels::from_spec(Some(s)).unwrap_or_else(|_| Labels::nothing()));
    volumes()
        .filter(|volume| volume.spec.claim_ref.is_none() && volume.metadata.deletion_timestamp.is_none())
        .filter(|volume| volume.status.phase == PersistentVolumePhase::Available)
        .filter(|volume| unfit(volume, claim).is_none())
        .filter(|volume| selector.as_ref().is_none_or(|s| s.matches(&volume.metadata.labels)))
        .min_by(|a, b| capacity(a).cmp(&capacity(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name)))
}
