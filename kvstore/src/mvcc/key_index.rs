//! Which revisions each key has. The index is a persistent map: a reader holds a version of it and is
//! never in the way of the writer. It knows everything about a key but its value.
//!
//! ```text
//! put a (2), put a (4), delete a (7), put a (9)
//!   a -> [ 2: create 2 version 1 | 4: create 2 version 2 | 7: tombstone | 9: create 9 version 1 ]
//! a at 5 -> 4      a at 7 -> nothing      compact(5) drops 2, keeps 4
//! ```
//!
//! Invariant: versions of a key ascend, and no two tombstones follow each other.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use smallvec::SmallVec;

use super::Revision;

/// A key as the index holds it: its own small allocation, never a slice of a request.
pub type Key = Arc<[u8]>;

/// What the index knows of one change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub revision: Revision,
    /// Revision of the creation that this version descends from.
    pub create: i64,
    /// Changes since creation; 0 is a tombstone.
    pub version: i64,
    pub lease: i64,
}

impl Version {
    pub fn tombstone(revision: Revision) -> Self {
        Self { revision, create: 0, version: 0, lease: 0 }
    }

    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }
}

/// All versions of one key that are still known, oldest first.
///
/// Readers share histories with the writer, which copies one before adding to it: short ones as a whole,
/// long ones (a key that changes all the time, uncompacted) as a tree of which a path is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    Few(SmallVec<[Version; 1]>),
    Many(Vector<Version>),
}

/// Versions above which a history is a tree.
const FEW: usize = 24;

impl Default for History {
    fn default() -> Self {
        History::Few(SmallVec::new())
    }
}

impl History {
    pub fn push(&mut self, version: Version) {
        debug_assert!(self.last().is_none_or(|last| last.revision < version.revision));
        match self {
            History::Few(versions) if versions.len() < FEW => versions.push(version),
            History::Few(versions) => {
                *self = History::Many(versions.iter().copied().chain([version]).collect());
            }
            History::Many(versions) => versions.push_back(version),
        }
    }

    /// The version in force at `revision` (a main revision), unless the key is absent then.
    pub fn at(&self, revision: i64) -> Option<&Version> {
        let last = self.up_to(revision).checked_sub(1)?;
        self.get(last).filter(|version| !version.is_tombstone())
    }

    pub fn latest(&self) -> Option<&Version> {
        self.last().filter(|version| !version.is_tombstone())
    }

    /// Splits off what compaction at `revision` forgets: everything before the version in force then,
    /// and that version too if it is a tombstone older than `revision`. A tombstone at `revision` stays,
    /// for watchers that start there. Returns what is left (`None`: nothing) and what is dropped.
    pub fn compact(&self, revision: i64) -> Option<(Option<History>, Vec<Revision>)> {
        let in_force = self.up_to(revision).checked_sub(1)?;
        let last = self.get(in_force)?;
        let drop_it = last.is_tombstone() && last.revision.main < revision;
        let dropped = if drop_it { in_force + 1 } else { in_force };
        if dropped == 0 {
            return None;
        }
        let gone = self.iter().take(dropped).map(|version| version.revision).collect();
        let mut left = History::default();
        self.iter().skip(dropped).for_each(|version| left.push(*version));
        Some(((left.len() > 0).then_some(left), gone))
    }

    /// How many versions were made at `revision` or before.
    fn up_to(&self, revision: i64) -> usize {
        match self {
            History::Few(versions) => versions.partition_point(|v| v.revision.main <= revision),
            // Nothing is equal: the search ends where it would be put.
            History::Many(versions) => versions
                .binary_search_by(|v| match v.revision.main <= revision {
                    true => Ordering::Less,
                    false => Ordering::Greater,
                })
                .unwrap_or_else(|place| place),
        }
    }

    fn len(&self) -> usize {
        match self {
            History::Few(versions) => versions.len(),
            History::Many(versions) => versions.len(),
        }
    }

    fn get(&self, n: usize) -> Option<&Version> {
        match self {
            History::Few(versions) => versions.get(n),
            History::Many(versions) => versions.get(n),
        }
    }

