//! Amounts of CPU, memory and other resources that are asked for.

use std::collections::BTreeMap;

use crate::value::Quantity;
use api_types_derive::Api;

/// Amounts by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Resources that a container or pod asks for and may use.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ResourceRequirements {
    /// The most that it may use.
    #[api(1)]
    pub limits: ResourceList,
    /// What is set aside for it; the limits when not given.
    #[api(2)]
    pub requests: ResourceList,
    /// Devices that it uses, from the pod's resourceClaims.
    #[api(3, list = map("name"))]
    pub claims: Vec<ResourceClaim>,
}

/// A device claim used by a container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ResourceClaim {
    /// Name of the entry in the pod's resourceClaims.
    #[api(1, required)]
    pub name: String,
    /// One request of the claim; all of them when empty.
    #[api(2)]
    pub request: String,
}

/// Storage that a claim asks for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VolumeResourceRequirements {
    /// The most storage.
    #[api(1)]
    pub limits: ResourceList,
    /// The least storage.
    #[api(2)]
    pub requests: ResourceList,
}
