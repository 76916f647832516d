//! cluster-dns: the names of a cluster's Services and pods.
//!
//! `cluster.rs` follows the apiserver, `zone.rs` says which records a name has (pure), `upstream.rs`
//! asks other name servers for all other names, `server.rs` puts the two together.

mod cluster;
mod flags;
mod metrics;
mod server;
#[cfg(test)]
mod tests;
mod upstream;
mod zone;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::informer::Caches;
use client::{Client, Config};
use daemon::health::{Endpoints, Health};
use daemon::serve::{Open, StatusServer, bind};
use daemon::shutdown::Shutdown;
use hickory_server::Server;
use hickory_server::proto::rr::Name;

use cluster::Cluster;
use flags::Flags;
use server::Responder;
use upstream::Upstream;
use zone::Zone;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// For how long a TCP connection may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// Answers that may wait to be sent on one TCP connection.
const WAITING_ANSWERS: usize = 32;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let flags: Flags = daemon::flags::parse();
    flags.logging.init();
    daemon::tls::install_default_provider();
    match run(flags).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cluster-dns failed");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let domain = Name::from_ascii(format!("{}.", flags.cluster_domain.trim_matches('.')))
        .with_context(|| format!("--cluster-domain={}", flags.cluster_domain))?
        .to_lowercase();
    let ttl = u32::try_from(flags.ttl.0.as_secs()).context("--ttl is too long")?;
    let config = match &flags.kubeconfig {
        Some(path) => Config::from_kubeconfig(path)?,
        None => Config::in_cluster().context("no --kubeconfig was given, and this is not a pod")?,
    };
    let client = Client::new(config.with_agent("cluster-dns", None))?;
    client.watch_files(shutdown.clone());
    let caches = Caches::new(client, shutdown.clone());
    let zone = Zone::new(domain, ttl, Cluster::of(&caches));
    serve_status(&flags, caches, &shutdown).await?;

    let address = flags.listen_address;
    let socket = tokio::net::UdpSocket::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}/udp"))?;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}/tcp"))?;
    let mut server = Server::new(Responder { zone, upstream: Upstream::new(&flags.upstream)? });
    server.register_socket(socket);
    server.register_listener(listener, IDLE, WAITING_ANSWERS);
    tracing::info!(version = daemon::version::line(), %address, domain = flags.cluster_domain, "Serving DNS");
    shutdown.wait().await;
    server.shutdown_gracefully().await.context("the server failed")
}

/// Metrics, and health: ready once the cluster's names are known.
async fn serve_status(flags: &Flags, caches: Caches, shutdown: &Shutdown) -> anyhow::Result<()> {
    let health = Health::new();
    health.add(Endpoints::Readyz, "informer-sync", move || {
        let unsynced = caches.unsynced();
        async move {
            if unsynced.is_empty() { Ok(()) } else { Err(format!("not listed yet: {}", unsynced.join(", "))) }
        }
    });
    let listener = bind(flags.metrics_bind_address).await?;
    tokio::spawn(StatusServer::new(health, Arc::new(Open)).run(listener, None, shutdown.clone()));
    Ok(())
}
