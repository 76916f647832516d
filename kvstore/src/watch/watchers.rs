//! The watchers of one stream: which there are, how far each has read, and what it is sent next.
//! Pure but for reading records; the stream itself is `api::watch`.
//!
//! A watcher is a cursor: `next` is the first revision it has not seen. One whose cursor lies in the
//! event log is synced; another reads the state until it has caught up. A cursor before the compacted
//! revision cannot be served: the watcher is cancelled and told where history begins.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use etcd_protocol::etcdserverpb::WatchCreateRequest;
use etcd_protocol::etcdserverpb::watch_create_request::FilterType;
use etcd_protocol::mvccpb::{Event, KeyValue, event::EventType};

use super::event_log::{EventLog, RevisionEvents};
use crate::error::Error;
use crate::mvcc::{KeyRange, Reader, Records, Revision, View, decode_record};
use crate::state::{StateError, schema};

/// Revisions that one answer to a watcher covers at most.
const BATCH_REVISIONS: usize = 1000;
/// Events that one read of the state brings at most, rounded up to a whole revision.
const BATCH_EVENTS: usize = 10_000;

/// Why a watcher could not be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
}

struct Watcher {
    start: Bytes,
    end: Bytes,
    next: i64,
    prev_kv: bool,
    fragment: bool,
    no_put: bool,
    no_delete: bool,
    progress: bool,
    /// Nothing was sent since the last look for progress.
    idle: bool,
}

impl Watcher {
    fn range(&self) -> KeyRange<'_> {
        KeyRange::new(&self.start, &self.end)
    }

    fn wants(&self, kv: &KeyValue) -> bool {
        let filtered = if kv.version == 0 { self.no_delete } else { self.no_put };
        !filtered && self.range().contains(&kv.key)
    }
}

/// One thing to send.
#[derive(Debug, PartialEq)]
pub enum Delivery {
    Events {
        id: i64,
        revision: i64,
        events: Vec<Event>,
        fragment: bool,
    },
    /// History before `compacted` is gone; the watcher is no more.
    Compacted {
        id: i64,
        compacted: i64,
    },
}

#[derive(Default)]
pub struct Watchers {
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
}

