//! The runtime that openraft runs on: tokio, with dice and blocking work that a simulation can take
//! over, and watch channels that repeat themselves. There, all members run in one thread under a paused
//! clock; with dice that are seeded and work that is done on the spot, a run follows from its seed.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use openraft::impls::TokioRuntime;
use openraft::{AsyncRuntime, OptionalSend};

use super::watched::Watched;

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
}

/// From here on, everything in this thread follows from the seed.
pub fn simulate(seed: u64) {
    fastrand::seed(seed);
    SIMULATED.set(true);
}

/// The time as timers see it: under a paused clock, not the system's.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day, to tell apart what is made at different times. Simulated, it is thrown.
pub fn since_epoch() -> Duration {
    if SIMULATED.get() {
        return Duration::from_nanos(fastrand::u64(..));
    }
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// tokio, but for dice and blocking work.
#[derive(Debug)]
pub struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Dice;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = Watched;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Dice {
        Dice
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let simulated = SIMULATED.get();
        async move {
            if simulated {
                return Ok(work());
            }
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
        }
    }
}

/// This thread's dice.
#[derive(Clone, Copy, Debug)]
pub struct Dice;

impl rand::TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(fastrand::u32(..))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(fastrand::u64(..))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        fastrand::fill(bytes);
        Ok(())
    }
}
