//! The watch cache of one resource: a snapshot, an event log, and the one etcd watch that feeds both.
//!
//! `follow` lists the prefix page by page at one revision and then applies the watch, reconnecting
//! where it stopped; only when the store has compacted that place does it list anew, and then the
//! logs break off and watchers start over with 410. Revisions only grow. The state's lock is held
//! for the length of one response, so that snapshot, revision and logs always agree.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api_types::kind::Row;
use daemon::shutdown::Shutdown;
use etcd_protocol::mvccpb::event::EventType;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use super::entry::{Entry, NEAR, Unreadable};
use super::kv::{Kv, KvError, Versioned, Watch};
use super::log::{Cursor, Event, Log, TooOld};
use super::snapshot::Snapshot;

/// Events kept for watchers that come back.
const LOG_CAPACITY: usize = 8192;
/// The same for one value of the indexed field.
const INDEX_LOG_CAPACITY: usize = 1024;
/// Snapshots kept for exact reads and pages; older ones are read from the store.
const HISTORY: usize = 512;
/// Objects on a page of the first list.
const PAGE: i64 = 1000;
/// How long a read waits for the cache to reach its revision, as upstream's does.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a waiting reader repeats its question for progress.
const ASK_AGAIN: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);

/// The watch cache of one resource.
pub struct Collection {
    /// The kind in the version it is stored in.
    pub row: &'static Row,
    /// `/registry/pods/`.
    pub prefix: String,
    pub kv: Arc<Kv>,
    /// The field whose values have logs of their own.
    index: Option<&'static str>,
    state: RwLock<State>,
    /// The revision up to which the state is complete; -1 before the first list.
    reached: watch::Sender<i64>,
    /// Someone waits for the state to reach the store's revision.
    progress_wanted: Notify,
}

struct State {
    snapshot: Snapshot,
    revision: i64,
    /// The revision of the last event taken in; what comes again is not after it.
    last_event: i64,
    log: Arc<Log>,
    by_value: HashMap<Box<str>, Arc<Log>>,
    /// The floor of index logs that do not exist yet: no event since then had their value.
    index_floor: i64,
    history: VecDeque<(i64, Snapshot)>,
    /// The server leaves: who has seen everything need not wait for more.
    ended: bool,
}

/// The read waited in vain.
#[derive(Debug, PartialEq, Eq)]
pub struct NotReached {
    pub current: i64,
}

/// What a watch starts with.
pub struct Start {
    pub snapshot: Snapshot,
    pub revision: i64,
    pub cursor: Cursor,
}

impl Collection {
    pub fn new(row: &'static Row, kv: Arc<Kv>, index: Option<&'static str>) -> Self {
        let prefix = kv.key(&format!("{}/", super::paths::path_of(row)));
        let state = State {
            snapshot: Snapshot::default(),
            revision: -1,
            last_event: -1,
            log: Log::new(0, LOG_CAPACITY),
            by_value: HashMap::new(),
            index_floor: 0,
            history: VecDeque::new(),
            ended: false,
        };
        Self {
            row,
            prefix,
            kv,
            index,
            state: RwLock::new(state),
            reached: watch::Sender::new(-1),
            progress_wanted: Notify::new(),
        }
    }

