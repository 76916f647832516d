//! The raft log: our own segment files (`segment` draws them), written by one thread (`writer`) with an
//! fdatasync that all waiting appends share, and a small file for vote and purge point (`hard_state`).
//!
//! Entries that were just appended are also kept in memory: they are applied and sent from there. An
//! entry can be read from the moment it is appended; openraft counts it only once it is on disk.

pub mod hard_state;
pub mod segment;
#[cfg(test)]
mod tests;
pub mod writer;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};

use super::codec::EntryRecord;
use super::{Entry, LogId, TypeConfig, Vote};
use crate::disk::{Disk, DiskFile, OsDisk};
use hard_state::HardState;
use segment::{LogError, Position};
use writer::{Job, Writer};

/// Bytes of recent entries kept in memory.
const CACHE_BYTES: usize = 2 << 20;
/// Bytes of entries sent to a peer together.
const SENT_BYTES: usize = 1 << 20;
/// What an entry costs in the cache beside its command.
const ENTRY_OVERHEAD: usize = 128;

/// A segment that reads go to.
pub struct StoredSegment {
    first: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    positions: Vec<Position>,
}

#[derive(Default)]
struct Inner {
    hard: HardState,
    last: Option<LogId>,
    segments: VecDeque<StoredSegment>,
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// Entries before this index are on disk.
    synced: u64,
    /// Entries before this index have been handed to the file.
    written: u64,
}

/// What the store, its readers and the writing thread share.
#[derive(Default)]
pub struct Shared {
    inner: Mutex<Inner>,
    /// As `Inner::synced`.
    durable: watch::Sender<u64>,
}

/// The log as openraft uses it. Clones read the same log.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedSender<Job>,
}

impl LogStore {
    /// Opens the log in a folder, or makes one. Cuts off a torn tail, with a line in the log.
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        let (log, writer) = Self::open_on(Arc::new(OsDisk), folder, writer::SEGMENT_BYTES)?;
        std::thread::Builder::new().name("log-writer".into()).spawn(move || writer.run()).map_err(
            |source| LogError::Io { step: "start the thread that writes", path: folder.to_owned(), source },
        )?;
        Ok(log)
    }

    /// The same on any disk, with segments of any size; nothing is written until the writer runs.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        segment_bytes: u64,
    ) -> Result<(Self, Writer), LogError> {
        let io = |step| move |source| LogError::Io { step, path: folder.to_owned(), source };
        disk.create_folder(folder).map_err(io("create"))?;
        // The process before may have ended between giving a file its name and syncing that.
        disk.sync_folder(folder).map_err(io("sync"))?;
        let hard =
            hard_state::load(disk.as_ref(), folder).map_err(io("read hard state in"))?.unwrap_or_default();
        let mut inner = Inner { last: hard.purged.map(LogId::from), hard, ..Inner::default() };
        let end = read_segments(disk.as_ref(), folder, segment_bytes, &mut inner)?;
        let open = inner.segments.back().map(|last| last.file.clone()).zip(end);
        let next = after(inner.last);
        (inner.synced, inner.written) = (next, next);
        let shared = Arc::new(Shared { inner: Mutex::new(inner), durable: watch::Sender::new(next) });
        let (jobs, receiver) = mpsc::unbounded_channel();
        let writer = Writer::new(disk, folder, segment_bytes, shared.clone(), open, receiver);
        Ok((Self { shared, jobs }, writer))
    }

    /// Bytes of the records in the log's files.
    pub fn bytes_on_disk(&self) -> u64 {
        self.shared.inner.lock().segments.iter().map(StoredSegment::end).sum()
    }

    /// The index after the last entry that is on disk, as it moves.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.shared.durable.subscribe()
    }

    /// Last entry that was dropped because a snapshot holds it.
    pub fn purged_log_id(&self) -> Option<LogId> {
        self.shared.inner.lock().hard.purged.map(Into::into)
    }

    pub fn last_log_id(&self) -> Option<LogId> {
        self.shared.inner.lock().last
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.send(job(done))?;
        answer.await.map_err(|_| stopped())?
    }

    fn send(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| stopped())
    }
}

/// The index that follows an entry.
fn after(last: Option<LogId>) -> u64 {
    last.map_or(0, |last| last.index + 1)
}

fn stopped() -> io::Error {
    io::Error::other("the thread that writes the log has stopped")
}

