//! Carries out what the state machine decides: writes its batches, publishes views, tells watchers,
//! answers proposers, makes and installs snapshots, and sweeps out what was compacted.
//!
//! Order within a batch of entries: events into the log (so that later entries of the batch can read
//! them), the batch into the state, the view to readers, the bell for watchers, then the answers. A
//! client that has its answer therefore reads its own write.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{AsyncRuntime as _, EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use prost::Message;
use tokio::sync::{Notify, watch};

use super::codec::AppliedRecord;
use super::command::{Answer, Applied};
use super::runtime::{self, Runtime};
use super::state_machine::{Effect, Machine};
use super::waiting::Waiting;
use super::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, io_error};
use crate::auth::AuthTable;
use crate::auth::tokens::{SimpleTokens, TokenEffect};
use crate::error::Error;
use crate::export::{self, ExportError, Place};
use crate::lease::Lessor;
use crate::mvcc::{Reader, Revision, compact};
use crate::snapshot::{
    SnapshotError, SnapshotFile, SnapshotFolder, SnapshotHeader, SnapshotReader, SnapshotWriter,
};
use crate::state::{Batch, StateError, StateStore, schema};
use crate::watch::event_log::EventLog;

/// Entries, and bytes of them, that become visible together at most.
const GROUP_ENTRIES: usize = 512;
const GROUP_BYTES: usize = 4 << 20;
/// What a snapshot must let go of beyond its own size when the disk fills up.
const LEAST_SHED_BYTES: u64 = 16 << 20;
/// Log after which a snapshot is written however large the state is.
const MOST_LOG_BYTES: u64 = 512 << 20;

/// The replicated state and everything that looks at it.
pub struct Shared {
    pub machine: Mutex<Machine>,
    pub reader: Reader,
    pub events: Arc<EventLog>,
    pub lessor: Lessor,
    /// Users and roles as of the last applied entry.
    pub auth: ArcSwap<AuthTable>,
    pub tokens: SimpleTokens,
    pub snapshots: SnapshotFolder,
    /// Commands that other members' leader was asked for.
    pub waiting: Waiting,
    /// Members of once: a copy that can be read while entries are applied.
    pub removed: RwLock<BTreeSet<u64>>,
    /// The last entry that can be read; told after those who wait for its answer.
    pub applied: watch::Sender<Option<LogId>>,
    cluster_id: u64,
    /// Of the last applied entry.
    term: AtomicU64,
    applied_index: AtomicU64,
    live_bytes: AtomicU64,
    /// Snapshots being written; they need every record that was there when they began.
    holds: AtomicUsize,
    released: Notify,
    /// Held for writing while the whole state is replaced: a snapshot that is being written would hold some
    /// of both.
    replacing: RwLock<()>,
    compacted: Notify,
    /// Entries and bytes of commands applied since the last snapshot.
    since_snapshot: Mutex<(u64, u64)>,
    snapshot_count: u64,
    /// Rung when a snapshot is worth its writing.
    pub snapshot_due: Notify,
    /// Revision up to which the sweep is done.
    pub swept: watch::Sender<i64>,
    /// The log that is applied: the index after the last entry that is on this member's own disk.
    durable: OnceLock<watch::Receiver<u64>>,
    /// Entries before this index were in the log when it was opened: what they gave for a time is over.
    repeated: AtomicU64,
}

