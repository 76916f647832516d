//! Connections that pass through: logs, exec, attach, port-forward and the proxies to nodes, pods
//! and services.
//!
//! A request arrives authorized; `location` says where it goes, `proxy` carries it there:
//!
//! ```text
//! WebSocket v5.channel.k8s.io            ─ remote_command ─► SPDY/3.1, v4.channel.k8s.io
//! WebSocket SPDY/3.1+portforward.k8s.io  ─ tunnel ─────────► SPDY/3.1, bytes as they are
//! WebSocket for a log                    ─ log ────────────► a plain GET, each piece a message
//! any other upgrade                      ─ raw copy ───────► the same upgrade
//! no upgrade                             ─ plain ──────────► the same request, body streamed
//! ```
//!
//! The first two are what kubectl speaks since 1.30 (KEP-4006); kubelets and runtimes speak SPDY.
//! Credentials of the client never pass: the backend sees the apiserver's own.

mod backend;
mod links;
pub mod location;
mod log;
mod remote_command;
mod spdy;
mod tunnel;
mod websocket;

pub use backend::{Backend, Sender};
pub use links::Mount;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::rt::TokioIo;

/// Why a connection could not be passed through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("error dialing backend: {0}")]
    Dial(#[source] std::io::Error),
    #[error("error dialing backend: {0}")]
    Tls(#[source] std::io::Error),
    #[error("error trying to reach service: {0}")]
    Http(#[source] hyper::Error),
    #[error("error trying to reach service: {0}")]
    Request(#[source] http::Error),
    #[error("unable to upgrade connection: {0}")]
    Upgrade(String),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body in either direction.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Headers that belong to one connection, and those that say who the client is.
const NOT_PASSED: [HeaderName; 9] = [
    header::CONNECTION,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::AUTHORIZATION,
    header::HOST,
];

/// How a request is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    RemoteCommand,
    Tunnel,
    Log,
    Raw,
    Plain,
}

impl Way {
    /// A subprotocol means something for its own subresource only: clients offer v5.channel.k8s.io for
    /// port-forward too, where kubelets speak v4.
    fn of(subresource: &str, headers: &HeaderMap) -> Self {
        let offered = websocket::offered(headers);
        let offers = |protocol: &str| offered.iter().any(|o| o == protocol);
        match subresource {
            "exec" | "attach" if offers(remote_command::PROTOCOL) => Self::RemoteCommand,
            "portforward" if offers(tunnel::PROTOCOL) => Self::Tunnel,
            "log" if websocket::is_asked(headers) => Self::Log,
            _ if is_upgrade(headers) => Self::Raw,
            _ => Self::Plain,
        }
    }
}

/// Carries a request for a subresource to `uri` and its answer back. Upgrades go on after the answer.
///
/// # Errors
/// When the backend cannot be reached or does not take part; the caller answers 503 or 500.
pub async fn proxy<B>(
    request: Request<B>,
    subresource: &str,
    uri: Uri,
    backend: &Backend,
) -> Result<Response<Body>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match Way::of(subresource, request.headers()) {
        Way::RemoteCommand => remote_command::serve(request, uri, backend).await,
        Way::Tunnel => tunnel::serve(request, uri, backend).await,
        Way::Log => log::serve(request, uri, backend).await,
        Way::Raw => raw(request, uri, backend, &HeaderMap::new()).await,
        Way::Plain => plain(request, uri, backend, &HeaderMap::new()).await,
    }
}

/// Whether a request asks for another protocol.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    upgrade_of(headers).is_some()
}

/// Carries a request to `uri` and its answer back as they are, with further headers.
///
/// # Errors
/// As [`proxy`].
pub async fn pass<B>(
    request: Request<B>,
    uri: Uri,
    backend: &Backend,
    headers: &HeaderMap,
) -> Result<Response<Body>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match upgrade_of(request.headers()) {
        Some(_) => raw(request, uri, backend, headers).await,
        None => plain(request, uri, backend, headers).await,
    }
}

fn with(mut builder: http::request::Builder, headers: &HeaderMap) -> http::request::Builder {
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder
}

/// The protocol that a request asks to upgrade to.
fn upgrade_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let wants = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let wants = wants.flat_map(|v| v.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wants)
}

/// The head of the request towards the backend.
fn outward(method: &http::Method, uri: Uri, headers: &HeaderMap) -> Result<http::request::Builder, Error> {
    let mut builder = Request::builder().method(method).uri(uri.path_and_query().map_or("/", |p| p.as_str()));
    if let Some(authority) = uri.authority() {
        builder = builder.header(header::HOST, authority.as_str());
    }
    for (name, value) in headers {
        let personal = name.as_str().starts_with("impersonate-") || name.as_str().starts_with("x-remote-");
        // A bearer token may hide among the WebSocket protocols.
        let token = *name == header::SEC_WEBSOCKET_PROTOCOL
            && value.to_str().is_ok_and(|v| v.contains("base64url.bearer.authorization.k8s.io."));
        if !personal && !token && !NOT_PASSED.contains(name) {
            builder = builder.header(name, value);
        }
    }
    Ok(builder)
}

async fn plain<B>(
    request: Request<B>,
    uri: Uri,
    backend: &Backend,
    headers: &HeaderMap,
) -> Result<Response<Body>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (head, body) = request.into_parts();
    let outward = with(outward(&head.method, uri.clone(), &head.headers)?, headers);
    let outward = outward.body(body.map_err(Into::into).boxed_unsync()).map_err(Error::Request)?;
    let mut answer = backend.send(&uri, outward).await?;
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        answer.headers_mut().remove(name);
    }
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// Passes an upgrade on and copies bytes both ways once both sides have switched.
async fn raw<B>(
    mut request: Request<B>,
    uri: Uri,
    backend: &Backend,
    headers: &HeaderMap,
) -> Result<Response<Body>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let upgrade = upgrade_of(request.headers()).cloned().expect("only upgrades come here");
    let client = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let outward = with(outward(&head.method, uri.clone(), &head.headers)?, headers)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, upgrade)
        .body(empty())
        .map_err(Error::Request)?;
    let mut answer = backend.send(&uri, outward).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()));
    }
    let server = hyper::upgrade::on(&mut answer);
    let mut response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    tokio::spawn(async move {
        match tokio::try_join!(client, server) {
            Ok((client, server)) => {
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                // Either side may go at any time; that is how a stream ends.
                let _: std::io::Result<(u64, u64)> =
                    tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
            Err(error) => tracing::debug!(%error, "an upgraded connection did not come about"),
        }
    });
    response.body(empty()).map_err(Error::Request)
}

fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests;
