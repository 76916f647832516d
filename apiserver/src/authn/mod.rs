//! Authentication: who sends this request?
//!
//! In upstream's order: the front proxy's headers, the client certificate, a bearer token (header or
//! WebSocket subprotocol), anonymous. A credential that is there and bad makes the request
//! unauthenticated, unless another one is good; it is never taken as anonymous. What identified
//! the sender is removed from the headers, so that nothing behind sees it.

mod bearer;
mod bootstrap_token;
mod front_proxy;
pub mod impersonation;
pub mod jwt;
mod metrics;
pub mod service_account;
#[cfg(test)]
mod tests;
mod token_cache;
mod x509;

pub use bootstrap_token::BootstrapTokens;
pub use front_proxy::FrontProxy;
pub use token_cache::TokenCache;
pub use x509::{ConnectionIdentity, X509};

use crate::request::User;
use http::{HeaderMap, header};
use std::sync::Arc;
use std::time::Instant;

/// Why a credential was refused. Goes to the log only: the client sees `Unauthorized`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthnError {
    #[error("verifying certificate {certificate} failed: {reason}")]
    Untrusted { certificate: String, reason: String },
    #[error("cannot read the client certificate: {0}")]
    Certificate(String),
    #[error("x509: subject with cn={0} is not in the allowed list")]
    ProxyName(String),
    #[error("invalid bearer token")]
    InvalidToken,
    #[error("{0}")]
    WebSocketToken(&'static str),
    #[error("{0}")]
    Token(String),
    #[error("no credentials and anonymous requests are off")]
    NoCredentials,
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<AuthnError>),
}

/// Who a credential belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: User,
    /// Those of the asked audiences that the credential is good for; empty when it names none.
    pub audiences: Vec<String>,
}

impl Identity {
    fn of(user: User) -> Self {
        Self { user, audiences: Vec::new() }
    }
}

/// Checks bearer tokens.
#[async_trait::async_trait]
pub trait TokenAuthenticator: Send + Sync {
    /// `Ok(None)`: not a token of this sort. `audiences` are those of which the token must name one.
    ///
    /// # Errors
    /// When it is such a token and is not good.
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>, AuthnError>;
}

/// Several sorts of tokens, tried in order.
pub struct AnyToken(pub Vec<Arc<dyn TokenAuthenticator>>);

#[async_trait::async_trait]
impl TokenAuthenticator for AnyToken {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>, AuthnError> {
        let mut errors = Vec::new();
        for one in &self.0 {
            match one.authenticate(token, audiences).await {
                Ok(Some(identity)) => return Ok(Some(identity)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        match errors.len() {
            0 => Ok(None),
            1 => Err(errors.swap_remove(0)),
            _ => Err(AuthnError::Several(errors)),
        }
    }
}

/// Where requests without credentials are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anonymous {
    /// `--anonymous-auth`
    pub enabled: bool,
    /// These only; everywhere when empty.
    pub paths: Vec<String>,
}

impl Anonymous {
    /// Everywhere or nowhere.
    pub fn everywhere(enabled: bool) -> Self {
        Self { enabled, paths: Vec::new() }
    }

    fn takes(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|own| own == path))
    }
}

/// All ways in which this server recognizes users.
pub struct Authenticator {
    pub front_proxy: Option<FrontProxy>,
    pub x509: Option<X509>,
    pub tokens: Option<Arc<dyn TokenAuthenticator>>,
    pub anonymous: Anonymous,
    /// `--api-audiences`: what tokens must be meant for.
    pub audiences: Vec<String>,
}

impl Authenticator {
    /// Finds the sender of a request and removes the credentials from its headers.
    ///
    /// # Errors
    /// When a credential is bad, or there is none and anonymous requests are off: a 401.
    pub async fn authenticate(
        &self,
        headers: &mut HeaderMap,
        connection: &ConnectionIdentity,
        path: &str,
    ) -> Result<User, AuthnError> {
        let started = Instant::now();
        let result = self.recognize(headers, connection, path).await;
        metrics::attempted(&result, started.elapsed().as_secs_f64());
        result
    }

    async fn recognize(
        &self,
        headers: &mut HeaderMap,
        connection: &ConnectionIdentity,
        path: &str,
    ) -> Result<User, AuthnError> {
        let mut errors = Vec::new();
        let found = self.identify(headers, connection, &mut errors).await;
        let user = match found {
            Some(identity) => with_authenticated(identity.user),
            None if !errors.is_empty() => {
                return Err(match errors.len() {
                    1 => errors.swap_remove(0),
                    _ => AuthnError::Several(errors),
                });
            }
            None if self.anonymous.takes(path) => anonymous(),
            None => return Err(AuthnError::NoCredentials),
        };
        headers.remove(header::AUTHORIZATION);
        front_proxy::remove_standard_headers(headers);
        if let Some(proxy) = &self.front_proxy {
            proxy.remove_headers(headers);
        }
        Ok(user)
    }

    /// Whose token this is (TokenReview). It must name one of `audiences`.
    ///
    /// # Errors
    /// When it is nobody's.
    pub async fn of_token(&self, token: &str, audiences: &[String]) -> Result<Identity, AuthnError> {
        let tokens = self.tokens.as_deref().ok_or(AuthnError::InvalidToken)?;
        let identity = tokens.authenticate(token, audiences).await?.ok_or(AuthnError::InvalidToken)?;
        Ok(Identity { user: with_authenticated(identity.user), ..identity })
    }

    async fn identify(
        &self,
        headers: &mut HeaderMap,
        connection: &ConnectionIdentity,
        errors: &mut Vec<AuthnError>,
    ) -> Option<Identity> {
        if let Some(proxy) = &self.front_proxy {
            match proxy.authenticate(headers, connection) {
                Ok(Some(user)) => return Some(Identity::of(user)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some(x509) = &self.x509 {
            match x509.authenticate(connection) {
                Ok(Some(user)) => return Some(Identity::of(user)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        let tokens = self.tokens.as_deref()?;
        if let Some(token) = bearer::from_header(headers) {
            match tokens.authenticate(&token, &self.audiences).await {
                Ok(Some(identity)) => return Some(identity),
                Ok(None) => errors.push(AuthnError::InvalidToken),
                Err(error) => errors.push(error),
            }
        }
        match bearer::from_subprotocol(headers) {
            Ok(Some((token, others))) => match tokens.authenticate(&token, &self.audiences).await {
                Ok(Some(identity)) => {
                    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
                    return Some(identity);
                }
                Ok(None) => errors.push(AuthnError::InvalidToken),
                Err(error) => errors.push(error),
            },
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        None
    }
}

/// The user that requests without credentials have.
pub fn anonymous() -> User {
    User {
        name: User::ANONYMOUS.to_owned(),
        groups: vec![User::UNAUTHENTICATED.to_owned()],
        ..User::default()
    }
}

fn with_authenticated(mut user: User) -> User {
    if user.name != User::ANONYMOUS && !user.is_in(User::AUTHENTICATED) && !user.is_in(User::UNAUTHENTICATED)
    {
        user.groups.push(User::AUTHENTICATED.to_owned());
    }
    user
}
