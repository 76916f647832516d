//! All objects of a resource at one revision, as a persistent map: a clone costs a reference, so
//! that a list streams from its snapshot while writes go on, and every page is at one revision.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::Entry;

/// Objects in the order of their keys.
#[derive(Clone, Default, Debug)]
pub struct Snapshot {
    entries: OrdMap<Arc<str>, Arc<Entry>>,
}

impl Snapshot {
    /// Whether nothing has been written between the two.
    pub fn is_same(&self, other: &Self) -> bool {
        self.entries.ptr_eq(&other.entries)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// Puts an entry in; gives back the one it replaces.
    pub fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.entries.insert(entry.key.clone(), entry)
    }

    pub fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        self.entries.remove(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// The entries whose key begins with `prefix`, from `start` on (a key, itself included).
    pub fn range<'a>(&'a self, prefix: &'a str, start: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let from = if start > prefix { start } else { prefix };
        self.entries
            .range::<_, str>((Bound::Included(from), Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.key.starts_with(prefix))
    }

    /// The entries right before `key` in its namespace, the nearest first.
    pub fn before<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let namespace = key.rfind('/').map_or("", |end| &key[..=end]);
        let range = self.entries.range::<_, str>((Bound::Unbounded, Bound::Excluded(key)));
        range.rev().map(|(_, entry)| entry).take_while(move |entry| entry.key.starts_with(namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn entry(key: &str, revision: i64) -> Arc<Entry> {
        let row = api_types::kinds::by_resource("", "v1", "configmaps").expect("configmaps");
        Arc::new(Entry::of(row, key.into(), &*(row.new)(), revision))
    }

    #[test]
    fn a_clone_stays_as_it_was() {
        let mut now = Snapshot::default();
        now.insert(entry("a/1", 1));
        let then = now.clone();
        now.insert(entry("a/1", 2));
        now.remove("a/1");
        assert_eq!(then.get("a/1").map(|e| e.revision), Some(1));
        assert_eq!(now.len(), 0);
        assert!(then.is_same(&then.clone()) && !then.is_same(&now));
    }

    #[test]
    fn ranges_stay_within_their_namespace() {
        let mut all = Snapshot::default();
        for key in ["a/1", "a/2", "a/3", "a-b/1", "b/1"] {
            all.insert(entry(key, 1));
        }
        let keys = |prefix: &str, start: &str| -> Vec<String> {
            all.range(prefix, start).map(|e| e.key.to_string()).collect()
        };
        assert_eq!(keys("a/", ""), ["a/1", "a/2", "a/3"]);
        assert_eq!(keys("a/", "a/2"), ["a/2", "a/3"]);
        assert_eq!(keys("", "a/3"), ["a/3", "b/1"]);
        let before = |key: &str| -> Vec<String> { all.before(key).map(|e| e.key.to_string()).collect() };
        assert_eq!(before("a/3"), ["a/2", "a/1"]);
        assert_eq!((before("a/1"), before("b/0")), (vec![], vec![]));
    }
}
