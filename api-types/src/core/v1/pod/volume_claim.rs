//! The claim that a pod can carry as a template.

use crate::core::v1::{TypedLocalObjectReference, TypedObjectReference, VolumeResourceRequirements};
use crate::meta::v1::{LabelSelector, ObjectMeta};
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// What a pod's own claim looks like.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeClaimTemplate {
    /// Labels and annotations of the claim.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What the claim asks for.
    #[api(2, required)]
    pub spec: PersistentVolumeClaimSpec,
}

/// What a claim asks for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeClaimSpec {
    /// Ways in which the volume must be mountable.
    #[api(1, list = atomic)]
    pub access_modes: Vec<PersistentVolumeAccessMode>,
    /// Labels of volumes that will do.
    #[api(4)]
    pub selector: Option<Box<LabelSelector>>,
    /// Storage asked for.
    #[api(2)]
    pub resources: VolumeResourceRequirements,
    /// The volume that the claim is bound to.
    #[api(3)]
    pub volume_name: String,
    /// StorageClass of the volume; the empty string asks for none.
    #[api(5)]
    pub storage_class_name: Option<String>,
    /// Filesystem or raw block device.
    #[api(6)]
    pub volume_mode: Option<PersistentVolumeMode>,
    /// Snapshot or claim to fill the volume from.
    #[api(7)]
    pub data_source: Option<Box<TypedLocalObjectReference>>,
    /// Any object to fill the volume from.
    #[api(8)]
    pub data_source_ref: Option<Box<TypedObjectReference>>,
    /// VolumeAttributesClass of the volume.
    #[api(9)]
    pub volume_attributes_class_name: Option<String>,
}

open_enum! {
    /// By how many nodes or pods a volume can be mounted, and how.
    pub enum PersistentVolumeAccessMode {
        ReadWriteOnce = "ReadWriteOnce",
        ReadOnlyMany = "ReadOnlyMany",
        ReadWriteMany = "ReadWriteMany",
        ReadWriteOncePod = "ReadWriteOncePod",
    }
}

open_enum! {
    /// Filesystem or raw block device.
    pub enum PersistentVolumeMode {
        Block = "Block",
        Filesystem = "Filesystem",
    }
}
