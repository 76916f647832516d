//! The kubelet's server: what the API server and Prometheus ask of a node.
//!
//! Port 10250 speaks TLS; every request is authenticated and authorized ([`access`]) before it is
//! routed. Port 10248, on localhost, answers /healthz only. Exec, attach and port-forward are handed
//! through to the runtime's own streaming server ([`streaming`]); logs come from files ([`logs`]).

pub mod access;
mod cadvisor;
mod checkpoint;
pub mod configz;
mod debug;
pub mod log_query;
pub mod logs;
pub mod metrics;
pub mod pods;
mod pressure;
pub mod stats;
pub mod streaming;
mod summary;
pub mod system_logs;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use daemon::health::{Endpoints, Health};
use daemon::serve::{self};
use daemon::shutdown::Shutdown;
use daemon::tls::{self, ClientAuth, ClientCa, Pem, ServerTls, ServerTlsOptions};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::certificate::store::Store;
use crate::config::KubeletConfiguration;
use crate::flags::Flags;
use crate::kubelet::Kubelet;
use access::Access;

/// How often a certificate that is not there yet is looked for.
const AWAITED: Duration = Duration::from_secs(1);

/// A response's body: a buffer, or a stream.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Makes the folder that checkpoints are kept in, which only root may look into.
pub fn make_folder(root: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(checkpoint::FOLDER))
}

/// A whole body.
pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A response of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    const PLAIN: &str = "text/plain; charset=utf-8";
    let body = body.into();
    match std::str::from_utf8(&body) {
        Ok(error) if !status.is_success() => {
            typed(status, PLAIN, daemon::go_words::worded(error).into_owned())
        }
        _ => typed(status, PLAIN, body),
    }
}

/// A response of any type.
pub fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What the server shows to clients.
enum Certificate {
    /// It is there.
    There(Arc<ServerTls>),
    /// The cluster is to issue it; until then connections are closed.
    Awaited(Box<ServerTlsOptions>),
}

/// The server's sockets, bound and not yet served.
pub struct Server {
    main: Option<(TcpListener, Certificate)>,
    client_ca: Option<Arc<ClientCa>>,
    healthz: Option<TcpListener>,
    read_only: Option<TcpListener>,
}

impl Server {
    /// Binds the ports and reads the certificates.
    pub async fn bind(kubelet: &Kubelet, flags: &Flags) -> anyhow::Result<Self> {
        let config = &kubelet.config;
        let address: IpAddr =
            config.address.parse().with_context(|| format!("address: {}", config.address))?;
        let healthz = match config.healthz_port.unwrap_or(10248) {
            0 => None,
            port => {
                let address: IpAddr = config.healthz_bind_address.parse().context("healthzBindAddress")?;
                Some(serve::bind(SocketAddr::new(address, port)).await?)
            }
        };
        let read_only = match config.read_only_port {
            0 => None,
            port => Some(serve::bind(SocketAddr::new(address, port)).await?),
        };
        let ca_file = &config.authentication.x509.client_ca_file;
        let ca = (!ca_file.is_empty()).then(|| Pem::File(PathBuf::from(ca_file)));
        let client_ca = ca.clone().map(ClientCa::load).transpose()?;
        let (cert, key) = certificate(config, flags)?;
        let options = ServerTlsOptions {
            client_auth: ca.map_or(ClientAuth::Off, ClientAuth::Request),
            min_version: config.tls_min_version.parse()?,
            cipher_suites: config.tls_cipher_suites.clone(),
            ..ServerTlsOptions::new(cert, key)
        };
        let awaited = config.server_tls_bootstrap == Some(true)
            && options.cert.certificates().and(options.key.private_key()).is_err();
        let tls = if awaited {
            Certificate::Awaited(Box::new(options))
        } else {
            Certificate::There(ServerTls::load(options)?)
        };
        let main = match config.enable_server {
            Some(false) => None,
            _ => Some((serve::bind(SocketAddr::new(address, config.port)).await?, tls)),
        };
        Ok(Self { main, client_ca, healthz, read_only })
    }

