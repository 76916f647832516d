//! Who may read more than health: the hook through which a daemon that can reach the apiserver asks
//! it (TokenReview, SubjectAccessReview), without this crate knowing how.

use std::future::Future;
use std::pin::Pin;

use http::StatusCode;
use http::request::Parts;

/// The answer of [`Gate::check`].
pub type GateFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

/// Lets a request pass or says how it is refused. The head's extensions carry
/// [`super::PeerCertificates`] and [`super::RemoteAddr`].
pub trait Gate: Send + Sync + 'static {
    fn check<'a>(&'a self, head: &'a Parts) -> GateFuture<'a>;
}

/// How a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub body: String,
}

impl Refusal {
    /// Nobody we know; upstream's text.
    pub fn unauthorized() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, body: "Unauthorized\n".into() }
    }

    /// Somebody who may not; upstream's text for a path that is no resource.
    pub fn forbidden(user: &str, verb: &str, path: &str) -> Self {
        let body = format!("Forbidden: {user:?} cannot {verb} path {path:?}\n");
        Self { status: StatusCode::FORBIDDEN, body }
    }
}

/// Lets everyone pass: for plain-HTTP status ports on loopback (kube-proxy's), which upstream does
/// not guard either.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Gate for Open {
    fn check<'a>(&'a self, _: &'a Parts) -> GateFuture<'a> {
        Box::pin(std::future::ready(Ok(())))
    }
}
