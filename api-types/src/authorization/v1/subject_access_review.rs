//! Access reviews: may this user (or may I) do that?

use std::collections::BTreeMap;

use crate::field::{Errors, Path};
use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::{FieldSelectorRequirement, LabelSelectorRequirement, ObjectMeta};
use crate::value::{StringList, Value};
use api_types_derive::Api;

/// Asks whether a user may do something.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct SubjectAccessReview {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The user and the action.
    #[api(2, required)]
    pub spec: SubjectAccessReviewSpec,
    /// The decision, filled in by the server.
    #[api(3)]
    pub status: SubjectAccessReviewStatus,
}

/// Asks whether a user may do something in the review's own namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct LocalSubjectAccessReview {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The user and the action; its namespace must be that of the review.
    #[api(2, required)]
    pub spec: SubjectAccessReviewSpec,
    /// The decision, filled in by the server.
    #[api(3)]
    pub status: SubjectAccessReviewStatus,
}

/// Asks whether the caller may do something.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct SelfSubjectAccessReview {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The action.
    #[api(2, required)]
    pub spec: SelfSubjectAccessReviewSpec,
    /// The decision, filled in by the server.
    #[api(3)]
    pub status: SubjectAccessReviewStatus,
}

/// Who wants to do what; exactly one of the two kinds of action.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct SubjectAccessReviewSpec {
    /// The action on a resource.
    #[api(1)]
    pub resource_attributes: Option<Box<ResourceAttributes>>,
    /// The action on another path.
    #[api(2)]
    pub non_resource_attributes: Option<Box<NonResourceAttributes>>,
    /// Name of the user asked about.
    #[api(3)]
    pub user: String,
    /// Groups of the user asked about.
    #[api(4, list = atomic)]
    pub groups: Vec<String>,
    /// Further facts about the user, as the authenticator gives them.
    #[api(5)]
    pub extra: BTreeMap<String, StringList>,
    /// UID of the user asked about.
    #[api(6)]
    pub uid: String,
}

/// What the caller wants to do; exactly one of the two.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct SelfSubjectAccessReviewSpec {
    /// The action on a resource.
    #[api(1)]
    pub resource_attributes: Option<Box<ResourceAttributes>>,
    /// The action on another path.
    #[api(2)]
    pub non_resource_attributes: Option<Box<NonResourceAttributes>>,
}

/// The decision of the authorizers.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct SubjectAccessReviewStatus {
    /// Whether the action is allowed.
    #[api(1, required)]
    pub allowed: bool,
    /// Whether it is refused outright; with allowed false too, nobody had an opinion.
    #[api(4)]
    pub denied: bool,
    /// Why, in the authorizer's words.
    #[api(2)]
    pub reason: String,
    /// What went wrong while deciding; a decision may still be given.
    #[api(3)]
    pub evaluation_error: String,
}

/// An action on a resource.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct ResourceAttributes {
    /// Namespace of the action; empty for all, or for cluster-wide resources.
    #[api(1)]
    pub namespace: String,
    /// The verb, such as get or create; * stands for all.
    #[api(2)]
    pub verb: String,
    /// Group of the resource; * stands for all.
    #[api(3)]
    pub group: String,
    /// Version of the resource; * stands for all.
    #[api(4)]
    pub version: String,
    /// Resource in the plural; * stands for all.
    #[api(5)]
    pub resource: String,
    /// Subresource, where one is asked for.
    #[api(6)]
    pub subresource: String,
    /// Name of the object; empty for all.
    #[api(7)]
    pub name: String,
    /// Limits the action to objects with these fields.
    #[api(8)]
    pub field_selector: Option<Box<FieldSelectorAttributes>>,
    /// Limits the action to objects with these labels.
    #[api(9)]
    pub label_selector: Option<Box<LabelSelectorAttributes>>,
}

/// An action on a path that is no resource.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct NonResourceAttributes {
    /// The path of the request.
    #[api(1)]
    pub path: String,
    /// The HTTP verb in lower case.
    #[api(2)]
    pub verb: String,
}

/// The field selector of a request, raw or taken apart.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct FieldSelectorAttributes {
    /// The selector as written in the query; not to be combined with requirements.
    #[api(1)]
    pub raw_selector: String,
    /// The selector taken apart; all parts must hold.
    #[api(2, list = atomic)]
    pub requirements: Vec<FieldSelectorRequirement>,
}

/// The label selector of a request, raw or taken apart.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authorization.v1")]
pub struct LabelSelectorAttributes {
    /// The selector as written in the query; not to be combined with requirements.
    #[api(1)]
    pub raw_selector: String,
    /// The selector taken apart; all parts must hold.
    #[api(2, list = atomic)]
    pub requirements: Vec<LabelSelectorRequirement>,
}

impl SubjectAccessReviewSpec {
    fn validate(&self, errors: &mut Errors) {
        attributes(self.resource_attributes.as_deref(), self.non_resource_attributes.as_deref(), errors);
        if self.user.is_empty() && self.groups.is_empty() {
            let path = Path::new("spec").child("user");
            errors.invalid(&path, &self.user, "at least one of user or group must be specified");
        }
        if let Some(resource) = &self.resource_attributes {
            resource.validate(errors);
        }
    }
}