    fn last(&self) -> Option<&Version> {
        match self {
            History::Few(versions) => versions.last(),
            History::Many(versions) => versions.last(),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = &Version> + '_> {
        match self {
            History::Few(versions) => Box::new(versions.iter()),
            History::Many(versions) => Box::new(versions.iter()),
        }
    }
}

/// A range of keys as requests write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange<'a> {
    pub start: &'a [u8],
    pub end: RangeEnd<'a>,
}

/// Where a range of keys ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeEnd<'a> {
    /// Only the start key.
    Single,
    /// Before this key.
    Before(&'a [u8]),
    /// Every key from the start on.
    Open,
}

impl<'a> KeyRange<'a> {
    /// COMPAT: an end of one zero byte means no end; an empty end means the start key alone.
    pub fn new(start: &'a [u8], end: &'a [u8]) -> Self {
        let end = match end {
            [] => RangeEnd::Single,
            [0] => RangeEnd::Open,
            end => RangeEnd::Before(end),
        };
        Self { start, end }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match self.end {
            RangeEnd::Single => key == self.start,
            RangeEnd::Before(end) => key >= self.start && key < end,
            RangeEnd::Open => key >= self.start,
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.end, RangeEnd::Before(end) if end <= self.start)
    }

    pub fn overlaps(&self, other: &KeyRange<'_>) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && self.reaches_past(other.start)
            && other.reaches_past(self.start)
    }

    fn reaches_past(&self, key: &[u8]) -> bool {
        match self.end {
            RangeEnd::Single => key <= self.start,
            RangeEnd::Before(end) => key < end,
            RangeEnd::Open => true,
        }
    }
}

/// The index: a cheap clone is a snapshot.
#[derive(Clone, Default)]
pub struct KeyIndex {
    keys: OrdMap<Key, Arc<History>>,
}

impl KeyIndex {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn history(&self, key: &[u8]) -> Option<&Arc<History>> {
        self.keys.get(key)
    }

    pub fn latest(&self, key: &[u8]) -> Option<&Version> {
        self.keys.get(key)?.latest()
    }

    pub fn at(&self, key: &[u8], revision: i64) -> Option<&Version> {
        self.keys.get(key)?.at(revision)
    }

    pub fn push(&mut self, key: &[u8], version: Version) {
        match self.keys.get_mut(key) {
            Some(history) => Arc::make_mut(history).push(version),
            None => {
                let mut history = History::default();
                history.push(version);
                self.keys.insert(Key::from(key), Arc::new(history));
            }
        }
    }

    /// Puts what a compaction left of a key in its place.
    pub fn replace(&mut self, key: &[u8], left: Option<History>) {
        match left {
            Some(history) => {
                self.keys.insert(Key::from(key), Arc::new(history));
            }
            None => {
                self.keys.remove(key);
            }
        }
    }

