//! What a start finds: log, snapshot and state are put together, and checked to belong together. Either
//! everything that was acknowledged can be served, or the start is refused with what is to be done.
//!
//! ```text
//! log entries:   purged ] ………………… [ last
//! snapshot:        ……………… ]                   this or the state reaches to where the log begins
//! state:               ……………… ]               never reaches beyond both the log's end and the snapshot
//! ```

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::raft::codec::AppliedRecord;
use crate::raft::log::LogStore;
use crate::raft::{LogId, Shared};
use crate::snapshot::{SnapshotFolder, SnapshotHeader};
use crate::state::{self, StateError, StateStore, schema};

/// Where things are, for messages.
pub struct Places<'a> {
    pub log: &'a Path,
    pub snapshots: &'a Path,
}

/// Loads the state, anew if it does not load, and holds it against log and snapshot.
pub fn recover(
    log: &LogStore,
    state: Arc<dyn StateStore>,
    snapshots: SnapshotFolder,
    cluster_id: u64,
    snapshot_count: u64,
    places: Places<'_>,
) -> anyhow::Result<Arc<Shared>> {
    let load = || Shared::load(state.clone(), snapshots.clone(), cluster_id, snapshot_count);
    // sled panics on some damage.
    let shared = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(load)) {
        Ok(Ok(shared)) => shared,
        failed => {
            let error = failed.ok().and_then(Result::err).map(|error| error.to_string());
            tracing::warn!(error, "the state does not load: rebuilding it from snapshot and log");
            state::reset(state.as_ref())?;
            load()?
        }
    };
    let shared = if shared.machine.lock().applied.is_none() && holds_something(state.as_ref())? {
        // What is left of one that was being emptied or replaced: the log must not be applied on top.
        tracing::warn!("the state does not say how far it reaches: rebuilding it from snapshot and log");
        state::reset(state.as_ref())?;
        load()?
    } else {
        shared
    };
    shared.follow(log.durable());
    let applied = shared.machine.lock().applied;
    let last = log.last_log_id();
    let snapshot = snapshots.current()?.and_then(|(header, _)| applied_by(&header));
    anyhow::ensure!(
        // A snapshot that came from another member covers what the log does not say yet to be gone.
        applied <= last.max(snapshot),
        "the log in {} ends before what has been applied ({last:?} and {applied:?}): entries that were \
         acknowledged are missing. Restore this member from a snapshot",
        places.log.display(),
    );
    let purged = log.purged_log_id();
    anyhow::ensure!(
        purged <= applied.max(snapshot),
        "the log in {} begins after {purged:?}, but neither state ({applied:?}) nor snapshot ({snapshot:?}) \
         reaches that far: the snapshot in {} is missing. Restore this member from a snapshot",
        places.log.display(),
        places.snapshots.display(),
    );
    // A process that restarts often must come to its snapshots as well.
    let covered = snapshot.map_or(0, |id| id.index);
    shared.count(last.map_or(0, |last| last.index.saturating_sub(covered)), log.bytes_on_disk());
    Ok(shared)
}

fn applied_by(header: &SnapshotHeader) -> Option<LogId> {
    header.applied.as_ref().and_then(AppliedRecord::last)
}

fn holds_something(state: &dyn StateStore) -> Result<bool, StateError> {
    let mut found = false;
    state.scan(schema::ALL.0, schema::ALL.1, &mut |_, _| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
}
