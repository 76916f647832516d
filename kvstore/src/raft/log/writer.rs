//! The thread that writes the log. Everything that waits when it comes round is written together and
//! made durable by one fdatasync: that is the group commit. It alone touches the files' ends.
//!
//! What needs more of the disk than is reserved (a new segment, the hard state) waits while the disk is
//! full: nothing is lost by it, and nothing is acknowledged meanwhile. Any other error is final: whatever
//! is asked for after it gets the same error, since entries would follow that were not written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::hard_state::{self, HardState};
use super::segment::{self, HEADER, LogError, Position, RECORD_HEADER};
use super::{Shared, StoredSegment};
use crate::disk::{Disk, DiskFile};
use crate::metrics;
use crate::raft::TypeConfig;

/// Bytes after which a new segment is begun.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes of entries written together at most.
const GROUP_BYTES: usize = 4 << 20;
/// Between two tries on a full disk.
const PATIENCE: Duration = Duration::from_millis(200);

pub enum Job {
    Append {
        first: u64,
        bodies: Vec<Bytes>,
        done: IOFlushed<TypeConfig>,
    },
    /// Drops the entries from index `next` on.
    Truncate {
        next: u64,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Drops whole segments with nothing after `upto`.
    Purge {
        upto: u64,
        done: oneshot::Sender<io::Result<()>>,
    },
    Save {
        state: HardState,
        done: oneshot::Sender<io::Result<()>>,
    },
}

/// The segment being written.
struct Open {
    file: Arc<dyn DiskFile>,
    offset: u64,
    synced: u64,
}

pub struct Writer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segment_bytes: u64,
    shared: Arc<Shared>,
    open: Option<Open>,
    buffer: Vec<u8>,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Taken from `jobs` while a group was gathered, but to be done after it.
    held: Option<Job>,
    /// Whether to wait while the disk is full: a simulation must not.
    patient: bool,
    /// Why the log is not written any more.
    failed: Option<io::Error>,
}