    /// The full key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if namespace.is_empty() {
            format!("{}{name}", self.prefix)
        } else {
            format!("{}{namespace}/{name}", self.prefix)
        }
    }

    /// Resolves when the first list is complete.
    pub async fn synced(&self) {
        let mut reached = self.reached.subscribe();
        // The sender lives in self.
        let _ = reached.wait_for(|revision| *revision >= 0).await;
    }

    pub fn is_synced(&self) -> bool {
        *self.reached.borrow() >= 0
    }

    /// The present state and its revision.
    pub fn snapshot(&self) -> (Snapshot, i64) {
        let state = self.state.read();
        (state.snapshot.clone(), state.revision)
    }

    /// The revision of the present state.
    pub fn revision(&self) -> i64 {
        self.state.read().revision
    }

    /// One object of the present state, by `NAMESPACE/NAME` or `NAME`.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().snapshot.get(key).cloned()
    }

    /// The state at exactly `revision`, if it is remembered.
    pub fn at(&self, revision: i64) -> Option<Snapshot> {
        let state = self.state.read();
        if revision > state.revision {
            return None;
        }
        let after = state.history.partition_point(|(r, _)| *r <= revision);
        after.checked_sub(1).and_then(|place| state.history.get(place)).map(|(_, s)| s.clone())
    }

    /// Waits until the state is at least as new as `revision`.
    ///
    /// # Errors
    /// [`NotReached`] after three seconds.
    pub async fn wait_for(&self, revision: i64) -> Result<(), NotReached> {
        let mut reached = self.reached.subscribe();
        let wait = async {
            loop {
                if *reached.borrow_and_update() >= revision {
                    return;
                }
                self.want_progress();
                let _ = tokio::time::timeout(ASK_AGAIN, reached.changed()).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.map_err(|_| NotReached { current: *self.reached.borrow() })
    }

    /// Asks the store how far the watch has come, so that bookmarks move on idle resources.
    pub fn want_progress(&self) {
        if self.kv.progress_is_reliable() {
            self.progress_wanted.notify_one();
        }
    }

    /// Follows the state's revision.
    pub fn reached(&self) -> watch::Receiver<i64> {
        self.reached.subscribe()
    }

    /// The present state and a cursor right after it; of the log of `value` where the indexed field
    /// is asked for.
    pub fn start_now(&self, value: Option<&str>) -> Start {
        let mut state = self.state.write();
        let (snapshot, revision) = (state.snapshot.clone(), state.revision);
        let log = state.log_of(value);
        let cursor = log.cursor_after(revision).expect("a log's floor is not beyond the state");
        Start { snapshot, revision, cursor }
    }

    /// A cursor after `revision`.
    ///
    /// # Errors
    /// [`TooOld`] when events since then are gone.
    pub fn start_after(&self, revision: i64, value: Option<&str>) -> Result<Cursor, TooOld> {
        self.state.write().log_of(value).cursor_after(revision)
    }

    /// Lets go of watch frames that everybody has had.
    pub fn forget_frames(&self) {
        let log = self.state.read().log.clone();
        log.forget_frames();
    }

    /// The indexed field, for which `start_*` take a value.
    pub fn index(&self) -> Option<&'static str> {
        self.index
    }

    /// Makes an entry of a stored value; the cached one if it is the same write.
    ///
    /// # Errors
    /// When the value is no object of this kind.
    pub fn entry(&self, stored: &Versioned) -> Result<Arc<Entry>, Unreadable> {
        let key = self.relative(&stored.key);
        if let Some(cached) = self.get(&key).filter(|cached| cached.revision == stored.revision) {
            return Ok(cached);
        }
        Entry::read(self.row, key.into(), &stored.value, stored.revision).map(Arc::new)
    }

    fn relative(&self, key: &[u8]) -> String {
        String::from_utf8_lossy(key.strip_prefix(self.prefix.as_bytes()).unwrap_or(key)).into_owned()
    }

    /// Starts over with a listed state.
    fn replace(&self, snapshot: Snapshot, revision: i64) {
        let mut state = self.state.write();
        state.log.break_off();
        for log in state.by_value.values() {
            log.break_off();
        }
        let ended = state.ended;
        *state = State {
            ended,
            snapshot: snapshot.clone(),
            revision,
            last_event: revision,
            log: Log::new(revision, LOG_CAPACITY),
            by_value: HashMap::new(),
            index_floor: revision,
            history: VecDeque::from([(revision, snapshot)]),
        };
        if ended {
            state.end();
        }
        drop(state);
        self.reached.send_replace(revision);
    }

    /// Ends all cursors, those to come as well, once they have seen what is there.
    pub fn end_watches(&self) {
        self.state.write().end();
    }

    /// Lets go of everything: the kind is no longer served.
    pub fn end(&self) {
        self.replace(Snapshot::default(), self.revision());
    }

    /// Takes in the events of one response, all of which are complete up to `revision`.
    fn apply(&self, events: Vec<Change>, revision: i64) {
        let mut state = self.state.write();
        let mut touched: Vec<Arc<Log>> = Vec::new();
        let (any, before) = (!events.is_empty(), state.last_event);
        for change in events {
            if change.revision <= before {
                continue;
            }
            state.last_event = change.revision;
            let event = match change.entry {
                Some(new) => {
                    let old = state.snapshot.insert(new.clone());
                    Event::new(change.revision, old, Some(new), None)
                }
                None => {
                    // A key that was never readable has no entry, and nobody knows of it.
                    let Some(old) = state.snapshot.remove(&change.key) else { continue };
                    let last = deleted(self.row, &old, change.revision);
                    Event::new(change.revision, Some(old), None, last)
                }
            };
            let event = Arc::new(event);
            if let Some(field) = self.index {
                let mut values: Vec<&str> =
                    [&event.old, &event.new].into_iter().flatten().map(|e| e.field(field)).collect();
                values.dedup();
                for value in values {
                    let log = state.log_of(Some(value));
                    log.append(event.clone());
                    touched.push(log);
                }
            }
            if let Some(dropped) = state.log.append(event) {
                state.dropped(&dropped, self.index);
            }
        }
        if revision > state.revision {
            state.revision = revision;
        }
        if any {
            let (revision, snapshot) = (state.revision, state.snapshot.clone());
            if state.history.len() == HISTORY {
                state.history.pop_front();
            }
            state.history.push_back((revision, snapshot));
            touched.push(state.log.clone());
        }
        let reached = state.revision;
        drop(state);
        touched.iter().rev().for_each(|log| log.wake());
        self.reached.send_if_modified(|r| reached > std::mem::replace(r, reached.max(*r)));
    }
}

