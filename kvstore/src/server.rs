//! Puts the parts together: opens the data directory, starts raft, serves clients, and ends cleanly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::serve;
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientAuth, Pem, ServerTls, ServerTlsOptions};
use etcd_protocol::etcdserverpb as pb;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{BasicNode, Config, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::api::{self, Context};
use crate::auth::tokens::Provider;
use crate::data_dir::{DataDir, Identity};
use crate::disk_space::DiskSpace;
use crate::flags::{Flags, Url, urls};
use crate::raft::command::Kind;
use crate::raft::log::LogStore;
use crate::raft::network::Network;
use crate::raft::proposer::Proposer;
use crate::raft::{Applier, Raft, Shared};
use crate::recovery::{Places, recover};
use crate::snapshot::SnapshotFolder;
use crate::tasks;

/// Runs a member until shutdown. Returns an error when it could not start or could not go on.
pub async fn run(flags: Flags, shutdown: Shutdown) -> anyhow::Result<()> {
    flags.check()?;
    let tokens = Arc::new(Provider::parse(&flags.auth_token).context("--auth-token")?);
    // Before anything is opened: a port in use must not cost a recovery.
    let listeners = Listeners::bind(&flags, &shutdown).await?;
    let peer_urls = flags.initial_advertise_peer_urls.clone();
    let new = Identity::derive(&flags.initial_cluster_token, &peer_urls);
    let wal = Some(PathBuf::from(&flags.wal_dir)).filter(|path| !path.as_os_str().is_empty());
    let data = Arc::new(DataDir::open(&flags.data_dir(), wal, new)?);
    let identity = data.identity;

    let opened = {
        let (data, count) = (data.clone(), flags.snapshot_count);
        tokio::task::spawn_blocking(move || open(&data, count)).await?
    };
    let (log, shared) = opened?;
    let raft = start_raft(&flags, identity, log, shared.clone()).await?;
    let fatal = Arc::new(Notify::new());
    let space = Arc::new(DiskSpace::new(vec![data.snapshots(), data.wal().to_owned()]));
    shared.tokens.set_ttl(flags.auth_token_ttl);
    let proposer = Proposer::new(raft.clone(), fatal.clone(), space, flags.max_request_bytes);
    let context = Context {
        proposer,
        shared: shared.clone(),
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
        quota: flags.quota(),
        max_txn_ops: flags.max_txn_ops,
        max_request_bytes: flags.max_request_bytes,
        progress_interval: flags.watch_progress_notify_interval.0,
        min_lease_ttl: flags.min_lease_ttl(),
        tokens,
        bcrypt_cost: flags.bcrypt_cost(),
        client_cert_auth: flags.client_cert_auth,
        shutdown: shutdown.clone(),
    };
    publish(&context, &flags).await?;

    let mut work: JoinSet<anyhow::Result<()>> = JoinSet::new();
    tasks::spawn(&mut work, &context, flags.auto_compaction()?);
    let clients = listeners.client_addresses();
    let serving = listeners.serve(&context, &shutdown);
    tracing::info!(
        member = format!("{:x}", identity.member_id),
        cluster = format!("{:x}", identity.cluster_id),
        revision = shared.reader.view().revision,
        clients,
        "ready to serve client requests"
    );

    let ended = tokio::select! {
        () = shutdown.wait() => Ok(()),
        () = fatal.notified() => Err(stopped(&raft)),
        Some(ended) = work.join_next() => ended.context("a background task ended").and_then(|result| result),
    };
    shutdown.trigger();
    serving.join_all().await;
    work.shutdown().await;
    raft.shutdown().await.context("stop raft")?;
    ended?;
    let state = shared.reader.state().clone();
    tokio::task::spawn_blocking(move || data.close_state(state.as_ref())).await??;
    tracing::info!("stopped");
    Ok(())
}

fn stopped(raft: &Raft) -> anyhow::Error {
    match &raft.metrics().borrow_watched().running_state {
        Ok(()) => anyhow::anyhow!("raft has stopped"),
        Err(fatal) => anyhow::anyhow!("cannot go on: {fatal}"),
    }
}

/// Opens log and state, and checks that they belong together.
fn open(data: &DataDir, snapshot_count: u64) -> anyhow::Result<(LogStore, Arc<Shared>)> {
    let log = LogStore::open(data.wal())?;
    let snapshots = SnapshotFolder::open(&data.snapshots())?;
    let state = data.open_state()?;
    let places = Places { log: data.wal(), snapshots: &data.snapshots() };
    let shared = recover(&log, state, snapshots, data.identity.cluster_id, snapshot_count, places)?;
    Ok((log, shared))
}

async fn start_raft(
    flags: &Flags,
    identity: Identity,
    log: LogStore,
    shared: Arc<Shared>,
) -> anyhow::Result<Raft> {
    let config = Config {
        cluster_name: format!("{:x}", identity.cluster_id),
        heartbeat_interval: flags.heartbeat_interval,
        election_timeout_min: flags.election_timeout,
        election_timeout_max: flags.election_timeout * 2,
        enable_pre_vote: Some(true),
        // A member alone has no one to hear from and no one to tell: it needs no clock.
        enable_tick: false,
        // By `tasks::snapshots`, which looks at sizes too.
        snapshot_policy: SnapshotPolicy::Never,
        // Kept for members that lag behind, of which there are none.
        max_in_snapshot_log_to_keep: 0,
        ..Default::default()
    };
    let config = Arc::new(config.validate().context("--heartbeat-interval and --election-timeout")?);
    let applier = Applier::new(shared.clone());
    let last = log.last_log_id();
    let raft = Raft::new(identity.member_id, config, Network, log, applier).await.context("start raft")?;
    if !raft.is_initialized().await? {
        let node = BasicNode::new(&flags.initial_advertise_peer_urls);
        raft.initialize(BTreeMap::from([(identity.member_id, node)]))
            .await
            .context("bootstrap the cluster")?;
    } else if !raft.is_leader() {
        raft.trigger().elect(false).await.context("become the leader")?;
    }
    let index = last.map_or(0, |last| last.index);
    raft.wait(None)
        .metrics(
            |metrics| {
                metrics.current_leader == Some(identity.member_id)
                    && metrics.last_applied.is_some_and(|applied| applied.index >= index)
            },
            "recovery",
        )
        .await
        .context("apply the log")?;
    Ok(raft)
}

/// Tells the cluster this member's name and client URLs, when they have changed.
async fn publish(context: &Context, flags: &Flags) -> anyhow::Result<()> {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let member = pb::Member {
        id: context.member_id,
        name: flags.name.clone(),
        client_urls: list(&flags.advertise_client_urls),
        ..Default::default()
    };
    let known = context.shared.machine.lock().members.get(&member.id) == Some(&member);
    if !known {
        context.proposer.propose(Kind::Publish(member)).await.context("publish this member")?;
    }
    Ok(())
}

/// Sockets, open before the rest is.
struct Listeners {
    clients: Vec<(TcpListener, Option<Arc<ServerTls>>)>,
    metrics: Vec<(TcpListener, Option<Arc<ServerTls>>)>,
}

impl Listeners {
    async fn bind(flags: &Flags, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let auth = match flags.trusted_ca_file.as_str() {
            "" => ClientAuth::Off,
            // COMPAT: naming authorities requires certificates, with or without --client-cert-auth.
            ca => ClientAuth::Require(Pem::File(ca.into())),
        };
        let clients = load_tls(flags, auth, shutdown)?;
        let metrics = load_tls(flags, ClientAuth::Off, shutdown)?;
        Ok(Self {
            clients: bind(&urls("listen-client-urls", &flags.listen_client_urls)?, &clients).await?,
            metrics: bind(&urls("listen-metrics-urls", &flags.listen_metrics_urls)?, &metrics).await?,
        })
    }

    /// Addresses as bound: a port of 0 has become a real one.
    fn client_addresses(&self) -> String {
        let addresses = self.clients.iter().filter_map(|(listener, _)| listener.local_addr().ok());
        addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
    }

    fn serve(self, context: &Context, shutdown: &Shutdown) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        let http = api::http::routes(context.clone());
        let all = context.routes().into_axum_router().merge(http.clone());
        for (listener, tls) in self.clients {
            let options = serve::HttpOptions { max_streams: None, ..Default::default() };
            serving.spawn(serve::connections_with(listener, tls, all.clone(), options, shutdown.clone()));
        }
        for (listener, tls) in self.metrics {
            serving.spawn(serve::connections(listener, tls, http.clone(), shutdown.clone()));
        }
        serving
    }
}

fn load_tls(flags: &Flags, auth: ClientAuth, shutdown: &Shutdown) -> anyhow::Result<Option<Arc<ServerTls>>> {
    if flags.cert_file.is_empty() {
        return Ok(None);
    }
    let mut options = ServerTlsOptions::new(
        Pem::File(flags.cert_file.clone().into()),
        Pem::File(flags.key_file.clone().into()),
    );
    options.client_auth = auth;
    let tls = ServerTls::load(options)?;
    tls.watch(shutdown.clone());
    Ok(Some(tls))
}

async fn bind(
    urls: &[Url],
    tls: &Option<Arc<ServerTls>>,
) -> anyhow::Result<Vec<(TcpListener, Option<Arc<ServerTls>>)>> {
    let mut bound = Vec::new();
    for url in urls {
        let addresses = url.addresses().with_context(|| format!("look up {url}"))?;
        for address in addresses {
            bound.push((serve::bind(address).await?, tls.clone().filter(|_| url.secure)));
        }
    }
    Ok(bound)
}
