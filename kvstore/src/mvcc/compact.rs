//! Forgetting history, online: after a compaction is agreed on, superseded versions are swept out in
//! small steps between writes. Where a step begins and ends changes nothing that a client sees: reads
//! before the compacted revision are refused from the moment it is agreed on.

use super::{Key, KeyIndex, Keyspace, record_bytes};
use crate::error::Error;
use crate::state::{Batch, StateError, StateStore, schema};

/// Keys looked at in one step.
pub const STEP: usize = 500;

/// Whether history may be cut at `revision`.
pub fn check(keyspace: &Keyspace, revision: i64) -> Result<(), Error> {
    if revision <= keyspace.compacted {
        Err(Error::Compacted)
    } else if revision > keyspace.revision {
        Err(Error::FutureRevision)
    } else {
        Ok(())
    }
}

/// What one step of a sweep found.
pub struct Found {
    /// Keys with something to forget.
    pub keys: Vec<Key>,
    /// Where the next step starts; `None` at the end.
    pub next: Option<Key>,
}

/// Looks at the next keys after `from`. Needs no lock: works on a view.
pub fn look(index: &KeyIndex, from: Option<&[u8]>, compacted: i64) -> Found {
    let mut found = Found { keys: Vec::new(), next: None };
    for (seen, (key, history)) in index.after(from).enumerate() {
        if history.compact(compacted).is_some() {
            found.keys.push(key.clone());
        }
        if seen + 1 == STEP {
            found.next = Some(key.clone());
            break;
        }
    }
    found
}

/// Takes what a step found out of index and state.
pub fn sweep(keyspace: &mut Keyspace, keys: &[Key], state: &dyn StateStore) -> Result<(), StateError> {
    let mut batch = Batch::default();
    for key in keys {
        let Some((left, gone)) = keyspace.index.history(key).and_then(|h| h.compact(keyspace.compacted))
        else {
            continue;
        };
        for revision in gone {
            let record = schema::record(revision);
            if let Some(bytes) = state.get(&record)? {
                keyspace.live_bytes = keyspace.live_bytes.saturating_sub(record_bytes(bytes.len()));
            }
            batch.delete(record);
        }
        keyspace.index.replace(key, left);
    }
    if batch.is_empty() { Ok(()) } else { state.write(batch) }
}
