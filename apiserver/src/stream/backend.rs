//! Connections to kubelets, pods and services: TCP, TLS where the URL says so, HTTP/1.1.
//!
//! One connection a request: streams live long, and an upgrade takes its connection with it. Who keeps a
//! connection for further requests (webhooks) holds its `Sender`.

use super::{Body, Error};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long connecting may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How a TLS backend is checked and who we are to it. Read anew for each connection, so that
/// renewed certificates take effect.
pub type Trust = Arc<dyn Fn() -> Arc<rustls::ClientConfig> + Send + Sync>;

/// One end of a connection, which takes one request after the other.
pub type Sender = SendRequest<Body>;

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
        self.connect(uri).await?.send_request(request).await.map_err(Error::Http)
    }

    /// Opens a connection to where a URL leads.
    ///
    /// # Errors
    /// When the backend cannot be connected to.
    pub async fn connect(&self, uri: &Uri) -> Result<Sender, Error> {
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
        keep_alive(&stream).map_err(|error| Error::Dial(error.into()))?;
        if !tls {
            return begin(TokioIo::new(stream)).await;
        }
        let name = ServerName::try_from(self.name.clone().unwrap_or(host))
            .map_err(|error| Error::Tls(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
        let stream = TlsConnector::from((self.trust)()).connect(name, stream).await.map_err(Error::Tls)?;
        begin(TokioIo::new(Hasty(stream))).await
    }
}

/// TLS whose end may come without a goodbye. COMPAT: Go's clients take such an end for one, and servers as small
/// as Python's own, whose answers are as long as the connection lasts, never say goodbye. An answer that says how
/// long it is is still found to be cut off.
struct Hasty<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Hasty<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match std::task::ready!(Pin::new(&mut self.0).poll_read(cx, into)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hasty<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A peer that has gone without a word is missed after some two minutes: connections that are kept, and streams in
/// which nobody types, would wait for it. The numbers are those of Go's dialer.
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    const BETWEEN: Duration = Duration::from_secs(15);
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, BETWEEN)?;
    sockopt::set_tcp_keepintvl(stream, BETWEEN)?;
    sockopt::set_tcp_keepcnt(stream, 9)
}

async fn begin<T>(stream: T) -> Result<Sender, Error>
where
    T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(Error::Http)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a backend ended");
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    /// Says something, and breaks off.
    struct Rude(&'static [u8]);

    impl AsyncRead for Rude {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            into.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_end_without_a_goodbye_is_an_end() {
        let mut all = Vec::new();
        Hasty(Rude(b"answer")).read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"answer");
    }
}
