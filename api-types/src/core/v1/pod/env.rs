//! Environment variables and where their values come from.

use crate::core::v1::LocalObjectReference;
use crate::value::Quantity;
use api_types_derive::Api;

/// One environment variable.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EnvVar {
    /// Name of the variable.
    #[api(1, required)]
    pub name: String,
    /// Its value; $(NAME) is expanded, $$ is a dollar.
    #[api(2)]
    pub value: String,
    /// Where the value comes from instead.
    #[api(3)]
    pub value_from: Option<Box<EnvVarSource>>,
}

/// Where a variable's value comes from; exactly one is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EnvVarSource {
    /// A field of the pod.
    #[api(1)]
    pub field_ref: Option<Box<ObjectFieldSelector>>,
    /// A limit or request of a container.
    #[api(2)]
    pub resource_field_ref: Option<Box<ResourceFieldSelector>>,
    /// A key of a ConfigMap.
    #[api(3)]
    pub config_map_key_ref: Option<Box<ConfigMapKeySelector>>,
    /// A key of a Secret.
    #[api(4)]
    pub secret_key_ref: Option<Box<SecretKeySelector>>,
    /// A key of a file in a volume.
    #[api(5)]
    pub file_key_ref: Option<Box<FileKeySelector>>,
}

/// A ConfigMap or Secret all of whose keys become variables.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EnvFromSource {
    /// Put before each key.
    #[api(1)]
    pub prefix: String,
    /// The ConfigMap.
    #[api(2)]
    pub config_map_ref: Option<Box<ConfigMapEnvSource>>,
    /// The Secret.
    #[api(3)]
    pub secret_ref: Option<Box<SecretEnvSource>>,
}

/// A ConfigMap that becomes variables.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ConfigMapEnvSource {
    /// Its name.
    #[api(1, inline)]
    pub reference: LocalObjectReference,
    /// Whether it may be missing.
    #[api(2)]
    pub optional: Option<bool>,
}

/// A Secret that becomes variables.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SecretEnvSource {
    /// Its name.
    #[api(1, inline)]
    pub reference: LocalObjectReference,
    /// Whether it may be missing.
    #[api(2)]
    pub optional: Option<bool>,
}

/// One key of a ConfigMap.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct ConfigMapKeySelector {
    /// Name of the ConfigMap.
    #[api(1, inline)]
    pub reference: LocalObjectReference,
    /// The key.
    #[api(2, required)]
    pub key: String,
    /// Whether ConfigMap or key may be missing.
    #[api(3)]
    pub optional: Option<bool>,
}

/// One key of a Secret.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct SecretKeySelector {
    /// Name of the Secret.
    #[api(1, inline)]
    pub reference: LocalObjectReference,
    /// The key.
    #[api(2, required)]
    pub key: String,
    /// Whether Secret or key may be missing.
    #[api(3)]
    pub optional: Option<bool>,
}

/// One key of a file with variables.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct FileKeySelector {
    /// Volume that holds the file.
    #[api(1, required)]
    pub volume_name: String,
    /// Path of the file in the volume; relative, without dot-dot.
    #[api(2, required)]
    pub path: String,
    /// The key in the file.
    #[api(3, required)]
    pub key: String,
    /// Whether file or key may be missing.
    #[api(4, default = false)]
    pub optional: Option<bool>,
}

/// One field of the pod itself.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct ObjectFieldSelector {
    /// API version in which the path is meant; v1 when not given.
    #[api(1)]
    pub api_version: String,
    /// Path of the field, such as metadata.name.
    #[api(2, required)]
    pub field_path: String,
}

/// One limit or request of a container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct ResourceFieldSelector {
    /// The container; needed in volumes.
    #[api(1)]
    pub container_name: String,
    /// What is read, such as limits.cpu.
    #[api(2, required)]
    pub resource: String,
    /// Unit in which the value is given; 1 when not given.
    #[api(3, always)]
    pub divisor: Quantity,
}