impl State {
    fn end(&mut self) {
        self.ended = true;
        self.log.end();
        self.by_value.values().for_each(|log| log.end());
    }

    /// An event is gone from the log: it goes from those of its values, too, which would keep the last of their
    /// events for as long as the values are quiet.
    fn dropped(&mut self, event: &Event, index: Option<&'static str>) {
        self.index_floor = event.revision;
        let Some(field) = index else { return };
        for entry in [&event.old, &event.new].into_iter().flatten() {
            let value = entry.field(field);
            let Some(log) = self.by_value.get(value) else { continue };
            log.drop_until(event.revision);
            if log.is_idle() {
                self.by_value.remove(value);
            }
        }
    }

    fn log_of(&mut self, value: Option<&str>) -> Arc<Log> {
        let Some(value) = value else { return self.log.clone() };
        if let Some(log) = self.by_value.get(value) {
            return log.clone();
        }
        let log = Log::new(self.index_floor, INDEX_LOG_CAPACITY);
        if self.ended {
            log.end();
        }
        self.by_value.insert(value.into(), log.clone());
        log
    }
}

/// The last state of a deleted object, under the revision of its deletion.
fn deleted(row: &'static Row, old: &Arc<Entry>, revision: i64) -> Option<Arc<Entry>> {
    let row = old.row(row);
    let mut object = old.decode(row).ok()?;
    object.meta_mut().resource_version = revision.to_string();
    let last = Entry::of(row, old.key.clone(), &*object, revision);
    // The log keeps it for as long as any event.
    Some(Arc::new(last.packed(std::slice::from_ref(old))))
}

/// One event of the store's watch.
struct Change {
    key: String,
    revision: i64,
    entry: Option<Arc<Entry>>,
}

/// Why the cache's watch ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Store(#[from] KvError),
    #[error("the store closed the watch")]
    Closed,
    #[error("the store cancelled the watch: {0}")]
    Cancelled(String),
    #[error("the store has compacted the revision to go on from")]
    Compacted,
}

/// Keeps a collection like the store, until shutdown.
pub async fn follow(collection: Arc<Collection>, shutdown: Shutdown) {
    let resource = collection.row.kind.resource;
    shutdown
        .unless(async {
            loop {
                let ended = match load_and_watch(&collection).await {
                    Ok(never) => match never {},
                    Err(ended) => ended,
                };
                tracing::warn!(resource, error = %ended, "Watch cache lost the store; starting over");
                tokio::time::sleep(RETRY).await;
            }
        })
        .await;
}

