//! ValidatingAdmissionPolicy: conditions in CEL that a write has to meet (KEP-3488). The types and facts.

use super::{FailurePolicyType, MatchCondition, MatchResources, ParamKind, ParamRef, Variable};
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{Condition, ObjectMeta, StatusReason};
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Conditions that a write has to meet, once the policy is bound.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ValidatingAdmissionPolicy {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The conditions.
    #[api(2)]
    pub spec: ValidatingAdmissionPolicySpec,
    /// What is known of the expressions.
    #[api(3)]
    pub status: ValidatingAdmissionPolicyStatus,
}

/// The conditions of a policy.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ValidatingAdmissionPolicySpec {
    /// Kind of the parameters; none when the policy has no parameters.
    #[api(1)]
    pub param_kind: Option<Box<ParamKind>>,
    /// Requests that the policy is about.
    #[api(2)]
    pub match_constraints: Option<Box<MatchResources>>,
    /// Conditions that have to hold.
    #[api(3, list = atomic)]
    pub validations: Vec<Validation>,
    /// What becomes of a request when an expression fails; `Fail` when not given.
    #[api(4)]
    pub failure_policy: Option<FailurePolicyType>,
    /// What is added to the audit record of a request.
    #[api(5, list = atomic)]
    pub audit_annotations: Vec<AuditAnnotation>,
    /// Conditions that a request has to meet before the policy looks at it.
    #[api(6, list = map("name"), patch = merge_key("name"))]
    pub match_conditions: Vec<MatchCondition>,
    /// Values that the expressions share.
    #[api(7, list = map("name"), patch = merge_key("name"))]
    pub variables: Vec<Variable>,
}

/// One condition.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct Validation {
    /// An expression of type bool that has to be true.
    #[api(1, required)]
    pub expression: String,
    /// What the client is told otherwise.
    #[api(2)]
    pub message: String,
    /// Reason of the refusal; `Invalid` when not given.
    #[api(3)]
    pub reason: Option<StatusReason>,
    /// An expression that gives the message.
    #[api(4)]
    pub message_expression: String,
}

/// Something that is added to audit records.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct AuditAnnotation {
    /// Key of the annotation below the policy's name.
    #[api(1, required)]
    pub key: String,
    /// An expression for its value; null adds nothing.
    #[api(2, required)]
    pub value_expression: String,
}

/// What is known of a policy's expressions.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ValidatingAdmissionPolicyStatus {
    /// Generation of the spec that this status speaks of.
    #[api(1)]
    pub observed_generation: i64,
    /// What the check of types found.
    #[api(2)]
    pub type_checking: Option<Box<TypeChecking>>,
    /// Latest observations.
    #[api(3, list = map("type"))]
    pub conditions: Vec<Condition>,
}

/// What the check of types found.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct TypeChecking {
    /// Doubts about expressions.
    #[api(1, list = atomic)]
    pub expression_warnings: Vec<ExpressionWarning>,
}

/// A doubt about an expression.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ExpressionWarning {
    /// Path of the expression, as `spec.validations[0].expression`.
    #[api(2, required)]
    pub field_ref: String,
    /// The doubt, for people.
    #[api(3, required)]
    pub warning: String,
}

resource!(
    ValidatingAdmissionPolicy,
    Kind {
        categories: &["api-extensions"],
        subresources: &[Subresource::status("ValidatingAdmissionPolicy")],
        ..Kind::cluster_wide(
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            "validatingadmissionpolicy"
        )
    }
);

/// Puts a policy into effect, with parameters and for a part of the cluster.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ValidatingAdmissionPolicyBinding {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The policy, its parameters, and what follows from a condition that does not hold.
    #[api(2, required)]
    pub spec: ValidatingAdmissionPolicyBindingSpec,
}

/// A policy, its parameters, and what follows from a condition that does not hold.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct ValidatingAdmissionPolicyBindingSpec {
    /// Name of the policy.
    #[api(1, required, omitempty)]
    pub policy_name: String,
    /// The parameters.
    #[api(2)]
    pub param_ref: Option<Box<ParamRef>>,
    /// Narrows what the policy is about.
    #[api(3)]
    pub match_resources: Option<Box<MatchResources>>,
    /// What follows from a condition that does not hold: Deny, Warn, Audit.
    #[api(4, required, omitempty, list = set)]
    pub validation_actions: Vec<ValidationAction>,
}

open_enum! {
    /// What follows from a condition that does not hold.
    pub enum ValidationAction {
        Deny = "Deny",
        Warn = "Warn",
        Audit = "Audit",
    }
}

resource!(
    ValidatingAdmissionPolicyBinding,
    Kind {
        categories: &["api-extensions"],
        ..Kind::cluster_wide(
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicybinding"
        )
    }
);
