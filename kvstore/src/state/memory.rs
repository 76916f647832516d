//! The applied state in memory: for tests and simulations, and the yardstick for the one on disk. It can
//! be made to fail, and tells what a crash would leave of it.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Batch, StateError, StateStore, Visit};

type Pairs = BTreeMap<Vec<u8>, Bytes>;

/// Pairs in a sorted map; gone with the process.
#[derive(Default)]
pub struct MemoryState {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    pairs: Pairs,
    /// As of the last sync, and the batches since.
    synced: Pairs,
    since: Vec<Vec<(Vec<u8>, Option<Bytes>)>>,
    /// Writes that still succeed.
    writes_left: Option<u64>,
}

impl MemoryState {
    /// Lets so many writes succeed and no more.
    pub fn fail_after(&self, writes: u64) {
        self.inner.write().writes_left = Some(writes);
    }

    /// What is there after a crash of the process: what was synced, and of the batches since then the
    /// first ones, as many as `kept` says of how many there are.
    pub fn after_crash(&self, kept: impl FnOnce(usize) -> usize) -> Self {
        let inner = self.inner.read();
        let since = &inner.since[..kept(inner.since.len()).min(inner.since.len())];
        let mut pairs = inner.synced.clone();
        since.iter().for_each(|batch| change(&mut pairs, batch));
        let synced = inner.synced.clone();
        let inner = Inner { pairs, synced, since: since.to_vec(), writes_left: None };
        Self { inner: RwLock::new(inner) }
    }
}

impl Inner {
    fn spend_write(&mut self) -> Result<(), StateError> {
        match &mut self.writes_left {
            Some(0) => return Err(StateError::Write(io::Error::other("told to fail").into())),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

fn change(pairs: &mut Pairs, batch: &[(Vec<u8>, Option<Bytes>)]) {
    for (key, value) in batch {
        match value {
            Some(value) => drop(pairs.insert(key.clone(), value.clone())),
            None => drop(pairs.remove(key)),
        }
    }
}

impl StateStore for MemoryState {
    fn write(&self, batch: Batch) -> Result<(), StateError> {
        let mut inner = self.inner.write();
        inner.spend_write()?;
        change(&mut inner.pairs, &batch.writes);
        inner.since.push(batch.writes);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.inner.read().pairs.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StateError> {
        if from >= to {
            return Ok(());
        }
        for (key, value) in self.inner.read().pairs.range(from.to_vec()..to.to_vec()) {
            if let ControlFlow::Break(()) = visit(key, value.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), StateError> {
        let mut inner = self.inner.write();
        inner.spend_write()?;
        let pairs = std::mem::take(&mut inner.pairs);
        // One by one, as sled does it: a crash may come in between.
        inner.since.extend(pairs.into_keys().map(|key| vec![(key, None)]));
        Ok(())
    }

    fn size(&self) -> u64 {
        self.inner.read().pairs.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn sync(&self) -> Result<(), StateError> {
        let mut inner = self.inner.write();
        inner.synced = inner.pairs.clone();
        inner.since.clear();
        Ok(())
    }
}
