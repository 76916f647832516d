//! When leases end, by this member's clock. Only the leader's is asked.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Deadlines of leases, ordered, and a bell for whoever waits for the next one.
#[derive(Default)]
pub struct Lessor {
    deadlines: Mutex<Deadlines>,
    changed: Notify,
}

#[derive(Default)]
struct Deadlines {
    by_lease: HashMap<i64, Instant>,
    by_time: BTreeSet<(Instant, i64)>,
}

impl Lessor {
    /// Gives a lease its full time (seconds) from `now`.
    pub fn renew(&self, lease: i64, ttl: i64, now: Instant) {
        // Deadlines that a clock cannot express are never reached.
        let Some(deadline) = now.checked_add(Duration::from_secs(ttl.max(0) as u64)) else { return };
        let mut deadlines = self.deadlines.lock();
        if let Some(before) = deadlines.by_lease.insert(lease, deadline) {
            deadlines.by_time.remove(&(before, lease));
        }
        deadlines.by_time.insert((deadline, lease));
        let is_next = deadlines.by_time.first().is_some_and(|(_, first)| *first == lease);
        drop(deadlines);
        if is_next {
            self.changed.notify_one();
        }
    }

    pub fn forget(&self, lease: i64) {
        let mut deadlines = self.deadlines.lock();
        if let Some(deadline) = deadlines.by_lease.remove(&lease) {
            deadlines.by_time.remove(&(deadline, lease));
        }
    }

    pub fn clear(&self) {
        *self.deadlines.lock() = Deadlines::default();
        self.changed.notify_one();
    }

    /// Time that a lease has left; zero once it has ended.
    pub fn remaining(&self, lease: i64, now: Instant) -> Option<Duration> {
        self.deadlines.lock().by_lease.get(&lease).map(|deadline| deadline.saturating_duration_since(now))
    }

    /// Leases that have ended, at most `most` of them, longest ago first.
    pub fn expired(&self, now: Instant, most: usize) -> Vec<i64> {
        let deadlines = self.deadlines.lock();
        deadlines.by_time.iter().take_while(|(at, _)| *at <= now).take(most).map(|(_, id)| *id).collect()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.lock().by_time.first().map(|(at, _)| *at)
    }

    /// Waits until the next deadline or until an earlier one was set.
    pub async fn wait(&self) {
        match self.next_deadline() {
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = self.changed.notified() => {}
                }
            }
            None => self.changed.notified().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ended_comes_first() {
        let lessor = Lessor::default();
        let start = Instant::now();
        lessor.renew(1, 30, start);
        lessor.renew(2, 10, start);
        lessor.renew(3, 20, start);
        assert!(lessor.expired(start, 10).is_empty());
        let later = start + Duration::from_secs(20);
        assert_eq!(lessor.expired(later, 10), [2, 3]);
        assert_eq!(lessor.expired(later, 1), [2]);
        lessor.renew(2, 60, later);
        lessor.forget(3);
        assert!(lessor.expired(later, 10).is_empty());
        assert_eq!(lessor.remaining(2, later), Some(Duration::from_secs(60)));
        assert_eq!(lessor.remaining(3, later), None);
    }
}
