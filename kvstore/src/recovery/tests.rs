//! Starts after the worst moments for a state that is behind: a member alone, its log and snapshots in
//! files, its state in memory under a buffer, so that what a crash leaves of the state can be chosen.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::RaftStateMachine;
use openraft::{BasicNode, Config, SnapshotPolicy};
use parking_lot::{Condvar, Mutex};

use super::{Places, recover};
use crate::data_dir::Identity;
use crate::mvcc;
use crate::raft::command::{Kind, Proposal};
use crate::raft::log::LogStore;
use crate::raft::network::Network;
use crate::raft::peers::Peers;
use crate::raft::{Applier, Raft, Shared};
use crate::snapshot::{SnapshotFile, SnapshotFolder, SnapshotReader};
use crate::state::{Batch, Buffered, MemoryState, StateError, StateStore, Visit, schema};

const ELECTION: Duration = Duration::from_secs(1);
/// Nothing leaves the buffer by itself.
const NEVER: usize = usize::MAX;

/// What a member has on its disk.
struct Disk {
    folder: tempfile::TempDir,
    state: Arc<MemoryState>,
}

/// One that runs.
struct Member {
    raft: Raft,
    shared: Arc<Shared>,
    log: LogStore,
}

impl Disk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), state: Arc::default() }
    }

    /// Log and state as a start finds them.
    fn open(&self, state: Arc<dyn StateStore>) -> (LogStore, Arc<Shared>) {
        let (wal, snap) = (self.folder.path().join("wal"), self.folder.path().join("snap"));
        let log = LogStore::open(&wal).unwrap();
        let snapshots = SnapshotFolder::open(&snap).unwrap();
        let places = Places { log: &wal, snapshots: &snap };
        let shared = recover(&log, state, snapshots, 1, u64::MAX, places).unwrap();
        (log, shared)
    }

    async fn start(&self, state: Buffered) -> Member {
        let (log, shared) = self.open(Arc::new(state));
        let config = Config {
            enable_tick: false,
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            ..Default::default()
        };
        let network = Network::new(Peers::new(Identity::given(1, 1), None, ELECTION));
        let applier = Applier::new(shared.clone());
        let raft = Raft::new(1, Arc::new(config), network, log.clone(), applier).await.unwrap();
        Member { raft, shared, log }
    }

    /// The same, and it leads.
    async fn lead(&self, state: Buffered) -> Member {
        let member = self.start(state).await;
        if member.raft.is_initialized().await.unwrap() {
            member.raft.trigger().elect(false).await.unwrap();
        } else {
            member.raft.initialize(BTreeMap::from([(1, BasicNode::new("http://a:1"))])).await.unwrap();
        }
        let last = member.log.last_log_id().map_or(0, |last| last.index);
        let wait = member.raft.wait(Some(Duration::from_secs(60)));
        let leads = wait.metrics(
            |seen| seen.current_leader == Some(1) && seen.last_applied.is_some_and(|id| id.index >= last),
            "lead",
        );
        leads.await.unwrap();
        member
    }

    /// The process is killed; of the batches that reached the state, so many are there.
    async fn crash(&mut self, member: Member, kept: impl FnOnce(usize) -> usize) {
        member.raft.shutdown().await.unwrap();
        drop(member);
        self.state = Arc::new(self.state.after_crash(kept));
    }
}

impl Member {
    async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), String> {
        let put = pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
        let written = self.raft.client_write(Proposal::new(&Kind::Put(put), None, 0)).await;
        let answer = written.map_err(|error| error.to_string())?;
        answer.data.0.map(drop).map_err(|error| error.to_string())
    }

    async fn delete(&self, key: &str) {
        let delete = pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
        self.raft.client_write(Proposal::new(&Kind::DeleteRange(delete), None, 0)).await.unwrap();
    }

    /// Writes a snapshot and purges the log up to it.
    async fn snapshot(&self) {
        let index = self.shared.applied_index();
        self.raft.trigger().snapshot().await.unwrap();
        let purged = self.raft.wait(Some(Duration::from_secs(60)));
        purged.metrics(|seen| seen.purged.is_some_and(|id| id.index >= index), "purge").await.unwrap();
    }
}

/// Revision and keys.
fn contents(shared: &Shared) -> (i64, Vec<String>) {
    let (reader, view) = (&shared.reader, shared.reader.view());
    let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let found = mvcc::range(&view.index, view.revision, view.compacted, reader, &all).unwrap();
    let keys = found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned());
    (view.revision, keys.collect())
}

fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("k{n:02}")).collect()
}

