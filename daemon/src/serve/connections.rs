//! Accepting connections and driving HTTP on them. Each request carries [`RemoteAddr`] and, when
//! the client showed certificates, [`PeerCertificates`] as extensions.
//! On shutdown no connection is accepted any more, open ones finish their requests, and after
//! [`DRAIN`] the rest is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::shutdown::Shutdown;
use crate::tls::ServerTls;

/// A client that has not finished its TLS handshake or request headers by then is dropped.
const PATIENCE: Duration = Duration::from_secs(15);
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

/// Listens on `address`.
///
/// # Errors
/// [`ServeError::Bind`], naming the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

/// Streams that one HTTP/2 connection may have open at a time, unless its server says otherwise.
const MAX_STREAMS: u32 = 200;

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
    connections_with(listener, tls, service, Some(MAX_STREAMS), shutdown).await;
}

/// [`connections`] with a limit of its own on the streams of one HTTP/2 connection; `None`: no limit.
pub async fn connections_with<S, B>(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    service: S,
    max_streams: Option<u32>,
    shutdown: Shutdown,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_concurrent_streams(max_streams);
    let open = Arc::new(GracefulShutdown::new());
    let (http, mut tasks) = (Arc::new(http), tokio::task::JoinSet::new());
    loop {
        let accepted = tokio::select! {
            () = shutdown.wait() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "Cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (http, tls, service, watcher) = (http.clone(), tls.clone(), service.clone(), open.watcher());
        tasks.spawn(async move {
            // Latency matters more than packets; failing means that the peer is gone.
            let _ = stream.set_nodelay(true);
            let Some((stream, certificates)) = secured(stream, tls.as_deref(), remote).await else { return };
            let service = Annotated { inner: service, remote, certificates };
            let service = hyper_util::service::TowerToHyperService::new(service);
            let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%remote, error, "Connection ended early");
            }
        });
    }
    drop(listener);
    let open = Arc::into_inner(open).expect("only watchers of it are handed out");
    if tokio::time::timeout(DRAIN, open.shutdown()).await.is_err() {
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
) -> Option<(Box<dyn Stream>, Certificates)> {
    let Some(tls) = tls else { return Some((Box::new(stream), None)) };
    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
    let stream = match tokio::time::timeout(PATIENCE, handshake).await {
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
    Some((Box::new(stream), certificates))
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
