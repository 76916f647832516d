//! The client: one per identity, cheap to clone, all clones share connections and limits.
//!
//! It sends one request and gives back the head and the body, after authentication, the rate limit,
//! the timeout, and the retries that are safe: what was never sent, what the server asked to send
//! again (429 and 503 with Retry-After), and reads on a connection that broke. What a request means is
//! `api.rs`.

use std::sync::Arc;
use std::time::Duration;

use api_types::codec::json;
use api_types::meta::v1::{Status, StatusReason};
use bytes::Bytes;
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientMaterial, ClientTls};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::config::{Config, ConfigError};
use crate::error::Error;
use crate::limiter::Limiter;
use crate::metrics::Counts;
use crate::token::TokenSource;
use crate::transport::{Connector, Pool, pool};

/// Most sends of one request, the first included.
const TRIES: u32 = 10;
/// Sends of a request that found no server; then the caller's own back-off takes over.
const CONNECT_TRIES: u32 = 3;

/// A connection to an apiserver as one identity.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    limiter: Arc<Limiter>,
}

struct Inner {
    server: String,
    /// HOST:PORT of the server.
    host: String,
    pool: Pool,
    tls: Option<Arc<ClientTls>>,
    token: TokenSource,
    impersonate: Option<HeaderValue>,
    user_agent: HeaderValue,
    timeout: Duration,
    namespace: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.inner.server).finish_non_exhaustive()
    }
}

/// What is asked of the server: path with query below the server's URL, and a body.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// `/api/v1/pods?limit=500`.
    pub path: String,
    pub body: Bytes,
    pub content_type: &'static str,
    pub accept: &'static str,
}

impl Call {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new(), content_type: JSON, accept: JSON }
    }

    /// A POST of JSON.
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::with_body(Method::POST, path, body)
    }

    pub fn with_body(method: Method, path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { method, body: body.into(), ..Self::get(path) }
    }
}

/// How long a request may wait for its turn without a word (client-go's).
const LONG_WAIT: Duration = Duration::from_secs(1);

/// `application/json`.
pub const JSON: &str = "application/json";

impl Client {
    /// # Errors
    /// When the server's URL is none, or certificates cannot be used.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let bad_server = || ConfigError::Server { server: config.server.clone() };
        let uri: http::Uri = config.server.parse().map_err(|_| bad_server())?;
        let tls = match uri.scheme_str() {
            Some("https") => Some(ClientTls::load(ClientMaterial {
                ca: config.ca.clone(),
                cert: config.cert.clone(),
                key: config.key.clone(),
                insecure_skip_verify: config.insecure_skip_tls_verify,
                alpn: vec!["h2", "http/1.1"],
            })?),
            Some("http") => None,
            _ => return Err(bad_server()),
        };
        let connector = Connector { tls: tls.clone(), server_name: config.tls_server_name };
        let header = |text: String| HeaderValue::try_from(text).ok();
        Ok(Self {
            inner: Arc::new(Inner {
                pool: pool(connector),
                host: uri.authority().map(ToString::to_string).unwrap_or_default(),
                server: config.server.trim_end_matches('/').to_owned(),
                tls,
                token: config.token,
                impersonate: config.impersonate_user.and_then(header),
                user_agent: header(config.user_agent).unwrap_or(HeaderValue::from_static("ferrokube")),
                timeout: config.timeout,
                namespace: config.namespace,
            }),
            limiter: Arc::new(Limiter::new(config.qps, config.burst)),
        })
    }

    /// The same identity over the same connections, with limits of its own: `qps` requests a second, `burst` at once;
    /// none with a `qps` of 0.
    #[must_use]
    pub fn limited(&self, qps: f64, burst: u32) -> Self {
        Self { inner: Arc::clone(&self.inner), limiter: Arc::new(Limiter::new(qps, burst)) }
    }

    /// Follows the certificate files until shutdown. New connections use what is there then.
    pub fn watch_files(&self, shutdown: Shutdown) {
        if let Some(tls) = &self.inner.tls {
            tls.watch(shutdown);
        }
    }

    /// `https://host:port`.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// The namespace of the configuration's context.
    pub fn default_namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// Waits for its turn, sends and reads the whole answer. The timeout is the server's alone.
    ///
    /// # Errors
    /// Every variant of [`Error`] but `Decode`; any answer that is no success is `Error::Status`.
    pub async fn send(&self, call: &Call) -> Result<Bytes, Error> {
        let (timeout, started) = (self.inner.timeout, Instant::now());
        self.turn(call).await;
        let whole = async {
            let response = self.open(call).await?;
            let body = response.into_body().collect().await.map_err(|e| lost(call, e.into()))?.to_bytes();
            self.counts(call).received(body.len());
            Ok(body)
        };
        let outcome = tokio::time::timeout(timeout, whole).await;
        self.counts(call).took(started.elapsed());
        outcome.unwrap_or_else(|_| Err(timed_out(call, timeout)))
    }

    fn counts<'a>(&'a self, call: &'a Call) -> Counts<'a> {
        Counts { method: call.method.as_str(), host: &self.inner.host }
    }

    /// Sends and hands out the answer's body unread: watches, which wait for no turn, as client-go's
    /// do not. Only the head has a timeout.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn stream(&self, call: &Call) -> Result<Response<Incoming>, Error> {
        let timeout = self.inner.timeout;
        tokio::time::timeout(timeout, self.open(call)).await.unwrap_or_else(|_| Err(timed_out(call, timeout)))
    }

    /// Waits as the limits of the configuration have it.
    async fn turn(&self, call: &Call) {
        let waited = self.limiter.wait().await;
        if self.limiter.limits() {
            self.counts(call).waited(waited);
        }
        if waited >= LONG_WAIT && self.limiter.may_tell() {
            tracing::info!(
                delay = ?waited,
                reason = "client-side throttling, not priority and fairness",
                verb = %call.method,
                path = call.path,
                "Waited before sending request"
            );
        }
    }

    async fn open(&self, call: &Call) -> Result<Response<Incoming>, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.once(call).await;
            let code = outcome.as_ref().ok().map(|response| response.status().as_u16());
            self.counts(call).attempted(code, call.body.len());
            let wait = match &outcome {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && tries == 1 => {
                    self.inner.token.refused();
                    matches!(self.inner.token, TokenSource::File(_)).then_some(Duration::ZERO)
                }
                Ok(response) => retry_after(response),
                Err(Error::Connect { .. }) if tries < CONNECT_TRIES => {
                    Some(Duration::from_millis(100 * u64::from(tries)))
                }
                Err(Error::Lost { .. }) if call.method == Method::GET && tries < CONNECT_TRIES => {
                    Some(Duration::ZERO)
                }
                Err(_) => None,
            };
            match wait {
                Some(wait) if tries < TRIES => {
                    self.counts(call).again(code);
                    tokio::time::sleep(wait).await;
                    self.turn(call).await;
                }
                _ => return refused(call, outcome?).await,
            }
        }
    }

    async fn once(&self, call: &Call) -> Result<Response<Incoming>, Error> {
        let inner = &self.inner;
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", inner.server, call.path))
            .header(header::USER_AGENT, inner.user_agent.clone())
            .header(header::ACCEPT, call.accept);
        if !call.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, call.content_type);
        }
        if let Some(token) = inner.token.header()? {
            request = request.header(header::AUTHORIZATION, token);
        }
        if let Some(user) = &inner.impersonate {
            request = request.header("Impersonate-User", user.clone());
        }
        let request = request
            .body(Full::new(call.body.clone()))
            .map_err(|source| Error::Request { path: call.path.clone(), source })?;
        inner.pool.request(request).await.map_err(|e| {
            if e.is_connect() {
                Error::Connect { server: inner.server.clone(), source: e.into() }
            } else {
                lost(call, e.into())
            }
        })
    }
}

