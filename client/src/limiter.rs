//! A token bucket: `--kube-api-qps` requests a second on average, `--kube-api-burst` at once.
//! The arithmetic is pure ([`Bucket`]); waiting is the caller's.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two lines about long waits (client-go's).
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Tokens that refill with time.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    /// When `tokens` was true, since some fixed moment.
    at: Duration,
}

impl Bucket {
    /// A full bucket. `per_second` must be above 0.
    pub fn new(per_second: f64, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_second, burst, tokens: burst, at: Duration::ZERO }
    }

    /// Takes one token, perhaps ahead of time: how long to wait before using it.
    pub fn reserve(&mut self, now: Duration) -> Duration {
        self.refill(now);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.tokens / self.per_second)
        }
    }

    /// Takes one token if there is one now.
    pub fn try_take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.at = self.at.max(now);
    }
}

/// A bucket that requests wait for; without one, nobody waits.
#[derive(Debug)]
pub(crate) struct Limiter {
    started: Instant,
    bucket: Option<Mutex<Bucket>>,
    /// When a long wait was last told.
    told: Mutex<Option<Instant>>,
}

impl Limiter {
    pub(crate) fn new(qps: f64, burst: u32) -> Self {
        let bucket = (qps > 0.0).then(|| Mutex::new(Bucket::new(qps, burst)));
        Self { started: Instant::now(), bucket, told: Mutex::default() }
    }

    /// Whether a long wait is worth a line: once a second, however many wait.
    pub(crate) fn may_tell(&self) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock();
        let may = told.is_none_or(|last| now.duration_since(last) >= TELL_EVERY);
        if may {
            *told = Some(now);
        }
        may
    }

    pub(crate) fn limits(&self) -> bool {
        self.bucket.is_some()
    }

    /// Waits for a token; tells how long that took.
    pub(crate) async fn wait(&self) -> Duration {
        let Some(bucket) = &self.bucket else { return Duration::ZERO };
        let wait = bucket.lock().reserve(self.started.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_requests_are_spaced() {
        let mut bucket = Bucket::new(10.0, 2);
        let now = Duration::from_secs(5);
        assert_eq!(bucket.reserve(now), Duration::ZERO);
        assert_eq!(bucket.reserve(now), Duration::ZERO);
        assert_eq!(bucket.reserve(now), Duration::from_millis(100));
        assert_eq!(bucket.reserve(now), Duration::from_millis(200));
        assert!(!bucket.try_take(now));
        assert!(bucket.try_take(now + Duration::from_secs(1)));
    }
}
