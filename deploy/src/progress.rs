//! Lines for the person at the terminal, each with the seconds since the start.

use std::time::Instant;

/// The teller of a command's progress.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
}

impl Progress {
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub fn say(&self, line: impl std::fmt::Display) {
        println!("[{:6.1}s] {line}", self.started.elapsed().as_secs_f64());
    }

    pub fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }
}
