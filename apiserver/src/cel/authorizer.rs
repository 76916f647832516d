//! The authorizers as expressions ask them: about the user of a request, or about a service account.

use super::Value;
use super::authorization::{Authority, Check, Question, Subject};
use crate::authz::Authorizer;
use crate::request::{Attributes, Decision, RequestInfo, User};
use std::sync::Arc;

/// Whom to ask, and about whose request.
pub struct Asked<'a> {
    authorizer: &'a dyn Authorizer,
    user: User,
    info: RequestInfo,
}

impl<'a> Asked<'a> {
    /// `authorizer` of an expression.
    pub fn value(authorizer: &'a dyn Authorizer, user: &User, info: &RequestInfo) -> Value<'a> {
        Check::authorizer(Arc::new(Self { authorizer, user: user.clone(), info: info.clone() }))
    }
}

impl Authority for Asked<'_> {
    fn answer(&self, subject: &Subject, question: &Question) -> (bool, String) {
        let account;
        let user = match subject {
            Subject::Own => &self.user,
            Subject::ServiceAccount { namespace, name } => {
                account = service_account(namespace, name);
                &account
            }
        };
        let asked = question.clone();
        let info = RequestInfo {
            is_resource: question.path.is_empty(),
            path: asked.path,
            verb: asked.verb,
            group: asked.group,
            version: asked.version,
            namespace: asked.namespace,
            resource: asked.resource,
            subresource: asked.subresource,
            name: asked.name,
            rest: String::new(),
            field_selector: asked.field_selector,
            label_selector: asked.label_selector,
        };
        match self.authorizer.authorize(Attributes { user, info: &info }) {
            Decision::Allow(reason) => (true, reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
        }
    }

    fn request(&self) -> Question {
        let own = self.info.clone();
        Question {
            group: own.group,
            version: own.version,
            namespace: own.namespace,
            resource: own.resource,
            subresource: own.subresource,
            name: own.name,
            ..Question::default()
        }
    }
}

fn service_account(namespace: &str, name: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            User::AUTHENTICATED.into(),
        ],
        ..User::default()
    }
}
