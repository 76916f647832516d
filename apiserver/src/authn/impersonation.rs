//! Impersonation: a user acts as another (`kubectl --as`; API doc "User impersonation").
//!
//! Everything that the headers ask for is one question to the authorizers under the verb
//! `impersonate`; all must be allowed. The headers are removed once they have been honoured.

use super::front_proxy::{remove_prefixed, text, unescape};
use crate::authz::Authorizer;
use crate::request::{Attributes, Decision, RequestInfo, User};
use http::HeaderMap;
use std::collections::BTreeMap;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// Why a request may not act as it asks.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImpersonationError {
    /// A 400.
    #[error("requested [{0}] without impersonating a user")]
    NoUser(String),
    /// A 403 about `info`, which is what the user would have had to be allowed.
    #[error("impersonation is not allowed: {reason}")]
    Forbidden { info: Box<RequestInfo>, reason: String },
}

/// The user to go on with; `None` when the headers ask for nothing. Removes the headers.
///
/// # Errors
/// When groups, UID or extra facts come without a user, or any part is not allowed.
pub fn impersonate(
    requestor: &User,
    headers: &mut HeaderMap,
    authorizer: &dyn Authorizer,
) -> Result<Option<User>, ImpersonationError> {
    let value = |name: &str| headers.get(name).map(text).filter(|v| !v.is_empty());
    let groups: Vec<String> = headers.get_all(GROUP).iter().map(text).collect();
    let uid = value(UID).unwrap_or_default();
    let mut extra = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers.iter() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.entry(unescape(key)).or_default().push(text(value));
        }
    }
    let Some(name) = value(USER) else {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let wanted = User { name: String::new(), uid, groups, extra };
        let asked: Vec<String> = questions(&wanted).iter().skip(1).map(reference).collect();
        return Err(ImpersonationError::NoUser(asked.join(" ")));
    };
    let wanted = User { name, uid, groups, extra };
    for info in questions(&wanted) {
        match authorizer.authorize(Attributes { user: requestor, info: &info }) {
            Decision::Allow(_) => {}
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                return Err(ImpersonationError::Forbidden { info: Box::new(info), reason });
            }
        }
    }
    for name in [USER, GROUP, UID] {
        headers.remove(name);
    }
    remove_prefixed(headers, EXTRA);
    Ok(Some(completed(wanted)))
}

/// What the authorizers are asked, one question for each thing that is taken on.
fn questions(wanted: &User) -> Vec<RequestInfo> {
    let question = |group: &str, version: &str, resource: &str, name: &str| RequestInfo {
        is_resource: true,
        verb: "impersonate".to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..RequestInfo::default()
    };
    let mut questions = vec![match service_account_parts(&wanted.name) {
        Some((namespace, name)) => {
            RequestInfo { namespace: namespace.to_owned(), ..question("", "", "serviceaccounts", name) }
        }
        None => question("", "", "users", &wanted.name),
    }];
    questions.extend(wanted.groups.iter().map(|group| question("", "", "groups", group)));
    for (key, values) in &wanted.extra {
        questions.extend(values.iter().map(|value| RequestInfo {
            subresource: key.clone(),
            ..question(AUTHENTICATION_GROUP, "v1", "userextras", value)
        }));
    }
    if !wanted.uid.is_empty() {
        questions.push(question(AUTHENTICATION_GROUP, "v1", "uids", &wanted.uid));
    }
    questions
}

/// COMPAT: the refusal prints object references as Go prints structs.
fn reference(info: &RequestInfo) -> String {
    let (name, key) = (&info.name, &info.subresource);
    match info.resource.as_str() {
        "groups" => format!("{{Group  {name}    }}"),
        "userextras" => format!("{{UserExtra  {name}  authentication.k8s.io/v1  {key}}}"),
        _ => format!("{{UID  {name}  authentication.k8s.io/v1  }}"),
    }
}

/// Adds the groups that follow from the name.
fn completed(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = service_account_parts(&user.name)
    {
        user.groups = super::service_account::groups(namespace);
    }
    if user.name == User::ANONYMOUS {
        if !user.is_in(User::UNAUTHENTICATED) {
            user.groups.push(User::UNAUTHENTICATED.to_owned());
        }
    } else if !user.is_in(User::AUTHENTICATED) && !user.is_in(User::UNAUTHENTICATED) {
        user.groups.push(User::AUTHENTICATED.to_owned());
    }
    user
}

/// Namespace and name in `system:serviceaccount:NAMESPACE:NAME`.
pub fn service_account_parts(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
