//! Connections: TLS, HTTP/1.1 and HTTP/2, and one `ConnectionIdentity` for each, so that a client's
//! certificate is verified once and not for every request.
//!
//! On shutdown no connection is accepted any more, watches end, requests under way finish, and what
//! is left after `DRAIN` is dropped.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::shutdown::Shutdown;
use daemon::tls::ServerTls;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authn::ConnectionIdentity;
use crate::pipeline;
use crate::server::Server;

/// A client that has not finished its handshake or headers by then is dropped.
const PATIENCE: Duration = Duration::from_secs(32);
/// How long requests under way may take once shutdown has begun.
const DRAIN: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until shutdown; returns when all connections have ended or been dropped.
pub async fn serve(server: Arc<Server>, listener: TcpListener, tls: Arc<ServerTls>, shutdown: Shutdown) {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(1 << 20);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_concurrent_streams(250)
        .max_header_list_size(1 << 20)
        // Thousands of watches share connections: no stream may hoard unsent frames.
        .max_send_buf_size(64 * 1024);
    let (http, open) = (Arc::new(http), GracefulShutdown::new());
    let mut tasks = tokio::task::JoinSet::new();
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
        let (server, http, tls, watcher) = (server.clone(), http.clone(), tls.clone(), open.watcher());
        tasks.spawn(async move {
            let Some((stream, identity)) = secured(stream, &tls, remote).await else { return };
            let identity = Arc::new(identity);
            let service = service_fn(move |request| {
                let (server, identity) = (server.clone(), identity.clone());
                async move { Ok::<_, Infallible>(pipeline::handle(server, identity, remote, request).await) }
            });
            let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%remote, error, "Connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, open.shutdown()).await.is_err() {
        tracing::info!("Dropping connections that did not end in time");
    }
    tasks.shutdown().await;
}

async fn secured(
    stream: TcpStream,
    tls: &ServerTls,
    remote: SocketAddr,
) -> Option<(tokio_rustls::server::TlsStream<TcpStream>, ConnectionIdentity)> {
    // Latency matters more than packets; failing means that the peer is gone.
    let _ = stream.set_nodelay(true);
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
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let identity = ConnectionIdentity::new(chain.iter().map(|c| c.clone().into_owned()).collect());
    Some((stream, identity))
}
