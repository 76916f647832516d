//! Where this member listens: for clients, for metrics, for its peers; and with which certificates, which
//! are read again when their files change.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use daemon::serve;
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientAuth, ClientMaterial, ClientTls, Pem, ServerTls, ServerTlsOptions, Subject};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Status;

use crate::api::{self, Context};
use crate::flags::{DEFAULT_PEER_URL, Flags, Url, urls};
use crate::raft::peer_service::PeerService;

type Bound = Vec<(TcpListener, Option<Arc<ServerTls>>)>;

/// Sockets for clients, open before the rest is.
pub struct ClientListeners {
    clients: Bound,
    /// Plain HTTP for clients, where it has URLs of its own.
    http: Bound,
    metrics: Bound,
    options: serve::HttpOptions,
}

impl ClientListeners {
    pub async fn bind(flags: &Flags, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let auth = client_auth(&flags.trusted_ca_file);
        let clients = load_tls(flags, &flags.cert_file, &flags.key_file, auth, shutdown)?;
        let metrics = load_tls(flags, &flags.cert_file, &flags.key_file, ClientAuth::Off, shutdown)?;
        // No limit: etcd's default is the largest number there is.
        let max_streams = Some(flags.max_concurrent_streams).filter(|streams| *streams != u32::MAX);
        Ok(Self {
            // COMPAT: etcdctl up to 3.4 sends its endpoint, scheme and all.
            options: serve::HttpOptions { max_streams, url_as_authority: true, ..Default::default() },
            http: bind(&urls("listen-client-http-urls", &flags.listen_client_http_urls)?, &clients).await?,
            clients: bind(&urls("listen-client-urls", &flags.listen_client_urls)?, &clients).await?,
            metrics: bind(&urls("listen-metrics-urls", &flags.listen_metrics_urls)?, &metrics).await?,
        })
    }

    /// Addresses as bound: a port of 0 has become a real one.
    pub fn addresses(&self) -> String {
        let addresses = self.clients.iter().filter_map(|(listener, _)| listener.local_addr().ok());
        addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
    }

    pub fn serve(self, context: &Context, shutdown: &Shutdown) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        let http = api::http::routes(context.clone());
        let beside = self.http.is_empty().then(|| http.clone());
        let entry = api::entry::Entry::new(context, beside);
        for (listener, tls) in self.clients {
            let served =
                serve::connections_with(listener, tls, entry.clone(), self.options, shutdown.clone());
            serving.spawn(served);
        }
        for (listener, tls) in self.http.into_iter().chain(self.metrics) {
            serving.spawn(serve::connections(listener, tls, http.clone(), shutdown.clone()));
        }
        serving
    }
}

/// Sockets for the other members.
pub struct PeerListeners {
    peers: Bound,
    /// Common names that peers may have; any when empty.
    allowed: Arc<[String]>,
}

impl PeerListeners {
    pub async fn bind(flags: &Flags, alone: bool, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let auth = client_auth(&flags.peer_trusted_ca_file);
        let tls = load_tls(flags, &flags.peer_cert_file, &flags.peer_key_file, auth, shutdown)?;
        let peers = match bind(&urls("listen-peer-urls", &flags.listen_peer_urls)?, &tls).await {
            // Where nobody asked for it, a member alone does without.
            Err(error) if alone && flags.listen_peer_urls == DEFAULT_PEER_URL => {
                tracing::warn!(error = format!("{error:#}"), "no member can be added: the peer URL is taken");
                Vec::new()
            }
            bound => bound?,
        };
        Ok(Self { peers, allowed: flags.peer_cert_allowed_cn.clone().into() })
    }

    /// Begins to hear the other members.
    pub fn serve(self, service: PeerService, shutdown: &Shutdown) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        let mut routes = service.routes().into_axum_router();
        if !self.allowed.is_empty() {
            routes = routes.layer(axum::middleware::from_fn_with_state(self.allowed, admit_named));
        }
        for (listener, tls) in self.peers {
            serving.spawn(serve::connections_with(
                listener,
                tls,
                routes.clone(),
                serve::HttpOptions { max_streams: None, ..Default::default() },
                shutdown.clone(),
            ));
        }
        serving
    }
}

/// Turns away peers whose certificate has another name.
async fn admit_named(State(allowed): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let shown = request.extensions().get::<serve::PeerCertificates>();
    let name = shown.and_then(|shown| Subject::of(shown.0.first()?).ok()).map(|subject| subject.common_name);
    if name.as_ref().is_some_and(|name| allowed.contains(name)) {
        return next.run(request).await;
    }
    tracing::warn!(name, "turned away a peer: --peer-cert-allowed-cn does not name it");
    Status::permission_denied("client certificate authentication failed").into_http()
}

/// COMPAT: naming authorities requires certificates, with or without --client-cert-auth.
fn client_auth(ca: &str) -> ClientAuth {
    match ca {
        "" => ClientAuth::Off,
        ca => ClientAuth::Require(Pem::File(ca.into())),
    }
}

fn load_tls(
    flags: &Flags,
    cert: &str,
    key: &str,
    auth: ClientAuth,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Arc<ServerTls>>> {
    if cert.is_empty() {
        return Ok(None);
    }
    let mut options = ServerTlsOptions::new(Pem::File(cert.into()), Pem::File(key.into()));
    options.client_auth = auth;
    options.min_version = flags.min_tls();
    options.cipher_suites = flags.cipher_suites.clone();
    let tls = ServerTls::load(options)?;
    tls.watch(shutdown.clone());
    Ok(Some(tls))
}

/// What this member shows to others when it connects to them; none when all peer URLs are plain.
pub fn peer_tls(flags: &Flags, shutdown: &Shutdown) -> anyhow::Result<Option<Arc<ClientTls>>> {
    let file = |path: &str| (!path.is_empty()).then(|| Pem::File(path.into()));
    let (cert, key) = match flags.peer_client_cert_file.is_empty() {
        true => (&flags.peer_cert_file, &flags.peer_key_file),
        false => (&flags.peer_client_cert_file, &flags.peer_client_key_file),
    };
    let material = ClientMaterial {
        ca: file(&flags.peer_trusted_ca_file),
        cert: file(cert),
        key: file(key),
        alpn: vec!["h2"],
        ..ClientMaterial::default()
    };
    if material.ca.is_none() && material.cert.is_none() && !flags.initial_cluster.contains("https://") {
        return Ok(None);
    }
    let tls = ClientTls::load(material).context("--peer-trusted-ca-file, --peer-cert-file")?;
    tls.watch(shutdown.clone());
    Ok(Some(tls))
}

async fn bind(urls: &[Url], tls: &Option<Arc<ServerTls>>) -> anyhow::Result<Bound> {
    let mut bound = Vec::new();
    for url in urls {
        let addresses = url.addresses().with_context(|| format!("look up {url}"))?;
        for address in addresses {
            bound.push((serve::bind(address).await?, tls.clone().filter(|_| url.secure)));
        }
    }
    Ok(bound)
}
