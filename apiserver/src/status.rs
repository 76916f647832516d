//! Everything that can be wrong with a request, and its `Status`, made in one match.
//!
//! Codes, reasons and texts are upstream's: clients match on them. Nothing else in the server
//! builds a failing `Status`; parts with errors of their own convert them to `ApiError` first.

use api_types::field;
use api_types::kind::Kind;
use api_types::meta::v1::{CauseType, Status, StatusCause, StatusDetails, StatusReason};

/// A resource as messages name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Qualified {
    pub group: String,
    pub resource: String,
}

impl Qualified {
    pub fn new(group: &str, resource: &str) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned() }
    }
}

impl From<&Kind> for Qualified {
    fn from(kind: &Kind) -> Self {
        Self::new(kind.group, kind.resource)
    }
}

impl std::fmt::Display for Qualified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

/// Why a request fails.
#[derive(Debug, Clone, PartialEq)]
pub enum ApiError {
    BadRequest(String),
    Unauthorized,
    /// `name` is empty for collections.
    Forbidden {
        of: Qualified,
        name: String,
        why: String,
    },
    /// A path that is no resource; the whole message.
    ForbiddenPath(String),
    NotFound {
        of: Qualified,
        name: String,
    },
    /// No such path.
    NoSuchPath,
    AlreadyExists {
        of: Qualified,
        name: String,
    },
    /// Eight made-up names were all taken.
    GenerateNameExhausted {
        of: Qualified,
        name: String,
    },
    /// `why` follows "Operation cannot be fulfilled on …: ".
    Conflict {
        of: Qualified,
        name: String,
        why: String,
    },
    /// Server-side apply met fields of others: manager and field of each.
    ApplyConflict {
        message: String,
        causes: Vec<(String, String)>,
    },
    Invalid {
        group: String,
        kind: String,
        name: String,
        errors: field::Errors,
    },
    /// The revision asked for is compacted or fell off the log.
    Expired(String),
    /// As `Expired`, with a token to go on at a newer revision.
    ExpiredContinue(String),
    TooLargeRevision {
        asked: i64,
        current: i64,
    },
    MethodNotAllowed,
    NotAcceptable(Vec<&'static str>),
    UnsupportedMediaType(Vec<&'static str>),
    /// The body is larger than this many bytes.
    TooLarge(u64),
    TooManyRequests {
        message: String,
        retry_after: i32,
    },
    Timeout(String),
    /// The store did not answer.
    ServerTimeout {
        of: Qualified,
        operation: String,
    },
    Unavailable(String),
    Internal(String),
    /// What the store said, in its own words.
    Store(String),
    /// Said by someone else (an admission check, the kubelet).
    Said(Box<Status>),
}

impl ApiError {
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::NotFound { of: kind.into(), name: name.to_owned() }
    }

    /// A kind that is going takes nothing new.
    pub fn terminating_definition(verb: &str) -> Self {
        let mut status = Self::MethodNotAllowed.status();
        status.message = format!("{verb} not allowed while custom resource definition is terminating");
        Self::Said(Box::new(status))
    }

    /// The object changed between reading and writing.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        Self::Conflict {
            of: kind.into(),
            name: name.to_owned(),
            why:
                "the object has been modified; please apply your changes to the latest version and try again"
                    .to_owned(),
        }
    }

    pub fn invalid(kind: &Kind, name: &str, errors: field::Errors) -> Self {
        Self::invalid_of(kind.group, kind.kind, name, errors)
    }

    /// As `invalid`, of something that is no kind.
    pub fn invalid_of(group: &str, kind: &str, name: &str, errors: field::Errors) -> Self {
        Self::Invalid { group: group.to_owned(), kind: kind.to_owned(), name: name.to_owned(), errors }
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::Internal(message.to_string())
    }

    /// What the client gets to see.
    pub fn status(&self) -> Status {
        use StatusReason as Reason;
        let of = |of: &Qualified, name: &str| StatusDetails {
            name: name.to_owned(),
            group: of.group.clone(),
            kind: of.resource.clone(),
            ..StatusDetails::default()
        };
        let none = StatusDetails::default;
        match self {
            Self::BadRequest(message) => failure(400, Reason::BadRequest, message.clone(), None),
            Self::Unauthorized => failure(401, Reason::Unauthorized, "Unauthorized".into(), None),
            Self::Forbidden { of: what, name, why } => {
                let message = if name.is_empty() {
                    format!("{what} is forbidden: {why}")
                } else {
                    format!("{what} {name:?} is forbidden: {why}")
                };
                failure(403, Reason::Forbidden, message, Some(of(what, name)))
            }
            Self::ForbiddenPath(message) => failure(403, Reason::Forbidden, message.clone(), Some(none())),
            Self::NotFound { of: what, name } => {
                failure(404, Reason::NotFound, format!("{what} {name:?} not found"), Some(of(what, name)))
            }
            Self::NoSuchPath => failure(
                404,
                Reason::NotFound,
                "the server could not find the requested resource".into(),
                Some(none()),
            ),
            Self::AlreadyExists { of: what, name } => failure(
                409,
                Reason::AlreadyExists,
                format!("{what} {name:?} already exists"),
                Some(of(what, name)),
            ),
            Self::GenerateNameExhausted { of: what, name } => failure(
                409,
                Reason::AlreadyExists,
                format!(
                    "{what} {name:?} already exists, the server was not able to generate a unique name for the object"
                ),
                Some(StatusDetails { retry_after_seconds: 1, ..of(what, name) }),
            ),
            Self::Conflict { of: what, name, why } => failure(
                409,
                Reason::Conflict,
                format!("Operation cannot be fulfilled on {what} {name:?}: {why}"),
                Some(of(what, name)),
            ),
            Self::ApplyConflict { message, causes } => {
                let causes = causes
                    .iter()
                    .map(|(manager, field)| StatusCause {
                        reason: CauseType::FieldManagerConflict,
                        message: format!("conflict with {manager}"),
                        field: field.clone(),
                    })
                    .collect();
                failure(409, Reason::Conflict, message.clone(), Some(StatusDetails { causes, ..none() }))
            }
            Self::Invalid { group, kind, name, errors } => invalid(group, kind, name, errors),
            Self::Expired(message) => failure(410, Reason::Expired, message.clone(), None),
            Self::ExpiredContinue(token) => {
                let mut status = failure(
                    410,
                    Reason::Expired,
                    "The provided continue parameter is too old to display a consistent list result. You can start a \
                     new list without the continue parameter, or use the continue token in this response to retrieve \
                     the remainder of the results. Continuing with the provided token results in an inconsistent \
                     list - objects that were created, modified, or deleted between the time the first chunk was \
                     returned and now may show up in the list."
                        .into(),
                    None,
                );
                status.metadata.continue_ = token.clone();
                status
            }
            Self::TooLargeRevision { asked, current } => failure(
                504,
                Reason::Timeout,
                format!("Timeout: Too large resource version: {asked}, current: {current}"),
                Some(StatusDetails {
                    causes: vec![StatusCause {
                        reason: CauseType::ResourceVersionTooLarge,
                        message: "Too large resource version".into(),
                        field: String::new(),
                    }],
                    retry_after_seconds: 1,
                    ..none()
                }),
            ),
            Self::MethodNotAllowed => failure(
                405,
                Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource".into(),
                Some(none()),
            ),
            Self::NotAcceptable(types) => failure(
                406,
                Reason::NotAcceptable,
                format!("only the following media types are accepted: {}", types.join(", ")),
                None,
            ),
            Self::UnsupportedMediaType(types) => failure(
                415,
                Reason::UnsupportedMediaType,
                format!(
                    "the body of the request was in an unknown format - accepted media types include: {}",
                    types.join(", ")
                ),
                None,
            ),
            Self::TooLarge(limit) => failure(
                413,
                Reason::RequestEntityTooLarge,
                format!("Request entity too large: limit is {limit}"),
                None,
            ),
            Self::TooManyRequests { message, retry_after } => failure(
                429,
                Reason::TooManyRequests,
                message.clone(),
                Some(StatusDetails { retry_after_seconds: *retry_after, ..none() }),
            ),
            Self::Timeout(message) => {
                failure(504, Reason::Timeout, format!("Timeout: {message}"), Some(none()))
            }
            Self::ServerTimeout { of: what, operation } => failure(
                500,
                Reason::ServerTimeout,
                format!(
                    "The {operation} operation against {what} could not be completed at this time, please try again."
                ),
                Some(StatusDetails { name: operation.clone(), retry_after_seconds: 0, ..of(what, "") }),
            ),
            Self::Unavailable(message) => failure(503, Reason::ServiceUnavailable, message.clone(), None),
            Self::Internal(message) => failure(
                500,
                Reason::InternalError,
                format!("Internal error occurred: {message}"),
                Some(StatusDetails {
                    causes: vec![StatusCause { message: message.clone(), ..StatusCause::default() }],
                    ..none()
                }),
            ),
            Self::Store(message) => failure(500, Reason::Unset, message.clone(), None),
            Self::Said(status) => (**status).clone(),
        }
    }
}