/// Opens all segments; returns where the last one ends.
fn read_segments(
    disk: &dyn Disk,
    folder: &Path,
    segment_bytes: u64,
    inner: &mut Inner,
) -> Result<Option<u64>, LogError> {
    let io = |step| move |source| LogError::Io { step, path: folder.to_owned(), source };
    let names = disk.list(folder).map_err(io("read"))?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment::first_index(name)).collect();
    firsts.sort_unstable();
    let kept = after(inner.hard.purged.map(LogId::from));
    // A purge that did not come to its end: what it was to remove need not even be whole.
    while let [first, second, ..] = firsts[..]
        && second <= kept
    {
        disk.remove(&folder.join(segment::file_name(first))).map_err(io("remove purged log segment"))?;
        firsts.remove(0);
    }
    let mut end = None;
    for (n, first) in firsts.iter().enumerate() {
        let path = folder.join(segment::file_name(*first));
        let io = |step| {
            let path = path.clone();
            move |source| LogError::Io { step, path, source }
        };
        let is_last = n + 1 == firsts.len();
        let bytes = Bytes::from(disk.read(&path).map_err(io("read log segment"))?);
        if is_last && segment_never_used(&bytes) {
            // A crash while it was made: nothing was written to it.
            disk.remove(&path).map_err(io("remove unfinished log segment"))?;
            tracing::warn!(path = %path.display(), "removed a log segment that was never finished");
            end = inner.segments.back().map(|last| last.end());
            break;
        }
        let contents = segment::read(&path, &bytes, is_last)?;
        let damaged = |reason: String| LogError::Damaged { path: path.clone(), at: segment::HEADER, reason };
        if contents.first != *first {
            return Err(damaged(format!("it is named {first:x} but begins at {:x}", contents.first)));
        }
        let expected = inner.segments.back().map(|last| last.first + last.positions.len() as u64);
        match expected {
            Some(expected) if *first != expected => {
                return Err(damaged(format!("entries {expected} to {first} are missing before it")));
            }
            None if *first > kept => {
                return Err(damaged(format!("entries {kept} to {first} are missing before it")));
            }
            _ => {}
        }
        let next = *first + contents.positions.len() as u64;
        if is_last && *first < kept && next < kept {
            // The last one as well: the log goes on after a snapshot that reaches further.
            disk.remove(&path).map_err(io("remove purged log segment"))?;
            break;
        }
        let file = disk.open(&path).map_err(io("open log segment"))?;
        if is_last {
            if contents.torn > 0 {
                let (at, bytes) = (contents.end, contents.torn);
                tracing::warn!(path = %path.display(), at, bytes, "cut a torn write off the end of the log");
            }
            file.set_len(contents.end as u64).map_err(io("cut log segment"))?;
            // Written once more: after a failed sync it may be in the kernel's cache alone, from where a
            // second sync would not bring it to disk.
            if let Some(unsure) = bytes.get(contents.synced..contents.end) {
                file.write_all_at(unsure, contents.synced as u64).map_err(io("write log segment"))?;
            }
            file.allocate(segment_bytes).map_err(io("allocate log segment"))?;
            file.sync().map_err(io("sync log segment"))?;
            end = Some(contents.end as u64);
        }
        if let Some(id) = contents.last.and_then(|last| last.id) {
            inner.last = inner.last.max(Some(id.into()));
        }
        inner.segments.push_back(StoredSegment { first: *first, path, file, positions: contents.positions });
    }
    Ok(end)
}

