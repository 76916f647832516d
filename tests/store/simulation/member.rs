//! A simulated member: the real log, recovery, state machine, snapshots and raft, on a simulated disk and
//! an in-memory state. It lives until it crashes; what its disk keeps is what the next life finds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore::data_dir::Identity;
use kvstore::raft::log::LogStore;
use kvstore::raft::members::{Members, Rules};
use kvstore::raft::peers::Peers;
use kvstore::raft::standing::Standing;
use kvstore::raft::{Applier, Raft, Shared};
use kvstore::recovery::{Places, recover};
use kvstore::snapshot::SnapshotFolder;
use kvstore::state::{Buffered, MemoryState};
use openraft::{BasicNode, Config, SnapshotPolicy};
use tokio::task::JoinHandle;

use super::disk::{Handle, SimulatedDisk};
use super::network::{Network, Port, Reachable};

/// Small, so that a run fills several.
const SEGMENT_BYTES: u64 = 16 << 10;
const SNAPSHOT_COUNT: u64 = 40;
const ELECTION: Duration = Duration::from_millis(500);

/// Whether a process still runs: what it says after its end, nobody hears.
pub struct Life {
    ended: AtomicBool,
    disk: Arc<SimulatedDisk>,
}

impl Life {
    pub fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed) && !self.disk.stopped()
    }
}

/// A process.
#[derive(Clone)]
pub struct Running {
    pub raft: Raft,
    pub shared: Arc<Shared>,
    pub members: Members,
    pub life: Arc<Life>,
}

pub struct Member {
    pub id: u64,
    /// The first configuration, for those that are in it; who is added later is told.
    first: Option<BTreeMap<u64, BasicNode>>,
    /// Removed from the cluster: it is not started again.
    pub retired: bool,
    folder: PathBuf,
    pub disk: Arc<SimulatedDisk>,
    pub state: Arc<MemoryState>,
    pub running: Option<Running>,
    tasks: Vec<JoinHandle<()>>,
}

impl Member {
    /// One of those that begin the cluster.
    pub fn founding(id: u64, founders: &[u64], folder: &Path, seed: u64) -> Self {
        let nodes = founders.iter().map(|id| (*id, BasicNode::new(format!("http://founder{id}:2380"))));
        Self { first: Some(nodes.collect()), ..Self::added(id, folder, seed) }
    }

    /// One that a cluster has added.
    pub fn added(id: u64, folder: &Path, seed: u64) -> Self {
        let folder = folder.join(id.to_string());
        let disk = SimulatedDisk::new(seed);
        let (first, retired) = (None, false);
        Self { id, first, retired, folder, disk, state: Arc::default(), running: None, tasks: Vec::new() }
    }

    /// Starts a process, as `kvstore::server` does. An error is a violation unless the disk was told to
    /// make one.
    pub async fn start(&mut self, network: &Network) -> anyhow::Result<()> {
        let folder = Path::new("/wal");
        let disk = Arc::new(Handle(self.disk.clone()));
        let (log, writer) = LogStore::open_on(disk, folder, SEGMENT_BYTES)?;
        let snapshots = SnapshotFolder::open(&self.folder)?;
        let places = Places { log: folder, snapshots: &self.folder };
        let state = Arc::new(Buffered::inline(self.state.clone(), fastrand::usize(1..4 << 10)));
        let shared = recover(&log, state, snapshots.clone(), 1, SNAPSHOT_COUNT, places)?;
        let life = Arc::new(Life { ended: AtomicBool::new(false), disk: self.disk.clone() });
        self.tasks.push(tokio::spawn(writer.simulate(|| match fastrand::u8(..) {
            0..3 => Duration::from_millis(fastrand::u64(100..1500)),
            3..64 => Duration::from_millis(fastrand::u64(1..20)),
            _ => Duration::from_micros(fastrand::u64(100..2000)),
        })));
        let config = Config {
            cluster_name: "simulated".into(),
            heartbeat_interval: 50,
            election_timeout_min: 200,
            election_timeout_max: 400,
            enable_pre_vote: Some(true),
            // With it, seed 1 loses a write: a leader that comes back in its old term does not know what it
            // had sent to others and not yet written itself, and gives the same places in the log again.
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: fastrand::u64(0..30),
            ..Default::default()
        };
        let port = Port { network: network.clone(), from: self.id };
        let applier = Applier::new(shared.clone());
        let raft = Raft::new(self.id, Arc::new(config.validate()?), port, log, applier).await?;
        if let Some(first) = &self.first
            && !raft.is_initialized().await?
        {
            raft.initialize(first.clone()).await?;
        }
        network.join(self.id, Reachable { raft: raft.clone(), life: life.clone(), snapshots });
        let sweeping = shared.clone();
        self.tasks.push(tokio::spawn(async move {
            // It fails when the state was told to.
            sweeping.sweep().await.ok();
        }));
        let (watching, trigger) = (shared.clone(), raft.clone());
        self.tasks.push(tokio::spawn(async move {
            loop {
                watching.snapshot_due.notified().await;
                if trigger.trigger().snapshot().await.is_err() {
                    return;
                }
            }
        }));
        // Nobody is reached by way of these: `network` is.
        let peers = Peers::new(Identity::given(1, self.id), None, ELECTION);
        let standing = Standing { raft: raft.clone(), peers, election: ELECTION };
        let rules =
            Rules { strict: fastrand::u8(..) < 200, max_learners: 2, timeout: Duration::from_secs(2) };
        let members = Members::new(standing, shared.clone(), rules);
        let settling = members.clone();
        self.tasks.push(tokio::spawn(async move {
            // It ends with raft.
            settling.settle().await.ok();
        }));
        self.running = Some(Running { raft, shared, members, life });
        Ok(())
    }

    /// Whether it runs and can go on.
    pub async fn is_well(&self) -> bool {
        match &self.running {
            Some(running) => running.life.goes_on() && running.raft.is_initialized().await.is_ok(),
            None => false,
        }
    }

    /// The entries of its log, for whoever looks into a violation.
    pub fn log(&self) -> String {
        let disk = Arc::new(Handle(self.disk.copy()));
        let Ok((log, _)) = LogStore::open_on(disk, Path::new("/wal"), SEGMENT_BYTES) else {
            return "does not open".to_owned();
        };
        let state = self.running.as_ref().map(|running| {
            let machine = running.shared.machine.lock();
            format!("applied {:?}, revision {}", machine.applied, machine.keyspace.revision)
        });
        format!("log from {:?} to {:?}; {state:?}", log.purged_log_id(), log.last_log_id())
    }

    /// Ends the process, and makes of disk and state what the next one finds.
    pub async fn crash(&mut self, network: &Network, machine_goes_down: bool) {
        network.leave(self.id);
        self.disk.stop();
        if let Some(running) = self.running.take() {
            running.life.ended.store(true, Ordering::Relaxed);
            // Its disk has ended: it can only stop.
            running.raft.shutdown().await.ok();
        }
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.disk = self.disk.after(machine_goes_down);
        self.state = Arc::new(match machine_goes_down {
            true => MemoryState::default(),
            false => self.state.after_crash(|batches| fastrand::usize(0..=batches)),
        });
    }
}