impl Writer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        folder: &Path,
        segment_bytes: u64,
        shared: Arc<Shared>,
        open: Option<(Arc<dyn DiskFile>, u64)>,
        jobs: mpsc::UnboundedReceiver<Job>,
    ) -> Self {
        let open = open.map(|(file, end)| Open { file, offset: end, synced: end });
        let folder = folder.to_owned();
        Self {
            disk,
            folder,
            segment_bytes,
            shared,
            open,
            buffer: Vec::new(),
            jobs,
            held: None,
            patient: false,
            failed: None,
        }
    }

    /// Writes until the log is dropped. For a thread of its own.
    pub fn run(mut self) {
        self.patient = true;
        while let Some(job) = self.held.take().or_else(|| self.jobs.blocking_recv()) {
            self.turn(job);
        }
    }

    /// The same as a task among others, for simulations: every turn takes as long as `pause` says.
    pub async fn simulate(mut self, mut pause: impl FnMut() -> Duration) {
        loop {
            let job = match self.held.take() {
                Some(job) => Some(job),
                None => self.jobs.recv().await,
            };
            let Some(job) = job else { return };
            tokio::time::sleep(pause()).await;
            self.turn(job);
        }
    }

    /// Does a job; an append together with those that wait behind it.
    fn turn(&mut self, job: Job) {
        if let Some(error) = &self.failed {
            let error = copy(error);
            match job {
                Job::Append { done, .. } => done.io_completed(Err(error)),
                Job::Truncate { done, .. } | Job::Purge { done, .. } | Job::Save { done, .. } => {
                    // Whoever asked may be gone.
                    drop(done.send(Err(error)));
                }
            }
            return;
        }
        match job {
            Job::Append { first, bodies, done } => self.turn_of_appends(first, bodies, done),
            // Whoever asked may be gone; the work is done all the same.
            Job::Truncate { next, done } => {
                let result = self.truncate(next);
                self.failed = result.as_ref().err().map(copy);
                drop(done.send(result));
            }
            Job::Purge { upto, done } => drop(done.send(self.purge(upto))),
            Job::Save { state, done } => {
                let save = || hard_state::save(self.disk.as_ref(), &self.folder, &state);
                drop(done.send(self.with_room(save)));
            }
        }
    }

    fn turn_of_appends(&mut self, first: u64, bodies: Vec<Bytes>, done: IOFlushed<TypeConfig>) {
        let mut bytes: usize = bodies.iter().map(Bytes::len).sum();
        let mut group = vec![(first, bodies)];
        let mut waiting = vec![done];
        while bytes < GROUP_BYTES {
            match self.jobs.try_recv() {
                Ok(Job::Append { first, bodies, done }) => {
                    bytes += bodies.iter().map(Bytes::len).sum::<usize>();
                    group.push((first, bodies));
                    waiting.push(done);
                }
                Ok(other) => {
                    self.held = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let result = self.append(&group);
        if let Err(error) = &result {
            tracing::error!(%error, "cannot write the log");
            self.failed = Some(copy(error));
        }
        for done in waiting {
            done.io_completed(result.as_ref().map(|_| ()).map_err(copy));
        }
    }

    fn append(&mut self, group: &[(u64, Vec<Bytes>)]) -> io::Result<()> {
        for (first, bodies) in group {
            for (n, body) in bodies.iter().enumerate() {
                self.append_one(first + n as u64, body)?;
            }
        }
        self.sync()
    }

    fn append_one(&mut self, index: u64, body: &[u8]) -> io::Result<()> {
        let full = self.open.as_ref().is_none_or(|open| {
            let used = open.offset + self.buffer.len() as u64;
            used > HEADER as u64 && used + (RECORD_HEADER + body.len()) as u64 > self.segment_bytes
        });
        if full {
            self.sync()?;
            self.begin(index)?;
        }
        let open = self.open.as_ref().expect("a segment was begun above");
        let offset = open.offset + (self.buffer.len() + RECORD_HEADER) as u64;
        segment::frame(&mut self.buffer, body, open.synced as u32);
        self.shared.written(index, Position { offset: offset as u32, length: body.len() as u32 });
        Ok(())
    }

    fn begin(&mut self, first: u64) -> io::Result<()> {
        let path = self.folder.join(segment::file_name(first));
        let file = self.with_room(|| {
            let file = segment::create(self.disk.as_ref(), &path, first, self.segment_bytes);
            let file = file.map_err(|error| match error {
                LogError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => source,
                other => io::Error::other(other),
            })?;
            self.disk.sync_folder(&self.folder)?;
            Ok(file)
        })?;
        self.shared.begun(StoredSegment { first, path, file: file.clone(), positions: Vec::new() });
        self.open = Some(Open { file, offset: HEADER as u64, synced: HEADER as u64 });
        Ok(())
    }

    /// Does what may need room, again and again while there is none.
    fn with_room<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut told = false;
        loop {
            match work() {
                Err(error) if self.patient && error.kind() == io::ErrorKind::StorageFull => {
                    if !told {
                        tracing::error!(folder = %self.folder.display(), "the disk is full: the log waits for room");
                        told = true;
                    }
                    std::thread::sleep(PATIENCE);
                }
                done => {
                    if told {
                        tracing::info!("there is room again: the log goes on");
                    }
                    return done;
                }
            }
        }
    }

    /// Writes what is buffered and waits for the disk.
    fn sync(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        open.file.write_all_at(&self.buffer, open.offset)?;
        open.offset += self.buffer.len() as u64;
        metrics::get().log_written_bytes.inc_by(self.buffer.len() as u64);
        self.buffer.clear();
        let start = Instant::now();
        open.file.sync()?;
        metrics::get().log_fsync_seconds.observe(start.elapsed().as_secs_f64());
        open.synced = open.offset;
        self.shared.synced();
        Ok(())
    }

    fn truncate(&mut self, next: u64) -> io::Result<()> {
        // From the end, so that a crash leaves a log without holes.
        while let Some(last) = self.shared.last_segment().filter(|last| last.0 >= next) {
            self.disk.remove(&last.1)?;
            self.disk.sync_folder(&self.folder)?;
            self.shared.drop_last_segment();
            self.open = None;
        }
        let Some((file, end)) = self.shared.cut_last_segment(next) else { return Ok(()) };
        // What was cut must be gone from the disk before anything is written in its place.
        file.set_len(end)?;
        file.allocate(self.segment_bytes)?;
        file.sync()?;
        self.open = Some(Open { file, offset: end, synced: end });
        Ok(())
    }

    fn purge(&mut self, upto: u64) -> io::Result<()> {
        while let Some(path) = self.shared.drop_first_segment(upto) {
            self.disk.remove(&path)?;
        }
        if !self.shared.has_segments() {
            self.open = None;
        }
        Ok(())
    }
}

/// An I/O error for each of those that wait on one write.
fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