impl Shared {
    /// Loads the state.
    pub fn load(
        state: Arc<dyn StateStore>,
        snapshots: SnapshotFolder,
        cluster_id: u64,
        snapshot_count: u64,
    ) -> Result<Arc<Self>, StateError> {
        let machine = Machine::load(state.as_ref())?;
        let events = Arc::new(EventLog::new(machine.keyspace.revision));
        let reader = Reader::new(state, events.clone(), machine.keyspace.view());
        let shared = Arc::new(Self {
            machine: Mutex::default(),
            reader,
            events,
            lessor: Lessor::default(),
            auth: ArcSwap::default(),
            tokens: SimpleTokens::default(),
            snapshots,
            waiting: Waiting::default(),
            removed: RwLock::default(),
            applied: watch::Sender::new(None),
            cluster_id,
            term: AtomicU64::new(0),
            applied_index: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
            holds: AtomicUsize::new(0),
            released: Notify::new(),
            replacing: RwLock::default(),
            compacted: Notify::new(),
            since_snapshot: Mutex::new((0, 0)),
            snapshot_count,
            snapshot_due: Notify::new(),
            swept: watch::Sender::new(0),
            durable: OnceLock::new(),
            repeated: AtomicU64::new(0),
        });
        shared.adopt(machine);
        Ok(shared)
    }

    /// Applies no entry before the log has it on disk. A majority may have agreed on an entry while this
    /// member still writes it: a state that is ahead of its log could not be told from a log that has
    /// lost something.
    pub fn follow(&self, durable: watch::Receiver<u64>) {
        self.repeated.store(*durable.borrow(), Ordering::Relaxed);
        // Set once, by whoever opens log and state.
        self.durable.set(durable).ok();
    }

    async fn durable(&self, index: u64) -> io::Result<()> {
        let Some(durable) = self.durable.get() else { return Ok(()) };
        let reached = durable.clone().wait_for(|next| *next > index).await.map(drop);
        reached.map_err(|_| io::Error::other("the log is not written any more"))
    }

    /// Makes a loaded state the current one.
    fn adopt(&self, machine: Machine) {
        let mut current = self.machine.lock();
        *current = machine;
        self.note(&current);
        *self.removed.write() = current.removed.clone();
        self.waiting.forsake();
        self.reader.publish(current.keyspace.view());
        self.events.reset(current.keyspace.revision);
        self.auth.store(current.auth.clone());
        self.lessor.clear();
        let now = runtime::now();
        for lease in current.leases.ids() {
            self.lessor.renew(lease, current.leases.ttl(lease).unwrap_or(0), now);
        }
        if current.keyspace.compacted > 0 {
            self.compacted.notify_one();
        }
        self.applied.send_replace(current.applied);
    }

