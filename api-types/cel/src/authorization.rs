//! `authorizer`: questions to the authorizers out of an expression, about the user of the request or about a
//! service account. What is asked is put together here; the caller's `Authority` answers.

use super::cost::Cost;
use super::error::EvalError;
use super::library::{Given, Row};
use super::value::Value;
use std::fmt;
use std::sync::Arc;

/// Answers what expressions ask.
pub trait Authority: Send + Sync {
    /// Whether it is allowed, and why.
    fn answer(&self, subject: &Subject, question: &Question) -> (bool, String);

    /// What the request itself is about, without its verb and selectors: `authorizer.requestResource`.
    fn request(&self) -> Question;
}

/// Of whom it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The user of the request.
    Own,
    ServiceAccount {
        namespace: String,
        name: String,
    },
}

/// What is asked: about a path, or where that is empty about a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    pub path: String,
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// A question, as far as it was put.
#[derive(Clone)]
pub struct Check<'a> {
    authority: Arc<dyn Authority + 'a>,
    subject: Subject,
    about: About,
}

#[derive(Clone, Debug)]
enum About {
    Nothing,
    Path(Box<Question>),
    Resource(Box<Question>),
    Answer { allowed: bool, reason: String },
}

impl fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("subject", &self.subject).field("about", &self.about).finish()
    }
}

impl<'a> Check<'a> {
    /// `authorizer`: may be asked anything.
    pub fn authorizer(authority: Arc<dyn Authority + 'a>) -> Value<'a> {
        Value::Authorization(Arc::new(Self { authority, subject: Subject::Own, about: About::Nothing }))
    }

    /// `authorizer.requestResource`: a question about what the request is about.
    pub fn request_resource(&self) -> Option<Value<'a>> {
        matches!(self.about, About::Nothing)
            .then(|| self.next(About::Resource(Box::new(self.authority.request()))))
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
        |_, a| set(a, |own, text| own.resource = text),
        Cost::One,
    ),
    (
        "subresource",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |own, text| own.subresource = text),
        Cost::One,
    ),
    (
        "namespace",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |own, text| own.namespace = text),
        Cost::One,
    ),
    (
        "name",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |own, text| own.name = text),
        Cost::One,
    ),
    (
        "fieldSelector",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |own, text| own.field_selector = text),
        Cost::Selector,
    ),
    (
        "labelSelector",
        &["ResourceCheck.(string) ResourceCheck"],
        |_, a| set(a, |own, text| own.label_selector = text),
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
    let subject =
        Subject::ServiceAccount { namespace: text(args, 1)?.to_owned(), name: text(args, 2)?.to_owned() };
    Ok(Value::Authorization(Arc::new(Check { subject, ..own.clone() })))
}

fn path<'a>(args: &[Value<'a>]) -> Given<'a> {
    let path = text(args, 1)?;
    if path.is_empty() {
        return Err(EvalError::failed("path must not be empty"));
    }
    let question = Question { path: path.to_owned(), ..Question::default() };
    Ok(own(args)?.next(About::Path(Box::new(question))))
}

fn group<'a>(args: &[Value<'a>]) -> Given<'a> {
    let question = Question { group: text(args, 1)?.to_owned(), ..Question::default() };
    let own = own(args)?;
    // A group is a resource whose name is still to come.
    match own.about {
        About::Nothing => Ok(own.next(About::Resource(Box::new(question)))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn set<'a>(args: &[Value<'a>], change: fn(&mut Question, String)) -> Given<'a> {
    let own = own(args)?;
    let About::Resource(question) = &own.about else { return Err(EvalError::NoSuchOverload) };
    let mut question = question.clone();
    change(&mut question, text(args, 1)?.to_owned());
    Ok(own.next(About::Resource(question)))
}

fn check<'a>(args: &[Value<'a>]) -> Given<'a> {
    let own = own(args)?;
    let (About::Resource(question) | About::Path(question)) = &own.about else {
        return Err(EvalError::NoSuchOverload);
    };
    let mut question = question.clone();
    question.verb = text(args, 1)?.to_owned();
    let (allowed, reason) = own.authority.answer(&own.subject, &question);
    Ok(own.next(About::Answer { allowed, reason }))
}

fn answer<'a>(args: &[Value<'a>], of: fn(bool, &str) -> Value<'static>) -> Given<'a> {
    match &own(args)?.about {
        About::Answer { allowed, reason } => Ok(of(*allowed, reason)),
        _ => Err(EvalError::NoSuchOverload),
    }
}