impl Watchers {
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Adds a watcher; `current` is the revision of the store.
    pub fn create(&mut self, request: WatchCreateRequest, current: i64) -> Result<i64, CreateError> {
        if request.start_revision < 0 {
            return Err(CreateError::Compacted);
        }
        // COMPAT: no key is the smallest key.
        let start = if request.key.is_empty() { Bytes::from_static(b"\0") } else { request.key.clone() };
        if KeyRange::new(&start, &request.range_end).is_empty() {
            return Err(CreateError::EmptyRange);
        }
        let id = match request.watch_id {
            0 => {
                while self.watchers.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            id if self.watchers.contains_key(&id) => return Err(CreateError::DuplicateId),
            id => id,
        };
        let filters: Vec<_> = request.filters().collect();
        let watcher = Watcher {
            // Copies: the request's buffer is not kept for as long as the watch lives.
            start: Bytes::copy_from_slice(&start),
            end: Bytes::copy_from_slice(&request.range_end),
            next: if request.start_revision == 0 { current + 1 } else { request.start_revision },
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            no_put: filters.contains(&FilterType::Noput),
            no_delete: filters.contains(&FilterType::Nodelete),
            progress: request.progress_notify,
            idle: true,
        };
        self.watchers.insert(id, watcher);
        Ok(id)
    }

    pub fn cancel(&mut self, id: i64) -> bool {
        self.watchers.remove(&id).is_some()
    }

    /// Watchers that want to hear of progress and were sent nothing since the last call.
    pub fn idle(&mut self) -> Vec<i64> {
        let mut idle = Vec::new();
        for (id, watcher) in self.watchers.iter_mut().filter(|(_, watcher)| watcher.progress) {
            if watcher.idle {
                idle.push(*id);
            }
            watcher.idle = true;
        }
        idle
    }

    pub fn wants_progress(&self) -> bool {
        self.watchers.values().any(|watcher| watcher.progress)
    }

    /// Whether every watcher has seen everything up to `current`.
    pub fn synced(&self, current: i64) -> bool {
        self.watchers.values().all(|watcher| watcher.next > current)
    }

    /// Moves cursors towards the present and returns what to send; repeated until `synced`.
    pub fn advance(&mut self, log: &EventLog, reader: &Reader) -> Result<Vec<Delivery>, Error> {
        let view = reader.view();
        let mut deliveries = Vec::new();
        let behind = self.watchers.iter().filter(|(_, watcher)| watcher.next <= view.revision);
        let behind: Vec<i64> = behind.map(|(id, _)| *id).collect();
        // Watchers of a stream usually stand at the same revision: they share what was read.
        let mut shared: Option<(i64, Chunk)> = None;
        for id in behind {
            let Some(watcher) = self.watchers.get_mut(&id) else { continue };
            if watcher.next < view.compacted {
                deliveries.push(Delivery::Compacted { id, compacted: view.compacted });
                self.watchers.remove(&id);
                continue;
            }
            if shared.as_ref().is_none_or(|(from, _)| *from != watcher.next) {
                match Chunk::read(watcher.next, &view, log, reader) {
                    Ok(chunk) => shared = Some((watcher.next, chunk)),
                    // Overtaken by a compaction: the next round's view knows of it.
                    Err(Error::Compacted) => continue,
                    Err(error) => return Err(error),
                }
            }
            let Some((_, chunk)) = &shared else { continue };
            deliveries.extend(watcher.take(id, chunk, &view, reader)?);
        }
        Ok(deliveries)
    }
}

impl Watcher {
    /// What a watcher is sent of a chunk that starts at its cursor; moves the cursor past it.
    fn take(
        &mut self,
        id: i64,
        chunk: &Chunk,
        view: &View,
        reader: &Reader,
    ) -> Result<Option<Delivery>, Error> {
        let mut events = Vec::new();
        for kv in chunk.changes().filter(|kv| self.wants(kv)) {
            events.push(event(kv, self.prev_kv, view, reader)?);
        }
        self.next = chunk.end + 1;
        if events.is_empty() {
            return Ok(None);
        }
        self.idle = false;
        Ok(Some(Delivery::Events { id, revision: chunk.end, events, fragment: self.fragment }))
    }
}

/// Changes of consecutive revisions, from the log or from the state.
struct Chunk {
    recent: Vec<Arc<RevisionEvents>>,
    stored: Vec<KeyValue>,
    /// Last revision covered.
    end: i64,
}

impl Chunk {
    fn read(from: i64, view: &View, log: &EventLog, reader: &Reader) -> Result<Self, Error> {
        if let Some(recent) = log.since(from, view.revision, BATCH_REVISIONS) {
            let end = recent.last().map_or(view.revision, |last| last.main);
            return Ok(Self { recent, stored: Vec::new(), end });
        }
        let mut stored: Vec<KeyValue> = Vec::new();
        let mut failed: Option<StateError> = None;
        let mut end = view.revision;
        let (low, high) = (Revision::new(from, 0), Revision::new(view.revision + 1, 0));
        reader.state().scan(&schema::record(low), &schema::record(high), &mut |key, bytes| {
            let Some(revision) = schema::record_revision(key) else {
                failed = Some(StateError::Broken(key.to_vec()));
                return ControlFlow::Break(());
            };
            if stored.len() >= BATCH_EVENTS && stored.last().is_some_and(|kv| kv.mod_revision < revision.main)
            {
                end = revision.main - 1;
                return ControlFlow::Break(());
            }
            match decode_record(revision, bytes) {
                Ok(kv) => {
                    stored.push(kv);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        match failed {
            Some(error) => Err(error.into()),
            // The sweep may have taken out what the scan was to find.
            None if reader.view().compacted > from => Err(Error::Compacted),
            None => Ok(Self { recent: Vec::new(), stored, end }),
        }
    }

    fn changes(&self) -> impl Iterator<Item = &KeyValue> {
        let recent = self.recent.iter().flat_map(|revision| &revision.changes).map(|change| &change.kv);
        recent.chain(&self.stored)
    }
}

/// COMPAT: a creation has no previous value to report; nor has a change whose predecessor is compacted.
fn event(kv: &KeyValue, prev_kv: bool, view: &View, reader: &Reader) -> Result<Event, Error> {
    let created = kv.version > 0 && kv.create_revision == kv.mod_revision;
    let mut previous = None;
    let before = kv.mod_revision - 1;
    if prev_kv
        && !created
        && before >= view.compacted
        && let Some(version) = view.index.at(&kv.key, before)
    {
        previous = reader.record(version.revision)?;
    }
    let kind = if kv.version == 0 { EventType::Delete } else { EventType::Put };
    Ok(Event { r#type: kind.into(), kv: Some(kv.clone()), prev_kv: previous })
}
