//! How long after a failure the next pod comes: ten seconds, doubled with each failure since the
//! last success, ten minutes at most.

use std::collections::HashMap;
use std::time::Duration;

use client::Key;
use jiff::Timestamp;
use parking_lot::Mutex;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// By Job.
#[derive(Debug, Default)]
pub(super) struct Backoffs(Mutex<HashMap<Key, Backoff>>);

/// Failures since the last success, and when the last of them was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    pub failures: u32,
    pub last: Option<Timestamp>,
}

impl Backoffs {
    pub(super) fn of(&self, job: &Key) -> Backoff {
        self.0.lock().get(job).copied().unwrap_or_default()
    }

    pub(super) fn set(&self, job: Key, backoff: Backoff) {
        self.0.lock().insert(job, backoff);
    }

    pub(super) fn forget(&self, job: &Key) {
        self.0.lock().remove(job);
    }
}

impl Backoff {
    /// With pods that ended since, by when they did.
    pub(super) fn with(self, succeeded: &[Timestamp], failed: &[Timestamp]) -> Self {
        let Some(success) = succeeded.iter().max() else {
            return match failed.iter().max() {
                Some(last) => Self { failures: self.failures + count(failed.len()), last: Some(*last) },
                None => self,
            };
        };
        let since: Vec<_> = failed.iter().filter(|at| *at > success).collect();
        Self { failures: count(since.len()), last: since.into_iter().max().copied() }
    }

    /// How long the next pod still has to wait.
    pub(super) fn left(self, now: Timestamp) -> Option<Duration> {
        let doublings = self.failures.checked_sub(1)?.min(16);
        let delay = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        let passed = Duration::try_from(now - self.last?).unwrap_or_default();
        delay.checked_sub(passed).filter(|left| !left.is_zero())
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn failures_add_up_and_a_success_clears_them() {
        let none = Backoff::default();
        assert_eq!(none.left(at(0)), None);
        let one = none.with(&[], &[at(100)]);
        assert_eq!(one.left(at(103)), Some(Duration::from_secs(7)));
        let three = one.with(&[], &[at(110), at(120)]);
        assert_eq!((three.failures, three.left(at(120))), (3, Some(Duration::from_secs(40))));
        assert_eq!(three.with(&[at(130)], &[at(125)]), none);
        assert_eq!(three.with(&[at(130)], &[at(125), at(131)]).failures, 1);
        let many = Backoff { failures: 60, last: Some(at(0)) };
        assert_eq!(many.left(at(0)), Some(LONGEST));
    }
}
