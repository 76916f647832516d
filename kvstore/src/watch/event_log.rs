//! The recent past, in memory: every change of the latest revisions, in order, shared by all watchers
//! and by reads of recent values. Older revisions are read back from the state.
//!
//! Invariant: revisions in the log are consecutive, and the last is the one that `current` announces.

use std::collections::VecDeque;
use std::sync::Arc;

use etcd_protocol::mvccpb::KeyValue;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::mvcc::{Change, Revision};

/// Bytes of keys and values that the log keeps, roughly.
const KEEP_BYTES: usize = 4 << 20;
/// What one change costs beside its key and value.
const CHANGE_OVERHEAD: usize = 200;

/// All changes of one revision.
pub struct RevisionEvents {
    pub main: i64,
    pub changes: Vec<Change>,
    bytes: usize,
}

struct Recent {
    revisions: VecDeque<Arc<RevisionEvents>>,
    bytes: usize,
}

pub struct EventLog {
    recent: RwLock<Recent>,
    current: watch::Sender<i64>,
}

impl EventLog {
    pub fn new(revision: i64) -> Self {
        Self {
            recent: RwLock::new(Recent { revisions: VecDeque::new(), bytes: 0 }),
            current: watch::Sender::new(revision),
        }
    }

    /// Adds the changes of a revision; readers of records find them at once, watchers are not told yet.
    pub fn append(&self, main: i64, changes: Vec<Change>) {
        let bytes =
            changes.iter().map(|change| change.kv.key.len() + change.kv.value.len() + CHANGE_OVERHEAD).sum();
        let mut recent = self.recent.write();
        recent.bytes += bytes;
        recent.revisions.push_back(Arc::new(RevisionEvents { main, changes, bytes }));
        // What is not announced is not in the state yet either: it can only be read here.
        let announced = self.current();
        while recent.bytes > KEEP_BYTES && recent.revisions.front().is_some_and(|r| r.main <= announced) {
            if let Some(oldest) = recent.revisions.pop_front() {
                recent.bytes -= oldest.bytes;
            }
        }
    }

    /// Wakes the watchers: everything up to `revision` can be read.
    pub fn announce(&self, revision: i64) {
        self.current.send_if_modified(|current| {
            let moved = *current != revision;
            *current = revision;
            moved
        });
    }

    /// Starts over at `revision`, after the state was replaced.
    pub fn reset(&self, revision: i64) {
        let mut recent = self.recent.write();
        recent.revisions.clear();
        recent.bytes = 0;
        drop(recent);
        self.announce(revision);
    }

    pub fn current(&self) -> i64 {
        *self.current.borrow()
    }

    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.current.subscribe()
    }

    /// The events from `from` up to `to`, or `None` when the log no longer reaches back that far.
    pub fn since(&self, from: i64, to: i64, most: usize) -> Option<Vec<Arc<RevisionEvents>>> {
        let recent = self.recent.read();
        if from > to {
            return Some(Vec::new());
        }
        let first = recent.revisions.front()?.main;
        let start = usize::try_from(from - first).ok()?;
        Some(
            recent
                .revisions
                .range(start.min(recent.revisions.len())..)
                .take_while(|r| r.main <= to)
                .take(most)
                .cloned()
                .collect(),
        )
    }

    /// The record of a recent revision.
    pub fn record(&self, revision: Revision) -> Option<KeyValue> {
        let recent = self.recent.read();
        let first = recent.revisions.front()?.main;
        let at = usize::try_from(revision.main - first).ok()?;
        let changes = &recent.revisions.get(at)?.changes;
        changes.get(revision.sub as usize).map(|change| change.kv.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(main: i64, value: usize) -> Change {
        let kv =
            KeyValue { mod_revision: main, version: 1, value: vec![0; value].into(), ..Default::default() };
        Change { revision: Revision::new(main, 0), kv }
    }

    #[test]
    fn a_cursor_reads_on_from_where_it_stands() {
        let log = EventLog::new(1);
        for main in 2..6 {
            log.append(main, vec![change(main, 1)]);
        }
        log.announce(5);
        let mains = |from, to, most| {
            log.since(from, to, most).map(|found| found.iter().map(|r| r.main).collect::<Vec<_>>())
        };
        assert_eq!(mains(3, 5, 10), Some(vec![3, 4, 5]));
        assert_eq!(mains(3, 4, 10), Some(vec![3, 4]));
        assert_eq!(mains(2, 5, 2), Some(vec![2, 3]));
        assert_eq!(mains(6, 5, 10), Some(vec![]));
        assert_eq!(mains(1, 5, 10), None);
    }

    #[test]
    fn the_log_forgets_the_oldest() {
        let log = EventLog::new(1);
        for main in 2..102 {
            log.append(main, vec![change(main, 1 << 20)]);
            assert!(log.record(Revision::new(main, 0)).is_some());
            if main > 50 {
                log.announce(main);
            }
            assert!(main > 50 || log.record(Revision::new(2, 0)).is_some());
        }
        assert!(log.since(2, 101, 1000).is_none());
        let kept = log.since(99, 101, 1000).unwrap();
        assert_eq!(kept.len(), 3);
        assert!(log.record(Revision::new(101, 0)).is_some());
        assert!(log.record(Revision::new(2, 0)).is_none());
    }
}
