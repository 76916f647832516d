//! Connections: one `ConnectionIdentity` for each, so that a client's certificate is verified once and
//! not for every request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use daemon::serve::{self, Accepted, HttpOptions};
use daemon::shutdown::Shutdown;
use daemon::tls::ServerTls;
use hyper::service::service_fn;
use tokio::net::TcpListener;

use crate::authn::ConnectionIdentity;
use crate::pipeline::{self, Connection};
use crate::server::Server;

/// Thousands of watches share connections: no stream may hoard unsent frames.
const HTTP: HttpOptions = HttpOptions {
    patience: Duration::from_secs(32),
    max_streams: Some(250),
    max_headers: Some(1 << 20),
    send_buffer: Some(64 * 1024),
    url_as_authority: false,
    together: true,
};

/// Serves until shutdown; returns when all connections have ended or been dropped.
pub async fn serve(server: Arc<Server>, listener: TcpListener, tls: Arc<ServerTls>, shutdown: Shutdown) {
    let service_of = move |accepted: Accepted| {
        let certificates = accepted.certificates.map(|shown| shown.0.to_vec()).unwrap_or_default();
        let connection = Arc::new(Connection {
            identity: ConnectionIdentity::new(certificates),
            remote: accepted.remote,
            retreat: accepted.retreat,
        });
        let server = server.clone();
        service_fn(move |request| {
            let (server, connection) = (server.clone(), connection.clone());
            // The work's state is gone once a long answer is written: watches would hold it.
            serve::in_a_task(async move {
                Ok::<_, Infallible>(pipeline::handle(server, connection, request).await)
            })
        })
    };
    serve::connections_each(listener, Some(tls), HTTP, service_of, shutdown).await;
}
