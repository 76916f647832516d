//! Connections to kubelets, pods and services: TCP, TLS where the URL says so, HTTP/1.1.
//!
//! One connection a request: streams live long, and an upgrade takes its connection with it.

use super::{Body, Error};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long connecting may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How a TLS backend is checked and who we are to it. Read anew for each connection, so that
/// renewed certificates take effect.
pub type Trust = Arc<dyn Fn() -> Arc<rustls::ClientConfig> + Send + Sync>;

/// Opens connections to backends.
#[derive(Clone)]
pub struct Backend {
    trust: Trust,
    name: Option<String>,
}

impl Backend {
    pub fn new(trust: Trust) -> Self {
        Self { trust, name: None }
    }

    /// The backend's certificate is for this name rather than for the URL's host.
    #[must_use]
    pub fn named(self, name: Option<String>) -> Self {
        Self { name, ..self }
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Errors
    /// When the backend cannot be connected to or breaks off before it answers.
    pub async fn send(&self, uri: &Uri, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let dial = TcpStream::connect((host.as_str(), port));
        let stream = tokio::time::timeout(DIAL_TIMEOUT, dial)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(Error::Dial)?;
        // Keystrokes are single small packets.
        stream.set_nodelay(true).map_err(Error::Dial)?;
        if !tls {
            return exchange(TokioIo::new(stream), request).await;
        }
        let name = ServerName::try_from(self.name.clone().unwrap_or(host))
            .map_err(|error| Error::Tls(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
        let stream = TlsConnector::from((self.trust)()).connect(name, stream).await.map_err(Error::Tls)?;
        exchange(TokioIo::new(stream), request).await
    }
}

async fn exchange<T>(stream: T, request: Request<Body>) -> Result<Response<Incoming>, Error>
where
    T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(Error::Http)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a backend ended");
        }
    });
    sender.send_request(request).await.map_err(Error::Http)
}
