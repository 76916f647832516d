//! `authorizer`: questions to the authorizers out of an expression, about the user of the request or about a
//! service account.

use super::cost::Cost;
use super::error::EvalError;
use super::library::{Given, Row};
use super::value::Value;
use crate::authz::Authorizer;
use crate::request::{Attributes, Decision, RequestInfo, User};
use std::fmt;
use std::sync::Arc;

/// A question, as far as it was put.
#[derive(Clone)]
pub struct Check<'a> {
    authorizer: &'a dyn Authorizer,
    user: Arc<User>,
    /// What the request itself is about.
    request: Arc<RequestInfo>,
    about: About,
}

#[derive(Clone, Debug)]
enum About {
    Nothing,
    Path(Box<RequestInfo>),
    Resource(Box<RequestInfo>),
    Answer { allowed: bool, reason: String },
}

impl fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("user", &self.user.name).field("about", &self.about).finish()
    }
}

impl<'a> Check<'a> {
    /// `authorizer`: may be asked anything about `user`; `info` is what the request itself is about.
    pub fn authorizer(authorizer: &'a dyn Authorizer, user: &User, info: &RequestInfo) -> Value<'a> {
        let request = RequestInfo {
            is_resource: true,
            path: String::new(),
            verb: String::new(),
            field_selector: String::new(),
            label_selector: String::new(),
            ..info.clone()
        };
        let own = Self {
            authorizer,
            user: Arc::new(user.clone()),
            request: Arc::new(request),
            about: About::Nothing,
        };
        Value::Authorization(Arc::new(own))
    }

    /// `authorizer.requestResource`: a question about what the request is about.
    pub fn request_resource(&self) -> Option<Value<'a>> {
        matches!(self.about, About::Nothing)
            .then(|| self.next(About::Resource(Box::new((*self.request).clone()))))
    }

    pub fn type_name(&self) -> &'static str {
        match self.about {
            About::Nothing => "kubernetes.authorization.Authorizer",
            About::Path(_) => "kubernetes.authorization.PathCheck",
            About::Resource(_) => "kubernetes.authorization.ResourceCheck",
            About::Answer { .. } => "kubernetes.authorization.Decision",
        }
    }

    fn next(&self, about: About) -> Value<'a> {
        Value::Authorization(Arc::new(Self { about, ..self.clone() }))
    }
}

pub const TABLE: &[Row] = &[
    ("serviceAccount", &["Authorizer.(string,string) Authorizer"], |_, a| service_account(a), Cost::One),
    ("path", &["Authorizer.(string) PathCheck"], |_, a| path(a), Cost::One),
    ("group", &["Authorizer.(string) GroupCheck"], |_, a| group(a), Cost::One),
    (
        "resource",
        &["GroupCheck.(string) ResourceCheck"],
        |_, a| set(a, |info, text| info.resource = text),
        Cost::One,
    ),
    (
        "subresource",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |info, text| info.subresource = text),
        Cost::One,
    ),
    (
        "namespace",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |info, text| info.namespace = text),
        Cost::One,
    ),
    (
        "name",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |info, text| info.name = text),
        Cost::One,
    ),
    (
        "fieldSelector",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |info, text| info.field_selector = text),
        Cost::Selector,
    ),
    (
        "labelSelector",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |info, text| info.label_selector = text),
        Cost::Selector,
    ),
    (
        "check",
        &["ResourceCheck.(string) Decision", "PathCheck.(string) Decision"],
        |_, a| check(a),
        Cost::Fixed(350_000),
    ),
    ("allowed", &["Decision.() bool"], |_, a| answer(a, |allowed, _| Value::Bool(allowed)), Cost::One),
    ("reason", &["Decision.() string"], |_, a| answer(a, |_, reason| Value::text(reason)), Cost::One),
    // Our authorizers answer; they do not fail.
    ("errored", &["Decision.() bool"], |_, a| answer(a, |_, _| Value::Bool(false)), Cost::One),
    ("error", &["Decision.() string"], |_, a| answer(a, |_, _| Value::text("")), Cost::One),
];

fn own<'v, 'a>(args: &'v [Value<'a>]) -> Result<&'v Check<'a>, EvalError> {
    match &args[0] {
        Value::Authorization(check) => Ok(check),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn text<'v>(args: &'v [Value<'_>], place: usize) -> Result<&'v str, EvalError> {
    match args.get(place) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn service_account<'a>(args: &[Value<'a>]) -> Given<'a> {
    let own = own(args)?;
    let (namespace, name) = (text(args, 1)?, text(args, 2)?);
    let user = User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            User::AUTHENTICATED.into(),
        ],
        ..User::default()
    };
    Ok(Value::Authorization(Arc::new(Check { user: Arc::new(user), ..own.clone() })))
}

fn path<'a>(args: &[Value<'a>]) -> Given<'a> {
    let path = text(args, 1)?;
    if path.is_empty() {
        return Err(EvalError::failed("path must not be empty"));
    }
    let info = RequestInfo { path: path.to_owned(), ..RequestInfo::default() };
    Ok(own(args)?.next(About::Path(Box::new(info))))
}

fn group<'a>(args: &[Value<'a>]) -> Given<'a> {
    let info = RequestInfo { is_resource: true, group: text(args, 1)?.to_owned(), ..RequestInfo::default() };
    let own = own(args)?;
    // A group is a resource whose name is still to come.
    match own.about {
        About::Nothing => Ok(own.next(About::Resource(Box::new(info)))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn set<'a>(args: &[Value<'a>], change: fn(&mut RequestInfo, String)) -> Given<'a> {
    let own = own(args)?;
    let About::Resource(info) = &own.about else { return Err(EvalError::NoSuchOverload) };
    let mut info = info.clone();
    change(&mut info, text(args, 1)?.to_owned());
    Ok(own.next(About::Resource(info)))
}

fn check<'a>(args: &[Value<'a>]) -> Given<'a> {
    let own = own(args)?;
    let (About::Resource(info) | About::Path(info)) = &own.about else {
        return Err(EvalError::NoSuchOverload);
    };
    let mut info = info.clone();
    info.verb = text(args, 1)?.to_owned();
    let (allowed, reason) = match own.authorizer.authorize(Attributes { user: &own.user, info: &info }) {
        Decision::Allow(reason) => (true, reason),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
    };
    Ok(own.next(About::Answer { allowed, reason }))
}

fn answer<'a>(args: &[Value<'a>], of: fn(bool, &str) -> Value<'static>) -> Given<'a> {
    match &own(args)?.about {
        About::Answer { allowed, reason } => Ok(of(*allowed, reason)),
        _ => Err(EvalError::NoSuchOverload),
    }
}