async fn load_and_watch(collection: &Collection) -> Result<std::convert::Infallible, Ended> {
    if !collection.is_synced() {
        Box::pin(load(collection)).await?;
    }
    loop {
        match watch_from(collection, collection.revision() + 1).await {
            Err(Ended::Compacted) => Box::pin(load(collection)).await?,
            Err(ended) => {
                let (resource, revision) = (collection.row.kind.resource, collection.revision());
                tracing::debug!(resource, revision, error = %ended, "Watch on the store ended; going on");
                tokio::time::sleep(RETRY / 4).await;
            }
            Ok(never) => match never {},
        }
    }
}

/// Reads the whole prefix, a page at a time, at one revision.
async fn load(collection: &Collection) -> Result<(), Ended> {
    let mut snapshot = Snapshot::default();
    let mut start = collection.prefix.clone().into_bytes();
    let mut revision = 0;
    loop {
        let page = match collection.kv.page(&collection.prefix, &start, PAGE, revision).await {
            Err(KvError::Compacted) => return Err(Ended::Compacted),
            page => page?,
        };
        if revision == 0 {
            revision = page.revision;
        }
        for stored in &page.items {
            if let Some(entry) = readable(collection, stored) {
                snapshot.insert(packed(entry, &snapshot));
            }
        }
        match page.items.last() {
            Some(last) if page.more => {
                start = last.key.to_vec();
                start.push(0);
            }
            _ => break,
        }
    }
    collection.replace(snapshot, revision);
    Ok(())
}

/// A value that cannot be read is left out and told: it must not stop the whole resource.
fn readable(collection: &Collection, stored: &Versioned) -> Option<Entry> {
    let key = collection.relative(&stored.key);
    match Entry::read(collection.row, key.as_str().into(), &stored.value, stored.revision) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(resource = collection.row.kind.resource, key, %error, "Stored object cannot be read");
            None
        }
    }
}

/// An entry as it is kept: what it was before and its neighbours are what it may be like.
fn packed(entry: Entry, among: &Snapshot) -> Arc<Entry> {
    let before = among.get(&entry.key);
    let near: Vec<_> = before.into_iter().chain(among.before(&entry.key)).take(NEAR).cloned().collect();
    Arc::new(entry.packed(&near))
}

