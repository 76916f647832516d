//! Puts the parts together: opens the data directory, starts raft, serves clients, and ends cleanly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::shutdown::Shutdown;
use etcd_protocol::etcdserverpb as pb;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{BasicNode, Config, SnapshotPolicy};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::api::{self, Context};
use crate::auth::tokens::Provider;
use crate::bootstrap::InitialCluster;
use crate::corruption;
use crate::data_dir::{DataDir, Identity};
use crate::disk_space::DiskSpace;
use crate::error::Error;
use crate::flags::Flags;
use crate::listeners::{self, ClientListeners, PeerListeners};
use crate::metrics;
use crate::raft::command::Kind;
use crate::raft::leadership;
use crate::raft::log::LogStore;
use crate::raft::network::Network;
use crate::raft::peer_service::PeerService;
use crate::raft::peers::{Peers, REMOVED};
use crate::raft::proposer::{Parts, Proposer};
use crate::raft::{Applier, Raft, Shared};
use crate::recovery::{Places, recover};
use crate::snapshot::SnapshotFolder;
use crate::state::Buffered;
use crate::tasks;

/// How long peers' connections may take to end.
const PEERS_DRAIN: Duration = Duration::from_secs(2);
/// Longest installation of a snapshot; openraft's own is meant for tests.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs a member until shutdown, or until it is removed from its cluster. Returns an error when it could
/// not start or could not go on.
pub async fn run(flags: Flags, shutdown: Shutdown) -> anyhow::Result<()> {
    flags.check()?;
    api::calls::prepare(flags.metrics == "extensive");
    let tokens = Arc::new(Provider::parse(&flags.auth_token).context("--auth-token")?);
    let cluster = InitialCluster::of(&flags)?;
    // Before anything is opened: a port in use must not cost a recovery.
    let listeners = ClientListeners::bind(&flags, &shutdown).await?;
    // Peers are heard until the very end: what clients still wait for needs them.
    let peers_shutdown = Shutdown::new();
    let tls = listeners::peer_tls(&flags, &peers_shutdown)?;
    let joining = flags.initial_cluster_state == "existing";
    let new = match Identity::recorded(&flags.data_dir())? {
        Some(identity) => identity,
        None if joining => cluster.join(tls.clone()).await?,
        None => cluster.begin(tls.clone()).await?,
    };
    // Not sooner: others that ask who the members are would wait for an answer.
    let peer_listeners = PeerListeners::bind(&flags, cluster.is_alone(), &peers_shutdown).await?;
    let wal = Some(PathBuf::from(&flags.wal_dir)).filter(|path| !path.as_os_str().is_empty());
    let data = Arc::new(DataDir::open(&flags.data_dir(), wal, new)?);
    let identity = data.identity;

    let opened = {
        let (data, count) = (data.clone(), flags.snapshot_count);
        tokio::task::spawn_blocking(move || open(&data, count)).await?
    };
    let (log, shared) = opened?;
    let election = Duration::from_millis(flags.election_timeout);
    metrics::get().peers.set_local(identity.member_id);
    let peers = Peers::new(identity, tls, election);
    let start = Start { identity, first: (!joining).then(|| cluster.nodes()), peers: peers.clone() };
    let raft = start_raft(&flags, &start, log, shared.clone()).await?;
    // Not sooner: raft brings the state up to the snapshot and the log.
    if flags.initial_corrupt_check()?
        && let Err(error) = corruption::check(identity.member_id, &shared, &peers).await
    {
        raft.shutdown().await.context("stop raft")?;
        return Err(error.into());
    }
    let fatal = Arc::new(Notify::new());
    shared.tokens.set_ttl(flags.auth_token_ttl);
    let proposer = Proposer::new(Parts {
        raft: raft.clone(),
        shared: shared.clone(),
        peers: peers.clone(),
        election,
        fatal: fatal.clone(),
        space: Arc::new(DiskSpace::new(vec![data.snapshots(), data.wal().to_owned()])),
        max_request_bytes: flags.max_request_bytes,
        strict_reconfig_check: flags.strict_reconfig_check,
        max_learners: flags.max_learners,
    });
    let context = Context {
        proposer: proposer.clone(),
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
    let service = PeerService {
        identity,
        raft: raft.clone(),
        shared: shared.clone(),
        peers: peers.clone(),
        members: proposer.members().clone(),
    };
    let mut peers_served = peer_listeners.serve(service, &peers_shutdown);
    let mut work: JoinSet<anyhow::Result<()>> = JoinSet::new();
    work.spawn(leadership::follow(proposer.standing().clone(), shared.clone(), fatal.clone()));
    work.spawn(proposer.members().clone().settle());
    tasks::spawn(&mut work, &context, flags.auto_compaction()?);

    let ended = {
        let mut ending = std::pin::pin!(async {
            tokio::select! {
                () = shutdown.wait() => Ok(()),
                () = peers.until_removed() => {
                    // In etcd's words.
                    tracing::warn!(error = REMOVED, "server error");
                    tracing::warn!("data-dir used by this member must be removed");
                    Ok(())
                }
                () = fatal.notified() => Err(stopped(&raft)),
                Some(ended) = work.join_next() => {
                    ended.context("a background task ended").and_then(|result| result)
                }
            }
        });
        let published = tokio::select! {
            ended = &mut ending => Err(ended),
            result = publish(&context, &flags) => result.map_err(Err),
        };
        match published {
            Err(ended) => ended,
            Ok(()) => {
                let clients = listeners.addresses();
                let serving = listeners.serve(&context, &shutdown);
                tracing::info!(
                    member = format!("{:x}", identity.member_id),
                    cluster = format!("{:x}", identity.cluster_id),
                    revision = shared.reader.view().revision,
                    clients,
                    "ready to serve client requests"
                );
                daemon::readiness::announce();
                let ended = ending.await;
                if ended.is_ok() && proposer.is_leader() && !proposer.standing().votes_alone() {
                    leadership::hand_over(proposer.standing()).await;
                }
                shutdown.trigger();
                serving.join_all().await;
                ended
            }
        }
    };
    shutdown.trigger();
    work.shutdown().await;
    raft.shutdown().await.context("stop raft")?;
    peers_shutdown.trigger();
    // Whoever is still connected is not waited for.
    tokio::time::timeout(PEERS_DRAIN, async { while peers_served.join_next().await.is_some() {} }).await.ok();
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
    let state =
        Arc::new(Buffered::new(data.open_state()?).context("start the thread that writes the state")?);
    let places = Places { log: data.wal(), snapshots: &data.snapshots() };
    let shared = recover(&log, state, snapshots, data.identity.cluster_id, snapshot_count, places)?;
    Ok((log, shared))
}

/// What raft starts from.
struct Start {
    identity: Identity,
    /// The first configuration of a new cluster; None: another member will tell.
    first: Option<BTreeMap<u64, BasicNode>>,
    peers: Arc<Peers>,
}

/// openraft's clocks so that a leader is missed between 1.2 and 1.6 election timeouts after it was last
/// heard: it adds a random time between its two timeouts to the longer one (the lease, in which nobody
/// votes for another). etcd takes between one and two.
fn raft_config(flags: &Flags, cluster_id: u64, several: bool) -> anyhow::Result<Config> {
    let config = Config {
        cluster_name: format!("{cluster_id:x}"),
        heartbeat_interval: flags.heartbeat_interval,
        election_timeout_min: flags.election_timeout * 2 / 5,
        election_timeout_max: flags.election_timeout * 4 / 5,
        enable_pre_vote: Some(flags.pre_vote),
        // A member alone has no one to hear from and no one to tell: it needs no clock.
        enable_tick: several,
        // Who led before a restart does not know what was committed: it has to be elected again.
        enable_leader_restore: Some(false),
        // By `tasks::snapshots`, which looks at sizes too.
        snapshot_policy: SnapshotPolicy::Never,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT.as_millis() as u64,
        // For members that lag behind; alone there are none.
        max_in_snapshot_log_to_keep: if several { flags.snapshot_catchup_entries } else { 0 },
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..Default::default()
    };
    config.validate().context("--heartbeat-interval and --election-timeout")
}

async fn start_raft(
    flags: &Flags,
    start: &Start,
    log: LogStore,
    shared: Arc<Shared>,
) -> anyhow::Result<Raft> {
    let id = start.identity.member_id;
    let known = shared.machine.lock().membership.nodes().count();
    let several = known > 1 || start.first.as_ref().is_none_or(|nodes| nodes.len() > 1);
    let config = Arc::new(raft_config(flags, start.identity.cluster_id, several)?);
    let applier = Applier::new(shared.clone());
    let last = log.last_log_id();
    let network = Network::new(start.peers.clone());
    let raft = Raft::new(id, config, network, log, applier).await.context("start raft")?;
    if !raft.is_initialized().await? {
        let Some(nodes) = start.first.clone() else { return Ok(raft) };
        raft.initialize(nodes).await.context("bootstrap the cluster")?;
    }
    let alone = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        membership.get_node(&id).is_some() && membership.nodes().count() == 1
    };
    if !alone {
        // The clock sees to the rest.
        raft.runtime_config().tick(true);
        return Ok(raft);
    }
    if !raft.is_leader() {
        raft.trigger().elect(false).await.context("become the leader")?;
    }
    let index = last.map_or(0, |last| last.index);
    raft.wait(None)
        .metrics(
            |metrics| {
                metrics.current_leader == Some(id)
                    && metrics.last_applied.is_some_and(|applied| applied.index >= index)
            },
            "recovery",
        )
        .await
        .context("apply the log")?;
    Ok(raft)
}

/// Tells the cluster this member's name and client URLs, when they have changed. Waits for a leader as
/// long as it takes, unless the cluster knows this member already.
async fn publish(context: &Context, flags: &Flags) -> anyhow::Result<()> {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let member = pb::Member {
        id: context.member_id,
        name: flags.name.clone(),
        client_urls: list(&flags.advertise_client_urls),
        ..Default::default()
    };
    let known = context
        .shared
        .machine
        .lock()
        .members
        .get(&member.id)
        .is_some_and(|known| (&known.name, &known.client_urls) == (&member.name, &member.client_urls));
    let standing = context.proposer.standing();
    if known {
        let soon = tokio::time::Instant::now() + standing.election * 5;
        if !standing.await_living_leader(soon).await {
            tracing::warn!("serving clients without a leader: only serializable reads will be answered");
        }
        return Ok(());
    }
    loop {
        match context.proposer.propose(Kind::Publish(member.clone())).await {
            Ok(_) => return Ok(()),
            Err(error @ (Error::NoSpace | Error::Internal(_) | Error::RequestTooLarge | Error::Stopped)) => {
                return Err(error).context("publish this member");
            }
            Err(error) => tracing::warn!(%error, "failed to publish local member to cluster through raft"),
        }
    }
}
