//! ResourceQuota: how much a namespace may hold of each resource.

mod strategy;
#[cfg(test)]
mod tests;
mod validate;

use crate::core::v1::ResourceList;
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Caps what a namespace may hold of each resource.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ResourceQuota {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The caps.
    #[api(2)]
    pub spec: ResourceQuotaSpec,
    /// The caps in force and what is held.
    #[api(3)]
    pub status: ResourceQuotaStatus,
}

/// Caps, and the objects that count against them.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ResourceQuotaSpec {
    /// Cap by resource name.
    #[api(1)]
    pub hard: ResourceList,
    /// Only objects in all of these scopes count.
    #[api(2, list = atomic)]
    pub scopes: Vec<ResourceQuotaScope>,
    /// As scopes, with values; only objects that match all count.
    #[api(3)]
    pub scope_selector: Option<Box<ScopeSelector>>,
}

/// The caps in force and what is held.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ResourceQuotaStatus {
    /// Cap by resource name.
    #[api(1)]
    pub hard: ResourceList,
    /// What is held, by resource name.
    #[api(2)]
    pub used: ResourceList,
}

open_enum! {
    /// A set of objects that a quota can be narrowed to.
    pub enum ResourceQuotaScope {
        Terminating = "Terminating",
        NotTerminating = "NotTerminating",
        BestEffort = "BestEffort",
        NotBestEffort = "NotBestEffort",
        PriorityClass = "PriorityClass",
        CrossNamespacePodAffinity = "CrossNamespacePodAffinity",
        VolumeAttributesClass = "VolumeAttributesClass",
    }
}

/// Scopes with values.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct ScopeSelector {
    /// Requirements that must all hold.
    #[api(1, list = atomic)]
    pub match_expressions: Vec<ScopedResourceSelectorRequirement>,
}

/// A scope, and what its values must be.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ScopedResourceSelectorRequirement {
    /// The scope.
    #[api(1, required)]
    pub scope_name: ResourceQuotaScope,
    /// How the values are compared.
    #[api(2, required)]
    pub operator: ScopeSelectorOperator,
    /// Values for In and NotIn; empty for the other operators.
    #[api(3, list = atomic)]
    pub values: Vec<String>,
}

open_enum! {
    /// How a scope's values are compared.
    pub enum ScopeSelectorOperator {
        In = "In",
        NotIn = "NotIn",
        Exists = "Exists",
        DoesNotExist = "DoesNotExist",
    }
}

resource!(
    ResourceQuota,
    Kind {
        short_names: &["quota"],
        subresources: &[Subresource::status("ResourceQuota")],
        ..Kind::namespaced("v1", "ResourceQuota", "resourcequotas", "resourcequota")
    }
);
