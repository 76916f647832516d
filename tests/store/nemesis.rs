//! What goes wrong, by dice: one fault at a time, each undone before the next.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;

use crate::clocks::Clocks;
use crate::disks::{Filler, Mounted};
use crate::members::Member;
use crate::replacement::replace;
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
    /// The disk takes nothing for up to five seconds.
    StallDisk,
    /// SIGTERM, and a new start with another time on the monotonic clock.
    SkewClock,
    /// Out of the cluster, and in again as another member without data.
    Replace,
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
            Fault::StallDisk => "stall disk",
            Fault::SkewClock => "skew clock",
            Fault::Replace => "replace",
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
        if fault == Fault::Replace {
            replace(members, n, self.rng.bool()).await?;
            *self.done.entry(fault.name()).or_default() += 1;
            return Ok(());
        }
        let member = &mut members[n];
        match fault {
            Fault::Kill => member.kill()?,
            Fault::KillMachine => {
                member.kill()?;
                if self.ours {
                    member.forget_state()?;
                }
            }
            Fault::SkewClock => {
                ensure!(member.stop()?, "{} did not end well", member.name);
                member.clocks = Clocks::skewed(&mut self.rng)?;
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
                let filler = Filler::new(member.disk(), left)?;
                self.wait(700, 2500).await;
                drop(filler);
                ensure!(member.ended()?.is_none(), "a full disk ended {}", member.name);
            }
            Fault::StallDisk => {
                let stall = Mounted::stall(member.disk())?;
                self.wait(500, 5000).await;
                drop(stall);
                ensure!(member.ended()?.is_none(), "a disk that stood still ended {}", member.name);
            }
            Fault::Replace => unreachable!("it was done above"),
        }
        if !matches!(fault, Fault::Pause | Fault::Part | Fault::FillDisk | Fault::StallDisk) {
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
