//! What etcd guarantees, held against kvstore: a reference model, a validator for each guarantee, real
//! processes with a nemesis, and a deterministic simulation.
//!
//! ```text
//! traffic + watching -> recorder -> history -> validators (with the model)
//! nemesis -> members (processes)
//! ```
//! `STORE_SECONDS`, `STORE_SEED` and `STORE_SERVER` (another program, such as etcd) set up a run.

mod campaign;
mod clocks;
mod disks;
mod history;
mod members;
mod model;
mod nemesis;
mod recorder;
mod replacement;
mod simulation;
mod traffic;
mod validators;
mod watching;
mod wires;

use anyhow::Result;
use campaign::Campaign;
use disks::Mounted;
use nemesis::Fault;
use wires::Wires;

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_while_a_member_is_killed_and_paused() -> Result<()> {
    let campaign = Campaign::new(vec![Fault::Kill, Fault::KillMachine, Fault::Restart, Fault::Pause]);
    let report = campaign.run().await?;
    let faults: usize = report.faults.values().sum();
    let little = report.answered < 100 || report.revisions < 50 || faults < 2;
    anyhow::ensure!(!little, "hardly anything was done: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_while_the_disk_fills_up() -> Result<()> {
    let Some(disk) = Mounted::small(400)? else { return Ok(()) };
    let mut campaign = Campaign::new(vec![Fault::FillDisk, Fault::FillDisk, Fault::Kill]);
    campaign.disks = vec![disk];
    let report = campaign.run().await?;
    anyhow::ensure!(report.refused > 0 && report.revisions > 50, "hardly anything was done: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_while_members_are_killed_and_parted() -> Result<()> {
    let Some(wires) = Wires::laid(3)? else { return Ok(()) };
    let mut campaign = Campaign::new(vec![
        Fault::Part,
        Fault::Part,
        Fault::Kill,
        Fault::Pause,
        Fault::Restart,
        Fault::KillMachine,
    ]);
    campaign.wires = Some(wires);
    let report = campaign.run().await?;
    let faults: usize = report.faults.values().sum();
    anyhow::ensure!(report.revisions > 50 && faults > 1, "hardly anything was done: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_while_members_are_replaced_and_clocks_jump() -> Result<()> {
    let mut campaign =
        Campaign::new(vec![Fault::Replace, Fault::Replace, Fault::SkewClock, Fault::Kill, Fault::Pause]);
    campaign.members = 5;
    let report = campaign.run().await?;
    let faults: usize = report.faults.values().sum();
    anyhow::ensure!(report.revisions > 50 && faults > 1, "hardly anything was done: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_while_disks_stand_still() -> Result<()> {
    let disks: Option<Vec<Mounted>> = (0..3).map(|_| Mounted::stalling()).collect::<Result<_>>()?;
    let Some(disks) = disks else { return Ok(()) };
    let mut campaign =
        Campaign::new(vec![Fault::StallDisk, Fault::StallDisk, Fault::Kill, Fault::KillMachine]);
    campaign.members = 3;
    campaign.disks = disks;
    let report = campaign.run().await?;
    let faults: usize = report.faults.values().sum();
    anyhow::ensure!(report.revisions > 50 && faults > 1, "hardly anything was done: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_in_a_cluster_of_five() -> Result<()> {
    let Some(wires) = Wires::laid(5)? else { return Ok(()) };
    let mut campaign = Campaign::new(vec![
        Fault::Part,
        Fault::Part,
        Fault::Replace,
        Fault::KillMachine,
        Fault::Pause,
        Fault::SkewClock,
    ]);
    campaign.wires = Some(wires);
    let report = campaign.run().await?;
    let faults: usize = report.faults.values().sum();
    anyhow::ensure!(report.revisions > 50 && faults > 1, "hardly anything was done: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_under_all_faults_in_turn() -> Result<()> {
    let Some(wires) = Wires::laid(3)? else { return Ok(()) };
    // They fill up as well: they are of 1 GiB.
    let disks: Option<Vec<Mounted>> = (0..3).map(|_| Mounted::stalling()).collect::<Result<_>>()?;
    let Some(disks) = disks else { return Ok(()) };
    let mut campaign = Campaign::new(vec![
        Fault::Kill,
        Fault::KillMachine,
        Fault::Restart,
        Fault::Pause,
        Fault::Part,
        Fault::FillDisk,
        Fault::StallDisk,
        Fault::SkewClock,
        Fault::Replace,
    ]);
    campaign.wires = Some(wires);
    campaign.disks = disks;
    let report = campaign.run().await?;
    let faults: usize = report.faults.values().sum();
    anyhow::ensure!(report.revisions > 50 && faults > 1, "hardly anything was done: {report:?}");
    Ok(())
}
