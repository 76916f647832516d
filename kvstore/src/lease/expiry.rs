//! When leases end, by this member's clock. Only the leader's is asked: nothing expires before this member
//! has been made the one whose clock counts (`promote`), and that gives every lease its full time and an
//! election's more, for the keep-alives that found no leader.

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
    /// The term that this member leads in and its clock counts.
    primary: Option<u64>,
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
        let mut deadlines = self.deadlines.lock();
        *deadlines = Deadlines { primary: deadlines.primary, ..Deadlines::default() };
        drop(deadlines);
        self.changed.notify_one();
    }

    /// From now on this member's clock counts: it leads in `term`. `leases`: id and time granted, in
    /// seconds; none may be granted or revoked meanwhile.
    pub fn promote(
        &self,
        term: u64,
        leases: impl Iterator<Item = (i64, i64)>,
        extension: Duration,
        now: Instant,
    ) {
        let mut deadlines = Deadlines { primary: Some(term), ..Deadlines::default() };
        for (lease, ttl) in leases {
            let time = Duration::from_secs(ttl.max(0) as u64).saturating_add(extension);
            if let Some(deadline) = now.checked_add(time) {
                deadlines.by_lease.insert(lease, deadline);
                deadlines.by_time.insert((deadline, lease));
            }
        }
        *self.deadlines.lock() = deadlines;
        self.changed.notify_one();
    }

    /// Another member's clock counts.
    pub fn demote(&self) {
        self.deadlines.lock().primary = None;
        self.changed.notify_one();
    }

    /// The term in which this member's clock counts.
    pub fn primary(&self) -> Option<u64> {
        self.deadlines.lock().primary
    }

    /// Time that a lease has left; zero once it has ended.
    pub fn remaining(&self, lease: i64, now: Instant) -> Option<Duration> {
        self.deadlines.lock().by_lease.get(&lease).map(|deadline| deadline.saturating_duration_since(now))
    }

    /// Leases that have ended, at most `most` of them, longest ago first, and the term in which that is
    /// so: another leader may have given them more time.
    pub fn expired(&self, now: Instant, most: usize) -> Option<(u64, Vec<i64>)> {
        let deadlines = self.deadlines.lock();
        let term = deadlines.primary?;
        let ended = deadlines.by_time.iter().take_while(|(at, _)| *at <= now);
        let ended: Vec<i64> = ended.take(most).map(|(_, id)| *id).collect();
        (!ended.is_empty()).then_some((term, ended))
    }

    /// None while there is none, or another member's clock counts.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.deadlines.lock();
        deadlines.by_time.first().filter(|_| deadlines.primary.is_some()).map(|(at, _)| *at)
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
        lessor.promote(1, std::iter::empty(), Duration::ZERO, start);
        lessor.renew(1, 30, start);
        lessor.renew(2, 10, start);
        lessor.renew(3, 20, start);
        assert_eq!(lessor.expired(start, 10), None);
        let later = start + Duration::from_secs(20);
        assert_eq!(lessor.expired(later, 10), Some((1, vec![2, 3])));
        assert_eq!(lessor.expired(later, 1), Some((1, vec![2])));
        lessor.renew(2, 60, later);
        lessor.forget(3);
        assert_eq!(lessor.expired(later, 10), None);
        assert_eq!(lessor.remaining(2, later), Some(Duration::from_secs(60)));
        assert_eq!(lessor.remaining(3, later), None);
    }

    #[test]
    fn only_the_clock_that_counts_ends_leases() {
        let lessor = Lessor::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        lessor.renew(1, 10, start);
        assert_eq!(lessor.expired(at(60), 10), None);
        assert_eq!(lessor.next_deadline(), None);
        let granted = [(1, 10), (2, 20)];
        lessor.promote(7, granted.into_iter(), Duration::from_secs(1), at(60));
        assert_eq!(lessor.expired(at(70), 10), None, "its full time, and an election's");
        assert_eq!(lessor.expired(at(71), 10), Some((7, vec![1])));
        lessor.clear();
        lessor.renew(2, 20, at(60));
        assert_eq!(lessor.expired(at(90), 10), Some((7, vec![2])), "a snapshot changes nothing of it");
        lessor.demote();
        assert_eq!(lessor.expired(at(90), 10), None);
        assert_eq!(lessor.primary(), None);
    }
}
