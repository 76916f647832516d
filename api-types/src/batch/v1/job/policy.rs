//! When a Job counts as failed or as done before all its pods have succeeded.

use crate::core::v1::PodConditionType;
use crate::meta::v1::ConditionStatus;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// What failed pods mean for a Job.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct PodFailurePolicy {
    /// Rules in order; the first that matches a pod counts.
    #[api(1, required, list = atomic)]
    pub rules: Vec<PodFailurePolicyRule>,
}

/// What a failed pod means that meets a requirement; exactly one is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct PodFailurePolicyRule {
    /// What is done.
    #[api(1, required)]
    pub action: PodFailurePolicyAction,
    /// Exit codes of containers that match.
    #[api(2)]
    pub on_exit_codes: Option<Box<PodFailurePolicyOnExitCodesRequirement>>,
    /// Conditions of the pod of which one must match.
    #[api(3, list = atomic)]
    pub on_pod_conditions: Vec<PodFailurePolicyOnPodConditionsPattern>,
}

open_enum! {
    /// What a failed pod leads to.
    pub enum PodFailurePolicyAction {
        FailJob = "FailJob",
        FailIndex = "FailIndex",
        Ignore = "Ignore",
        Count = "Count",
    }
}

/// Exit codes that a rule is about.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct PodFailurePolicyOnExitCodesRequirement {
    /// The container; all of them when not given.
    #[api(1)]
    pub container_name: Option<String>,
    /// Whether the code must be among the values or not.
    #[api(2, required)]
    pub operator: PodFailurePolicyOnExitCodesOperator,
    /// The exit codes.
    #[api(3, required, list = set)]
    pub values: Vec<i32>,
}

open_enum! {
    /// How an exit code is compared.
    pub enum PodFailurePolicyOnExitCodesOperator {
        In = "In",
        NotIn = "NotIn",
    }
}

/// A condition of a pod that a rule is about.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct PodFailurePolicyOnPodConditionsPattern {
    /// Type of the condition.
    #[api(1, required)]
    pub type_: PodConditionType,
    /// Its status; True when not given.
    #[api(2, always)]
    pub status: ConditionStatus,
}

/// When a Job is done although not all pods have succeeded.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct SuccessPolicy {
    /// Rules of which one must hold.
    #[api(1, required, list = atomic)]
    pub rules: Vec<SuccessPolicyRule>,
}

/// Indexes, or a number of them, that must have succeeded.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct SuccessPolicyRule {
    /// Indexes as numbers and ranges, such as 1,3-5.
    #[api(1)]
    pub succeeded_indexes: Option<String>,
    /// How many indexes; of those listed, if there is a list.
    #[api(2)]
    pub succeeded_count: Option<i32>,
}
