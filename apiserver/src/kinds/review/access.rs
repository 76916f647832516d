//! May this user do that? The question of the three access reviews, checked and put to the authorizers.

use api_types::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, LocalSubjectAccessReview, NonResourceAttributes,
    ResourceAttributes, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use api_types::field::{Errors, Path};
use api_types::meta::v1::{
    FieldSelectorOperator, FieldSelectorRequirement, LabelSelectorOperator, LabelSelectorRequirement,
    ObjectMeta,
};
use api_types::selector::{Fields, Labels};

use crate::authz::Authorizer;
use crate::request::{Attributes, Decision, RequestInfo, User};

/// An action on a resource or on another path.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub resource: &'a Option<Box<ResourceAttributes>>,
    pub other: &'a Option<Box<NonResourceAttributes>>,
}

impl Question<'_> {
    /// Exactly one of the two, and selectors that say something.
    pub(super) fn check(self, errors: &mut Errors) {
        check_one_of(self, errors);
        check_selectors(self.resource.as_deref(), errors);
    }

    /// The authorizers' answer.
    pub(super) fn ask(self, user: &User, authorizer: &dyn Authorizer) -> SubjectAccessReviewStatus {
        let mut problems = Vec::new();
        let info = match (self.resource, self.other) {
            (Some(resource), _) => resource_info(resource, &mut problems),
            (None, Some(other)) => {
                RequestInfo { path: other.path.clone(), verb: other.verb.clone(), ..RequestInfo::default() }
            }
            (None, None) => RequestInfo::default(),
        };
        let (allowed, denied, reason) = match authorizer.authorize(Attributes { user, info: &info }) {
            Decision::Allow(reason) => (true, false, reason),
            Decision::Deny(reason) => (false, true, reason),
            Decision::NoOpinion(reason) => (false, false, reason),
        };
        SubjectAccessReviewStatus { allowed, denied, reason, evaluation_error: problems.join("; ") }
    }
}

