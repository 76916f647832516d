//! The applied state, as ordered pairs of bytes behind a narrow trait: revisions, leases, members and
//! how far the log has been applied. It is a cache of snapshot + log: nothing acknowledged depends on
//! it reaching the disk, and it may be cleared and rebuilt at any start.
//!
//! What a batch writes becomes visible and survives a crash of the process together or not at all.
//! One suite (`suite.rs`) holds for every implementation.

mod buffered;
mod disk;
mod memory;
pub mod schema;
#[cfg(test)]
mod suite;

use std::ops::ControlFlow;

use bytes::Bytes;

pub use buffered::Buffered;
pub use disk::DiskState;
pub use memory::MemoryState;

/// The state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("open state in {path}")]
    Open { path: String, source: sled::Error },
    #[error("read state")]
    Read(#[source] sled::Error),
    #[error("write state")]
    Write(#[source] sled::Error),
    #[error("the state is not written any more: an earlier write has failed")]
    Ended,
    #[error("sync state to disk")]
    Sync(#[source] std::io::Error),
    #[error("state holds a broken record under key {0:02x?}")]
    Broken(Vec<u8>),
}

/// Changes that take effect together. A later write of a key wins.
#[derive(Debug, Default)]
pub struct Batch {
    writes: Vec<(Vec<u8>, Option<Bytes>)>,
}

impl Batch {
    pub fn put(&mut self, key: Vec<u8>, value: impl Into<Bytes>) {
        self.writes.push((key, Some(value.into())));
    }

    pub fn delete(&mut self, key: Vec<u8>) {
        self.writes.push((key, None));
    }

    pub fn len(&self) -> usize {
        self.writes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        self.writes.iter().map(|(key, value)| (key.as_slice(), value.as_ref()))
    }
}

/// Empties a store so that a crash in between leaves none that passes for a state: what says how far it
/// reaches goes first.
pub fn reset(state: &dyn StateStore) -> Result<(), StateError> {
    let mut batch = Batch::default();
    batch.delete(schema::meta(schema::APPLIED));
    state.write(batch)?;
    state.clear()
}

/// Called for each pair of a scan, ascending; may end it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], Bytes) -> ControlFlow<()>;

/// Ordered pairs of bytes.
pub trait StateStore: Send + Sync + 'static {
    /// Applies a batch atomically.
    fn write(&self, batch: Batch) -> Result<(), StateError>;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError>;

    /// Visits the pairs with `from <= key < to`, ascending. Sees writes made meanwhile or not.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StateError>;

    /// Removes everything, in no order and not at once: see `reset`.
    fn clear(&self) -> Result<(), StateError>;

    /// Bytes taken on disk (in memory for a store without one).
    fn size(&self) -> u64;

    /// Makes what was written so far survive a crash of the machine.
    fn sync(&self) -> Result<(), StateError>;
}
