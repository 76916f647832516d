//! A store: projections by key, their indexes, their subscribers.
//!
//! Invariants: one writer (the reflector) applies changes in the server's order; subscribers hear
//! each change once, in that order, after the store shows it; a late subscriber first hears what is
//! there. `revision()` never goes back while the server's history does not.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{Facts, Index, Projection};
use crate::key::Key;

/// One change, as subscribers hear it. `old` and `new` are not both `None`.
#[derive(Debug)]
pub struct Change<'a, P> {
    pub key: &'a Key,
    pub old: Option<&'a Arc<P>>,
    pub new: Option<&'a Arc<P>>,
    /// UID of the object that is now there, or that was.
    pub uid: &'a str,
}

type Subscriber<P> = Box<dyn Fn(&Change<'_, P>) + Send + Sync>;

/// Projections of the objects of one kind.
pub struct Store<P: 'static> {
    contents: RwLock<Contents<P>>,
    /// Held while changes are applied and told, so that they are told in order.
    subscribers: Mutex<Vec<Subscriber<P>>>,
    revision: watch::Sender<u64>,
    synced: watch::Sender<bool>,
    indexes: &'static [Index<P>],
}

struct Contents<P> {
    objects: BTreeMap<Key, Entry<P>>,
    /// For each index: value → keys.
    indexed: Vec<HashMap<Box<str>, Vec<Key>>>,
}

struct Entry<P> {
    facts: Facts,
    value: Arc<P>,
}

impl<P: 'static> fmt::Debug for Store<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("objects", &self.contents.read().objects.len()).finish_non_exhaustive()
    }
}

impl<P: Projection> Default for Store<P> {
    fn default() -> Self {
        Self::with_indexes(P::indexes())
    }
}

