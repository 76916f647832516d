//! Metadata that every stored object carries, and its parts.

use std::collections::BTreeMap;

use crate::kind::{Kind, resource};
use crate::open_enum::open_enum;
use crate::value::{FieldsV1, Time};
use api_types_derive::Api;

/// Metadata that every stored object has.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct ObjectMeta {
    /// Name, unique among objects of its resource and namespace.
    #[api(1)]
    pub name: String,
    /// Prefix from which the server makes a name when none is given.
    #[api(2)]
    pub generate_name: String,
    /// Namespace that the object lives in; empty for cluster-wide ones.
    #[api(3)]
    pub namespace: String,
    /// Formerly the object's own URL; no longer filled in.
    #[api(4)]
    pub self_link: String,
    /// Identifier that is never used again, set at creation.
    #[api(5)]
    pub uid: String,
    /// Opaque version of the object, for conflict checks and watches.
    #[api(6)]
    pub resource_version: String,
    /// Counts changes of what is wanted.
    #[api(7)]
    pub generation: i64,
    /// CreationTimestamp is a timestamp: when the object was created.
    #[api(8)]
    pub creation_timestamp: Option<Time>,
    /// When the object is to be gone; set once deletion was asked for.
    #[api(9)]
    pub deletion_timestamp: Option<Time>,
    /// Seconds that the object was given to end in peace.
    #[api(10)]
    pub deletion_grace_period_seconds: Option<i64>,
    /// Short facts that objects can be selected by.
    #[api(11)]
    pub labels: BTreeMap<String, String>,
    /// Facts for tools and people, not selectable.
    #[api(12)]
    pub annotations: BTreeMap<String, String>,
    /// Objects on which this one depends; with the last of them it is collected.
    #[api(13, list = map("uid"), patch = merge_key("uid"))]
    pub owner_references: Vec<OwnerReference>,
    /// Those who must clean up before the object is removed.
    #[api(14, list = set, patch = merge)]
    pub finalizers: Vec<String>,
    /// Who set which fields, for server-side apply.
    #[api(17, list = atomic)]
    pub managed_fields: Vec<ManagedFieldsEntry>,
}

/// An object that this one depends on, in the same namespace or cluster-wide.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1", structure = atomic)]
pub struct OwnerReference {
    /// API version of the owner.
    #[api(5, required)]
    pub api_version: String,
    /// Kind of the owner.
    #[api(1, required)]
    pub kind: String,
    /// Name of the owner.
    #[api(3, required)]
    pub name: String,
    /// UID of the owner.
    #[api(4, required)]
    pub uid: String,
    /// Whether the owner is the managing controller; at most one is.
    #[api(6)]
    pub controller: Option<bool>,
    /// Whether foreground deletion of the owner waits for this object.
    #[api(7)]
    pub block_owner_deletion: Option<bool>,
}

/// Fields that one manager has set in one way.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct ManagedFieldsEntry {
    /// Name of the manager.
    #[api(1)]
    pub manager: String,
    /// Whether it applied or updated.
    #[api(2)]
    pub operation: ManagedFieldsOperationType,
    /// API version in which the fields are written down.
    #[api(3)]
    pub api_version: String,
    /// When the entry last changed.
    #[api(4)]
    pub time: Option<Time>,
    /// Format of the fields; always FieldsV1.
    #[api(6)]
    pub fields_type: String,
    /// The fields.
    #[api(7)]
    pub fields_v1: Option<FieldsV1>,
    /// Subresource through which they were set.
    #[api(8)]
    pub subresource: String,
}

open_enum! {
    /// How a manager set fields.
    pub enum ManagedFieldsOperationType {
        Apply = "Apply",
        Update = "Update",
    }
}

/// Any object reduced to its metadata.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct PartialObjectMetadata {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
}

resource!(
    PartialObjectMetadata,
    Kind::namespaced(
        "meta.k8s.io/v1",
        "PartialObjectMetadata",
        "partialobjectmetadata",
        "partialobjectmetadata"
    )
);
