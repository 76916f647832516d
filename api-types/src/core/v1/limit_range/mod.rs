//! LimitRange: bounds and defaults for what pods, containers and claims of a namespace ask for.

mod strategy;
#[cfg(test)]
mod tests;
mod validate;

use crate::core::v1::ResourceList;
use crate::kind::{Kind, resource};
use crate::meta::v1::ObjectMeta;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Bounds and defaults for what objects of a namespace ask for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct LimitRange {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The bounds.
    #[api(2)]
    pub spec: LimitRangeSpec,
}

/// The bounds of a namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct LimitRangeSpec {
    /// One entry for each type of object.
    #[api(1, required, list = atomic)]
    pub limits: Vec<LimitRangeItem>,
}

/// Bounds for one type of object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct LimitRangeItem {
    /// What is bounded: containers, pods, claims.
    #[api(1, required)]
    pub type_: LimitType,
    /// The most that may be asked for or allowed.
    #[api(2)]
    pub max: ResourceList,
    /// The least that may be asked for.
    #[api(3)]
    pub min: ResourceList,
    /// Limits of containers that give none.
    #[api(4)]
    pub default: ResourceList,
    /// Requests of containers that give none.
    #[api(5)]
    pub default_request: ResourceList,
    /// How many times its request a limit may be.
    #[api(6)]
    pub max_limit_request_ratio: ResourceList,
}

open_enum! {
    /// Type of object that bounds are for.
    pub enum LimitType {
        Pod = "Pod",
        Container = "Container",
        PersistentVolumeClaim = "PersistentVolumeClaim",
    }
}

resource!(
    LimitRange,
    Kind { short_names: &["limits"], ..Kind::namespaced("v1", "LimitRange", "limitranges", "limitrange") }
);
