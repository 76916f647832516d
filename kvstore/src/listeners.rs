//! Where this member listens: for clients, for metrics, for its peers; and with which certificates, which
//! are read again when their files change.

use std::sync::Arc;

use anyhow::Context as _;
use daemon::serve;
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientAuth, ClientMaterial, ClientTls, Pem, ServerTls, ServerTlsOptions};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api::{self, Context};
use crate::flags::{DEFAULT_PEER_URL, Flags, Url, urls};
use crate::raft::peer_service::PeerService;

type Bound = Vec<(TcpListener, Option<Arc<ServerTls>>)>;

/// Sockets for clients, open before the rest is.
pub struct ClientListeners {
    clients: Bound,
    metrics: Bound,
}

impl ClientListeners {
    pub async fn bind(flags: &Flags, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let auth = client_auth(&flags.trusted_ca_file);
        let clients = load_tls(&flags.cert_file, &flags.key_file, auth, shutdown)?;
        let metrics = load_tls(&flags.cert_file, &flags.key_file, ClientAuth::Off, shutdown)?;
        Ok(Self {
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
        let gate = axum::middleware::from_fn_with_state(context.clone(), api::gate::admit);
        let all = context.routes().into_axum_router().layer(gate).merge(http.clone());
        for (listener, tls) in self.clients {
            serving.spawn(serve::connections_with(listener, tls, all.clone(), options(), shutdown.clone()));
        }
        for (listener, tls) in self.metrics {
            serving.spawn(serve::connections(listener, tls, http.clone(), shutdown.clone()));
        }
        serving
    }
}

/// Sockets for the other members.
pub struct PeerListeners {
    peers: Bound,
}

impl PeerListeners {
    pub async fn bind(flags: &Flags, alone: bool, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let auth = client_auth(&flags.peer_trusted_ca_file);
        let tls = load_tls(&flags.peer_cert_file, &flags.peer_key_file, auth, shutdown)?;
        let peers = match bind(&urls("listen-peer-urls", &flags.listen_peer_urls)?, &tls).await {
            // Where nobody asked for it, a member alone does without.
            Err(error) if alone && flags.listen_peer_urls == DEFAULT_PEER_URL => {
                tracing::warn!(error = format!("{error:#}"), "no member can be added: the peer URL is taken");
                Vec::new()
            }
            bound => bound?,
        };
        Ok(Self { peers })
    }

    /// Begins to hear the other members.
    pub fn serve(self, service: PeerService, shutdown: &Shutdown) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        let routes = service.routes().into_axum_router();
        for (listener, tls) in self.peers {
            serving.spawn(serve::connections_with(
                listener,
                tls,
                routes.clone(),
                options(),
                shutdown.clone(),
            ));
        }
        serving
    }
}

fn options() -> serve::HttpOptions {
    serve::HttpOptions { max_streams: None, ..Default::default() }
}

/// COMPAT: naming authorities requires certificates, with or without --client-cert-auth.
fn client_auth(ca: &str) -> ClientAuth {
    match ca {
        "" => ClientAuth::Off,
        ca => ClientAuth::Require(Pem::File(ca.into())),
    }
}

fn load_tls(
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
    let tls = ServerTls::load(options)?;
    tls.watch(shutdown.clone());
    Ok(Some(tls))
}

/// What this member shows to others when it connects to them; none when all peer URLs are plain.
pub fn peer_tls(flags: &Flags, shutdown: &Shutdown) -> anyhow::Result<Option<Arc<ClientTls>>> {
    let file = |path: &str| (!path.is_empty()).then(|| Pem::File(path.into()));
    let material = ClientMaterial {
        ca: file(&flags.peer_trusted_ca_file),
        cert: file(&flags.peer_cert_file),
        key: file(&flags.peer_key_file),
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
