//! Time as a parameter. Whatever waits or stamps takes a [`SharedClock`]; `plan.rs` files take a
//! plain `Timestamp`. [`Manual`] stands still until a test moves it, and wakes the sleepers it passes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A sleep that can be awaited from a trait object.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;
/// How components hold their clock.
pub type SharedClock = Arc<dyn Clock>;

/// Wall-clock time for stamps, monotonic time for intervals, sleeps for waiting.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// Now, for timestamps that others read. May jump.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment, for measuring. Never goes back.
    fn monotonic(&self) -> Duration;
    /// Resolves once `duration` has passed.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The machine's clock.
#[derive(Debug)]
pub struct System {
    started: Instant,
}

impl System {
    pub fn shared() -> SharedClock {
        Arc::new(Self { started: Instant::now() })
    }
}

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that only [`Manual::advance`] moves.
#[derive(Debug)]
pub struct Manual {
    start: Timestamp,
    state: Mutex<ManualState>,
}

#[derive(Debug, Default)]
struct ManualState {
    elapsed: Duration,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
}

impl Manual {
    pub fn new(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { start, state: Mutex::default() })
    }

    /// Moves time on and wakes every sleeper whose moment has come, earliest first.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.elapsed += by;
        let now = state.elapsed;
        state.sleepers.sort_by_key(|(at, _)| *at);
        let due = state.sleepers.partition_point(|(at, _)| *at <= now);
        for (_, wake) in state.sleepers.drain(..due) {
            // A sleeper that was dropped has no one to wake.
            let _ = wake.send(());
        }
    }

    /// How many sleeps are pending: lets a test wait until its subject has gone to sleep.
    pub fn sleepers(&self) -> usize {
        self.state.lock().sleepers.iter().filter(|(_, s)| !s.is_closed()).count()
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        self.start + jiff::SignedDuration::try_from(self.monotonic()).expect("tests advance by sane amounts")
    }
    fn monotonic(&self) -> Duration {
        self.state.lock().elapsed
    }
    fn sleep(&self, duration: Duration) -> Sleep {
        let mut state = self.state.lock();
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        let at = state.elapsed + duration;
        state.sleepers.push((at, wake));
        Box::pin(async move {
            if woken.await.is_err() {
                // The clock is gone: nothing can wake us any more.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_clock_wakes_only_those_it_passes() {
        let clock = Manual::new(Timestamp::UNIX_EPOCH);
        let short = tokio::spawn(clock.sleep(Duration::from_secs(1)));
        let long = tokio::spawn(clock.sleep(Duration::from_secs(10)));
        clock.advance(Duration::from_secs(5));
        short.await.unwrap();
        assert!(!long.is_finished());
        assert_eq!(clock.sleepers(), 1);
        assert_eq!(clock.now().as_second(), 5);
        clock.advance(Duration::from_secs(5));
        long.await.unwrap();
    }

    #[test]
    fn system_clock_does_not_go_back() {
        let clock = System::shared();
        let a = clock.monotonic();
        assert!(clock.monotonic() >= a);
    }
}
