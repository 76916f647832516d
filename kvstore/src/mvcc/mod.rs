//! Keys with all their revisions: an index of who changed when (`key_index`), the changes themselves as
//! records in the applied state, reads at any revision (`range`), transactions (`txn`) and forgetting
//! (`compact`).
//!
//! One writer (the state machine) owns a `Keyspace`; after each batch it publishes an immutable `View`
//! that any number of readers use without a lock. A record never changes once written; only compaction
//! removes it, so a reader that misses one holds a view from before a compaction.

pub mod compact;
mod key_index;
mod range;
mod revision;
#[cfg(test)]
mod tests;
mod txn;

use std::ops::ControlFlow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use etcd_protocol::mvccpb::KeyValue;
use prost::Message;

use crate::error::Error;
use crate::state::{Batch, StateError, StateStore, schema};
use crate::watch::event_log::EventLog;

pub use key_index::{History, Key, KeyIndex, KeyRange, RangeEnd, Version};
pub use range::{check_range, range};
pub use revision::Revision;
pub use txn::{Change, Leases, Txn, check_put, check_txn, is_read_only, is_serializable};

/// What a reader sees: everything up to one revision.
#[derive(Clone, Default)]
pub struct View {
    pub index: KeyIndex,
    pub revision: i64,
    /// History before it is gone.
    pub compacted: i64,
}

/// Where the changes behind an index are read from.
pub trait Records {
    /// The record of a revision; `None` once compaction has removed it.
    fn record(&self, revision: Revision) -> Result<Option<KeyValue>, Error>;

    /// The records of several revisions, each in the place of its revision.
    fn records(&self, revisions: &[Revision]) -> Result<Vec<Option<KeyValue>>, Error> {
        revisions.iter().map(|revision| self.record(*revision)).collect()
    }
}

/// Records of others that are passed by on the way from one to the next; a search costs about as much.
const PASSED_BY: usize = 8;
/// Records that a walk must find to be worth its beginning, and that are searched for one by one after one
/// that was not.
const WORTH: usize = 16;

/// The latest view and the records behind it: all that reading needs.
pub struct Reader {
    view: ArcSwap<View>,
    state: Arc<dyn StateStore>,
    events: Arc<EventLog>,
}

impl Reader {
    pub fn new(state: Arc<dyn StateStore>, events: Arc<EventLog>, view: View) -> Self {
        Self { view: ArcSwap::from_pointee(view), state, events }
    }

    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    pub fn publish(&self, view: View) {
        self.view.store(Arc::new(view));
    }

    pub fn state(&self) -> &Arc<dyn StateStore> {
        &self.state
    }
}

impl Records for Reader {
    fn record(&self, revision: Revision) -> Result<Option<KeyValue>, Error> {
        if let Some(kv) = self.events.record(revision) {
            return Ok(Some(kv));
        }
        self.stored(revision)
    }

    /// What was written together stands together, and keys that are neighbours often were: so the state is
    /// walked along in the order of revisions for as long as little else stands in between.
    fn records(&self, revisions: &[Revision]) -> Result<Vec<Option<KeyValue>>, Error> {
        let mut found = Vec::with_capacity(revisions.len());
        let mut wanted = Vec::new();
        for (n, revision) in revisions.iter().enumerate() {
            let recent = self.events.record(*revision);
            if recent.is_none() {
                wanted.push((*revision, n));
            }
            found.push(recent);
        }
        wanted.sort_unstable();
        let mut left = &wanted[..];
        while !left.is_empty() {
            let mut done = 0;
            if left.len() >= WORTH {
                done = self.walk(left, &mut found)?;
            }
            if done < WORTH {
                let next = left.len().min(done + WORTH);
                for (revision, n) in &left[done..next] {
                    found[*n] = self.stored(*revision)?;
                }
                done = next;
            }
            left = &left[done..];
        }
        Ok(found)
    }
}

impl Reader {
    fn stored(&self, revision: Revision) -> Result<Option<KeyValue>, Error> {
        match self.state.get(&schema::record(revision))? {
            Some(bytes) => Ok(Some(decode_record(revision, bytes)?)),
            None => Ok(None),
        }
    }

