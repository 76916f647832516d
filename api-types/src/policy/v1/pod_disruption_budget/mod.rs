//! PodDisruptionBudget: how many pods of a set may be down at once on purpose.

mod strategy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{Condition, LabelSelector, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::{IntOrString, Time};
use api_types_derive::Api;

/// Limits how many pods of a set may be down on purpose at once.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.policy.v1")]
pub struct PodDisruptionBudget {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The pods and the limit.
    #[api(2)]
    pub spec: PodDisruptionBudgetSpec,
    /// How many may go now.
    #[api(3)]
    pub status: PodDisruptionBudgetStatus,
}

/// Pods, and how many of them must stay or may go.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.policy.v1")]
pub struct PodDisruptionBudgetSpec {
    /// Pods that must stay available, as a number or a percentage.
    #[api(1)]
    pub min_available: Option<IntOrString>,
    /// The pods; an empty selector means all of the namespace.
    #[api(2, patch = replace)]
    pub selector: Option<Box<LabelSelector>>,
    /// Pods that may be unavailable, as a number or a percentage.
    #[api(3)]
    pub max_unavailable: Option<IntOrString>,
    /// When pods that are not ready may be evicted.
    #[api(4)]
    pub unhealthy_pod_eviction_policy: Option<UnhealthyPodEvictionPolicyType>,
}

open_enum! {
    /// When pods that are not ready may be evicted.
    pub enum UnhealthyPodEvictionPolicyType {
        IfHealthyBudget = "IfHealthyBudget",
        AlwaysAllow = "AlwaysAllow",
    }
}

/// What the controller last saw of a budget's pods.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.policy.v1")]
pub struct PodDisruptionBudgetStatus {
    /// Generation of the spec that this status speaks of.
    #[api(1)]
    pub observed_generation: i64,
    /// Pods whose eviction was granted and has not been seen yet, with its time.
    #[api(2)]
    pub disrupted_pods: BTreeMap<String, Option<Time>>,
    /// Pods that may be evicted now.
    #[api(3, always)]
    pub disruptions_allowed: i32,
    /// Pods that are healthy.
    #[api(4, always)]
    pub current_healthy: i32,
    /// Pods that must be healthy.
    #[api(5, always)]
    pub desired_healthy: i32,
    /// Pods that the budget counts.
    #[api(6, always)]
    pub expected_pods: i32,
    /// Latest observations about the budget.
    #[api(7, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<Condition>,
}

resource!(
    PodDisruptionBudget,
    Kind {
        short_names: &["pdb"],
        subresources: &[Subresource::status("PodDisruptionBudget")],
        ..Kind::namespaced("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget")
    }
);
