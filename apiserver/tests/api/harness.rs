//! A real kube-apiserver on a real store (kvstore where it is built, else etcd), with a PKI made for
//! the test, and a plain HTTPS client that shows status codes and bodies as they are.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;

/// A certificate and its key.
struct Pair {
    cert: CertificateDer<'static>,
    key: Vec<u8>,
    cert_pem: String,
    key_pem: String,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert_pem: String,
    cert: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        let cert = params.self_signed(&key).expect("an authority");
        let (cert_pem, der) = (cert.pem(), cert.der().clone());
        Self { issuer: Issuer::new(params, key), cert_pem, cert: der }
    }

    fn sign(&self, name: &str, group: &str, server: bool) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![if server {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            cert: cert.der().clone(),
            key: key.serialize_der(),
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server.
pub struct Cluster {
    _server: Process,
    _store: Process,
    dir: TempDir,
    port: u16,
    authority: Authority,
    admin: Pair,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// Who sends a request.
pub enum As<'a> {
    Admin,
    Nobody,
    User(&'a str),
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

fn store_binary() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_kube-apiserver")).with_file_name("kvstore");
    if beside.exists() {
        return Some(beside);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|p| p.join("etcd")).find(|p| p.exists())
}

impl Cluster {
    /// Starts everything; `None`, told on stderr, where there is no store to start.
    pub async fn start() -> Option<Self> {
        Self::start_with(|_| Vec::new()).await
    }

    /// `start`, with further flags of the server's; the closure is given the folder for files of theirs.
    pub async fn start_with(flags: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let Some(binary) = store_binary() else {
            eprintln!("SKIPPED: neither kvstore (build it first) nor etcd is there");
            return None;
        };
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::Builder::new().prefix("apiserver-test-").tempdir().expect("a folder");
        let (clients, peers, port) = (free_port(), free_port(), free_port());
        let authority = Authority::new();
        let serving = authority.sign("kube-apiserver", "", true);
        let admin = authority.sign("admin", "system:masters", false);
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.to_string_lossy().into_owned()
        };
        let log = |name: &str| Stdio::from(std::fs::File::create(dir.path().join(name)).expect("a log"));
        let (client_url, peer_url) =
            (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
        let store = Command::new(binary)
            .args(["--data-dir", &dir.path().join("store").to_string_lossy()])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .stderr(log("store.log"))
            .stdout(Stdio::null())
            .spawn()
            .expect("the store starts");
        let tokens = file("tokens.key", &KeyPair::generate().expect("a key").serialize_pem());
        let server = Command::new(env!("CARGO_BIN_EXE_kube-apiserver"))
            .args(["--etcd-servers", &client_url])
            .args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()])
            .args(["--tls-cert-file", &file("server.crt", &serving.cert_pem)])
            .args(["--tls-private-key-file", &file("server.key", &serving.key_pem)])
            .args(["--client-ca-file", &file("ca.crt", &authority.cert_pem)])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-key-file", &tokens, "--service-account-signing-key-file", &tokens])
            .args(["--service-cluster-ip-range", "10.96.0.0/24"])
            .args(flags(dir.path()))
            .stderr(log("apiserver.log"))
            .spawn()
            .expect("the server starts");
        let cluster = Self { _server: Process(server), _store: Process(store), dir, port, authority, admin };
        cluster.ready().await;
        Some(cluster)
    }

    /// An HTTPS server of the test's own on localhost, which answers each request with what `answer`
    /// makes of its path and headers; its port.
    pub async fn serve(
        &self,
        answer: impl Fn(&str, &hyper::HeaderMap) -> Value + Clone + Send + 'static,
    ) -> u16 {
        self.serve_posts(move |path, headers, _| answer(path, headers)).await
    }

    /// The authorities that vouch for servers of the test's, PEM in base64.
    pub fn ca_bundle(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&self.authority.cert_pem)
    }

    /// As `serve`, for answers that depend on what was sent; null where that is no JSON. The header
    /// `x-connection` says on which connection a request came.
    pub async fn serve_posts(
        &self,
        answer: impl Fn(&str, &hyper::HeaderMap, Value) -> Value + Clone + Send + 'static,
    ) -> u16 {
        self.serve_posts_at(0, answer).await
    }

    /// As `serve_posts`, on a port that was told before.
    pub async fn serve_posts_at(
        &self,
        port: u16,
        answer: impl Fn(&str, &hyper::HeaderMap, Value) -> Value + Clone + Send + 'static,
    ) -> u16 {
        let pair = self.authority.sign("extension", "", true);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.key.clone()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.clone()], key)
            .expect("a certificate");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            for connection in 1u32.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service =
                        hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                            let answer = answer.clone();
                            async move {
                                let (mut head, body) = request.into_parts();
                                head.headers.insert("x-connection", connection.into());
                                let body = body.collect().await?.to_bytes();
                                let sent = serde_json::from_slice(&body).unwrap_or_default();
                                let text = answer(head.uri.path(), &head.headers, sent).to_string();
                                let response =
                                    hyper::Response::builder().header("content-type", "application/json");
                                let response = response.body(Full::<Bytes>::from(text));
                                Ok::<_, hyper::Error>(response.expect("a response"))
                            }
                        });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        port
    }

    /// Whether any of the store's files holds these bytes.
    pub fn store_holds(&self, bytes: &[u8]) -> bool {
        fn holds(path: &Path, bytes: &[u8]) -> bool {
            if path.is_dir() {
                let entries = std::fs::read_dir(path).expect("a folder");
                return entries.filter_map(Result::ok).any(|entry| holds(&entry.path(), bytes));
            }
            std::fs::read(path).is_ok_and(|all| all.windows(bytes.len()).any(|part| part == bytes))
        }
        holds(&self.dir.path().join("store"), bytes)
    }

    /// A file of the cluster's folder.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    /// Where a file of the cluster's folder is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A request of somebody who has no certificate but a token.
    pub async fn bearer(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let mut request = Self::request(method, path, "application/json", body).expect("a request");
        let value = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", value);
        let mut sender = self.connect(&As::Nobody).await.expect("a connection");
        let response = sender.send_request(request).await.expect("an answer");
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { code, headers, body }
    }

    async fn ready(&self) {
        let mut last = String::new();
        for _ in 0..300 {
            match self.try_send(&As::Admin, "GET", "/readyz", "", "").await {
                Ok(answer) if answer.code == 200 => return,
                Ok(answer) => last = String::from_utf8_lossy(&answer.body).into_owned(),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(self.dir.path().join("apiserver.log")).unwrap_or_default();
        panic!("the server did not get ready: {last}\n{log}");
    }

    async fn connect(
        &self,
        who: &As<'_>,
    ) -> anyhow::Result<hyper::client::conn::http1::SendRequest<Full<Bytes>>> {
        let stream = self.secured(who, &[]).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A connection of the admin's that speaks HTTP/2, on which streams that are not read do not hold up others.
    pub async fn second(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = self.secured(&As::Admin, &[b"h2"]).await.expect("a connection");
        let (sender, connection) =
            hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                .initial_connection_window_size(64 << 20)
                .initial_stream_window_size(32 << 10)
                .handshake(TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        sender
    }

    /// A request of JSON for `second`.
    pub fn absolute(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
        let request = Request::builder().method(method).uri(format!("https://test{path}"));
        let request = request.header("content-type", "application/json");
        request.body(Full::from(body.to_owned())).expect("a request")
    }

    async fn secured(
        &self,
        who: &As<'_>,
        protocols: &[&[u8]],
    ) -> anyhow::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.cert.clone())?;
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let signed;
        let pair = match who {
            As::Admin => Some(&self.admin),
            As::Nobody => None,
            As::User(name) => {
                signed = self.authority.sign(name, "", false);
                Some(&signed)
            }
        };
        let mut config = match pair {
            Some(pair) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.key.clone()));
                builder.with_client_auth_cert(vec![pair.cert.clone()], key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
        Ok(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }

    fn request(
        method: &str,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(method).uri(path).header("host", "test");
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        Ok(request.body(Full::from(body.to_owned()))?)
    }

    async fn try_send(
        &self,
        who: &As<'_>,
        method: &str,
        path: &str,
        ty: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let mut sender = self.connect(who).await?;
        let response = sender.send_request(Self::request(method, path, ty, body)?).await?;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer { code, headers, body })
    }

    /// One request on a connection of its own.
    pub async fn send(&self, who: As<'_>, method: &str, path: &str, ty: &str, body: &str) -> Answer {
        self.try_send(&who, method, path, ty, body).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(As::Admin, "GET", path, "", "").await
    }

    /// A request of the admin's with one more header.
    pub async fn send_with(
        &self,
        method: &str,
        path: &str,
        (name, value): (&'static str, &str),
        body: &str,
    ) -> Answer {
        let mut request = Self::request(method, path, "application/json", body).expect("a request");
        request.headers_mut().insert(name, value.parse().expect("a header"));
        let mut sender = self.connect(&As::Admin).await.expect("a connection");
        let response = sender.send_request(request).await.expect("an answer");
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { code, headers, body }
    }

    pub async fn post(&self, path: &str, object: Value) -> Answer {
        self.send(As::Admin, "POST", path, "application/json", &object.to_string()).await
    }

    /// Reads a watch until `enough` says so of the events so far.
    pub async fn watch(&self, path: &str, mut enough: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
        let mut sender = self.connect(&As::Admin).await.expect("a connection");
        let request = Self::request("GET", path, "", "").expect("a request");
        let mut body = sender.send_request(request).await.expect("an answer").into_body();
        let (mut buffer, mut events) = (Vec::new(), Vec::new());
        while !enough(&events) {
            let Some(frame) = body.frame().await else { break };
            buffer.extend_from_slice(frame.expect("a frame").data_ref().expect("data"));
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                events.push(serde_json::from_slice(&line).expect("an event"));
            }
        }
        events
    }
}
