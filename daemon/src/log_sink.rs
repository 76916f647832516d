//! Whether log lines still get out. Every line of the process goes through stderr's lock: a reader
//! that has stopped reading (a full pipe) blocks whoever holds it, and then everybody. The check
//! behind upstream's `log` takes that lock and flushes, and fails when it does not get it in time.
//!
//! At most one thread waits for a sink that is stuck, however often it is asked.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a flush may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where lines go, as a health check sees it; clones share the flush that is under way.
#[derive(Clone)]
pub struct LogSink {
    flush: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
    /// Since when a flush has been under way.
    flushing: Arc<Mutex<Option<Instant>>>,
    patience: Duration,
}

impl LogSink {
    /// The one that [`crate::logging::init`] installs.
    pub fn stderr() -> Self {
        Self::new(|| io::stderr().lock().flush(), PATIENCE)
    }

    fn new(flush: impl Fn() -> io::Result<()> + Send + Sync + 'static, patience: Duration) -> Self {
        Self { flush: Arc::new(flush), flushing: Arc::default(), patience }
    }

    /// Flushes, or looks at the flush that is under way.
    ///
    /// # Errors
    /// Why lines do not get out.
    pub async fn check(&self) -> Result<(), String> {
        let stuck = || Err("logging blocked".to_owned());
        {
            let mut flushing = self.flushing.lock();
            if let Some(since) = *flushing {
                return if since.elapsed() > self.patience { stuck() } else { Ok(()) };
            }
            *flushing = Some(Instant::now());
        }
        let this = self.clone();
        let flushed = tokio::task::spawn_blocking(move || {
            let flushed = (this.flush)();
            *this.flushing.lock() = None;
            flushed
        });
        match tokio::time::timeout(self.patience, flushed).await {
            Ok(Ok(flushed)) => flushed.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => stuck(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stderr_takes_lines() {
        assert_eq!(LogSink::stderr().check().await, Ok(()));
    }

    #[tokio::test]
    async fn an_error_is_told_and_the_next_flush_counts() {
        let first = Mutex::new(true);
        let flush = move || match std::mem::take(&mut *first.lock()) {
            true => Err(io::Error::other("no space")),
            false => Ok(()),
        };
        let sink = LogSink::new(flush, PATIENCE);
        assert_eq!(sink.check().await, Err("no space".to_owned()));
        assert_eq!(sink.check().await, Ok(()));
    }

    #[tokio::test]
    async fn a_sink_that_is_stuck_fails_until_it_is_read_again() {
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        let flush = move || held.lock().recv().map_err(io::Error::other);
        let sink = LogSink::new(flush, Duration::from_millis(10));
        assert_eq!(sink.check().await, Err("logging blocked".to_owned()));
        assert_eq!(sink.check().await, Err("logging blocked".to_owned()));
        // The flush that waits, and the next one.
        let_go.send(()).unwrap();
        let_go.send(()).unwrap();
        while sink.flushing.lock().is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(sink.check().await, Ok(()));
    }
}
