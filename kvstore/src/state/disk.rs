//! The applied state in sled.
//!
//! ```text
//! 'p' key            -> 0x00 value                 (value up to CHUNK bytes)
//!                       0x01 length u64 BE         (longer: in chunks)
//! 'c' key n u32 BE   -> the n-th chunk of a long value
//! ```
//! One tree, so that a batch is atomic across everything. A long value is several reads: no batch comes in
//! between them (`whole`). sled keeps values of half a segment and more
//! in files of their own that it never syncs: hence the chunks. Its flush does not reach the disk
//! either: `sync` flushes and then fsyncs the files itself. Whether the files can be trusted after a
//! crash of the machine is decided by who opens them (`snapshot.rs`), not here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::RwLock;

use super::{Batch, StateError, StateStore, Visit};

const CHUNK: usize = 64 << 10;
const WHOLE: u8 = 0;
const CHUNKED: u8 = 1;
const PAIR: u8 = b'p';
const PIECE: u8 = b'c';

/// Memory that sled may use for pages.
const CACHE_BYTES: u64 = 8 << 20;

/// sled's threads hold its lock a moment longer than who dropped it: how long that may be, and how often to look.
const LET_GO: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// Pairs in a sled tree.
pub struct DiskState {
    db: sled::Db,
    path: PathBuf,
    /// Whether there may be chunks: as long as not, nothing needs to be looked for before a write.
    chunked: AtomicBool,
    /// Read while the chunks of a value are gathered, written while a batch is.
    whole: RwLock<()>,
}

impl DiskState {
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput);
        let began = Instant::now();
        let db = loop {
            match config.open() {
                Err(source) if is_locked(&source) && began.elapsed() < LET_GO => std::thread::sleep(LOOK),
                opened => break opened,
            }
        };
        let db = db.map_err(|source| StateError::Open { path: path.display().to_string(), source })?;
        let chunked = AtomicBool::new(db.scan_prefix([PIECE]).next().is_some());
        Ok(Self { db, path: path.to_owned(), chunked, whole: RwLock::new(()) })
    }

    /// The value of a pair that was just read; none where a long one was deleted since.
    fn value(&self, key: &[u8], stored: &[u8]) -> Result<Option<Bytes>, StateError> {
        match stored.split_first() {
            Some((&WHOLE, value)) => Ok(Some(Bytes::copy_from_slice(value))),
            _ => self.long_value(key),
        }
    }

    /// A value that may be in chunks, as it is now: what was read before the lock may be of another batch.
    fn long_value(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let broken = || StateError::Broken(key.to_vec());
        let _whole = self.whole.read();
        let Some(stored) = self.db.get(pair_key(key)).map_err(StateError::Read)? else { return Ok(None) };
        match stored.split_first() {
            Some((&WHOLE, value)) => Ok(Some(Bytes::copy_from_slice(value))),
            Some((&CHUNKED, length)) => {
                let length = u64::from_be_bytes(length.try_into().map_err(|_| broken())?) as usize;
                let mut value = BytesMut::with_capacity(length);
                for n in 0..length.div_ceil(CHUNK) {
                    let piece = self.db.get(piece_key(key, n)).map_err(StateError::Read)?;
                    value.put_slice(&piece.ok_or_else(broken)?);
                }
                if value.len() != length {
                    return Err(broken());
                }
                Ok(Some(value.freeze()))
            }
            _ => Err(broken()),
        }
    }

    /// Chunks that a key has now.
    fn pieces(&self, key: &[u8]) -> Result<usize, StateError> {
        let stored = self.db.get(pair_key(key)).map_err(StateError::Read)?;
        Ok(match stored.as_deref().and_then(|stored| stored.split_first()) {
            Some((&CHUNKED, length)) => {
                let length = length.try_into().map_err(|_| StateError::Broken(key.to_vec()))?;
                (u64::from_be_bytes(length) as usize).div_ceil(CHUNK)
            }
            _ => 0,
        })
    }
}

/// Whether somebody else has it open. sled tells so in words only.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(source) if source.to_string().contains("could not acquire lock"))
}

fn pair_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(PAIR);
    stored.extend_from_slice(key);
    stored
}

fn piece_key(key: &[u8], n: usize) -> Vec<u8> {
    let mut stored = Vec::with_capacity(5 + key.len());
    stored.push(PIECE);
    stored.extend_from_slice(key);
    stored.extend_from_slice(&(n as u32).to_be_bytes());
    stored
}

impl StateStore for DiskState {
    fn write(&self, batch: Batch) -> Result<(), StateError> {
        let _alone = self.whole.write();
        let mut writes = sled::Batch::default();
        for (key, value) in batch.iter() {
            let now = value.map_or(0, |value| if value.len() > CHUNK { value.len() } else { 0 });
            if self.chunked.load(Ordering::Relaxed) {
                for n in now.div_ceil(CHUNK)..self.pieces(key)? {
                    writes.remove(piece_key(key, n));
                }
            }
            match value {
                None => writes.remove(pair_key(key)),
                Some(value) if value.len() <= CHUNK => {
                    let mut stored = Vec::with_capacity(1 + value.len());
                    stored.push(WHOLE);
                    stored.extend_from_slice(value);
                    writes.insert(pair_key(key), stored);
                }
                Some(value) => {
                    self.chunked.store(true, Ordering::Relaxed);
                    for (n, piece) in value.chunks(CHUNK).enumerate() {
                        writes.insert(piece_key(key, n), piece);
                    }
                    let mut stored = vec![CHUNKED];
                    stored.extend_from_slice(&(value.len() as u64).to_be_bytes());
                    writes.insert(pair_key(key), stored);
                }
            }
        }
        self.db.apply_batch(writes).map_err(StateError::Write)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.db.get(pair_key(key)).map_err(StateError::Read)? {
            Some(stored) => self.value(key, &stored),
            None => Ok(None),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StateError> {
        if from >= to {
            return Ok(());
        }
        for pair in self.db.range(pair_key(from)..pair_key(to)) {
            let (key, stored) = pair.map_err(StateError::Read)?;
            let key = &key[1..];
            let Some(value) = self.value(key, &stored)? else { continue };
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), StateError> {
        self.db.clear().map_err(StateError::Write)
    }

    fn size(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }

    fn sync(&self) -> Result<(), StateError> {
        self.db.flush().map_err(StateError::Write)?;
        let entries = std::fs::read_dir(&self.path).map_err(StateError::Sync)?;
        for entry in entries {
            let entry = entry.map_err(StateError::Sync)?;
            if entry.file_type().map_err(StateError::Sync)?.is_file() {
                File::open(entry.path()).and_then(|file| file.sync_all()).map_err(StateError::Sync)?;
            }
        }
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(StateError::Sync)
    }
}
