//! The thread that writes the log. Everything that waits when it comes round is written together and
//! made durable by one fdatasync: that is the group commit. It alone touches the files' ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use bytes::Bytes;
use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::hard_state::{self, HardState};
use super::segment::{self, HEADER, Position, RECORD_HEADER};
use super::{Shared, StoredSegment};
use crate::metrics;
use crate::raft::TypeConfig;

/// Bytes after which a new segment is begun.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes of entries written together at most.
const GROUP_BYTES: usize = 4 << 20;

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
    file: Arc<File>,
    offset: u64,
    synced: u64,
}

pub struct Writer {
    folder: PathBuf,
    shared: Arc<Shared>,
    open: Option<Open>,
    buffer: Vec<u8>,
}

impl Writer {
    pub fn new(folder: &Path, shared: Arc<Shared>, open: Option<(Arc<File>, u64)>) -> Self {
        let open = open.map(|(file, end)| Open { file, offset: end, synced: end });
        Self { folder: folder.to_owned(), shared, open, buffer: Vec::new() }
    }

    pub fn run(mut self, jobs: mpsc::Receiver<Job>) {
        let mut held: Option<Job> = None;
        loop {
            let Some(job) = held.take().or_else(|| jobs.recv().ok()) else { return };
            match job {
                Job::Append { first, bodies, done } => {
                    let mut bytes: usize = bodies.iter().map(Bytes::len).sum();
                    let mut group = vec![(first, bodies)];
                    let mut waiting = vec![done];
                    while bytes < GROUP_BYTES {
                        match jobs.try_recv() {
                            Ok(Job::Append { first, bodies, done }) => {
                                bytes += bodies.iter().map(Bytes::len).sum::<usize>();
                                group.push((first, bodies));
                                waiting.push(done);
                            }
                            Ok(other) => {
                                held = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    let result = self.append(&group);
                    if let Err(error) = &result {
                        tracing::error!(%error, "cannot write the log");
                    }
                    for done in waiting {
                        done.io_completed(result.as_ref().map(|_| ()).map_err(copy));
                    }
                }
                // Whoever asked may be gone; the work is done all the same.
                Job::Truncate { next, done } => drop(done.send(self.truncate(next))),
                Job::Purge { upto, done } => drop(done.send(self.purge(upto))),
                Job::Save { state, done } => drop(done.send(hard_state::save(&self.folder, &state))),
            }
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
            used > HEADER as u64 && used + (RECORD_HEADER + body.len()) as u64 > SEGMENT_BYTES
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
        let file = Arc::new(segment::create(&path, first, SEGMENT_BYTES).map_err(io::Error::other)?);
        File::open(&self.folder)?.sync_all()?;
        self.shared.begun(StoredSegment { first, path, file: file.clone(), positions: Vec::new() });
        self.open = Some(Open { file, offset: HEADER as u64, synced: HEADER as u64 });
        Ok(())
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
        open.file.sync_data()?;
        metrics::get().log_fsync_seconds.observe(start.elapsed().as_secs_f64());
        open.synced = open.offset;
        self.shared.synced();
        Ok(())
    }

    fn truncate(&mut self, next: u64) -> io::Result<()> {
        // From the end, so that a crash leaves a log without holes.
        while let Some(last) = self.shared.last_segment().filter(|last| last.0 >= next) {
            std::fs::remove_file(&last.1)?;
            File::open(&self.folder)?.sync_all()?;
            self.shared.drop_last_segment();
            self.open = None;
        }
        let Some((file, end)) = self.shared.cut_last_segment(next) else { return Ok(()) };
        // What was cut must be gone from the disk before anything is written in its place.
        file.set_len(end)?;
        segment::preallocate(&file, SEGMENT_BYTES)?;
        file.sync_all()?;
        self.open = Some(Open { file, offset: end, synced: end });
        Ok(())
    }

    fn purge(&mut self, upto: u64) -> io::Result<()> {
        while let Some(path) = self.shared.drop_first_segment(upto) {
            std::fs::remove_file(path)?;
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