    /// Reads on from the first of the wanted records (ascending; each with its place) until it has passed by
    /// too many others. Returns how many of the wanted were found, or are known not to be there.
    fn walk(&self, wanted: &[(Revision, usize)], found: &mut [Option<KeyValue>]) -> Result<usize, Error> {
        let (Some((first, _)), Some((last, _))) = (wanted.first(), wanted.last()) else { return Ok(0) };
        let end = schema::record(Revision::new(last.main, last.sub + 1));
        let (mut done, mut passed_by, mut failed) = (0, 0, None);
        let mut far = false;
        self.state.scan(&schema::record(*first), &end, &mut |key, bytes| {
            let Some(revision) = schema::record_revision(key) else {
                failed = Some(StateError::Broken(key.to_vec()));
                return ControlFlow::Break(());
            };
            done += wanted[done..].iter().take_while(|(wanted, _)| *wanted < revision).count();
            match wanted.get(done) {
                Some((wanted, place)) if *wanted == revision => {
                    match decode_record(revision, bytes) {
                        Ok(kv) => found[*place] = Some(kv),
                        Err(error) => {
                            failed = Some(error);
                            return ControlFlow::Break(());
                        }
                    }
                    (done, passed_by) = (done + 1, 0);
                }
                _ => passed_by += 1,
            }
            far = passed_by > PASSED_BY;
            if far { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match failed {
            Some(error) => Err(error.into()),
            // It came to the end: what it has not met is not there.
            None if !far => Ok(wanted.len()),
            None => Ok(done),
        }
    }
}

/// A record as it stands in the state; key and value share its allocation.
pub fn decode_record(revision: Revision, bytes: Bytes) -> Result<KeyValue, StateError> {
    KeyValue::decode(bytes).map_err(|_| StateError::Broken(schema::record(revision)))
}

/// The writer's side: the index that the next transaction continues.
#[derive(Clone, Default)]
pub struct Keyspace {
    pub index: KeyIndex,
    pub revision: i64,
    pub compacted: i64,
    /// Bytes of all records: what the quota measures.
    pub live_bytes: u64,
}

/// What an empty store starts at.
const FIRST_REVISION: i64 = 1;

impl Keyspace {
    pub fn empty() -> Self {
        Self { revision: FIRST_REVISION, ..Self::default() }
    }

    /// Rebuilds the index from the records. Calls `leased` for each key that holds a lease now.
    pub fn load(state: &dyn StateStore) -> Result<Self, StateError> {
        let mut keyspace = Self::empty();
        keyspace.compacted = read_revision(state, schema::COMPACTED)?.unwrap_or(0);
        let mut failed = None;
        state.scan(schema::RECORDS.0, schema::RECORDS.1, &mut |key, bytes| {
            let Some(revision) = schema::record_revision(key) else {
                failed = Some(StateError::Broken(key.to_vec()));
                return ControlFlow::Break(());
            };
            keyspace.live_bytes += record_bytes(bytes.len());
            match decode_record(revision, bytes) {
                Ok(kv) => {
                    keyspace.index.push(&kv.key, version_of(revision, &kv));
                    keyspace.revision = keyspace.revision.max(revision.main);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let recorded = read_revision(state, schema::REVISION)?.unwrap_or(FIRST_REVISION);
        keyspace.revision = keyspace.revision.max(recorded);
        Ok(keyspace)
    }

    pub fn view(&self) -> View {
        View { index: self.index.clone(), revision: self.revision, compacted: self.compacted }
    }

    /// Adds the changes of a transaction to what will be written.
    pub fn record(&mut self, changes: &[Change], batch: &mut Batch) {
        for change in changes {
            let bytes = change.kv.encode_to_vec();
            self.live_bytes += record_bytes(bytes.len());
            batch.put(schema::record(change.revision), bytes);
        }
    }
}

/// Hash of the keys up to a revision and since the last compaction: the same on every member that has
/// compacted as far, however far its sweep has come.
pub fn hash(view: &View, revision: i64, reader: &Reader) -> Result<u32, Error> {
    let mut hasher = crc32fast::Hasher::new();
    let mut failed = None;
    let end = schema::record(Revision::new(revision + 1, 0));
    reader.state().scan(schema::RECORDS.0, &end, &mut |key, bytes| {
        let Some(at) = schema::record_revision(key) else { return ControlFlow::Continue(()) };
        let kv = match decode_record(at, bytes.clone()) {
            Ok(kv) => kv,
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        let kept = at.main > view.compacted
            || view.index.at(&kv.key, view.compacted).is_some_and(|version| version.revision == at);
        if kept {
            hasher.update(key);
            hasher.update(&bytes);
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or_else(|| Ok(hasher.finalize()), |error| Err(error.into()))
}

/// What a record of this encoded length counts for: with its key.
pub fn record_bytes(encoded: usize) -> u64 {
    (encoded + 1 + Revision::ENCODED_LEN) as u64
}

fn version_of(revision: Revision, kv: &KeyValue) -> Version {
    Version { revision, create: kv.create_revision, version: kv.version, lease: kv.lease }
}

fn read_revision(state: &dyn StateStore, name: &str) -> Result<Option<i64>, StateError> {
    let key = schema::meta(name);
    match state.get(&key)? {
        Some(bytes) => match bytes.as_ref().try_into() {
            Ok(bytes) => Ok(Some(i64::from_be_bytes(bytes))),
            Err(_) => Err(StateError::Broken(key)),
        },
        None => Ok(None),
    }
}
