//! SelfSubjectRulesReview: everything that the caller may do in a namespace.

use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use api_types_derive::Api;

/// Asks what the caller may do in a namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct SelfSubjectRulesReview {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The namespace asked about.
    #[api(2, required)]
    pub spec: SelfSubjectRulesReviewSpec,
    /// What is allowed there, filled in by the server.
    #[api(3)]
    pub status: SubjectRulesReviewStatus,
}

/// Which rules are asked for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct SelfSubjectRulesReviewSpec {
    /// Namespace to list rules of.
    #[api(1)]
    pub namespace: String,
}

/// Everything a user may do, as far as the authorizers can list it.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct SubjectRulesReviewStatus {
    /// Allowed actions on resources; the order means nothing.
    #[api(1, required, list = atomic)]
    pub resource_rules: Vec<ResourceRule>,
    /// Allowed actions on other paths; the order means nothing.
    #[api(2, required, list = atomic)]
    pub non_resource_rules: Vec<NonResourceRule>,
    /// Whether an authorizer could not list all its rules.
    #[api(3, required)]
    pub incomplete: bool,
    /// What went wrong while rules were listed; the rest still holds.
    #[api(4)]
    pub evaluation_error: String,
}

/// Actions that are allowed on some resources.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct ResourceRule {
    /// Allowed verbs; * stands for all.
    #[api(1, required, list = atomic)]
    pub verbs: Vec<String>,
    /// Groups of the resources; * stands for all.
    #[api(2, list = atomic)]
    pub api_groups: Vec<String>,
    /// Resources and subresources; * stands for all.
    #[api(3, list = atomic)]
    pub resources: Vec<String>,
    /// Names of objects; empty stands for every name.
    #[api(4, list = atomic)]
    pub resource_names: Vec<String>,
}

/// Actions that are allowed on paths which are no resources.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct NonResourceRule {
    /// Allowed HTTP verbs in lower case; * stands for all.
    #[api(1, required, list = atomic)]
    pub verbs: Vec<String>,
    /// Paths; a final * stands for any rest.
    #[api(2, name = "nonResourceURLs", list = atomic)]
    pub non_resource_urls: Vec<String>,
}

resource!(
    SelfSubjectRulesReview,
    Kind {
        verbs: Kind::CREATE_ONLY,
        ..Kind::cluster_wide(
            "authorization.k8s.io/v1",
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            "selfsubjectrulesreview"
        )
    }
);

impl Strategy for SelfSubjectRulesReview {}