#[tokio::test]
async fn a_state_that_is_behind_the_purge_is_brought_up_by_the_snapshot() {
    let mut disk = Disk::new();
    let member = disk.lead(Buffered::inline(disk.state.clone(), NEVER)).await;
    for key in names(0..20) {
        member.put(&key, "1").await.unwrap();
    }
    member.snapshot().await;
    for key in names(20..25) {
        member.put(&key, "2").await.unwrap();
    }
    let before = contents(&member.shared);
    assert_eq!(before, (26, names(0..25)));
    assert_eq!(disk.state.size(), 0, "nothing of it has left the buffer");
    assert!(member.log.purged_log_id().is_some_and(|id| id.index >= 20), "the log begins later");
    disk.crash(member, |batches| batches).await;
    let member = disk.lead(Buffered::inline(disk.state.clone(), NEVER)).await;
    assert_eq!(contents(&member.shared), before);
    disk.crash(member, |batches| batches).await;
}

#[tokio::test]
async fn an_installation_that_was_cut_short_is_done_again() {
    // Two snapshots of another member, large enough for several batches each.
    let mut donor = Disk::new();
    let member = donor.lead(Buffered::inline(donor.state.clone(), NEVER)).await;
    let mut snapshots = Vec::new();
    for (put, deleted) in [(0..6, "none"), (6..12, "k01")] {
        for key in names(put) {
            member.put(&key, vec![7; 1 << 20]).await.unwrap();
        }
        member.delete(deleted).await;
        let path = donor.folder.path().join(format!("{deleted}.copy"));
        let header = member.shared.write_snapshot(&path).unwrap();
        snapshots.push((path, header.meta().unwrap(), contents(&member.shared)));
    }
    donor.crash(member, |batches| batches).await;
    let [(old, old_meta, old_contents), (new, new_meta, new_contents)] = &snapshots[..] else {
        panic!("there are two")
    };
    assert_eq!(new_contents.1.len(), 11);

    let mut interrupted = 0;
    for writes in 0..30 {
        for all in [true, false] {
            let mut disk = Disk::new();
            let (log, shared) = disk.open(Arc::new(Buffered::inline(disk.state.clone(), 1)));
            let mut applier = Applier::new(shared.clone());
            let copy = |from: &std::path::Path| {
                let path = shared.snapshots.temporary();
                std::fs::copy(from, &path).unwrap();
                SnapshotFile { path }
            };
            applier.install_snapshot(old_meta, copy(old)).await.unwrap();
            assert_eq!(contents(&shared), *old_contents);
            disk.state.sync().unwrap();
            disk.state.fail_after(writes);
            let installed = applier.install_snapshot(new_meta, copy(new)).await;
            if installed.is_ok() {
                assert_eq!(contents(&shared), *new_contents);
                assert!(interrupted > 3, "{interrupted}: it is written in more steps");
                return;
            }
            interrupted += 1;
            drop((applier, shared, log));
            disk.state = Arc::new(disk.state.after_crash(|batches| if all { batches } else { batches / 2 }));
            let member = disk.start(Buffered::inline(disk.state.clone(), NEVER)).await;
            assert_eq!(contents(&member.shared), *new_contents, "{writes} writes");
            disk.crash(member, |batches| batches).await;
        }
    }
    panic!("it never came to its end");
}

/// Holds up whoever reads the records, until told otherwise.
struct Gate {
    state: MemoryState,
    closed: Mutex<bool>,
    opened: Condvar,
    reached: mpsc::Sender<()>,
}

