//! What policies of both sorts have in common: their parameters, the requests they are about, variables.

use super::{MatchPolicyType, NamedRuleWithOperations};
use crate::meta::v1::LabelSelector;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// The kind of a policy's parameters.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1", structure = atomic)]
pub struct ParamKind {
    /// Group and version of the kind, `group/version`.
    #[api(1, name = "apiVersion")]
    pub api_version: String,
    /// The kind.
    #[api(2)]
    pub kind: String,
}

/// Which objects are the parameters of a policy where it is bound.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1", structure = atomic)]
pub struct ParamRef {
    /// Name of the object; excludes `selector`.
    #[api(1)]
    pub name: String,
    /// Its namespace; that of the request when empty.
    #[api(2)]
    pub namespace: String,
    /// Labels of the objects; excludes `name`.
    #[api(3)]
    pub selector: Option<Box<LabelSelector>>,
    /// What becomes of a request when there is no such object.
    #[api(4)]
    pub parameter_not_found_action: Option<ParameterNotFoundActionType>,
}

open_enum! {
    /// What becomes of a request when a policy's parameters are not there.
    pub enum ParameterNotFoundActionType {
        Allow = "Allow",
        Deny = "Deny",
    }
}

/// Requests that a policy is about.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1", structure = atomic)]
pub struct MatchResources {
    /// Labels of the object's namespace, or of the object where it is one.
    #[api(1)]
    pub namespace_selector: Option<Box<LabelSelector>>,
    /// Labels of the object, as it is or as it was.
    #[api(2)]
    pub object_selector: Option<Box<LabelSelector>>,
    /// What is done to which resources; one of the rules has to match.
    #[api(3, list = atomic)]
    pub resource_rules: Vec<NamedRuleWithOperations>,
    /// What it is not about, although a rule matches.
    #[api(4, list = atomic)]
    pub exclude_resource_rules: Vec<NamedRuleWithOperations>,
    /// Whether rules match other versions of the same resources, too; `Equivalent` when not given.
    #[api(7)]
    pub match_policy: Option<MatchPolicyType>,
}

/// A value that the expressions of a policy share, `variables.NAME`.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1", structure = atomic)]
pub struct Variable {
    /// Name of the variable, a CEL identifier.
    #[api(1, required)]
    pub name: String,
    /// Its value in CEL, which can use the variables before it.
    #[api(2, required)]
    pub expression: String,
}