fn failure(code: i32, reason: StatusReason, message: String, details: Option<StatusDetails>) -> Status {
    Status {
        status: "Failure".into(),
        message: daemon::go_words::worded(&message).into_owned(),
        reason,
        details: details.map(Box::new),
        code,
        ..Status::default()
    }
}

fn invalid(group: &str, kind: &str, name: &str, errors: &field::Errors) -> Status {
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let message = if errors.is_empty() {
        format!("{qualified} {name:?} is invalid")
    } else {
        format!("{qualified} {name:?} is invalid: {errors}")
    };
    let causes = errors
        .0
        .iter()
        .map(|error| StatusCause {
            reason: CauseType::from(error.reason.as_str()),
            message: error.body(),
            field: error.path.to_string(),
        })
        .collect();
    let details = StatusDetails {
        name: name.to_owned(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        causes,
        ..StatusDetails::default()
    };
    failure(422, StatusReason::Invalid, message, Some(details))
}

/// `Success`, the answer to a deletion.
pub fn success(details: StatusDetails) -> Status {
    Status { status: "Success".into(), details: Some(Box::new(details)), ..Status::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::field::{Errors, Path};

    fn check(error: ApiError, code: i32, reason: &str, message: &str) {
        let status = error.status();
        assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (code, reason, message));
    }

    #[test]
    fn errors_read_as_upstreams() {
        let large = "etcdserver: request is too large";
        check(ApiError::Store(large.into()), 500, "", large);
        let deployments = || Qualified::new("apps", "deployments");
        check(
            ApiError::NotFound { of: deployments(), name: "a".into() },
            404,
            "NotFound",
            "deployments.apps \"a\" not found",
        );
        check(
            ApiError::AlreadyExists { of: Qualified::new("", "pods"), name: "a".into() },
            409,
            "AlreadyExists",
            "pods \"a\" already exists",
        );
        check(
            ApiError::Forbidden { of: Qualified::new("", "pods"), name: String::new(), why: "no".into() },
            403,
            "Forbidden",
            "pods is forbidden: no",
        );
        check(
            ApiError::TooLarge(3_145_728),
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 3145728",
        );
        check(
            ApiError::TooLargeRevision { asked: 9, current: 3 },
            504,
            "Timeout",
            "Timeout: Too large resource version: 9, current: 3",
        );
    }

    #[test]
    fn invalid_carries_a_cause_for_each_field() {
        let mut errors = Errors::default();
        errors.required(&Path::new("spec").child("selector"), "");
        let status =
            ApiError::Invalid { group: "apps".into(), kind: "Deployment".into(), name: "web".into(), errors }
                .status();
        assert_eq!(status.message, "Deployment.apps \"web\" is invalid: spec.selector: Required value");
        let details = status.details.expect("details");
        assert_eq!(details.causes[0].reason.as_str(), "FieldValueRequired");
        assert_eq!(details.causes[0].field, "spec.selector");
    }
}