    /// Waits until an entry can be read here.
    pub async fn await_applied(&self, index: u64, deadline: tokio::time::Instant) -> Result<(), Error> {
        if self.applied.borrow().is_some_and(|id| id.index >= index) {
            return Ok(());
        }
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|applied| applied.is_some_and(|id| id.index >= index));
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Err(Error::TimeoutWaitAppliedIndex),
        }
    }

    fn note(&self, machine: &Machine) {
        if let Some(applied) = machine.applied {
            self.applied_index.store(applied.index, Ordering::Relaxed);
            self.term.store(applied.leader_id.term, Ordering::Relaxed);
        }
        self.live_bytes.store(machine.keyspace.live_bytes, Ordering::Relaxed);
    }

    /// Counts what was applied. A snapshot is due after so many entries, once they weigh half of the state
    /// (writing it then at most triples what is written) or are more than a start should have to repeat.
    pub fn count(&self, entries: u64, bytes: u64) {
        let mut since = self.since_snapshot.lock();
        since.0 += entries;
        since.1 += bytes;
        if since.0 >= self.snapshot_count && since.1 >= (self.live_bytes() / 2).min(MOST_LOG_BYTES) {
            *since = (0, 0);
            self.snapshot_due.notify_one();
        }
    }

    /// Asks for a snapshot when the log that it lets go of is larger than itself: for a disk that fills up.
    pub fn shed_log(&self) {
        let mut since = self.since_snapshot.lock();
        if since.1 > self.live_bytes() + LEAST_SHED_BYTES {
            *since = (0, 0);
            self.snapshot_due.notify_one();
        }
    }

    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    pub fn applied_index(&self) -> u64 {
        self.applied_index.load(Ordering::Relaxed)
    }

    /// Bytes of all records: what the quota measures.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    /// Sweeps out what compactions forget, a step at a time, for ever.
    pub async fn sweep(self: Arc<Self>) -> Result<(), StateError> {
        loop {
            self.compacted.notified().await;
            let target = self.reader.view().compacted;
            let mut from = None;
            loop {
                let view = self.reader.view();
                let found = compact::look(&view.index, from.as_deref(), view.compacted);
                drop(view);
                if !found.keys.is_empty() {
                    while !self.sweep_step(&found.keys)? {
                        self.released.notified().await;
                    }
                }
                from = found.next;
                if from.is_none() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            tracing::info!(revision = target, bytes = self.live_bytes(), "finished a compaction");
            self.swept.send_replace(target);
        }
    }

    /// False: a snapshot is being written; nothing was done.
    fn sweep_step(&self, keys: &[crate::mvcc::Key]) -> Result<bool, StateError> {
        let mut machine = self.machine.lock();
        if self.holds.load(Ordering::Acquire) > 0 {
            return Ok(false);
        }
        compact::sweep(&mut machine.keyspace, keys, self.reader.state().as_ref())?;
        self.note(&machine);
        self.reader.publish(machine.keyspace.view());
        Ok(true)
    }

    /// Writes a snapshot of the state as it is now to `path`. Blocks; holds up neither reads nor writes.
    pub fn write_snapshot(&self, path: &std::path::Path) -> Result<SnapshotHeader, SnapshotWriteError> {
        let (header, pairs, hold) = self.begin_snapshot()?;
        let mut writer = SnapshotWriter::create(path, &header)?;
        for (key, value) in pairs {
            writer.pair(&key, &value)?;
        }
        let end = schema::record(Revision::new(header.revision + 1, 0));
        let mut failed = None;
        self.reader.state().scan(
            schema::RECORDS.0,
            &end,
            &mut |key, value| match writer.pair(key, &value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        drop(hold);
        if let Some(error) = failed {
            return Err(error.into());
        }
        writer.finish()?;
        Ok(header)
    }

    /// Writes the state as it is now to `path`, as a database of etcd. Blocks; holds up neither reads nor
    /// writes.
    pub fn export(&self, path: &std::path::Path) -> Result<u64, ExportError> {
        let (header, pairs, hold) = self.begin_snapshot()?;
        let last = header.applied.as_ref().and_then(AppliedRecord::last);
        let place = Place {
            index: last.map_or(0, |last| last.index),
            term: last.map_or(0, |last| last.leader_id.term),
            swept: *self.swept.borrow() >= self.reader.view().compacted,
        };
        let end = schema::record(Revision::new(header.revision + 1, 0));
        let length = export::write(path, place, &pairs, |put| {
            let mut failed = None;
            self.reader.state().scan(schema::RECORDS.0, &end, &mut |key, value| match put(key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            failed.map_or(Ok(()), Err)
        });
        drop(hold);
        length
    }

    /// Takes down everything but the records, and holds on to these.
    #[allow(clippy::type_complexity, reason = "named once, taken apart at its one call")]
    fn begin_snapshot(&self) -> Result<(SnapshotHeader, Vec<(Vec<u8>, bytes::Bytes)>, Hold<'_>), StateError> {
        let stays = self.replacing.read();
        let machine = self.machine.lock();
        self.holds.fetch_add(1, Ordering::AcqRel);
        let hold = Hold { shared: self, _stays: stays };
        let mut pairs = Vec::new();
        let state = self.reader.state();
        for (from, to) in [(schema::ALL.0, schema::RECORDS.0), (schema::RECORDS.1, schema::ALL.1)] {
            state.scan(from, to, &mut |key, value| {
                pairs.push((key.to_vec(), value));
                ControlFlow::Continue(())
            })?;
        }
        let applied = AppliedRecord::new(machine.applied, &machine.membership);
        // A write of the state failed, and the end is near: what memory has must not pass for what is
        // stored, or entries would be purged that are in neither.
        let key = schema::meta(schema::APPLIED);
        let stored = pairs.iter().find(|(stored, _)| *stored == key);
        let stored = stored.and_then(|(_, record)| AppliedRecord::decode(record.clone()).ok());
        if stored.map_or(machine.applied.is_some(), |stored| stored != applied) {
            return Err(StateError::Broken(key));
        }
        let header = SnapshotHeader {
            applied: Some(applied),
            cluster_id: self.cluster_id,
            revision: machine.keyspace.revision,
            writer: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok((header, pairs, hold))
    }

    /// Whether a file holds a whole snapshot, of this cluster.
    fn examine(&self, path: &std::path::Path) -> Result<(), SnapshotWriteError> {
        let mut reader = SnapshotReader::open(path)?;
        if reader.header.cluster_id != self.cluster_id {
            let reason = "it is of another cluster";
            return Err(SnapshotError::Damaged { path: path.to_owned(), reason }.into());
        }
        while reader.next_pair()?.is_some() {}
        Ok(())
    }

    /// Replaces the state by a snapshot's, which has been examined. How far the log is applied is written
    /// last: after a crash in between, the state counts for nothing and is made anew.
    fn install(&self, path: &std::path::Path) -> Result<(), SnapshotWriteError> {
        let _replacing = self.replacing.write();
        let state = self.reader.state();
        crate::state::reset(state.as_ref())?;
        let mut reader = SnapshotReader::open(path)?;
        let mut batch = Batch::default();
        let mut bytes = 0;
        let applied_key = schema::meta(schema::APPLIED);
        let mut applied = None;
        while let Some((key, value)) = reader.next_pair()? {
            if *key == *applied_key {
                applied = Some(value);
                continue;
            }
            bytes += key.len() + value.len();
            batch.put(key.to_vec(), value);
            if bytes > GROUP_BYTES {
                state.write(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        state.write(batch)?;
        let mut last = Batch::default();
        if let Some(applied) = applied {
            last.put(applied_key, applied);
        }
        state.write(last)?;
        self.adopt(Machine::load(state.as_ref())?);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotWriteError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Keeps the sweep, and whoever would replace the state, waiting while a snapshot is being written.
struct Hold<'a> {
    shared: &'a Shared,
    _stays: RwLockReadGuard<'a, ()>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.shared.holds.fetch_sub(1, Ordering::AcqRel);
        self.shared.released.notify_one();
    }
}

/// The state machine as openraft uses it.
pub struct Applier {
    shared: Arc<Shared>,
}

impl Applier {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Applies entries that became readable together.
    fn apply_group(&self, group: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let shared = &self.shared;
        let mut pending = Pending::default();
        let mut machine = shared.machine.lock();
        for (entry, responder) in group {
            let applied = match &entry.payload {
                EntryPayload::Blank => Ok(Answer::None),
                EntryPayload::Normal(proposal) => {
                    // A command of a newer version must not be skipped: members would part ways.
                    let (kind, caller, number) = proposal.decode().ok_or_else(|| {
                        io::Error::other(format!(
                            "log entry {} holds a command that is not known",
                            entry.log_id
                        ))
                    })?;
                    pending.bytes += proposal.0.len();
                    let outcome = machine.apply(&kind, &caller, &shared.reader, &mut pending.batch);
                    if let Err(Error::Internal(reason)) = &outcome.answer {
                        return Err(io::Error::other(reason.clone()));
                    }
                    if !outcome.changes.is_empty() {
                        shared.events.append(machine.keyspace.revision, outcome.changes);
                    }
                    pending.effects.extend(outcome.effect.map(|effect| match effect {
                        // A token of an earlier life is not given again: it may have ended long ago.
                        Effect::Auth(TokenEffect::Give { .. })
                            if entry.log_id().index < shared.repeated.load(Ordering::Relaxed) =>
                        {
                            Effect::Auth(TokenEffect::None)
                        }
                        effect => effect,
                    }));
                    // Whoever is answered here as the leader carries no number.
                    if number != 0 {
                        pending.numbered.push((number, outcome.answer.clone()));
                    }
                    outcome.answer
                }
                EntryPayload::Membership(membership) => {
                    let membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    machine.configure(membership, &mut pending.batch);
                    *shared.removed.write() = machine.removed.clone();
                    Ok(Answer::None)
                }
            };
            machine.applied = Some(entry.log_id());
            pending.entries += 1;
            if let Some(responder) = responder {
                pending.answers.push((responder, Applied(applied)));
            }
            if pending.bytes > GROUP_BYTES {
                self.publish(&machine, std::mem::take(&mut pending))?;
            }
        }
        self.publish(&machine, pending)
    }

    fn publish(&self, machine: &Machine, mut pending: Pending) -> io::Result<()> {
        let shared = &self.shared;
        machine.record_applied(&mut pending.batch);
        shared.reader.state().write(pending.batch).map_err(io_error)?;
        shared.note(machine);
        shared.count(pending.entries, pending.bytes as u64);
        shared.reader.publish(machine.keyspace.view());
        shared.events.announce(machine.keyspace.revision);
        let now = runtime::now();
        for effect in pending.effects {
            match effect {
                Effect::Granted { lease, ttl } => shared.lessor.renew(lease, ttl, now),
                Effect::Revoked { lease } => shared.lessor.forget(lease),
                Effect::Compacted => shared.compacted.notify_one(),
                Effect::Auth(tokens) => {
                    shared.auth.store(machine.auth.clone());
                    shared.tokens.apply(tokens, now);
                }
            }
        }
        for (responder, applied) in pending.answers {
            responder.send(applied);
        }
        for (number, answer) in pending.numbered {
            shared.waiting.answer(number, answer);
        }
        shared.applied.send_replace(machine.applied);
        Ok(())
    }
}

/// What is applied but not yet to be seen.
#[derive(Default)]
struct Pending {
    batch: Batch,
    entries: u64,
    bytes: usize,
    effects: Vec<Effect>,
    answers: Vec<(ApplyResponder<TypeConfig>, Applied)>,
    numbered: Vec<(u64, Result<Answer, Error>)>,
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let machine = self.shared.machine.lock();
        Ok((machine.applied, machine.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut groups = entries.ready_chunks(GROUP_ENTRIES);
        while let Some(group) = groups.next().await {
            let group: Vec<EntryResponder<TypeConfig>> = group.into_iter().collect::<Result<_, _>>()?;
            if let Some((last, _)) = group.last() {
                self.shared.durable(last.log_id().index).await?;
            }
            self.apply_group(group)?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { shared: self.shared.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let shared = self.shared.clone();
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = snapshot.path;
        Runtime::spawn_blocking(move || {
            // A damaged file must cost neither the state nor the snapshot that there is.
            shared.examine(&path).map_err(io_error)?;
            let stored = shared.snapshots.path_for(index);
            if path != stored {
                // Before the state: the log goes on after it, whatever happens next.
                shared.snapshots.adopt(&path, index).map_err(io_error)?;
            }
            shared.install(&stored).map_err(io_error)
        })
        .await
        .map_err(io_error)?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.shared.snapshots.current().map_err(io_error)?;
        let Some((header, snapshot)) = current else { return Ok(None) };
        Ok(Some(Snapshot { meta: header.meta().map_err(io_error)?, snapshot }))
    }
}

/// Writes a snapshot beside the running state machine.
pub struct Builder {
    shared: Arc<Shared>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let shared = self.shared.clone();
        Runtime::spawn_blocking(move || {
            let start = std::time::Instant::now();
            let unfinished = shared.snapshots.unfinished();
            let header = shared.write_snapshot(&unfinished).map_err(io_error)?;
            let meta = header.meta().map_err(io_error)?;
            let index = meta.last_log_id.map_or(0, |id| id.index);
            let snapshot = shared.snapshots.adopt(&unfinished, index).map_err(io_error)?;
            tracing::info!(index, revision = header.revision, took = ?start.elapsed(), "wrote a snapshot");
            Ok(Snapshot { meta, snapshot })
        })
        .await
        .map_err(io_error)?
    }
}
