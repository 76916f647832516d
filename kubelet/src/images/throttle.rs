//! How many pulls may begin: `registryPullQPS` and `registryBurst`.

use std::time::Instant;

use parking_lot::Mutex;

/// A bucket that fills with time.
#[derive(Debug)]
pub struct Throttle {
    per_second: f64,
    burst: f64,
    state: Mutex<Option<(f64, Instant)>>,
}

impl Throttle {
    /// A full bucket; 0 a second is no limit.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: per_second.into(), burst: burst.into(), state: Mutex::default() }
    }

    /// Takes one, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let mut state = self.state.lock();
        let (left, since) = state.unwrap_or((self.burst, now));
        let gained = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
        let left = (left + gained).min(self.burst);
        let taken = left >= 1.0;
        *state = Some((if taken { left - 1.0 } else { left }, now));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let start = Instant::now();
        let throttle = Throttle::new(2, 3);
        let taken = |milliseconds| throttle.take(start + Duration::from_millis(milliseconds));
        assert_eq!(
            [0, 0, 0, 0, 499, 500, 500, 1000].map(taken),
            [true, true, true, false, false, true, false, true]
        );
        let all = Throttle::new(0, 0);
        assert!((0..100).all(|_| all.take(start)));
    }
}
