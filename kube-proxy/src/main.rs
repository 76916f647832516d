//! kube-proxy: forwards what is addressed to Services to their endpoints.
//!
//! `changes.rs` collects what the informers show, `state.rs` turns it into Services and endpoints,
//! `backend/nftables/plan.rs` into a table and `ruleset.rs` into a script; all of that is pure.
//! `proxy.rs` is the loop around it; `health.rs` and `conntrack.rs` follow each sync.

mod backend;
mod changes;
mod config;
mod conntrack;
mod fixed_flags;
mod flags;
mod health;
mod metrics;
mod proxy;
mod state;
mod sysctl;
#[cfg(test)]
mod testing;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use api_types::core::v1::Node;
use client::informer::{Caches, Projection, Reflector, Store};
use client::{Client, Config, ListOptions};
use daemon::clock::{SharedClock, System};
use daemon::serve::{Open, StatusServer, bind};
use daemon::shutdown::Shutdown;

use changes::{Changes, NodeView, ServiceView, SliceView};
use config::ProxyConfig;
use flags::Flags;
use proxy::{Fixed, Proxy};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let flags: Flags = daemon::flags::parse_beside(fixed_flags::TABLE);
    flags.logging.init();
    daemon::tls::install_default_provider();
    match run(flags).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "kube-proxy failed");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    if flags.cleanup {
        for family in families().await? {
            backend::nftables::apply::cleanup(family).await?;
        }
        return Ok(());
    }
    let config = flags.config()?;
    if let Some(err) = &config.strict_error {
        tracing::info!(err, "Using lenient decoding as strict decoding failed");
    }
    tracing::info!(version = daemon::version::line(), "Starting kube-proxy");
    let (shutdown, clock) = (Shutdown::on_signals()?, System::shared());
    let families = families().await?;
    prepare_process(&config);
    let client = client(&flags, &config)?;
    client.watch_files(shutdown.clone());
    let node = node_name(&config);
    tracing::info!(node, mode = "nftables", "Using nftables Proxier");

    let changes = Changes::new(clock.clone());
    let fixed = fixed(&config, node.clone())?;
    let health = health::Health::new(changes.clone(), clock.clone(), 2 * fixed.sync_period);
    serve(&config, &health, &shutdown).await?;
    let own_node = follow_node(&client, &node, &changes, &clock, &shutdown);
    let caches = Caches::new(client, shutdown.clone());
    let it = changes.clone();
    caches.store::<ServiceView>().subscribe(move |c| it.service_changed(c));
    let it = changes.clone();
    caches.store::<SliceView>().subscribe(move |c| it.slice_changed(c));
    // Half of the picture would cut off what works.
    let all = async {
        caches.wait_synced().await;
        own_node.wait_synced().await;
    };
    if shutdown.unless(all).await.is_some() {
        Proxy::new(fixed, families, changes, health, clock).run(shutdown).await;
    }
    Ok(())
}

/// The IP families that this kernel forwards in: normally both.
async fn families() -> anyhow::Result<Vec<state::Family>> {
    let (mut own, mut last) = (Vec::new(), None);
    for family in state::Family::BOTH {
        match backend::nftables::apply::supported(family).await {
            Ok(()) => own.push(family),
            Err(error) => {
                let text = daemon::logging::error_chain(&error);
                tracing::warn!(family = family.as_str(), error = text, "No nftables support for family");
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if own.is_empty() => Err(error).context("nftables is not available on this host"),
        _ => Ok(own),
    }
}

fn fixed(config: &ProxyConfig, node: String) -> anyhow::Result<Fixed> {
    // COMPAT: zero means the default, as in files that tools write with every field.
    let nftables = &config.nftables;
    let default = config::Nftables::default();
    let or = |value: daemon::flags::GoDuration, default: daemon::flags::GoDuration| {
        if value.0.is_zero() { default.0 } else { value.0 }
    };
    Ok(Fixed {
        node,
        bind_ip: config.bind_ip(),
        node_ports: config.node_ports()?,
        local: config.local_mode()?,
        masquerade_all: nftables.masquerade_all,
        masquerade_bit: nftables.masquerade_bit.unwrap_or(14),
        sync_period: or(nftables.sync_period, default.sync_period),
        min_sync_period: or(nftables.min_sync_period, default.min_sync_period),
    })
}

/// What is set once for the process and the machine. Where it is not allowed, kube-proxy works without.
fn prepare_process(config: &ProxyConfig) {
    let score = config.oom_score_adj.unwrap_or(-999);
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::warn!(score, error = error.to_string(), "Cannot set oom_score_adj");
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    sysctl::apply(&sysctl::plan(&config.conntrack, cores));
}

fn node_name(config: &ProxyConfig) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if config.hostname_override.is_empty() { host.as_str() } else { &config.hostname_override };
    name.trim().to_lowercase()
}

fn client(flags: &Flags, config: &ProxyConfig) -> anyhow::Result<Client> {
    let connection = &config.client_connection;
    let mut own = match connection.kubeconfig.as_str() {
        "" => Config::in_cluster().context("no --kubeconfig was given, and this is not a pod")?,
        path => Config::from_kubeconfig(Path::new(path))?,
    };
    if let Some(master) = &flags.master {
        own.server.clone_from(master);
    }
    let default = config::ClientConnection::default();
    let qps = if connection.qps == 0.0 { default.qps } else { connection.qps };
    let burst = if connection.burst == 0 { default.burst } else { connection.burst };
    let burst = u32::try_from(burst).unwrap_or(0);
    Ok(Client::new(own.with_agent("kube-proxy", None).with_limits(qps.into(), burst))?)
}

/// The health server and the metrics server. A port that is taken is fatal only if the configuration says so.
async fn serve(
    config: &ProxyConfig,
    health: &Arc<health::Health>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let tolerate = |what: &str, error: daemon::serve::ServeError| {
        if config.bind_address_hard_fail {
            return Err(anyhow::Error::from(error));
        }
        tracing::error!(server = what, error = daemon::logging::error_chain(&error), "Cannot serve");
        Ok(())
    };
    if let Some(address) = config.healthz_address()?
        && let Err(error) = health.serve(address, shutdown.clone()).await
    {
        tolerate("healthz", error)?;
    }
    if let Some(address) = config.metrics_address()? {
        match bind(address).await {
            Ok(listener) => {
                let server = StatusServer::new(daemon::health::Health::new(), Arc::new(Open))
                    .named("kube-proxy")
                    .page("/proxyMode", "text/plain; charset=utf-8", || "nftables".to_owned());
                tokio::spawn(server.run(listener, None, shutdown.clone()));
            }
            Err(error) => tolerate("metrics", error)?,
        }
    }
    Ok(())
}

/// Follows our own node alone, not all of them.
fn follow_node(
    client: &Client,
    name: &str,
    changes: &Arc<Changes>,
    clock: &SharedClock,
    shutdown: &Shutdown,
) -> Arc<Store<NodeView>> {
    let store = Arc::new(Store::<NodeView>::default());
    let changes = changes.clone();
    store.subscribe(move |change| changes.node_changed(change.new.map(|n| (**n).clone())));
    let selection = ListOptions { field_selector: format!("metadata.name={name}"), ..ListOptions::default() };
    let reflector = Reflector::new(
        client.api::<Node>(),
        store.clone(),
        selection,
        NodeView::project,
        "nodes".into(),
        clock.clone(),
    );
    tokio::spawn(reflector.run(shutdown.clone()));
    store
}

impl Projection for NodeView {
    type Source = Node;

    fn project(node: Node) -> Option<Self> {
        Some(Self::of(&node))
    }
}
