//! Exponential back-off per key, for crashed containers and failed image pulls.
//!
//! An entry doubles with each [`Backoff::next`] up to the maximum, and starts over when nothing
//! happened for long. Times are those of one clock of the caller's, [`crate::steady`]; nothing here waits.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

/// Back-off of many keys.
#[derive(Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    /// Longer than this nothing is remembered.
    memory: Duration,
    entries: Mutex<HashMap<String, Entry>>,
    /// What ended last, and when, by key.
    ends: Mutex<HashMap<String, (String, Timestamp)>>,
}

impl Backoff {
    /// Upstream's for containers and images: 10 s doubling to 5 min, forgotten after 10 min.
    pub fn upstream() -> Self {
        Self::new(Duration::from_secs(10), Duration::from_secs(300))
    }

    /// Upstream's for containers, where they wait no longer than `max`.
    pub fn of_crashes(max: Duration) -> Self {
        let upstream = Self::upstream();
        Self { initial: upstream.initial.min(max), max, ..upstream }
    }

    /// A back-off from `initial` to `max`, forgotten after twice as long.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, memory: max * 2, entries: Mutex::default(), ends: Mutex::default() }
    }

    /// The delay that a key has to wait now, if `since` is not long enough ago.
    pub fn remaining(&self, key: &str, since: Timestamp, now: Timestamp) -> Option<(Duration, Duration)> {
        let entry = *self.entries.lock().get(key)?;
        if self.expired(entry, since) {
            return None;
        }
        let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        (elapsed < entry.delay).then(|| (entry.delay, entry.delay.saturating_sub(elapsed)))
    }

    /// As [`Backoff::remaining`], counted from the entry's own last change.
    pub fn remaining_since_update(&self, key: &str, now: Timestamp) -> Option<Duration> {
        let entry = *self.entries.lock().get(key)?;
        if self.expired(entry, now) {
            return None;
        }
        let elapsed = Duration::try_from(now.duration_since(entry.updated)).unwrap_or_default();
        (elapsed < entry.delay).then(|| entry.delay.saturating_sub(elapsed))
    }

    /// When `what` ended, as it was first told for this key: `at`, unless it was told before.
    pub fn ended(&self, key: &str, what: &str, at: Timestamp) -> Timestamp {
        let mut ends = self.ends.lock();
        match ends.get(key) {
            Some((known, at)) if known == what => *at,
            _ => {
                ends.insert(key.to_owned(), (what.to_owned(), at));
                at
            }
        }
    }

    /// Notes an attempt whose predecessor ended at `at`.
    pub fn next(&self, key: &str, at: Timestamp) {
        let mut entries = self.entries.lock();
        let delay = match entries.get(key) {
            Some(entry) if !self.expired(*entry, at) => (entry.delay * 2).min(self.max),
            _ => self.initial,
        };
        entries.insert(key.to_owned(), Entry { delay, updated: at });
    }

    /// Forgets every key that starts with `prefix`.
    pub fn forget(&self, prefix: &str) {
        self.entries.lock().retain(|key, _| !key.starts_with(prefix));
        self.ends.lock().retain(|key, _| !key.starts_with(prefix));
    }

    fn expired(&self, entry: Entry, at: Timestamp) -> bool {
        let quiet = Duration::try_from(at.duration_since(entry.updated)).unwrap_or_default();
        quiet > self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("small number")
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_make_the_wait_longer() {
        let backoff = Backoff::upstream();
        let mut waits = Vec::new();
        // The container ended at 1000 by the node's clock, which is then set back to 100.
        for (wall, steady) in [(1000, 1000), (105, 1005), (110, 1010)] {
            let since = backoff.ended("a", "id", crate::steady::of(at(1000), at(wall), at(steady)));
            if wall == 1000 {
                backoff.next("a", since);
            }
            waits.push(backoff.remaining("a", since, at(steady)).map(|(_, left)| left.as_secs()));
        }
        assert_eq!(waits, [Some(10), Some(5), None]);
        assert_eq!(backoff.ended("a", "next", at(1012)), at(1012));
        backoff.forget("a");
        assert_eq!(backoff.ended("a", "next", at(1013)), at(1013));
    }

    #[test]
    fn a_lower_maximum_is_remembered_as_long() {
        let backoff = Backoff::of_crashes(Duration::from_secs(5));
        backoff.next("a", at(0));
        backoff.next("a", at(600));
        assert_eq!(backoff.remaining("a", at(600), at(600)).map(|(delay, _)| delay.as_secs()), Some(5));
        let backoff = Backoff::of_crashes(Duration::from_secs(15));
        backoff.next("a", at(0));
        assert_eq!(backoff.remaining("a", at(0), at(0)).map(|(delay, _)| delay.as_secs()), Some(10));
        backoff.next("a", at(599));
        assert_eq!(backoff.remaining("a", at(599), at(599)).map(|(delay, _)| delay.as_secs()), Some(15));
        backoff.next("a", at(1200));
        assert_eq!(backoff.remaining("a", at(1200), at(1200)).map(|(delay, _)| delay.as_secs()), Some(10));
    }

    #[test]
    fn doubles_to_the_maximum_and_starts_over_after_silence() {
        let backoff = Backoff::upstream();
        assert_eq!(backoff.remaining("a", at(0), at(0)), None);
        let mut seen = Vec::new();
        let mut now = 0;
        for _ in 0..7 {
            backoff.next("a", at(now));
            let (delay, _) = backoff.remaining("a", at(now), at(now)).expect("in back-off");
            seen.push(delay.as_secs());
            now += i64::try_from(delay.as_secs()).expect("small");
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.remaining("a", at(now), at(now + 300)), None);
        backoff.next("a", at(now + 901));
        assert_eq!(
            backoff.remaining("a", at(now + 901), at(now + 905)),
            Some((Duration::from_secs(10), Duration::from_secs(6)))
        );
    }
}