    /// Serves until shutdown. Returns the checks that it answers with.
    pub fn serve(self, kubelet: Arc<Kubelet>, shutdown: Shutdown) -> Health {
        if let Some(ca) = &self.client_ca {
            ca.watch(shutdown.clone());
        }
        let health = health(&kubelet);
        let router = Arc::new(Router {
            access: Some(Access::new(&kubelet, self.client_ca.clone())),
            kubelet: Arc::clone(&kubelet),
            health: health.clone(),
            stats: summary::Summary::default(),
        });
        match self.main {
            None => {}
            Some((main, Certificate::There(tls))) => {
                tls.watch(shutdown.clone());
                spawn(main, Some(tls), router, shutdown.clone());
            }
            Some((main, Certificate::Awaited(options))) => {
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    let tls = issued(&main, *options).await;
                    tls.watch(shutdown.clone());
                    spawn(main, Some(tls), router, shutdown);
                });
            }
        }
        if let Some(listener) = self.read_only {
            let open = Arc::new(Router {
                access: None,
                kubelet,
                health: health.clone(),
                stats: summary::Summary::default(),
            });
            spawn(listener, None, open, shutdown.clone());
        }
        if let Some(listener) = self.healthz {
            let health = health.clone();
            let service = tower::service_fn(move |request: Request<Incoming>| {
                let health = health.clone();
                async move {
                    let answer = health.answer(request.uri().path(), request.uri().query()).await;
                    Ok::<_, Infallible>(match answer {
                        Some(answer) => answer.into_response(),
                        None => {
                            let mut response = Response::new(Full::new(Bytes::from("404 page not found\n")));
                            *response.status_mut() = StatusCode::NOT_FOUND;
                            response
                        }
                    })
                }
            });
            tokio::spawn(serve::connections(listener, None, service, shutdown));
        }
        health
    }
}

fn spawn(listener: TcpListener, tls: Option<Arc<ServerTls>>, router: Arc<Router>, shutdown: Shutdown) {
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let router = Arc::clone(&router);
        async move { Ok::<_, Infallible>(router.answer(request).await) }
    });
    tokio::spawn(serve::connections(listener, tls, service, shutdown));
}

/// Waits for the certificate. Clients are not kept waiting as well.
async fn issued(listener: &TcpListener, options: ServerTlsOptions) -> Arc<ServerTls> {
    loop {
        if let Ok(tls) = ServerTls::load(options.clone()) {
            tracing::info!("serving with the certificate that the cluster issued");
            return tls;
        }
        let pause = tokio::time::sleep(AWAITED);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                refused = listener.accept() => drop(refused),
            }
        }
    }
}

/// The configured certificate, or the one that the cluster issues.
fn certificate(config: &KubeletConfiguration, flags: &Flags) -> anyhow::Result<(Pem, Pem)> {
    if config.server_tls_bootstrap == Some(true) {
        let current = Store::server(&flags.cert_dir).current();
        return Ok((Pem::File(current.clone()), Pem::File(current)));
    }
    match (config.tls_cert_file.as_str(), config.tls_private_key_file.as_str()) {
        ("", _) | (_, "") => anyhow::bail!("tlsCertFile and tlsPrivateKeyFile must both be given"),
        (cert, key) => Ok((Pem::File(cert.into()), Pem::File(key.into()))),
    }
}

/// Where there is no certificate, and none is to be issued, the kubelet makes one and keeps it in its certificate
/// directory.
pub fn certify(config: &mut KubeletConfiguration, flags: &Flags, node: &str) -> anyhow::Result<()> {
    let configured = [&config.tls_cert_file, &config.tls_private_key_file];
    if config.server_tls_bootstrap == Some(true) || configured.iter().any(|file| !file.is_empty()) {
        return Ok(());
    }
    let (cert_file, key_file) = (flags.cert_dir.join("kubelet.crt"), flags.cert_dir.join("kubelet.key"));
    if !cert_file.exists() || !key_file.exists() {
        let (cert, key) = tls::self_signed(node, &[])?;
        std::fs::create_dir_all(&flags.cert_dir)
            .with_context(|| format!("making {}", flags.cert_dir.display()))?;
        write_private(&key_file, &key.bytes()?)?;
        std::fs::write(&cert_file, cert.bytes()?)
            .with_context(|| format!("writing {}", cert_file.display()))?;
    }
    config.tls_cert_file = cert_file.to_string_lossy().into_owned();
    config.tls_private_key_file = key_file.to_string_lossy().into_owned();
    Ok(())
}

fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("writing {}", path.display()))?;
    file.write_all(content).with_context(|| format!("writing {}", path.display()))
}

/// What /statusz lists.
const PAGES: &[&str] =
    &["/configz", "/flagz", "/healthz", "/logs", "/metrics", "/pods", "/runningpods", "/stats", "/statusz"];

/// `log` and `syncloop`, as upstream names them.
fn health(kubelet: &Arc<Kubelet>) -> Health {
    let health = Health::new();
    let node = Arc::clone(kubelet);
    health.add(Endpoints::All, "syncloop", move || {
        let seen = node.pulse.last();
        async move {
            match seen {
                Some(last) if last.elapsed().as_secs() > 180 => {
                    Err("sync Loop took longer than expected".to_owned())
                }
                _ => Ok(()),
            }
        }
    });
    health
}

/// Answers requests.
pub struct Router {
    access: Option<Access>,
    kubelet: Arc<Kubelet>,
    health: Health,
    stats: summary::Summary,
}

impl Router {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Some(access) = &self.access
            && let Err(refusal) = access.check(&request).await
        {
            return text(refusal.status, refusal.body);
        }
        self.route(request).await
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let kubelet = &self.kubelet;
        let get = request.method() == Method::GET;
        // The read-only port has none.
        let debugging = self.access.is_some() && kubelet.config.enable_debugging_handlers != Some(false);
        if !debugging && let Some(answer) = closed(&path) {
            return answer;
        }
        match parts.as_slice() {
            ["healthz", ..] | ["livez", ..] | ["readyz", ..] if get => {
                match self.health.answer(&path, request.uri().query()).await {
                    Some(answer) => answer
                        .into_response()
                        .map(|body| body.map_err(|never: Infallible| match never {}).boxed_unsync()),
                    None => not_found(),
                }
            }
            ["pods"] if get => pods::pods(kubelet),
            ["metrics"] if get => metrics::own(kubelet).await,
            ["metrics", "cadvisor"] if get => cadvisor::page(kubelet).await,
            ["metrics", "resource"] if get => metrics::resource(kubelet).await,
            ["metrics", "probes"] if get => metrics::probes(kubelet),
            ["metrics", "slis"] if get => metrics::slis(),
            ["stats", "summary"] if get => self.stats.page(kubelet, request.uri().query()).await,
            _ if !debugging => not_found(),
            ["runningpods"] if get => pods::running(kubelet).await,
            ["configz"] if get => configz::configz(kubelet),
            ["statusz"] | ["flagz"] if get => zpage(&path, request.headers()),
            ["checkpoint", namespace, pod, container] if request.method() == Method::POST => {
                checkpoint::checkpoint(kubelet, namespace, pod, container, request.uri().query()).await
            }
            ["checkpoint", _, _, _] => text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"),
            ["debug", "flags", "v"] => debug::flags(kubelet, request).await,
            ["debug", "pprof", ..] => {
                text(StatusCode::METHOD_NOT_ALLOWED, "profiling endpoint is disabled.\n")
            }
            ["logs", ..] if get => self.logs(&path, request.uri().query(), request.headers()).await,
            ["containerLogs", namespace, pod, container] if get => {
                logs::container_logs(kubelet, namespace, pod, container, request.uri().query()).await
            }
            ["run", namespace, pod, container] | ["run", namespace, pod, _, container]
                if request.method() == Method::POST =>
            {
                streaming::run(kubelet, namespace, pod, container, request.uri().query()).await
            }
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
                let place = (namespace.to_string(), pod.to_string(), container.to_string());
                streaming::exec(kubelet, place, request).await
            }
            ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
                let place = (namespace.to_string(), pod.to_string(), container.to_string());
                streaming::attach(kubelet, place, request).await
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
                let (namespace, pod) = (namespace.to_string(), pod.to_string());
                streaming::port_forward(kubelet, &namespace, &pod, request).await
            }
            _ => not_found(),
        }
    }
}

