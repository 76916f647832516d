//! Runs scripts with `nft`, and remembers what the table holds: the first run and the one after an
//! error make the table anew, all others change what differs. Both are single transactions, so that
//! no packet ever meets half a table.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::ruleset::{Ruleset, TABLE, delete_chains_script};
use crate::state::Family;

/// How long a chain that nothing refers to stays (kernels before 6.2 notice late).
pub const STALE_FOR: Duration = Duration::from_secs(1);

/// Why a script did not take effect.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    #[error("cannot run nft (is the package nftables installed?)")]
    Run(#[source] std::io::Error),
    #[error("nft refused: {}", .0.trim())]
    Refused(String),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The table was made anew.
    Full,
    /// Differences were written.
    Partial,
    /// There were none.
    Nothing,
}

/// The table of one family in the kernel.
#[derive(Debug)]
pub struct Table {
    family: Family,
    /// What it holds; `None` when that is not known.
    current: Option<Ruleset>,
    /// Empty chains and when they became so.
    stale: Vec<(String, Duration)>,
}

impl Table {
    pub fn new(family: Family) -> Self {
        Self { family, current: None, stale: Vec::new() }
    }

    /// Makes the kernel's table the given one. `now` counts from some fixed moment.
    ///
    /// # Errors
    /// Then the kernel has what it had before, and the next call makes the table anew.
    pub async fn apply(&mut self, desired: Ruleset, now: Duration) -> Result<Applied, NftError> {
        let Some(current) = self.current.take() else {
            run(&desired.replace_script()).await?;
            self.stale.clear();
            self.current = Some(desired);
            return Ok(Applied::Full);
        };
        self.delete_stale(&desired, now).await?;
        let (script, stale) = desired.update_script(&current);
        let applied = if script.is_empty() {
            Applied::Nothing
        } else {
            // Chains that are used again exist already: adding them anew changes nothing.
            run(&script).await?;
            Applied::Partial
        };
        self.stale.extend(stale.into_iter().map(|chain| (chain, now)));
        self.current = Some(desired);
        Ok(applied)
    }

    async fn delete_stale(&mut self, desired: &Ruleset, now: Duration) -> Result<(), NftError> {
        self.stale.retain(|(chain, _)| !desired.chains.contains_key(chain));
        let (due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.stale).into_iter().partition(|(_, since)| now >= *since + STALE_FOR);
        self.stale = rest;
        if due.is_empty() {
            return Ok(());
        }
        let chains: Vec<String> = due.into_iter().map(|(chain, _)| chain).collect();
        run(&delete_chains_script(self.family, &chains)).await
    }

    /// Whether empty chains wait for their deletion.
    pub fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Looks whether the table is still there: other tools may flush all rules. If it is gone the
    /// next `apply` makes it anew.
    pub async fn check(&mut self) -> bool {
        let ip = Ruleset::empty(self.family).ip();
        // Terse: without elements.
        let there = nft(&["-t", "list", "chain", ip, TABLE, "services"], "").await.is_ok();
        if !there {
            self.current = None;
        }
        there
    }
}

/// Whether the kernel does NAT in a family. Only looks.
///
/// # Errors
/// Why it does not.
pub async fn supported(family: Family) -> Result<(), NftError> {
    let ip = Ruleset::empty(family).ip();
    let script = format!(
        "add table {ip} {TABLE}\nadd chain {ip} {TABLE} probe {{ type nat hook output priority -100 ; }}\n"
    );
    nft(&["--check", "-f", "-"], &script).await
}

/// Removes the table of a family, if it is there.
///
/// # Errors
/// When nft cannot be run or refuses.
pub async fn cleanup(family: Family) -> Result<(), NftError> {
    let ip = Ruleset::empty(family).ip();
    run(&format!("add table {ip} {TABLE}\ndelete table {ip} {TABLE}\n")).await
}

async fn run(script: &str) -> Result<(), NftError> {
    nft(&["-f", "-"], script).await
}

async fn nft(arguments: &[&str], input: &str) -> Result<(), NftError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that ends early says why on stderr.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(NftError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    Err(NftError::Refused(String::from_utf8_lossy(&output.stderr).into_owned()))
}
