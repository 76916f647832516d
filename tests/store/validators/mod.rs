//! One validator for each guarantee that etcd publishes, over a recorded history.
//!
//! | guarantee | file |
//! | --- | --- |
//! | writes are linearizable, none that was acknowledged is lost, transactions are atomic | `linearizability` |
//! | a watch is ordered, atomic, without gap or duplicate, and resumes | `watches` |
//! | a lease ends, not before its time, and its keys at one revision | `leases` |
//! | history is readable from the compacted revision on and refused before it | `compaction` |

pub mod compaction;
pub mod leases;
pub mod linearizability;
#[cfg(test)]
mod tests;
pub mod watches;

use super::history::{History, Violation};
use linearizability::Timeline;

/// Holds a history against every guarantee.
pub fn check(history: &History) -> Result<Timeline, Violation> {
    let timeline = linearizability::check(history)?;
    watches::check(history, &timeline)?;
    leases::check(history, &timeline)?;
    compaction::check(history)?;
    Ok(timeline)
}
