//! The plain GET that probes and lifecycle hooks send to a container, worded as Go's client would.
//!
//! Each request uses a connection of its own: the point is to learn whether the container answers a new
//! one. HTTPS does not check the server's certificate (nothing could vouch for a pod's address).

use std::sync::Arc;
use std::time::Duration;

use api_types::IntOrString;
use api_types::core::v1::{Container, HTTPGetAction, URIScheme};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Most of a response's body that is read, in bytes.
const BODY_LIMIT: usize = 10 << 10;
const REDIRECTS: usize = 10;

/// The request could not be made, or was not answered. Displays as Go's `*url.Error` does.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The port is not one of the container's.
    #[error("couldn't find port: {0:?} in pod")]
    Port(String),
    /// No answer.
    #[error("Get {url:?}: {cause}")]
    Request {
        /// Where the request went.
        url: String,
        /// What went wrong.
        cause: String,
    },
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The beginning of the body.
    pub body: String,
}

/// The number of a port that may be given by its name in the container.
pub fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, GetError> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .find(|port| port.name == **name)
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| GetError::Port(port.to_string()))
}

/// Joins host and port as in a URL.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// How Go words a failure to connect.
pub fn dial_error(authority: &str, error: &std::io::Error) -> String {
    let cause = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused",
        std::io::ErrorKind::ConnectionReset => "connect: connection reset by peer",
        std::io::ErrorKind::HostUnreachable => "connect: no route to host",
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable",
        std::io::ErrorKind::TimedOut => "i/o timeout",
        _ => return format!("dial tcp {authority}: {error}"),
    };
    format!("dial tcp {authority}: {cause}")
}

/// Sends the request; `purpose` names it in the user agent (`kube-probe/1.36`).
pub async fn get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    purpose: &str,
    limit: Duration,
) -> Result<Answer, GetError> {
    let port = resolve_port(&action.port, container)?;
    let host = if action.host.is_empty() { pod_ip } else { &action.host };
    let tls = action.scheme == URIScheme::Https;
    let path = if action.path.starts_with('/') { action.path.clone() } else { format!("/{}", action.path) };
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{path}", authority(host, port));
    let error = |cause: String| GetError::Request { url: url.clone(), cause };
    let attempt = follow(tls, host, port, path, headers(action, purpose));
    match tokio::time::timeout(limit, attempt).await {
        Ok(answer) => answer.map_err(error),
        Err(_) => Err(error(
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned(),
        )),
    }
}

fn headers(action: &HTTPGetAction, purpose: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for given in &action.http_headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(given.name.as_str()), HeaderValue::try_from(given.value.as_str()))
        {
            headers.append(name, value);
        }
    }
    if !headers.contains_key(header::USER_AGENT)
        && let Ok(agent) = HeaderValue::try_from(format!("kube-{purpose}/1.36"))
    {
        headers.insert(header::USER_AGENT, agent);
    }
    match headers.get(header::ACCEPT) {
        None => {
            headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        }
        Some(empty) if empty.is_empty() => {
            headers.remove(header::ACCEPT);
        }
        Some(_) => {}
    }
    headers
}

/// Follows redirects that stay on the host; one that leaves it is the answer.
async fn follow(
    mut tls: bool,
    host: &str,
    mut port: u16,
    mut path: String,
    headers: HeaderMap,
) -> Result<Answer, String> {
    for _ in 0..REDIRECTS {
        let (answer, location) = once(tls, host, port, &path, &headers).await?;
        let Some(location) = location.filter(|_| answer.status.is_redirection()) else { return Ok(answer) };
        let Ok(next) = location.parse::<http::Uri>() else { return Ok(answer) };
        if let Some(name) = next.host() {
            if name.trim_matches(['[', ']']) != host {
                return Ok(answer);
            }
            tls = next.scheme_str() == Some("https");
            port = next.port_u16().unwrap_or(if tls { 443 } else { 80 });
        }
        path = next.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    }
    Err("stopped after 10 redirects".into())
}

async fn once(
    tls: bool,
    host: &str,
    port: u16,
    path: &str,
    headers: &HeaderMap,
) -> Result<(Answer, Option<String>), String> {
    let authority = authority(host, port);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| dial_error(&authority, &error))?;
    let mut request = Request::get(path);
    if !headers.contains_key(header::HOST) {
        request = request.header(header::HOST, &authority);
    }
    let mut request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    request.headers_mut().extend(headers.clone());
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(unverified());
        match connector.connect(name, stream).await {
            Ok(stream) => send(stream, request).await,
            Err(error) if error.to_string().contains("corrupt message") => {
                Err("http: server gave HTTP response to HTTPS client".into())
            }
            Err(error) => Err(error.to_string()),
        }
    } else {
        send(stream, request).await
    }
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(Answer, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|error| {
            if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() }
        })?;
        let status = response.status();
        let location =
            response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(String::from);
        // A body longer than the limit is no failure: only its beginning is of use.
        let mut body = Vec::new();
        let mut frames = Limited::new(response.into_body(), BODY_LIMIT);
        while let Some(Ok(frame)) = frames.frame().await {
            if let Some(data) = frame.data_ref() {
                body.extend_from_slice(data);
            }
        }
        Ok((Answer { status, body: String::from_utf8_lossy(&body).into_owned() }, location))
    };
    // Both in this task: when the caller gives up, the connection goes with it.
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        result = &mut exchange => result,
        _ = &mut connection => exchange.await,
    }
}

/// A TLS configuration that accepts any certificate.
fn unverified() -> Arc<rustls::ClientConfig> {
    static CONFIG: std::sync::OnceLock<Arc<rustls::ClientConfig>> = std::sync::OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let config = rustls::ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        Arc::new(config)
    });
    Arc::clone(config)
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