impl<P: Send + Sync + 'static> Store<P> {
    /// A store with these indexes, for whoever runs a reflector of their own.
    pub fn with_indexes(indexes: &'static [Index<P>]) -> Self {
        Self {
            contents: RwLock::new(Contents {
                objects: BTreeMap::new(),
                indexed: indexes.iter().map(|_| HashMap::new()).collect(),
            }),
            subscribers: Mutex::default(),
            revision: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            indexes,
        }
    }

    pub fn get(&self, key: &Key) -> Option<Arc<P>> {
        self.contents.read().objects.get(key).map(|e| e.value.clone())
    }

    /// As `get`, without building a key.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<P>> {
        self.get(&Key::new(namespace, name))
    }

    /// The object's UID and revision.
    pub fn facts(&self, key: &Key) -> Option<Facts> {
        self.contents.read().objects.get(key).map(|e| e.facts.clone())
    }

    /// Everything, by key.
    pub fn all(&self) -> Vec<(Key, Arc<P>)> {
        self.contents.read().objects.iter().map(|(k, e)| (k.clone(), e.value.clone())).collect()
    }

    /// Everything in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<(Key, Arc<P>)> {
        let contents = self.contents.read();
        let from = Key::new(namespace, "");
        contents
            .objects
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(|(key, _)| &*key.namespace == namespace)
            .map(|(k, e)| (k.clone(), e.value.clone()))
            .collect()
    }

    /// Everything that the named index files under `value`.
    ///
    /// # Panics
    /// When the projection has no such index.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<(Key, Arc<P>)> {
        let place = self.indexes.iter().position(|i| i.name == index).expect("the projection declares it");
        let contents = self.contents.read();
        let keys = contents.indexed[place].get(value).map(Vec::as_slice).unwrap_or_default();
        keys.iter().filter_map(|key| Some((key.clone(), contents.objects.get(key)?.value.clone()))).collect()
    }

    pub fn len(&self) -> usize {
        self.contents.read().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to which revision the server's history has been seen.
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Waits until history has been seen up to `revision`.
    pub async fn wait_revision(&self, revision: u64) {
        let mut seen = self.revision.subscribe();
        // Err: the store is gone, and with it whoever waits for it.
        let _ = seen.wait_for(|at| *at >= revision).await;
    }

    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits for the first complete list.
    pub async fn wait_synced(&self) {
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Calls `subscriber` for everything that is there, then for every change. It must be quick and
    /// may read stores.
    pub fn subscribe(&self, subscriber: impl Fn(&Change<'_, P>) + Send + Sync + 'static) {
        let mut subscribers = self.subscribers.lock();
        let present: Vec<_> = {
            let contents = self.contents.read();
            let entry = |(k, e): (&Key, &Entry<P>)| (k.clone(), e.facts.uid.clone(), e.value.clone());
            contents.objects.iter().map(entry).collect()
        };
        for (key, uid, value) in &present {
            subscriber(&Change { key, old: None, new: Some(value), uid });
        }
        subscribers.push(Box::new(subscriber));
    }

    /// Puts or, with no value, removes one object.
    pub(super) fn apply(&self, key: Key, facts: Facts, value: Option<P>) {
        let revision = facts.revision;
        let subscribers = self.subscribers.lock();
        self.apply_one(&subscribers, &key, facts, value.map(Arc::new));
        drop(subscribers);
        self.advance(revision);
    }

    fn apply_one(&self, subscribers: &[Subscriber<P>], key: &Key, facts: Facts, new: Option<Arc<P>>) {
        let uid = facts.uid.clone();
        let old = {
            let mut contents = self.contents.write();
            let old = match &new {
                Some(value) => contents.objects.insert(key.clone(), Entry { facts, value: value.clone() }),
                None => contents.objects.remove(key),
            };
            let old = old.map(|e| e.value);
            contents.reindex(self.indexes, key, old.as_deref(), new.as_deref());
            old
        };
        if old.is_none() && new.is_none() {
            return;
        }
        let change = Change { key, old: old.as_ref(), new: new.as_ref(), uid: &uid };
        for subscriber in subscribers {
            subscriber(&change);
        }
    }

    /// Makes the store show exactly a list. What did not change is not told again.
    pub(super) fn replace(&self, list: Vec<(Key, Facts, P)>, revision: u64) {
        let subscribers = self.subscribers.lock();
        let mut gone: BTreeMap<Key, Facts> = {
            let contents = self.contents.read();
            contents.objects.iter().map(|(k, e)| (k.clone(), e.facts.clone())).collect()
        };
        for (key, facts, value) in list {
            let known = gone.remove(&key);
            if known.as_ref() != Some(&facts) {
                self.apply_one(&subscribers, &key, facts, Some(Arc::new(value)));
            }
        }
        for (key, facts) in gone {
            self.apply_one(&subscribers, &key, facts, None);
        }
        drop(subscribers);
        self.revision.send_replace(revision);
        self.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
    }

    /// History has been seen up to here.
    pub(super) fn advance(&self, revision: u64) {
        self.revision.send_if_modified(|at| {
            let newer = revision > *at;
            if newer {
                *at = revision;
            }
            newer
        });
    }
}

impl<P> Contents<P> {
    fn reindex(&mut self, indexes: &[Index<P>], key: &Key, old: Option<&P>, new: Option<&P>) {
        for (place, index) in indexes.iter().enumerate() {
            let values = |object: Option<&P>| {
                let mut values = Vec::new();
                if let Some(object) = object {
                    (index.values)(key, object, &mut values);
                }
                values
            };
            let (before, after) = (values(old), values(new));
            let filed = &mut self.indexed[place];
            for value in before.iter().filter(|v| !after.contains(v)) {
                if let Some(keys) = filed.get_mut(value.as_str()) {
                    keys.retain(|k| k != key);
                    if keys.is_empty() {
                        filed.remove(value.as_str());
                    }
                }
            }
            for value in after.iter().filter(|v| !before.contains(v)) {
                filed.entry(value.as_str().into()).or_default().push(key.clone());
            }
        }
    }
}

/// A store with its projection erased: what waiting for writes of any kind needs.
pub trait AnyStore: Send + Sync {
    fn revision(&self) -> u64;
    fn watch_revision(&self) -> watch::Receiver<u64>;
    /// Whether the object is gone, being deleted, or another of its name is there.
    fn shows_deletion(&self, key: &Key, uid: &str) -> bool;
    fn is_synced(&self) -> bool;
    fn watch_synced(&self) -> watch::Receiver<bool>;
}

impl<P: Send + Sync + 'static> AnyStore for Store<P> {
    fn revision(&self) -> u64 {
        self.revision()
    }
    fn watch_revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
    fn shows_deletion(&self, key: &Key, uid: &str) -> bool {
        self.facts(key).is_none_or(|facts| facts.deleting || &*facts.uid != uid)
    }
    fn is_synced(&self) -> bool {
        self.is_synced()
    }
    fn watch_synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }
}