fn check_one_of(question: Question<'_>, errors: &mut Errors) {
    let path = Path::new("spec");
    match (question.resource, question.other) {
        (Some(_), Some(other)) => errors.invalid(
            &path.child("nonResourceAttributes"),
            &**other as &dyn api_types::value::Value,
            "cannot be specified in combination with resourceAttributes",
        ),
        (None, None) => errors.invalid(
            &path.child("resourceAttributes"),
            Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
}

/// How a missing struct is shown in an error.
struct Null;

impl api_types::field::Shown for Null {
    fn shown(&self) -> String {
        "null".to_owned()
    }
}

pub(super) fn check_subject(spec: &SubjectAccessReviewSpec, errors: &mut Errors) {
    let question = Question { resource: &spec.resource_attributes, other: &spec.non_resource_attributes };
    check_one_of(question, errors);
    if spec.user.is_empty() && spec.groups.is_empty() {
        let path = Path::new("spec").child("user");
        errors.invalid(&path, "", "at least one of user or group must be specified");
    }
    check_selectors(spec.resource_attributes.as_deref(), errors);
}

pub(super) fn check_meta(meta: &ObjectMeta, errors: &mut Errors) {
    let bare = ObjectMeta { managed_fields: Vec::new(), ..meta.clone() };
    if bare != ObjectMeta::default() {
        errors.invalid(&Path::new("metadata"), meta as &dyn api_types::value::Value, "must be empty");
    }
}

pub(super) fn check_local(review: &LocalSubjectAccessReview, errors: &mut Errors) {
    let meta = &review.metadata;
    let bare = ObjectMeta { managed_fields: Vec::new(), namespace: String::new(), ..meta.clone() };
    if bare != ObjectMeta::default() {
        let shown = meta as &dyn api_types::value::Value;
        errors.invalid(&Path::new("metadata"), shown, "must be empty except for namespace");
    }
    if let Some(resource) = &review.spec.resource_attributes
        && resource.namespace != meta.namespace
    {
        let path = Path::new("spec.resourceAttributes.namespace");
        errors.invalid(&path, &resource.namespace, "must match metadata.namespace");
    }
    if let Some(other) = &review.spec.non_resource_attributes {
        let shown = &**other as &dyn api_types::value::Value;
        errors.invalid(&Path::new("spec.nonResourceAttributes"), shown, "disallowed on this kind of request");
    }
}

fn check_selectors(resource: Option<&ResourceAttributes>, errors: &mut Errors) {
    let Some(resource) = resource else { return };
    let path = Path::new("spec.resourceAttributes");
    let mut check = |path: Path, raw: &str, requirements: usize| {
        if !raw.is_empty() && requirements > 0 {
            let detail = "may not specified at the same time as requirements";
            errors.invalid(&path.child("rawSelector"), raw, detail);
        }
        if raw.is_empty() && requirements == 0 {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            errors.required(&path.child("requirements"), detail);
        }
    };
    if let Some(FieldSelectorAttributes { raw_selector, requirements }) = resource.field_selector.as_deref() {
        check(path.child("fieldSelector"), raw_selector, requirements.len());
    }
    if let Some(LabelSelectorAttributes { raw_selector, requirements }) = resource.label_selector.as_deref() {
        check(path.child("labelSelector"), raw_selector, requirements.len());
    }
}

pub(super) fn of_subject(
    spec: &SubjectAccessReviewSpec,
    authorizer: &dyn Authorizer,
) -> SubjectAccessReviewStatus {
    let user = User {
        name: spec.user.clone(),
        uid: spec.uid.clone(),
        groups: spec.groups.clone(),
        extra: spec.extra.iter().map(|(key, values)| (key.clone(), values.0.clone())).collect(),
    };
    Question { resource: &spec.resource_attributes, other: &spec.non_resource_attributes }
        .ask(&user, authorizer)
}

/// The question as the authorizers take it. Parts of selectors that cannot be read are left out, which
/// asks for more and so allows less; `problems` says so.
fn resource_info(resource: &ResourceAttributes, problems: &mut Vec<String>) -> RequestInfo {
    let mut info = RequestInfo {
        is_resource: true,
        verb: resource.verb.clone(),
        group: resource.group.clone(),
        version: if resource.version.is_empty() { "*".to_owned() } else { resource.version.clone() },
        namespace: resource.namespace.clone(),
        resource: resource.resource.clone(),
        subresource: resource.subresource.clone(),
        name: resource.name.clone(),
        ..RequestInfo::default()
    };
    let mut ignored = |which: &str, some_left: bool| {
        let how = if some_left { "partially ignored" } else { "ignored" };
        problems.push(format!("spec.resourceAttributes.{which} {how} due to parse error"));
    };
    if let Some(FieldSelectorAttributes { raw_selector, requirements }) = resource.field_selector.as_deref() {
        if requirements.is_empty() {
            match Fields::parse(raw_selector) {
                Ok(_) => info.field_selector.clone_from(raw_selector),
                Err(_) => ignored("fieldSelector", false),
            }
        } else {
            let parts: Vec<String> = requirements.iter().filter_map(field_part).collect();
            if parts.len() < requirements.len() {
                ignored("fieldSelector", !parts.is_empty());
            }
            info.field_selector = parts.join(",");
        }
    }
    if let Some(LabelSelectorAttributes { raw_selector, requirements }) = resource.label_selector.as_deref() {
        if requirements.is_empty() {
            match Labels::parse(raw_selector) {
                Ok(_) => info.label_selector.clone_from(raw_selector),
                Err(_) => ignored("labelSelector", false),
            }
        } else {
            let parts: Vec<String> = requirements.iter().filter_map(label_part).collect();
            if parts.len() < requirements.len() {
                ignored("labelSelector", !parts.is_empty());
            }
            info.label_selector = parts.join(",");
        }
    }
    info
}

/// A requirement as a selector writes it; `None` for what field selectors cannot say.
fn field_part(requirement: &FieldSelectorRequirement) -> Option<String> {
    let [value] = requirement.values.as_slice() else { return None };
    let value = value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
    match requirement.operator {
        FieldSelectorOperator::In => Some(format!("{}={value}", requirement.key)),
        FieldSelectorOperator::NotIn => Some(format!("{}!={value}", requirement.key)),
        _ => None,
    }
}

fn label_part(requirement: &LabelSelectorRequirement) -> Option<String> {
    let (key, values) = (&requirement.key, requirement.values.join(","));
    let part = match requirement.operator {
        LabelSelectorOperator::In => format!("{key} in ({values})"),
        LabelSelectorOperator::NotIn => format!("{key} notin ({values})"),
        LabelSelectorOperator::Exists => key.clone(),
        LabelSelectorOperator::DoesNotExist => format!("!{key}"),
        _ => return None,
    };
    Labels::parse(&part).is_ok().then_some(part)
}