/// What is closed without debugging handlers.
const DEBUG: [&str; 8] = [
    "/run/",
    "/exec/",
    "/attach/",
    "/portForward/",
    "/containerLogs/",
    "/runningpods/",
    "/debug/pprof/",
    "/logs/",
];

/// COMPAT: the answer where there are no debugging handlers; `None` for paths that are not among them.
fn closed(path: &str) -> Option<Response<Body>> {
    if DEBUG.iter().any(|prefix| path.starts_with(prefix)) {
        return Some(text(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.\n"));
    }
    let folder = DEBUG.into_iter().find(|prefix| prefix.strip_suffix('/') == Some(path))?;
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "");
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(folder));
    Some(response)
}

/// /statusz and /flagz.
fn zpage(path: &str, headers: &http::HeaderMap) -> Response<Body> {
    let accept = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
    match daemon::zpages::answer(path, accept, "kubelet", PAGES) {
        Some(answer) => {
            answer.into_response().map(|body| body.map_err(|never: Infallible| match never {}).boxed_unsync())
        }
        None => not_found(),
    }
}

impl Router {
    async fn logs(&self, path: &str, query: Option<&str>, headers: &http::HeaderMap) -> Response<Body> {
        let config = &self.kubelet.config;
        if config.enable_system_log_handler == Some(false) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "logs endpoint is disabled.\n");
        }
        let root = std::path::Path::new(system_logs::ROOT);
        let asks = !parameters(query, "query").is_empty();
        if config.enable_system_log_query == Some(true) && asks {
            return match log_query::Query::parse(query.unwrap_or_default(), root) {
                Ok(query) => system_logs::query(root, query, headers).await,
                Err(error) => {
                    let status = match error {
                        log_query::QueryError::Malformed(_) => StatusCode::BAD_REQUEST,
                        log_query::QueryError::Refused(_) => StatusCode::NOT_ACCEPTABLE,
                    };
                    text(status, format!("{error}\n"))
                }
            };
        }
        let path = unescape_path(path.strip_prefix("/logs").unwrap_or_default());
        if path.is_empty() {
            let mut response = text(StatusCode::MOVED_PERMANENTLY, "");
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("logs/"));
            return response;
        }
        system_logs::file(root, path.trim_start_matches('/'), headers)
    }
}

/// A path without its escapes; a plus is a plus there.
fn unescape_path(text: &str) -> String {
    unescape(&text.replace('+', "%2B"))
}

fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The values of a query's parameter.
pub fn parameters(query: Option<&str>, name: &str) -> Vec<String> {
    query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key) == name).then(|| unescape(value))
        })
        .collect()
}

/// The first value of a query's parameter.
pub fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    parameters(query, name).into_iter().next()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query = Some("command=sh&command=-c&command=echo+a%20%26b&tty=1&x");
        assert_eq!(parameters(query, "command"), ["sh", "-c", "echo a &b"]);
        assert_eq!(parameter(query, "tty").as_deref(), Some("1"));
        assert_eq!(parameter(query, "x").as_deref(), Some(""));
        assert_eq!(parameter(query, "y"), None);
    }

    #[test]
    fn without_debugging_handlers() {
        let check = |path: &str, expected: Option<(u16, Option<&str>)>| {
            let answer = closed(path);
            let place = |answer: &Response<Body>| answer.headers().get(header::LOCATION).cloned();
            let shown = answer.as_ref().map(|answer| (answer.status().as_u16(), place(answer)));
            let expected = expected.map(|(status, place)| (status, place.map(HeaderValue::from_str)));
            assert_eq!(shown, expected.map(|(status, place)| (status, place.transpose().unwrap())), "{path}");
        };
        check("/exec/ns/pod/c", Some((405, None)));
        check("/logs/", Some((405, None)));
        check("/runningpods", Some((301, Some("/runningpods/"))));
        check("/pods", None);
        check("/metrics/cadvisor", None);
        check("/configz", None);
    }
}
