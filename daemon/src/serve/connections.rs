//! Accepting connections and driving HTTP on them. Each request carries [`RemoteAddr`] and, when
//! the client showed certificates, [`PeerCertificates`] as extensions.
//! On shutdown no connection is accepted any more, open ones finish their requests, and after
//! [`DRAIN`] the rest is dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::TryFutureExt as _;
use http::{Method, Request, Response, header};
use http_body_util::{Either, Empty};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::authority::BareAuthority;
use super::gathered::Gathered;
use super::streams::{Opened, Together};
use crate::shutdown::Shutdown;
use crate::tls::ServerTls;

/// How long open requests may take once shutdown has begun.
const DRAIN: Duration = Duration::from_secs(10);
/// After a failed accept (out of file descriptors): time for connections to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request's connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct RemoteAddr(pub SocketAddr);

/// What the client showed in the handshake, its own certificate first. Verified or not according to
/// the server's [`crate::tls::ClientAuth`].
#[derive(Clone, Debug)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("failed to create listener: failed to listen on {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("cannot set up TLS")]
    Tls(#[from] crate::tls::TlsError),
    #[error("{flag}: {message}")]
    Flag { flag: &'static str, message: String },
}

/// Listens on `address`. COMPAT: as Go does, on both versions' wildcards where that of version 4 is given and the
/// machine has both: the nodes of a cluster with addresses of version 6 are reached although `0.0.0.0` is the default.
///
/// # Errors
/// [`ServeError::Bind`], naming the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && serves_both() {
        match TcpListener::bind((Ipv6Addr::UNSPECIFIED, address.port())).await {
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {}
            bound => return bound.map_err(|source| ServeError::Bind { address, source }),
        }
    }
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

/// A socket of version 6 takes connections of version 4 as well.
fn serves_both() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "0")
}

/// How HTTP is spoken with clients.
#[derive(Clone, Copy, Debug)]
pub struct HttpOptions {
    /// A client that has not finished its TLS handshake or request headers by then is dropped.
    pub patience: Duration,
    /// Streams that one HTTP/2 connection may have open at a time; `None`: no limit.
    pub max_streams: Option<u32>,
    /// The largest headers of a request, in bytes; `None`: as the library has it.
    pub max_headers: Option<u32>,
    /// What one HTTP/2 stream may keep unsent, in bytes; `None`: as the library has it.
    pub send_buffer: Option<usize>,
    /// Takes requests whose `:authority` is a URL (`authority`).
    pub url_as_authority: bool,
    /// Polls the streams of an HTTP/2 connection in its own task (`streams`) and writes what they have to say together
    /// (`gathered`): for servers with many small answers at a time, that work on requests `in_a_task`.
    pub together: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(15),
            max_streams: Some(200),
            max_headers: None,
            send_buffer: None,
            url_as_authority: false,
            together: false,
        }
    }
}