    /// Keys of a range with their histories, ascending.
    pub fn range<'a>(&'a self, range: KeyRange<'a>) -> impl Iterator<Item = (&'a Key, &'a Arc<History>)> {
        let (low, high) = match range.end {
            _ if range.is_empty() => (Bound::Included(range.start), Bound::Excluded(range.start)),
            RangeEnd::Single => (Bound::Included(range.start), Bound::Included(range.start)),
            RangeEnd::Before(end) => (Bound::Included(range.start), Bound::Excluded(end)),
            RangeEnd::Open => (Bound::Included(range.start), Bound::Unbounded),
        };
        self.keys.range::<_, [u8]>((low, high))
    }

    /// Every key from `start` (exclusive when given) on.
    pub fn after<'a>(&'a self, start: Option<&'a [u8]>) -> impl Iterator<Item = (&'a Key, &'a Arc<History>)> {
        let low = start.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys.range::<_, [u8]>((low, Bound::Unbounded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(main: i64, create: i64, version: i64) -> Version {
        Version { revision: Revision::new(main, 0), create, version, lease: 0 }
    }

    fn example() -> KeyIndex {
        let mut index = KeyIndex::default();
        index.push(b"a", put(2, 2, 1));
        index.push(b"a", put(4, 2, 2));
        index.push(b"a", Version::tombstone(Revision::new(7, 0)));
        index.push(b"a", put(9, 9, 1));
        index
    }

    #[test]
    fn reads_the_version_in_force() {
        let index = example();
        let at = |revision| index.at(b"a", revision).map(|v| v.revision.main);
        assert_eq!(
            [1, 2, 3, 4, 6, 7, 8, 9, 99].map(at),
            [None, Some(2), Some(2), Some(4), Some(4), None, None, Some(9), Some(9)]
        );
    }

    #[test]
    fn compaction_keeps_what_is_in_force() {
        let check = |revision, expected: Option<(Vec<i64>, Vec<i64>)>| {
            let index = example();
            let got = index.history(b"a").unwrap().compact(revision).map(|(left, gone)| {
                let left = left.map(|h| h.iter().map(|v| v.revision.main).collect());
                (left.unwrap_or_default(), gone.iter().map(|r| r.main).collect())
            });
            assert_eq!(got, expected, "compact({revision})");
        };
        check(1, None);
        check(2, None);
        check(5, Some((vec![4, 7, 9], vec![2])));
        check(7, Some((vec![7, 9], vec![2, 4])));
        check(8, Some((vec![9], vec![2, 4, 7])));
        check(20, Some((vec![9], vec![2, 4, 7])));
    }

    #[test]
    fn long_histories_are_as_short_ones() {
        let mut history = History::default();
        for main in 1..=100 {
            history.push(put(main * 2, 2, main));
        }
        assert!(matches!(history, History::Many(_)));
        assert_eq!(history.at(1), None);
        assert_eq!(history.at(75).map(|v| v.revision.main), Some(74));
        assert_eq!(history.latest().map(|v| v.version), Some(100));
        let (left, gone) = history.compact(185).unwrap();
        assert_eq!((left.as_ref().unwrap().len(), gone.len()), (9, 91));
        assert!(matches!(left, Some(History::Few(_))));
    }

    #[test]
    fn a_key_of_tombstones_goes() {
        let mut history = History::default();
        history.push(put(2, 2, 1));
        history.push(Version::tombstone(Revision::new(3, 0)));
        let (left, gone) = history.compact(4).unwrap();
        assert_eq!((left, gone.len()), (None, 2));
    }

    #[test]
    fn ranges_mean_what_requests_write() {
        let mut index = KeyIndex::default();
        for (i, key) in ["a", "b", "ba", "c"].into_iter().enumerate() {
            index.push(key.as_bytes(), put(i as i64 + 2, i as i64 + 2, 1));
        }
        let keys = |start: &str, end: &[u8]| -> Vec<String> {
            let range = KeyRange::new(start.as_bytes(), end);
            index.range(range).map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
        };
        assert_eq!(keys("b", b""), ["b"]);
        assert_eq!(keys("b", b"c"), ["b", "ba"]);
        assert_eq!(keys("b", b"\0"), ["b", "ba", "c"]);
        assert_eq!(keys("c", b"b"), Vec::<String>::new());
        assert_eq!(keys("b", b"b"), Vec::<String>::new());
    }

    #[test]
    fn overlap_is_symmetric() {
        let check = |a: (&str, &str), b: (&str, &str), expected| {
            let a = KeyRange::new(a.0.as_bytes(), a.1.as_bytes());
            let b = KeyRange::new(b.0.as_bytes(), b.1.as_bytes());
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (expected, expected), "{a:?} {b:?}");
        };
        check(("a", ""), ("a", ""), true);
        check(("a", ""), ("b", ""), false);
        check(("a", "c"), ("b", ""), true);
        check(("a", "c"), ("c", ""), false);
        check(("a", "\0"), ("z", ""), true);
        check(("b", "\0"), ("a", "b"), false);
        check(("b", "a"), ("a", "z"), false);
    }
}
