//! What goes wrong, by dice: one fault at a time, each undone before the next.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;

use crate::members::Member;

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
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::KillMachine => "kill machine",
            Fault::Restart => "restart",
            Fault::Pause => "pause",
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
    pub async fn strike(&mut self, members: &mut [Member]) -> Result<()> {
        self.wait(200, 1200).await;
        let Some(fault) = self.rng.choice(&self.faults).copied() else { return Ok(()) };
        let n = self.rng.usize(..members.len());
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
        }
        if fault != Fault::Pause {
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
