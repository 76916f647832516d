//! Clocks that are not where they were: a time namespace whose monotonic clock is some days ahead of the
//! machine's. A member that is started in one, then in another, sees its clock jump, either way.
//!
//! kvstore decides by the monotonic clock alone (the wall clock's only readers are tokens' expiry, as JWT has
//! it, and the salt of a new member's id), so that the wall clock is not skewed here.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use fastrand::Rng;

pub struct Clocks(Child);

impl Clocks {
    /// `None` (which is said) where there are no time namespaces, or no right to them.
    pub fn skewed(rng: &mut Rng) -> Result<Option<Self>> {
        let ahead = rng.u64(1..900_000).to_string();
        let mut holder = Command::new("unshare")
            .args(["--time", "--monotonic", &ahead, "--boottime", &ahead, "--fork", "--kill-child"])
            .args(["sh", "-c", "echo there; exec sleep 100000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let clocks = Self(holder);
        if line.is_empty() {
            eprintln!("skipped: a clock cannot be skewed without a time namespace");
            return Ok(None);
        }
        Ok(Some(clocks))
    }

    /// The namespace's file.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/time_for_children", self.0.id())
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
