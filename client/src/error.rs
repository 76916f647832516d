//! Why a request to the apiserver failed, by the step that failed.
//!
//! The server's own refusals are `Error::Status`; everything else never got that far, or came back
//! unreadable. Callers branch with `is_not_found()` and its siblings, not on texts.

use api_types::meta::v1::{Status, StatusReason};

/// What became of a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused; this is its answer.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// No connection: the request was not sent.
    #[error("cannot connect to {server}")]
    Connect { server: String, source: BoxError },
    /// The connection broke while the request was under way: it may have taken effect.
    #[error("{method} {path}: connection lost")]
    Lost { method: http::Method, path: String, source: BoxError },
    /// No answer within the client's timeout: it may have taken effect.
    #[error("{method} {path}: no answer within {timeout:?}")]
    Timeout { method: http::Method, path: String, timeout: std::time::Duration },
    /// The request could not be put together (a name that does not fit into a path).
    #[error("cannot build the request for {path}")]
    Request { path: String, source: http::Error },
    /// The bearer token's file cannot be read, or the token cannot be a header.
    #[error("cannot use the bearer token: {0}")]
    Token(String),
    /// The answer is not what was asked for.
    #[error("cannot read the answer of {path}: {message}")]
    Decode { path: String, message: String },
}

/// A cause of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// The server's answer, if there was one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The server's reason; `Unset` when it never answered.
    pub fn reason(&self) -> StatusReason {
        self.status().map_or(StatusReason::Unset, |s| s.reason.clone())
    }

    fn has_code(&self, code: i32) -> bool {
        self.status().is_some_and(|s| s.code == code)
    }

    /// 404 NotFound.
    pub fn is_not_found(&self) -> bool {
        self.reason() == StatusReason::NotFound || (self.reason().is_unset() && self.has_code(404))
    }

    /// 409 Conflict: the resourceVersion was stale, or a precondition failed.
    pub fn is_conflict(&self) -> bool {
        self.reason() == StatusReason::Conflict
    }

    /// 409 AlreadyExists.
    pub fn is_already_exists(&self) -> bool {
        self.reason() == StatusReason::AlreadyExists
    }

    /// 410: the revision or continue token is too old.
    pub fn is_gone(&self) -> bool {
        matches!(self.reason(), StatusReason::Gone | StatusReason::Expired) || self.has_code(410)
    }

    /// 403 Forbidden.
    pub fn is_forbidden(&self) -> bool {
        self.reason() == StatusReason::Forbidden
    }

    /// 422 Invalid.
    pub fn is_invalid(&self) -> bool {
        self.reason() == StatusReason::Invalid
    }

    /// 429 TooManyRequests.
    pub fn is_too_many_requests(&self) -> bool {
        self.reason() == StatusReason::TooManyRequests || self.has_code(429)
    }

    /// 504 Timeout, or no answer in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
            || matches!(self.reason(), StatusReason::Timeout | StatusReason::ServerTimeout)
    }

    /// Whether a cause of this type is among the answer's details, such as `NamespaceTerminating`.
    pub fn has_cause(&self, reason: &str) -> bool {
        self.status()
            .and_then(|s| s.details.as_ref())
            .is_some_and(|d| d.causes.iter().any(|c| c.reason.as_str() == reason))
    }
}