impl HttpOptions {
    fn builder(&self, opened: Opened) -> auto::Builder<Opened> {
        let mut http = auto::Builder::new(opened);
        let mut first = http.http1();
        first.timer(TokioTimer::new()).header_read_timeout(self.patience);
        if let Some(bytes) = self.max_headers {
            first.max_buf_size(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        let mut second = http.http2();
        second
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .max_concurrent_streams(self.max_streams);
        if let Some(bytes) = self.max_headers {
            second.max_header_list_size(bytes);
        }
        if let Some(bytes) = self.send_buffer {
            second.max_send_buf_size(bytes);
        }
        http
    }
}

/// A connection that has just been accepted.
pub struct Accepted {
    pub remote: SocketAddr,
    /// None without TLS, and where the client showed none.
    pub certificates: Option<PeerCertificates>,
    pub retreat: Retreat,
}

/// Asks the connection's client to take its further requests elsewhere: GOAWAY, or `Connection:
/// close`. What is under way is finished.
#[derive(Clone, Debug, Default)]
pub struct Retreat(Arc<Notify>);

impl Retreat {
    pub fn begin(&self) {
        self.0.notify_one();
    }
}

/// Serves `service` on every connection until shutdown; returns when all have ended or been dropped.
pub async fn connections<S, B>(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    service: S,
    shutdown: Shutdown,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connections_with(listener, tls, service, HttpOptions::default(), shutdown).await;
}

/// [`connections`] with options of its own.
pub async fn connections_with<S, B>(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    service: S,
    options: HttpOptions,
    shutdown: Shutdown,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let annotated = move |accepted: Accepted| {
        TowerToHyperService::new(Annotated {
            inner: service.clone(),
            remote: accepted.remote,
            certificates: accepted.certificates,
        })
    };
    connections_each(listener, tls, options, annotated, shutdown).await;
}

/// [`connections`] with a service made for each of them.
pub async fn connections_each<S, B>(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    options: HttpOptions,
    service_of: impl Fn(Accepted) -> S + Clone + Send + 'static,
    shutdown: Shutdown,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.wait() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok((stream, remote)) => (stream, SocketAddr::new(remote.ip().to_canonical(), remote.port())),
            Err(error) => {
                tracing::warn!(%error, "Cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, service_of, shutdown) = (tls.clone(), service_of.clone(), shutdown.clone());
        tasks.spawn(async move {
            // Latency matters more than packets; failing means that the peer is gone.
            let _ = stream.set_nodelay(true);
            let secured = secured(stream, tls.as_deref(), remote, options).await;
            let Some((stream, certificates)) = secured else { return };
            let stream: Box<dyn Stream> =
                if options.url_as_authority { Box::new(BareAuthority::new(stream)) } else { stream };
            let retreat = Retreat::default();
            let service = Head(service_of(Accepted { remote, certificates, retreat: retreat.clone() }));
            let opened = if options.together { Opened::together() } else { Opened::default() };
            let http = options.builder(opened.clone());
            let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            let mut connection = Together::new(Box::pin(connection), opened);
            let mut leaving = false;
            let ended = loop {
                tokio::select! {
                    ended = &mut connection => break ended,
                    () = shutdown.wait(), if !leaving => {}
                    () = retreat.0.notified(), if !leaving => {}
                }
                leaving = true;
                connection.connection.as_mut().graceful_shutdown();
            };
            if let Err(error) = ended {
                tracing::debug!(%remote, error, "Connection ended early");
            }
        });
    }
    drop(listener);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::info!("Dropping connections that did not end in time");
    }
    tasks.shutdown().await;
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Certificates = Option<PeerCertificates>;

async fn secured(
    stream: TcpStream,
    tls: Option<&ServerTls>,
    remote: SocketAddr,
    options: HttpOptions,
) -> Option<(Box<dyn Stream>, Certificates)> {
    let Some(tls) = tls else { return Some((Box::new(stream), None)) };
    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
    let stream = match tokio::time::timeout(options.patience, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%remote, "TLS handshake timed out");
            return None;
        }
    };
    let certificates = stream
        .get_ref()
        .1
        .peer_certificates()
        .map(|chain| PeerCertificates(chain.iter().map(|c| c.clone().into_owned()).collect()));
    let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream: Box<dyn Stream> =
        if second && options.together { Box::new(Gathered::new(stream)) } else { Box::new(stream) };
    Some((stream, certificates))
}

/// Answers HEAD without the body that GET has, of whatever is served: HTTP/2 clients take the body for a broken
/// stream.
struct Head<S>(S);

type MaybeBody<B> = Either<B, Empty<<B as Body>::Data>>;

impl<S, B> Service<Request<Incoming>> for Head<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<MaybeBody<B>>;
    type Error = S::Error;
    type Future = futures::future::MapOk<S::Future, fn(Response<B>) -> Self::Response>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let whole: fn(Response<B>) -> Self::Response = |response| response.map(Either::Left);
        let answer = if request.method() == Method::HEAD { head_only } else { whole };
        self.0.call(request).map_ok(answer)
    }
}

fn head_only<B: Body>(response: Response<B>) -> Response<MaybeBody<B>> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, Either::Right(Empty::new()))
}

/// Adds to each request what its connection knows.
#[derive(Clone)]
struct Annotated<S> {
    inner: S,
    remote: SocketAddr,
    certificates: Certificates,
}

impl<S: tower::Service<Request<Incoming>>> tower::Service<Request<Incoming>> for Annotated<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(RemoteAddr(self.remote));
        if let Some(certificates) = &self.certificates {
            request.extensions_mut().insert(certificates.clone());
        }
        self.inner.call(request)
    }
}