impl StateStore for Gate {
    fn write(&self, batch: Batch) -> Result<(), StateError> {
        self.state.write(batch)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        self.state.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StateError> {
        let mut closed = self.closed.lock();
        if *closed && from == schema::RECORDS.0 {
            self.reached.send(()).unwrap();
            self.opened.wait_while(&mut closed, |closed| *closed);
        }
        drop(closed);
        self.state.scan(from, to, visit)
    }

    fn clear(&self) -> Result<(), StateError> {
        self.state.clear()
    }

    fn size(&self) -> u64 {
        self.state.size()
    }

    fn sync(&self) -> Result<(), StateError> {
        self.state.sync()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_being_written_holds_one_state_and_not_two() {
    // Another member's snapshot, with other keys.
    let donor = Disk::new();
    let member = donor.lead(Buffered::inline(donor.state.clone(), NEVER)).await;
    for key in names(0..9) {
        member.put(&key, "new").await.unwrap();
    }
    let path = donor.folder.path().join("copy");
    let meta = member.shared.write_snapshot(&path).unwrap().meta().unwrap();
    member.raft.shutdown().await.unwrap();

    let disk = Disk::new();
    let (reached, arrived) = mpsc::channel();
    let gate =
        Gate { state: MemoryState::default(), closed: Mutex::new(false), opened: Condvar::new(), reached };
    let gate = Arc::new(gate);
    let (_log, shared) = disk.open(gate.clone());
    let mut applier = Applier::new(shared.clone());
    let first = donor.folder.path().join("first");
    {
        // Something to be written down.
        let donor = Disk::new();
        let member = donor.lead(Buffered::inline(donor.state.clone(), NEVER)).await;
        member.put("old", "1").await.unwrap();
        let meta = member.shared.write_snapshot(&first).unwrap().meta().unwrap();
        member.raft.shutdown().await.unwrap();
        applier.install_snapshot(&meta, SnapshotFile { path: first }).await.unwrap();
    }
    *gate.closed.lock() = true;
    let slow = disk.folder.path().join("slow");
    let (writing, to) = (shared.clone(), slow.clone());
    let written = std::thread::spawn(move || writing.write_snapshot(&to).unwrap());
    arrived.recv().unwrap();
    let installed = tokio::spawn(async move { applier.install_snapshot(&meta, SnapshotFile { path }).await });
    // Time to do it too early.
    for _ in 0..30 {
        if installed.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    *gate.closed.lock() = false;
    gate.opened.notify_all();
    let header = written.join().unwrap();
    installed.await.unwrap().unwrap();
    assert_eq!(contents(&shared), (10, names(0..9)));
    let mut reader = SnapshotReader::open(&slow).unwrap();
    let mut records = Vec::new();
    while let Some((key, value)) = reader.next_pair().unwrap() {
        records.extend((schema::RECORDS.0..schema::RECORDS.1).contains(&&*key).then_some(value));
    }
    assert_eq!((header.revision, records.len()), (2, 1));
    let old = records[0].windows(3).any(|part| part == b"old");
    assert!(old, "it holds something else than what there was when it was begun: {records:?}");
}

#[tokio::test]
async fn a_damaged_snapshot_costs_nothing() {
    let disk = Disk::new();
    let member = disk.lead(Buffered::inline(disk.state.clone(), 1)).await;
    member.put("k", "v").await.unwrap();
    let path = member.shared.snapshots.temporary();
    let meta = member.shared.write_snapshot(&path).unwrap().meta().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut applier = Applier::new(member.shared.clone());
    assert!(applier.install_snapshot(&meta, SnapshotFile { path }).await.is_err());
    assert_eq!(contents(&member.shared), (2, vec!["k".to_owned()]));
    assert!(member.shared.snapshots.current().unwrap().is_none(), "it is not kept");
    member.raft.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_under_the_buffer_ends_the_member_and_loses_nothing() {
    let mut disk = Disk::new();
    let member = disk.lead(Buffered::new(disk.state.clone()).unwrap()).await;
    disk.state.fail_after(0);
    let mut acknowledged = Vec::new();
    let refused = loop {
        let key = format!("k{:02}", acknowledged.len());
        match member.put(&key, vec![1; 64 << 10]).await {
            Ok(()) => acknowledged.push(key),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 100, "nobody noticed");
    };
    // Gathered before anything was passed on.
    assert!(acknowledged.len() >= 3, "{refused}");
    let running = member.raft.metrics().borrow_watched().running_state.clone();
    assert!(running.is_err(), "it goes on after {refused}");
    assert_eq!(disk.state.size(), 0);
    disk.crash(member, |batches| batches).await;
    let member = disk.lead(Buffered::new(disk.state.clone()).unwrap()).await;
    let (_, keys) = contents(&member.shared);
    // The one that was refused is in the log as well: nobody was told that it is not.
    assert_eq!(keys[..acknowledged.len()], acknowledged);
    assert!(keys.len() <= acknowledged.len() + 1, "{keys:?}");
    disk.crash(member, |batches| batches).await;
}

#[tokio::test]
async fn what_is_left_of_a_state_that_was_being_emptied_counts_for_nothing() {
    let mut disk = Disk::new();
    let member = disk.lead(Buffered::inline(disk.state.clone(), 1)).await;
    for key in names(0..5) {
        member.put(&key, "1").await.unwrap();
    }
    let before = contents(&member.shared);
    disk.crash(member, |batches| batches).await;
    assert!(disk.state.size() > 0);
    let mut batch = Batch::default();
    batch.delete(schema::meta(schema::APPLIED));
    disk.state.write(batch).unwrap();
    // The log reaches back to its first entry, and would be applied on top of what is there.
    let member = disk.lead(Buffered::inline(disk.state.clone(), 1)).await;
    assert_eq!(contents(&member.shared), before);
    disk.crash(member, |batches| batches).await;
}
