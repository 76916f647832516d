//! Asking a daemon over HTTP: one request, one connection, the answer's status and body.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use daemon::tls::ClientTls;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(5);

/// GETs `path`; over TLS when a configuration is given.
pub async fn get(address: SocketAddr, tls: Option<&ClientTls>, path: &str) -> anyhow::Result<(u16, Bytes)> {
    send(address, tls, Request::get(path).body(Full::default())?).await
}

/// DELETEs `path`.
pub async fn delete(
    address: SocketAddr,
    tls: Option<&ClientTls>,
    path: &str,
) -> anyhow::Result<(u16, Bytes)> {
    send(address, tls, Request::delete(path).body(Full::default())?).await
}

/// Changes an object by an RFC 7396 patch.
pub async fn merge_patch(
    address: SocketAddr,
    tls: Option<&ClientTls>,
    path: &str,
    patch: &serde_json::Value,
) -> anyhow::Result<(u16, Bytes)> {
    let request = Request::patch(path).header("content-type", "application/merge-patch+json");
    send(address, tls, request.body(Full::from(patch.to_string()))?).await
}

/// Applies an object: server-side, over what others applied.
pub async fn apply(
    address: SocketAddr,
    tls: Option<&ClientTls>,
    path: &str,
    object: &serde_json::Value,
) -> anyhow::Result<(u16, Bytes)> {
    let request = Request::patch(format!("{path}?fieldManager=kubeforge&force=true"))
        .header("content-type", "application/apply-patch+yaml");
    send(address, tls, request.body(Full::from(object.to_string()))?).await
}

async fn send(
    address: SocketAddr,
    tls: Option<&ClientTls>,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(u16, Bytes)> {
    match tokio::time::timeout(PATIENCE, exchange(address, tls, request)).await {
        Ok(answer) => answer,
        Err(_) => bail!("no answer from {address} within {} s", PATIENCE.as_secs()),
    }
}

async fn exchange(
    address: SocketAddr,
    tls: Option<&ClientTls>,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(u16, Bytes)> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    match tls {
        None => converse(stream, address, request).await,
        Some(tls) => {
            let name = ServerName::IpAddress(address.ip().into());
            let stream = TlsConnector::from(tls.config())
                .connect(name, stream)
                .await
                .context("TLS handshake failed")?;
            converse(stream, address, request).await
        }
    }
}

async fn converse<S>(
    stream: S,
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> anyhow::Result<(u16, Bytes)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let headers = request.headers_mut();
    headers.insert("host", address.to_string().parse()?);
    headers.insert("accept", HeaderValue::from_static("application/json, */*"));
    headers.insert("user-agent", daemon::version::user_agent("kubeforge", None).parse()?);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}
