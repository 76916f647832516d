//! What goes wrong, by dice: one fault at a time, each undone before the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;

use crate::members::Member;
use crate::wires::Wires;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGKILL, and a new start at which nothing is trusted that was not synced.
    KillMachine,
    /// SIGTERM, and a new start.
    Restart,
    /// SIGSTOP, and SIGCONT after up to two seconds.
    Pause,
    /// Some members do not hear the others.
    Part,
    /// Someone else takes what is free of the disk, for a while.
    FillDisk,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::KillMachine => "kill machine",
            Fault::Restart => "restart",
            Fault::Pause => "pause",
            Fault::Part => "part",
            Fault::FillDisk => "fill disk",
        }
    }
}

pub struct Nemesis {
    faults: Vec<Fault>,
    rng: Rng,
    /// The store is kvstore: its own files can be meddled with.
    ours: bool,
    pub done: BTreeMap<&'static str, usize>,
}

impl Nemesis {
    pub fn new(faults: Vec<Fault>, rng: Rng, ours: bool) -> Self {
        Self { faults, rng, ours, done: BTreeMap::new() }
    }

    /// Waits a little, does one thing, and undoes it.
    pub async fn strike(&mut self, members: &mut [Member], wires: Option<&Wires>) -> Result<()> {
        self.wait(200, 1200).await;
        let Some(fault) = self.rng.choice(&self.faults).copied() else { return Ok(()) };
        let n = self.rng.usize(..members.len());
        let count = members.len();
        let member = &mut members[n];
        match fault {
            Fault::Kill => member.kill()?,
            Fault::KillMachine => {
                member.kill()?;
                if self.ours {
                    member.forget_state()?;
                }
            }
            Fault::Restart => ensure!(member.stop()?, "{} did not end well", member.name),
            Fault::Pause => {
                member.signal("STOP")?;
                self.wait(50, 2000).await;
                member.signal("CONT")?;
            }
            Fault::Part => {
                let Some(wires) = wires else { return Ok(()) };
                let side: Vec<usize> = (0..count).filter(|_| self.rng.bool()).collect();
                wires.part(&side)?;
                self.wait(300, 4000).await;
                wires.heal();
            }
            Fault::FillDisk => {
                // From nearly nothing to where only deletions pass.
                let left = self.rng.u64(10..120) << 20;
                let filler = Filler::new(member.folder(), left)?;
                self.wait(700, 2500).await;
                drop(filler);
                ensure!(member.ended()?.is_none(), "a full disk ended {}", member.name);
            }
        }
        if !matches!(fault, Fault::Pause | Fault::Part | Fault::FillDisk) {
            self.wait(0, 300).await;
            member.start()?;
            member.ready().await?;
        }
        *self.done.entry(fault.name()).or_default() += 1;
        Ok(())
    }

    async fn wait(&mut self, least: u64, most: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(least..most))).await;
    }
}

/// A file that takes room; gone when dropped.
struct Filler(PathBuf);

impl Filler {
    /// Leaves so many bytes of the folder's file system.
    fn new(folder: &Path, left: u64) -> Result<Self> {
        let filler = Self(folder.join("filler"));
        let df = Command::new("df").args(["--block-size=1", "--output=avail"]).arg(folder).output()?;
        let text = String::from_utf8(df.stdout)?;
        let free: u64 = text.lines().nth(1).context("df says what is free")?.trim().parse()?;
        if free > left {
            let length = (free - left).to_string();
            Command::new("fallocate").args(["--length", &length]).arg(&filler.0).status()?;
        }
        Ok(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // Not there when there was nothing to take.
        std::fs::remove_file(&self.0).ok();
    }
}

/// A small disk of its own, in memory; gone when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` (which is said) without the right to mount.
    pub fn mounted(megabytes: u64) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(folder.path())
            .output()?;
        if !mount.status.success() {
            eprintln!("skipped: a disk cannot be mounted: {}", String::from_utf8_lossy(&mount.stderr));
            return Ok(None);
        }
        Ok(Some(Self(folder)))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}