/// A question is about a resource or about a URL.
fn attributes(
    resource: Option<&ResourceAttributes>,
    other: Option<&NonResourceAttributes>,
    errors: &mut Errors,
) {
    let path = Path::new("spec");
    match (resource, other) {
        (Some(_), Some(other)) => errors.invalid(
            &path.child("nonResourceAttributes"),
            other as &dyn Value,
            "cannot be specified in combination with resourceAttributes",
        ),
        (None, None) => errors.invalid(
            &path.child("resourceAttributes"),
            &None::<String> as &dyn Value,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
}

impl ResourceAttributes {
    fn validate(&self, errors: &mut Errors) {
        let fields = self.field_selector.as_ref().map(|s| (&s.raw_selector, s.requirements.is_empty()));
        let labels = self.label_selector.as_ref().map(|s| (&s.raw_selector, s.requirements.is_empty()));
        for (name, selector) in [("fieldSelector", fields), ("labelSelector", labels)] {
            let Some((raw, no_requirements)) = selector else { continue };
            let path = Path::new("spec.resourceAttributes").child(name);
            match (raw.is_empty(), no_requirements) {
                (false, false) => {
                    let text = "may not specified at the same time as requirements";
                    errors.invalid(&path.child("rawSelector"), raw, text);
                }
                (true, true) => {
                    let text = format!("when {path} is specified, requirements or rawSelector is required");
                    errors.required(&path.child("requirements"), text);
                }
                _ => {}
            }
        }
    }
}

/// Reviews are answered and not stored; a name would mean nothing.
fn must_be_empty(meta: &ObjectMeta, text: &str, errors: &mut Errors) {
    if (ObjectMeta { managed_fields: Vec::new(), ..meta.clone() }) != ObjectMeta::default() {
        errors.invalid(&Path::new("metadata"), meta as &dyn Value, text);
    }
}

resource!(
    LocalSubjectAccessReview,
    Kind {
        verbs: Kind::CREATE_ONLY,
        ..Kind::namespaced(
            "authorization.k8s.io/v1",
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview"
        )
    }
);

impl Strategy for LocalSubjectAccessReview {
    fn validate(&self, errors: &mut Errors) {
        self.spec.validate(errors);
        let rest = ObjectMeta { namespace: String::new(), ..self.metadata.clone() };
        must_be_empty(&rest, "must be empty except for namespace", errors);
        if let Some(resource) = &self.spec.resource_attributes
            && resource.namespace != self.metadata.namespace
        {
            let path = Path::new("spec.resourceAttributes.namespace");
            errors.invalid(&path, &resource.namespace, "must match metadata.namespace");
        }
        if let Some(other) = &self.spec.non_resource_attributes {
            let path = Path::new("spec.nonResourceAttributes");
            errors.invalid(&path, &**other as &dyn Value, "disallowed on this kind of request");
        }
    }
}

resource!(
    SelfSubjectAccessReview,
    Kind {
        verbs: Kind::CREATE_ONLY,
        ..Kind::cluster_wide(
            "authorization.k8s.io/v1",
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            "selfsubjectaccessreview"
        )
    }
);

impl Strategy for SelfSubjectAccessReview {
    fn validate(&self, errors: &mut Errors) {
        let SelfSubjectAccessReviewSpec { resource_attributes, non_resource_attributes } = &self.spec;
        attributes(resource_attributes.as_deref(), non_resource_attributes.as_deref(), errors);
        if let Some(resource) = resource_attributes {
            resource.validate(errors);
        }
        must_be_empty(&self.metadata, "must be empty", errors);
    }
}

resource!(
    SubjectAccessReview,
    Kind {
        verbs: Kind::CREATE_ONLY,
        ..Kind::cluster_wide(
            "authorization.k8s.io/v1",
            "SubjectAccessReview",
            "subjectaccessreviews",
            "subjectaccessreview"
        )
    }
);

impl Strategy for SubjectAccessReview {
    fn validate(&self, errors: &mut Errors) {
        self.spec.validate(errors);
        must_be_empty(&self.metadata, "must be empty", errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::refused;

    #[test]
    fn what_is_refused() {
        let mut own = SubjectAccessReview::default();
        own.spec.user = "ann".into();
        own.spec.resource_attributes = Some(Box::default());
        assert!(refused(own.clone()).is_empty());
        own.metadata.name = "x".into();
        own.spec.non_resource_attributes = Some(Box::default());
        own.spec.user.clear();
        assert_eq!(
            refused(own),
            [
                "spec.nonResourceAttributes: Invalid value: {}: cannot be specified in combination with resourceAttributes",
                r#"spec.user: Invalid value: "": at least one of user or group must be specified"#,
                r#"metadata: Invalid value: {"name":"x"}: must be empty"#,
            ]
        );
        let mut local = LocalSubjectAccessReview::default();
        local.metadata.namespace = "shop".into();
        local.spec.user = "ann".into();
        local.spec.resource_attributes = Some(Box::default());
        assert_eq!(
            refused(local),
            [r#"spec.resourceAttributes.namespace: Invalid value: "": must match metadata.namespace"#]
        );
    }
}