async fn watch_from(collection: &Collection, revision: i64) -> Result<std::convert::Infallible, Ended> {
    // What only opening takes is not kept for as long as the watch lasts.
    let mut watch: Watch = Box::pin(collection.kv.watch(&collection.prefix, revision)).await?;
    loop {
        let response = tokio::select! {
            response = watch.responses.message() => response.map_err(KvError::from)?.ok_or(Ended::Closed)?,
            () = collection.progress_wanted.notified() => {
                watch.ask_progress();
                continue;
            }
        };
        if response.compact_revision > 0 {
            return Err(Ended::Compacted);
        }
        if response.canceled {
            return Err(Ended::Cancelled(response.cancel_reason));
        }
        if response.created {
            continue;
        }
        let header = response.header.map_or(0, |h| h.revision);
        let mut changes = Vec::with_capacity(response.events.len());
        let mut newest = header;
        let (among, _) = collection.snapshot();
        for event in response.events {
            let deleted = event.r#type() == EventType::Delete;
            let Some(kv) = event.kv else { continue };
            let stored = collection.kv.opened(kv);
            let revision = stored.revision;
            // A response is complete up to its own events; the header may be ahead of them.
            newest = revision;
            let entry = if deleted { None } else { readable(collection, &stored) };
            let entry = entry.map(|entry| packed(entry, &among));
            changes.push(Change { key: collection.relative(&stored.key), revision, entry });
        }
        collection.apply(changes, newest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::kv::KvOptions;
    use super::super::log::Batch;
    use super::*;
    use api_types::core::v1::Pod;
    use api_types::kinds;

    fn collection() -> Collection {
        let options = KvOptions {
            servers: vec!["http://127.0.0.1:1".into()],
            ca: None,
            cert: None,
            key: None,
            prefix: "/registry".into(),
        };
        let kv = Arc::new(Kv::connect(&options).expect("a client connects lazily"));
        let row = kinds::by_resource("", "v1", "pods").expect("pods");
        Collection::new(row, kv, Some("spec.nodeName"))
    }

    fn put(name: &str, node: &str, revision: i64) -> Change {
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.metadata.namespace = "d".into();
        pod.metadata.uid = name.into();
        pod.spec.node_name = node.into();
        let row = kinds::by_resource("", "v1", "pods").expect("pods");
        let key = format!("d/{name}");
        let entry = Entry::of(row, key.as_str().into(), &pod, revision);
        Change { key, revision, entry: Some(Arc::new(entry)) }
    }

    fn delete(name: &str, revision: i64) -> Change {
        Change { key: format!("d/{name}"), revision, entry: None }
    }

    fn revisions(cursor: &mut Cursor) -> Vec<i64> {
        match cursor.take(100) {
            Batch::Events(events) => events.iter().map(|e| e.revision).collect(),
            Batch::Empty | Batch::Ended => vec![],
            Batch::FellOff => vec![-1],
        }
    }

    #[tokio::test]
    async fn an_exact_read_of_a_recent_revision_is_a_lookup() {
        let pods = collection();
        pods.replace(Snapshot::default(), 10);
        pods.apply(vec![put("a", "", 12)], 12);
        pods.apply(vec![put("b", "", 15)], 15);
        let names = |revision| pods.at(revision).map(|s| s.len());
        assert_eq!(
            [names(9), names(11), names(14), names(15), names(16)],
            [None, Some(0), Some(1), Some(2), None]
        );
    }

    #[tokio::test]
    async fn a_node_sees_only_its_own_pods_come_and_go() {
        let pods = collection();
        pods.replace(Snapshot::default(), 10);
        let mut n1 = pods.start_now(Some("n1")).cursor;
        pods.apply(vec![put("a", "", 11), put("a", "n1", 12), put("b", "n2", 13)], 13);
        pods.apply(vec![delete("a", 14)], 14);
        assert_eq!(revisions(&mut n1), [12, 14]);
        assert_eq!(revisions(&mut pods.start_after(10, Some("n2")).expect("in reach")), [13]);
        assert_eq!(revisions(&mut pods.start_after(10, None).expect("in reach")), [11, 12, 13, 14]);
    }

    #[tokio::test]
    async fn a_quiet_node_keeps_no_events_that_the_others_have_let_go() {
        let pods = collection();
        pods.replace(Snapshot::default(), 10);
        pods.apply(vec![put("a", "n1", 11), put("b", "n2", 12)], 12);
        let mut watched = pods.start_after(10, Some("n2")).expect("in reach");
        let others = |from: i64| (from..from + LOG_CAPACITY as i64).map(|revision| put("c", "n3", revision));
        pods.apply(others(13).collect(), 13 + LOG_CAPACITY as i64);
        let floor = TooOld { floor: 12 };
        assert_eq!(pods.start_after(11, Some("n1")).map(|_| ()), Err(floor));
        assert_eq!(revisions(&mut watched), [-1]);
        assert!(pods.start_after(12, Some("n1")).is_ok() && pods.start_after(12, Some("n2")).is_ok());
    }

    #[tokio::test]
    async fn a_repeated_event_is_taken_once() {
        let pods = collection();
        pods.replace(Snapshot::default(), 10);
        pods.apply(vec![put("a", "", 11)], 11);
        pods.apply(vec![put("a", "", 11)], 11);
        assert_eq!(revisions(&mut pods.start_after(10, None).expect("in reach")), [11]);
    }

    #[tokio::test]
    async fn starting_over_sends_watchers_away() {
        let pods = collection();
        pods.replace(Snapshot::default(), 10);
        let mut cursor = pods.start_now(None).cursor;
        pods.replace(Snapshot::default(), 20);
        assert_eq!(revisions(&mut cursor), [-1]);
        assert_eq!(pods.start_after(15, None).map(|_| ()), Err(TooOld { floor: 20 }));
    }

    #[tokio::test]
    async fn a_deletion_carries_its_own_revision() {
        let pods = collection();
        pods.replace(Snapshot::default(), 10);
        pods.apply(vec![put("a", "", 11), delete("a", 12)], 12);
        let mut cursor = pods.start_after(11, None).expect("in reach");
        let Batch::Events(events) = cursor.take(1) else { panic!("one event") };
        let last: Pod = events[0].last.as_ref().expect("last state").typed().expect("a pod");
        assert_eq!(last.metadata.resource_version, "12");
    }
}
