//! The applied state in memory: for tests, and the yardstick for the one on disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Batch, StateError, StateStore, Visit};

/// Pairs in a sorted map; gone with the process.
#[derive(Default)]
pub struct MemoryState {
    pairs: RwLock<BTreeMap<Vec<u8>, Bytes>>,
}

impl StateStore for MemoryState {
    fn write(&self, batch: Batch) -> Result<(), StateError> {
        let mut pairs = self.pairs.write();
        for (key, value) in batch.writes {
            match value {
                Some(value) => {
                    pairs.insert(key, value);
                }
                None => {
                    pairs.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.pairs.read().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StateError> {
        if from >= to {
            return Ok(());
        }
        for (key, value) in self.pairs.read().range(from.to_vec()..to.to_vec()) {
            if let ControlFlow::Break(()) = visit(key, value.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), StateError> {
        self.pairs.write().clear();
        Ok(())
    }

    fn size(&self) -> u64 {
        self.pairs.read().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn sync(&self) -> Result<(), StateError> {
        Ok(())
    }
}
