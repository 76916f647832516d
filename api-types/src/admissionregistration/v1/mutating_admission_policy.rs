//! MutatingAdmissionPolicy: changes in CEL to what is written (KEP-3962). The types and facts.

use super::{
    FailurePolicyType, MatchCondition, MatchResources, ParamKind, ParamRef, ReinvocationPolicyType, Variable,
};
use crate::kind::{Kind, resource};
use crate::meta::v1::ObjectMeta;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Changes that are made to what is written, once the policy is bound.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct MutatingAdmissionPolicy {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The changes.
    #[api(2)]
    pub spec: MutatingAdmissionPolicySpec,
}

/// The changes of a policy.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct MutatingAdmissionPolicySpec {
    /// Kind of the parameters; none when the policy has no parameters.
    #[api(1)]
    pub param_kind: Option<Box<ParamKind>>,
    /// Requests that the policy is about.
    #[api(2)]
    pub match_constraints: Option<Box<MatchResources>>,
    /// Values that the expressions share.
    #[api(3, list = atomic)]
    pub variables: Vec<Variable>,
    /// The changes, in order.
    #[api(4, list = atomic)]
    pub mutations: Vec<Mutation>,
    /// What becomes of a request when an expression fails; `Fail` when not given.
    #[api(5)]
    pub failure_policy: Option<FailurePolicyType>,
    /// Conditions that a request has to meet before the policy looks at it.
    #[api(6, list = map("name"), patch = merge_key("name"))]
    pub match_conditions: Vec<MatchCondition>,
    /// Whether the policy runs again when others have changed the object since.
    #[api(7)]
    pub reinvocation_policy: ReinvocationPolicyType,
}

/// One change.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct Mutation {
    /// Which of the two below it is.
    #[api(2, required)]
    pub patch_type: PatchType,
    /// What is laid over the object.
    #[api(3)]
    pub apply_configuration: Option<Box<ApplyConfiguration>>,
    /// A JSON patch.
    #[api(4)]
    pub json_patch: Option<Box<JSONPatch>>,
}

open_enum! {
    /// A sort of change.
    pub enum PatchType {
        ApplyConfiguration = "ApplyConfiguration",
        JSONPatch = "JSONPatch",
    }
}

/// What is laid over an object, as server-side apply does.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ApplyConfiguration {
    /// An expression that gives an `Object{}`.
    #[api(1)]
    pub expression: String,
}

/// A JSON patch (RFC 6902).
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct JSONPatch {
    /// An expression that gives a list of `JSONPatch{}`.
    #[api(1)]
    pub expression: String,
}

resource!(
    MutatingAdmissionPolicy,
    Kind {
        categories: &["api-extensions"],
        ..Kind::cluster_wide(
            "admissionregistration.k8s.io/v1",
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicy"
        )
    }
);

/// Puts a policy into effect, with parameters and for a part of the cluster.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct MutatingAdmissionPolicyBinding {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The policy and its parameters.
    #[api(2)]
    pub spec: MutatingAdmissionPolicyBindingSpec,
}

/// A policy and its parameters.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct MutatingAdmissionPolicyBindingSpec {
    /// Name of the policy.
    #[api(1)]
    pub policy_name: String,
    /// The parameters.
    #[api(2)]
    pub param_ref: Option<Box<ParamRef>>,
    /// Narrows what the policy is about.
    #[api(3)]
    pub match_resources: Option<Box<MatchResources>>,
}

resource!(
    MutatingAdmissionPolicyBinding,
    Kind {
        categories: &["api-extensions"],
        ..Kind::cluster_wide(
            "admissionregistration.k8s.io/v1",
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            "mutatingadmissionpolicybinding"
        )
    }
);