/// A file whose header never reached the disk.
fn segment_never_used(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

impl StoredSegment {
    /// Where the next record would start.
    fn end(&self) -> u64 {
        self.positions
            .last()
            .map_or(segment::HEADER as u64, |last| u64::from(last.offset + last.length).next_multiple_of(8))
    }
}

impl Shared {
    fn begun(&self, segment: StoredSegment) {
        self.inner.lock().segments.push_back(segment);
    }

    fn written(&self, index: u64, position: Position) {
        let mut inner = self.inner.lock();
        if let Some(last) = inner.segments.back_mut() {
            last.positions.push(position);
        }
        inner.written = index + 1;
    }

    fn synced(&self) {
        let mut inner = self.inner.lock();
        inner.synced = inner.written;
        self.durable.send_replace(inner.synced);
        while inner.cache_bytes > CACHE_BYTES
            && inner.cache.front().is_some_and(|oldest| oldest.log_id.index < inner.synced)
        {
            if let Some(oldest) = inner.cache.pop_front() {
                inner.cache_bytes -= cost(&oldest);
            }
        }
    }

    /// First index and path of the last segment.
    fn last_segment(&self) -> Option<(u64, PathBuf)> {
        self.inner.lock().segments.back().map(|last| (last.first, last.path.clone()))
    }

    fn drop_last_segment(&self) {
        self.inner.lock().segments.pop_back();
    }

    /// Takes the entries from `next` on out of the last segment; returns its file and new end.
    fn cut_last_segment(&self, next: u64) -> Option<(Arc<dyn DiskFile>, u64)> {
        let mut inner = self.inner.lock();
        inner.written = next;
        inner.synced = next;
        self.durable.send_replace(next);
        let last = inner.segments.back_mut()?;
        last.positions.truncate(next.saturating_sub(last.first) as usize);
        Some((last.file.clone(), last.end()))
    }

    /// Takes out the first segment if nothing in it comes after `upto`.
    fn drop_first_segment(&self, upto: u64) -> Option<PathBuf> {
        let mut inner = self.inner.lock();
        let first = inner.segments.front()?;
        if first.first + first.positions.len() as u64 > upto + 1 {
            return None;
        }
        inner.segments.pop_front().map(|segment| segment.path)
    }

    fn has_segments(&self) -> bool {
        !self.inner.lock().segments.is_empty()
    }

    fn read(&self, index: u64) -> io::Result<Option<Entry>> {
        let (file, position) = {
            let inner = self.inner.lock();
            if inner.hard.purged.is_some_and(|purged| index <= purged.index)
                || inner.last.is_none_or(|last| index > last.index)
            {
                return Ok(None);
            }
            if let Some(first) = inner.cache.front().map(|entry| entry.log_id.index)
                && index >= first
            {
                return Ok(inner.cache.get((index - first) as usize).cloned());
            }
            let at = inner.segments.partition_point(|segment| segment.first <= index);
            let Some(segment) = at.checked_sub(1).and_then(|at| inner.segments.get(at)) else {
                return Ok(None);
            };
            let Some(position) = segment.positions.get((index - segment.first) as usize) else {
                return Ok(None);
            };
            (segment.file.clone(), *position)
        };
        let mut body = vec![0; position.length as usize];
        file.read_exact_at(&mut body, u64::from(position.offset))?;
        let record = EntryRecord::decode(Bytes::from(body)).map_err(io::Error::other)?;
        match record.id {
            Some(id) if id.index == index => Ok(Some(record.into_entry().map_err(io::Error::other)?)),
            _ => Err(io::Error::other(format!("log entry {index} is damaged on disk"))),
        }
    }
}

fn cost(entry: &Entry) -> usize {
    let command = match &entry.payload {
        openraft::EntryPayload::Normal(proposal) => proposal.0.len(),
        _ => 0,
    };
    command + ENTRY_OVERHEAD
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let bounds = {
            let inner = self.shared.inner.lock();
            let first = after(inner.hard.purged.map(LogId::from));
            from.max(first)..to.min(after(inner.last))
        };
        let mut entries = Vec::new();
        for index in bounds {
            match self.shared.read(index)? {
                Some(entry) => entries.push(entry),
                // Before the first entry of a log that begins later, as after a snapshot came in.
                None if entries.is_empty() => {}
                None => break,
            }
        }
        Ok(entries)
    }

    /// For sending: entries of about `SENT_BYTES`, and at least one.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in start..end {
            let Some(entry) = self.shared.read(index)? else { break };
            bytes += cost(&entry);
            entries.push(entry);
            if bytes > SENT_BYTES {
                break;
            }
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.inner.lock().hard.vote.map(Into::into))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let inner = self.shared.inner.lock();
        Ok(LogState { last_purged_log_id: inner.hard.purged.map(Into::into), last_log_id: inner.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let state = {
            let mut inner = self.shared.inner.lock();
            inner.hard.vote = Some((*vote).into());
            inner.hard.clone()
        };
        self.ask(|done| Job::Save { state, done }).await
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut bodies = Vec::new();
        let mut first = None;
        {
            let mut inner = self.shared.inner.lock();
            for entry in entries {
                first.get_or_insert(entry.log_id.index);
                bodies.push(Bytes::from(EntryRecord::from(&entry).encode_to_vec()));
                inner.last = Some(entry.log_id);
                inner.cache_bytes += cost(&entry);
                inner.cache.push_back(entry);
            }
        }
        match first {
            Some(first) => self.send(Job::Append { first, bodies, done }),
            None => {
                done.io_completed(Ok(()));
                Ok(())
            }
        }
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let next = after(last);
        {
            let mut inner = self.shared.inner.lock();
            if after(inner.last) <= next {
                return Ok(());
            }
            inner.last = last;
            while inner.cache.back().is_some_and(|entry| entry.log_id.index >= next) {
                if let Some(entry) = inner.cache.pop_back() {
                    inner.cache_bytes -= cost(&entry);
                }
            }
        }
        self.ask(|done| Job::Truncate { next, done }).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let state = {
            let mut inner = self.shared.inner.lock();
            inner.hard.purged = Some(upto.into());
            inner.last = inner.last.max(Some(upto));
            while inner.cache.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
                if let Some(entry) = inner.cache.pop_front() {
                    inner.cache_bytes -= cost(&entry);
                }
            }
            inner.hard.clone()
        };
        self.ask(|done| Job::Save { state, done }).await?;
        self.ask(|done| Job::Purge { upto: upto.index, done }).await
    }
}