/// 429 and 5xx with Retry-After ask for another try (client-go does the same for every verb).
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let status = response.status();
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds: u64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn refused(call: &Call, response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    let code = response.status();
    if code.is_success() || code == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let body = response.into_body().collect().await.map_err(|e| lost(call, e.into()))?.to_bytes();
    Err(Error::Status(Box::new(status(code, &body))))
}

/// The server's Status, or one made from an answer of another sort (a proxy's error page).
fn status(code: StatusCode, body: &[u8]) -> Status {
    if let Ok(status) = json::from_slice::<Status>(body)
        && (!status.status.is_empty() || !status.reason.is_unset())
    {
        return status;
    }
    // COMPAT: words of client-go, which users know from events and conditions.
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let said = |otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
    let (reason, message) = match code.as_u16() {
        400 => (StatusReason::BadRequest, "the server rejected our request for an unknown reason".to_owned()),
        401 => (
            StatusReason::Unauthorized,
            "the server has asked for the client to provide credentials".to_owned(),
        ),
        403 => (StatusReason::Forbidden, said("forbidden")),
        404 => (StatusReason::NotFound, "the server could not find the requested resource".to_owned()),
        405 => (
            StatusReason::MethodNotAllowed,
            "the server does not allow this method on the requested resource".to_owned(),
        ),
        409 => (StatusReason::Conflict, "the server reported a conflict".to_owned()),
        410 => (StatusReason::Gone, said("the server has the requested version no more")),
        413 => (StatusReason::RequestEntityTooLarge, said("the request is too large")),
        422 => (
            StatusReason::Invalid,
            "the server rejected our request due to an error in our request".to_owned(),
        ),
        429 => (
            StatusReason::TooManyRequests,
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => (
            StatusReason::ServiceUnavailable,
            "the server is currently unable to handle the request".to_owned(),
        ),
        504 => (
            StatusReason::Timeout,
            "the server was unable to return a response in the time allotted, but may still be processing \
             the request"
                .to_owned(),
        ),
        500.. => (
            StatusReason::InternalError,
            format!(
                "an error on the server ({:?}) has prevented the request from succeeding",
                said("unknown")
            ),
        ),
        _ => (
            StatusReason::Unset,
            format!(
                "the server responded with the status code {} but did not return more information",
                code.as_u16()
            ),
        ),
    };
    Status { status: "Failure".into(), message, reason, code: i32::from(code.as_u16()), ..Status::default() }
}

fn lost(call: &Call, source: crate::error::BoxError) -> Error {
    Error::Lost { method: call.method.clone(), path: call.path.clone(), source }
}

fn timed_out(call: &Call, timeout: Duration) -> Error {
    Error::Timeout { method: call.method.clone(), path: call.path.clone(), timeout }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_no_status_become_one() {
        let given =
            br#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}"#;
        assert_eq!(status(StatusCode::CONFLICT, given).reason, StatusReason::Conflict);
        let page = status(StatusCode::BAD_GATEWAY, b"<html>\n");
        assert_eq!(
            (page.reason, page.code, page.message.as_str()),
            (
                StatusReason::InternalError,
                502,
                r#"an error on the server ("<html>") has prevented the request from succeeding"#
            )
        );
        let missing = status(StatusCode::NOT_FOUND, b"404 page not found\n");
        assert_eq!(missing.message, "the server could not find the requested resource");
    }
}
