//! The review kinds: questions about users and their rights, answered at once and never stored.

mod access;
#[cfg(test)]
mod tests;

use api_types::authentication::v1::{SelfSubjectReview, TokenReview, TokenReviewStatus, UserInfo};
use api_types::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    SubjectRulesReviewStatus,
};
use api_types::field::Errors;
use api_types::kind::{Kind, Object};
use api_types::meta::Time;
use api_types::value::StringList;

use crate::answer::Answer;
use crate::authn::Authenticator;
use crate::authz::Authorizer;
use crate::call::{Call, Target};
use crate::registry::admit::{self, Operation, Write};
use crate::registry::decode;
use crate::request::User;
use crate::server::Server;
use crate::status::ApiError;

/// Whether the kind is one of them.
pub fn is_review(kind: &Kind) -> bool {
    matches!(kind.group, "authorization.k8s.io" | "authentication.k8s.io") && !kind.is_stored()
}

/// Answers `POST` of a review.
///
/// # Errors
/// 400 and 422 for questions that make no sense.
pub async fn create(server: &Server, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, ApiError> {
    let row = target.row;
    let dry_run = call.dry_run("CreateOptions")?;
    let mut object = decode::object(call, row, body, "CreateOptions")?;
    decode::settle_namespace(row, object.meta_mut(), &target.namespace)?;
    let write = Write {
        call,
        row,
        operation: Operation::Create,
        namespace: &target.namespace,
        name: &target.name,
        subresource: "",
        dry_run,
        deletion: None,
    };
    admit::mutate(server, write, Some(&mut *object), None).await?;
    admit::validate(server, write, Some(&*object), None).await?;
    let any = object.as_any_mut();
    if let Some(review) = any.downcast_mut::<TokenReview>() {
        token(review, &server.authenticator).await?;
    } else if let Some(review) = any.downcast_mut::<SelfSubjectReview>() {
        review.metadata.creation_timestamp = Some(Time::whole(jiff::Timestamp::now()));
        review.status.user_info = info_of(&call.user);
    } else {
        access_review(&mut *object, &call.user, &target.namespace, &*server.authorizer)?;
    }
    Ok(Answer::Made { code: 201, object })
}

/// Fills in the status of an access or rules review.
fn access_review(
    object: &mut dyn Object,
    caller: &User,
    namespace: &str,
    authorizer: &dyn Authorizer,
) -> Result<(), ApiError> {
    let any = object.as_any_mut();
    if let Some(review) = any.downcast_mut::<SelfSubjectRulesReview>() {
        return rules(review, caller, authorizer);
    }
    let mut errors = Errors::default();
    if let Some(review) = any.downcast_mut::<SelfSubjectAccessReview>() {
        let spec = &review.spec;
        let question =
            access::Question { resource: &spec.resource_attributes, other: &spec.non_resource_attributes };
        question.check(&mut errors);
        access::check_meta(&review.metadata, &mut errors);
        refuse(errors)?;
        review.status = question.ask(caller, authorizer);
    } else if let Some(review) = any.downcast_mut::<SubjectAccessReview>() {
        access::check_subject(&review.spec, &mut errors);
        access::check_meta(&review.metadata, &mut errors);
        refuse(errors)?;
        review.status = access::of_subject(&review.spec, authorizer);
    } else if let Some(review) = any.downcast_mut::<LocalSubjectAccessReview>() {
        access::check_subject(&review.spec, &mut errors);
        access::check_local(review, &mut errors);
        refuse(errors)?;
        if namespace.is_empty() {
            return Err(ApiError::BadRequest("namespace is required on this type: ".to_owned()));
        }
        review.status = access::of_subject(&review.spec, authorizer);
    }
    Ok(())
}

/// COMPAT: upstream names no kind in these refusals.
fn refuse(errors: Errors) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let group = "authorization.k8s.io".to_owned();
    Err(ApiError::Invalid { group, kind: String::new(), name: String::new(), errors })
}

fn rules(
    review: &mut SelfSubjectRulesReview,
    caller: &User,
    authorizer: &dyn Authorizer,
) -> Result<(), ApiError> {
    if review.spec.namespace.is_empty() {
        return Err(ApiError::BadRequest("no namespace on request".to_owned()));
    }
    let rules = authorizer.rules_for(caller, &review.spec.namespace);
    let status = SubjectRulesReviewStatus {
        resource_rules: rules.resource,
        non_resource_rules: rules.non_resource,
        incomplete: rules.incomplete,
        evaluation_error: match rules.errors.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        },
    };
    // COMPAT: the answer carries the status alone.
    *review = SelfSubjectRulesReview { status, ..SelfSubjectRulesReview::default() };
    Ok(())
}

async fn token(review: &mut TokenReview, authenticator: &Authenticator) -> Result<(), ApiError> {
    if review.spec.token.is_empty() {
        return Err(ApiError::BadRequest("token is required for TokenReview in authentication".to_owned()));
    }
    let asked = match review.spec.audiences.as_slice() {
        [] => authenticator.audiences.clone(),
        audiences => audiences.to_vec(),
    };
    review.status = match authenticator.of_token(&review.spec.token, &asked).await {
        Err(error) => TokenReviewStatus { error: error.to_string(), ..TokenReviewStatus::default() },
        Ok(identity) => {
            if !asked.is_empty() && !identity.audiences.iter().any(|audience| asked.contains(audience)) {
                return Err(ApiError::Internal("error validating audiences".to_owned()));
            }
            TokenReviewStatus {
                authenticated: true,
                user: info_of(&identity.user),
                audiences: identity.audiences,
                ..TokenReviewStatus::default()
            }
        }
    };
    Ok(())
}

fn info_of(user: &User) -> UserInfo {
    UserInfo {
        username: user.name.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user
            .extra
            .iter()
            .map(|(key, values)| (key.clone(), StringList::from(values.clone())))
            .collect(),
    }
}
