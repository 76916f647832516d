//! PersistentVolumeClaim: asks for storage, and holds it. Its spec is declared with the claims that pods carry.

pub(crate) mod strategy;
#[cfg(test)]
mod tests;
pub(crate) mod validate;

use std::collections::BTreeMap;

use crate::core::v1::{PersistentVolumeAccessMode, PersistentVolumeClaimSpec, ResourceList};
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// Asks for storage in a namespace, and holds what it got.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeClaim {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[api(2)]
    pub spec: PersistentVolumeClaimSpec,
    /// What was got.
    #[api(3)]
    pub status: PersistentVolumeClaimStatus,
}

/// What a claim got.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeClaimStatus {
    /// Whether the claim waits, is bound, or has lost its volume.
    #[api(1)]
    pub phase: PersistentVolumeClaimPhase,
    /// Ways in which the volume can be mounted.
    #[api(2, list = atomic)]
    pub access_modes: Vec<PersistentVolumeAccessMode>,
    /// How much the volume holds.
    #[api(3)]
    pub capacity: ResourceList,
    /// Latest observations, such as a resize that is under way.
    #[api(4, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<PersistentVolumeClaimCondition>,
    /// Storage set aside for the claim, which a resize may have raised already.
    #[api(5)]
    pub allocated_resources: ResourceList,
    /// How far each resize has come.
    #[api(7, map = granular)]
    pub allocated_resource_statuses: BTreeMap<String, ClaimResourceStatus>,
    /// The VolumeAttributesClass in force.
    #[api(8)]
    pub current_volume_attributes_class_name: Option<String>,
    /// How far a change of VolumeAttributesClass has come.
    #[api(9)]
    pub modify_volume_status: Option<Box<ModifyVolumeStatus>>,
}

open_enum! {
    /// Stage in the life of a claim.
    pub enum PersistentVolumeClaimPhase {
        Pending = "Pending",
        Bound = "Bound",
        Lost = "Lost",
    }
}

/// One observation about a claim.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeClaimCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: PersistentVolumeClaimConditionType,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When it was last looked at.
    #[api(3, always)]
    pub last_probe_time: Option<Time>,
    /// When the status last changed.
    #[api(4, always)]
    pub last_transition_time: Option<Time>,
    /// Cause of the last change in one CamelCase word.
    #[api(5)]
    pub reason: String,
    /// The same for people.
    #[api(6)]
    pub message: String,
}

open_enum! {
    /// What a condition of a claim speaks of.
    pub enum PersistentVolumeClaimConditionType {
        Resizing = "Resizing",
        FileSystemResizePending = "FileSystemResizePending",
        ControllerResizeError = "ControllerResizeError",
        NodeResizeError = "NodeResizeError",
        ModifyVolumeError = "ModifyVolumeError",
        ModifyingVolume = "ModifyingVolume",
        Unused = "Unused",
    }
}

open_enum! {
    /// How far the resize of a claim has come.
    pub enum ClaimResourceStatus {
        ControllerResizeInProgress = "ControllerResizeInProgress",
        ControllerResizeInfeasible = "ControllerResizeInfeasible",
        NodeResizePending = "NodeResizePending",
        NodeResizeInProgress = "NodeResizeInProgress",
        NodeResizeInfeasible = "NodeResizeInfeasible",
    }
}

/// How far a change of VolumeAttributesClass has come.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ModifyVolumeStatus {
    /// The class that is being applied.
    #[api(1)]
    pub target_volume_attributes_class_name: String,
    /// Pending, under way, or refused by the driver.
    #[api(2, required)]
    pub status: PersistentVolumeClaimModifyVolumeStatus,
}

open_enum! {
    /// Stage of a change of VolumeAttributesClass.
    pub enum PersistentVolumeClaimModifyVolumeStatus {
        Pending = "Pending",
        InProgress = "InProgress",
        Infeasible = "Infeasible",
    }
}

resource!(
    PersistentVolumeClaim,
    Kind {
        short_names: &["pvc"],
        subresources: &[Subresource::status("PersistentVolumeClaim")],
        ..Kind::namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim")
    }
);
