//! References from one object to another.

use api_types_derive::Api;

/// Points to any object, or to a part of it.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct ObjectReference {
    /// Kind of the object.
    #[api(1)]
    pub kind: String,
    /// Namespace of the object.
    #[api(2)]
    pub namespace: String,
    /// Name of the object.
    #[api(3)]
    pub name: String,
    /// UID of the object.
    #[api(4)]
    pub uid: String,
    /// API version of the object.
    #[api(5)]
    pub api_version: String,
    /// Version of the object that is meant.
    #[api(6)]
    pub resource_version: String,
    /// Part of the object that is meant, such as spec.containers{name}.
    #[api(7)]
    pub field_path: String,
}

/// Points to an object of a known kind in the same namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct LocalObjectReference {
    /// Name of the object.
    #[api(1, default = "")]
    pub name: String,
}

/// Points to an object of any kind in the same namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct TypedLocalObjectReference {
    /// Group of the kind; empty for the core group.
    #[api(1, always)]
    pub api_group: Option<String>,
    /// Kind of the object.
    #[api(2, required)]
    pub kind: String,
    /// Name of the object.
    #[api(3, required)]
    pub name: String,
}

/// Points to an object of any kind in any namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct TypedObjectReference {
    /// Group of the kind; empty for the core group.
    #[api(1, always)]
    pub api_group: Option<String>,
    /// Kind of the object.
    #[api(2, required)]
    pub kind: String,
    /// Name of the object.
    #[api(3, required)]
    pub name: String,
    /// Namespace of the object; the same one when not given.
    #[api(4)]
    pub namespace: Option<String>,
}

/// A reference written down in an annotation.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SerializedReference {
    /// The object that it points to.
    #[api(1)]
    pub reference: ObjectReference,
}

/// Points to a Secret in any namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct SecretReference {
    /// Name of the Secret.
    #[api(1)]
    pub name: String,
    /// Namespace of the Secret.
    #[api(2)]
    pub namespace: String,
}
