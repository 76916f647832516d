//! The store as the rest of the server sees it: one `Collection` (watch cache) per stored resource
//! over one etcd client.
//!
//! `kv` speaks etcd v3 and knows no kinds; `members` is which member of the store it asks; `entry` turns stored values into shared bytes and facts (`skim`
//! finds those);
//! `snapshot`, `log` and `cache` keep them; `continue_token` is the form of a page's place. A write
//! goes to `kv` under a revision guard and comes back to readers through the watch alone.

mod alike;
pub mod cache;
pub mod compactor;
pub mod continue_token;
pub mod encryption;
pub mod entry;
mod facts;
pub mod kv;
pub mod log;
mod members;
mod packed;
pub mod paths;
pub mod skim;
pub mod snapshot;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::Row;
use api_types::kinds;
use daemon::shutdown::Shutdown;
use parking_lot::RwLock;
use tokio::task::JoinHandle;

pub use cache::Collection;
pub use entry::Entry;
pub use kv::Kv;

/// A message that nobody asks for goes after one to two of these.
const FORGET_MESSAGES_EVERY: Duration = Duration::from_secs(300);
/// The same of the frames of an event.
const FORGET_FRAMES_EVERY: Duration = Duration::from_secs(20);

/// All collections, by storage path (`pods`, `services/specs`).
pub struct Storage {
    pub kv: Arc<Kv>,
    collections: HashMap<&'static str, Arc<Collection>>,
    /// Those of custom kinds. A collection lives as long as the process, and its content as long as it
    /// is open: references to it stay valid, and there is one for each definition that ever was.
    custom: RwLock<HashMap<&'static str, Open>>,
}

/// An open collection of a custom kind.
struct Open {
    collection: &'static Arc<Collection>,
    stop: Shutdown,
}

impl Storage {
    /// One collection for each stored resource; nothing is read yet.
    pub fn new(kv: Arc<Kv>) -> Self {
        let mut collections = HashMap::new();
        for row in kinds::all().iter().filter(|row| row.kind.is_stored()) {
            let path = paths::storage_path(row.kind);
            collections.entry(path).or_insert_with(|| {
                Arc::new(Collection::new(paths::storage_row(row), kv.clone(), paths::index_field(row.kind)))
            });
        }
        Self { kv, collections, custom: RwLock::default() }
    }

    /// Starts filling and following every collection, each in a task of its own.
    pub fn spawn(&self, shutdown: &Shutdown) -> Vec<JoinHandle<()>> {
        let follow =
            |collection: &Arc<Collection>| tokio::spawn(cache::follow(collection.clone(), shutdown.clone()));
        self.collections.values().map(follow).collect()
    }

    /// Lets go, until shutdown, of what has been made for clients and is not asked for again: watch frames, and
    /// the protobuf that lists have left (after a restart of a client's the next one may be days away).
    pub async fn forget(self: Arc<Self>, shutdown: Shutdown) {
        let mut messages = Instant::now() + FORGET_MESSAGES_EVERY;
        while shutdown.unless(tokio::time::sleep(FORGET_FRAMES_EVERY)).await.is_some() {
            let with_messages = Instant::now() >= messages;
            if with_messages {
                messages = Instant::now() + FORGET_MESSAGES_EVERY;
            }
            let collections: Vec<_> = self.collections().cloned().collect();
            for collection in collections {
                collection.forget_frames();
                if with_messages {
                    collection.snapshot().0.iter().for_each(|entry| entry.forget_message());
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Ends all watches, for good: the server leaves.
    pub fn end_watches(&self) {
        self.collections().for_each(|collection| collection.end_watches());
    }

    /// Resolves when every collection has been read once.
    pub async fn synced(&self) {
        for collection in self.collections.values() {
            collection.synced().await;
        }
    }

    /// The collection behind a served kind; `None` for kinds that are answered and not stored.
    pub fn collection(&self, row: &Row) -> Option<&Arc<Collection>> {
        match row.custom {
            Some(slot) => self.custom.read().get(slot.path).map(|open| open.collection),
            None => self.collections.get(paths::storage_path(row.kind)),
        }
    }

    /// Starts filling the collection of a custom kind, anew if there is one: its content depends on the
    /// definition. `row` is that of the stored version.
    pub fn open(&self, row: &'static Row, shutdown: &Shutdown) -> Option<&'static Arc<Collection>> {
        let path = row.custom?.path;
        let collection: &'static Arc<Collection> =
            Box::leak(Box::new(Arc::new(Collection::new(row, self.kv.clone(), None))));
        let stop = shutdown.child();
        tokio::spawn(cache::follow(collection.clone(), stop.clone()));
        let before = self.custom.write().insert(path, Open { collection, stop });
        if let Some(before) = before {
            before.end();
        }
        Some(collection)
    }

    /// Ends the collection of a custom kind.
    pub fn close(&self, path: &str) {
        if let Some(open) = self.custom.write().remove(path) {
            open.end();
        }
    }

    /// The collection of a typed kind, which must be a stored one.
    pub fn of<T: api_types::Resource>(&self) -> &Arc<Collection> {
        let kind = T::facts();
        self.collections.get(paths::storage_path(kind)).expect("the kind is a stored one of the table")
    }

    pub fn collections(&self) -> impl Iterator<Item = &Arc<Collection>> {
        let custom: Vec<_> = self.custom.read().values().map(|open| open.collection).collect();
        self.collections.values().chain(custom)
    }
}

impl Open {
    fn end(&self) {
        self.stop.trigger();
        self.collection.end();
    }
}
