//! How long failed pods of a DaemonSet are left alone, by node: a second at first, doubled with each
//! failure, 15 minutes at most; forgotten after twice that without one.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

use client::Key;
use jiff::Timestamp;
use parking_lot::Mutex;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// By DaemonSet and node.
#[derive(Debug, Default)]
pub(super) struct Backoffs(Mutex<HashMap<Key, BTreeMap<Box<str>, Backoff>>>);

/// The last failure on a node, and how long after it the next failed pod stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub since: Timestamp,
    pub delay: Duration,
}

impl Backoff {
    /// How much longer a failed pod has to stay.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        let passed = Duration::try_from(now - self.since).unwrap_or_default();
        self.delay.checked_sub(passed).filter(|left| !left.is_zero())
    }
}

impl Backoffs {
    pub(super) fn of(&self, set: &Key) -> BTreeMap<Box<str>, Backoff> {
        self.0.lock().get(set).cloned().unwrap_or_default()
    }

    pub(super) fn failed(&self, set: &Key, node: &str, now: Timestamp) {
        let mut all = self.0.lock();
        let known = all.entry(set.clone()).or_default();
        known.retain(|_, b| Duration::try_from(now - b.since).unwrap_or_default() < LONGEST * 2);
        let delay = known.get(node).map_or(FIRST, |b| (b.delay * 2).min(LONGEST));
        known.insert(node.into(), Backoff { since: now, delay });
    }

    pub(super) fn forget(&self, set: &Key) {
        self.0.lock().remove(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn delays_double_and_are_forgotten() {
        let (backoffs, set) = (Backoffs::default(), Key::new("ns", "d"));
        backoffs.failed(&set, "n", at(0));
        backoffs.failed(&set, "n", at(2));
        let two = backoffs.of(&set)["n"];
        assert_eq!((two.delay.as_secs(), two.left(at(3)), two.left(at(4))), (2, Some(FIRST), None));
        backoffs.failed(&set, "n", at(10_000));
        assert_eq!(backoffs.of(&set)["n"].delay, FIRST);
        backoffs.forget(&set);
        assert!(backoffs.of(&set).is_empty());
    }
}
