//! Running a program and judging how it ended; waiting for what takes a while.

use anyhow::{Result, bail, ensure};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    command: String,
    /// Exit code; -1 when a signal ended it or it could not be started.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// What it printed, if it exited 0.
    pub fn succeeds(self) -> Result<String> {
        ensure!(self.status == 0, "{} exited {}:\n{}{}", self.command, self.status, self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// Everything it printed, if it failed and said `text`.
    pub fn fails_with(self, text: &str) -> Result<String> {
        let all = self.text();
        ensure!(self.status != 0, "{} succeeded:\n{all}", self.command);
        ensure!(all.contains(text), "{} failed without saying {text:?}:\n{all}", self.command);
        Ok(all)
    }

    /// What it printed, if it exited 0 and said all of `texts`.
    pub fn says(self, texts: &[&str]) -> Result<String> {
        let out = self.succeeds()?;
        for text in texts {
            ensure!(out.contains(text), "{text:?} is missing in:\n{out}");
        }
        Ok(out)
    }

    /// Both streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end.
pub fn run(mut command: Command, input: &str) -> Outcome {
    let shown = format!("{command:?}");
    let failed = |error: std::io::Error| Outcome {
        command: shown.clone(),
        status: -1,
        stdout: String::new(),
        stderr: error.to_string(),
    };
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let mut child = match command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return failed(error),
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A program that exits without reading its input is judged by its status.
        let _: std::io::Result<()> = stdin.write_all(input.as_bytes());
    }
    match child.wait_with_output() {
        Ok(output) => Outcome {
            command: shown,
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => failed(error),
    }
}

/// Asks again until the answer is yes; fails after `seconds`.
pub fn eventually(what: &str, seconds: u64, mut check: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = check();
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(seconds) {
            match answer {
                Ok(_) => bail!("not within {seconds} s: {what}"),
                Err(error) => return Err(error.context(format!("not within {seconds} s: {what}"))),
            }
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}
