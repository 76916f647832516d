//! PersistentVolume: storage of the cluster that a claim can be bound to. What is behind it is in `source`.

mod source;
mod strategy;
#[cfg(test)]
mod tests;
mod validate;

pub use source::*;

use crate::core::v1::{
    NodeSelector, ObjectReference, PersistentVolumeAccessMode, PersistentVolumeMode, ResourceList,
};
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// Storage of the cluster that one claim can be bound to.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolume {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What the storage is and who holds it.
    #[api(2)]
    pub spec: PersistentVolumeSpec,
    /// Where the volume is in its life.
    #[api(3)]
    pub status: PersistentVolumeStatus,
}

/// A volume's storage, terms and holder.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeSpec {
    /// How much the volume holds.
    #[api(1)]
    pub capacity: ResourceList,
    /// What is behind it.
    #[api(2, inline)]
    pub source: PersistentVolumeSource,
    /// Ways in which the volume can be mounted.
    #[api(3, list = atomic)]
    pub access_modes: Vec<PersistentVolumeAccessMode>,
    /// The claim that the volume is bound to, or kept for.
    #[api(4, structure = granular)]
    pub claim_ref: Option<Box<ObjectReference>>,
    /// What becomes of the volume when its claim is gone.
    #[api(5)]
    pub persistent_volume_reclaim_policy: PersistentVolumeReclaimPolicy,
    /// The class that it belongs to; empty for none.
    #[api(6)]
    pub storage_class_name: String,
    /// Options to mount with, unchecked.
    #[api(7, list = atomic)]
    pub mount_options: Vec<String>,
    /// Filesystem or raw block device; Filesystem when not given.
    #[api(8)]
    pub volume_mode: Option<PersistentVolumeMode>,
    /// Nodes that can reach the volume.
    #[api(9)]
    pub node_affinity: Option<Box<VolumeNodeAffinity>>,
    /// The VolumeAttributesClass whose parameters it has.
    #[api(10)]
    pub volume_attributes_class_name: Option<String>,
}

/// Nodes that can reach a volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VolumeNodeAffinity {
    /// What a node must fulfil.
    #[api(1)]
    pub required: Option<Box<NodeSelector>>,
}

open_enum! {
    /// What becomes of a volume when its claim is gone.
    pub enum PersistentVolumeReclaimPolicy {
        Recycle = "Recycle",
        Delete = "Delete",
        Retain = "Retain",
    }
}

/// Where a volume is in its life.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeStatus {
    /// Whether the volume is free, bound, released or in trouble.
    #[api(1)]
    pub phase: PersistentVolumePhase,
    /// Why, for people.
    #[api(2)]
    pub message: String,
    /// Why, in one CamelCase word.
    #[api(3)]
    pub reason: String,
    /// When the phase last changed.
    #[api(4)]
    pub last_phase_transition_time: Option<Time>,
}

open_enum! {
    /// Stage in the life of a volume.
    pub enum PersistentVolumePhase {
        Pending = "Pending",
        Available = "Available",
        Bound = "Bound",
        Released = "Released",
        Failed = "Failed",
    }
}

resource!(
    PersistentVolume,
    Kind {
        short_names: &["pv"],
        subresources: &[Subresource::status("PersistentVolume")],
        ..Kind::cluster_wide("v1", "PersistentVolume", "persistentvolumes", "persistentvolume")
    }
);
