//! What etcd guarantees, held against kvstore: a reference model, a validator for each guarantee, real
//! processes with a nemesis.
//!
//! ```text
//! traffic + watching -> recorder -> history -> validators (with the model)
//! nemesis -> members (processes)
//! ```
//! `STORE_SECONDS`, `STORE_SEED` and `STORE_SERVER` (another program, such as etcd) set up a run.

mod campaign;
mod history;
mod members;
mod model;
mod nemesis;
mod recorder;
mod traffic;
mod validators;
mod watching;

use anyhow::Result;
use campaign::Campaign;
use nemesis::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_while_a_member_is_killed_and_paused() -> Result<()> {
    let campaign = Campaign::new(vec![Fault::Kill, Fault::KillMachine, Fault::Restart, Fault::Pause]);
    let report = campaign.run().await?;
    let faults: usize = report.faults.values().sum();
    let little = report.answered < 100 || report.revisions < 50 || faults < 2;
    anyhow::ensure!(!little, "hardly anything was done: {report:?}");
    Ok(())
}
