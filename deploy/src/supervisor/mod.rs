//! The process that keeps a cluster's daemons running, started by `up` and living on without it.
//! One [`keeper`] per daemon restarts it with back-off; [`plan`] decides the delays and, when `up`
//! runs again (SIGHUP), which daemons changed and must be restarted. SIGTERM stops all, last started first.
//! It holds a lock for as long as it lives: two supervisors of one folder cannot be.

mod keeper;
mod plan;
mod status;

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use daemon::shutdown::Shutdown;
use daemon::signals;
use rustix::fs::{FlockOperation, flock};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::daemons::{self, Daemon};
use crate::host::processes::{self, Identity};
use crate::layout::Layout;
use plan::Fingerprint;

pub use status::Status;

/// The supervisor of a cluster, if one runs.
pub fn running(layout: &Layout) -> Option<Identity> {
    processes::from_pid_file(&layout.pid_file("supervisor"))
}

/// Ends daemons whose supervisor died before them. Their containers live on.
pub fn end_orphans(layout: &Layout) {
    for name in daemons::NAMES.iter().rev() {
        if let Some(orphan) = processes::from_pid_file(&layout.pid_file(name)) {
            orphan.end(keeper::PATIENCE);
        }
    }
}

/// Supervises until SIGTERM.
pub async fn run(cluster: Cluster) -> anyhow::Result<()> {
    // Leaves the terminal's session. Fails when we lead a group, as under a debugger; then we stay.
    let _ = rustix::process::setsid();
    daemon::logging::init(daemon::logging::Format::Text, 2);
    let layout = Arc::new(cluster.layout.clone());
    let lock = File::create(layout.lock()).context("cannot make the lock file")?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another supervisor holds {}", layout.lock().display());
    }
    let us = Identity::of(std::process::id() as i32).context("cannot read /proc/self/stat")?;
    std::fs::write(layout.pid_file("supervisor"), serde_json::to_vec(&us)?)?;
    end_orphans(&layout);

    let shutdown = Shutdown::on_signals()?;
    let mut reloads = signals::hangups()?;
    let status = Arc::new(status::Board::new(layout.status()));
    let mut kept: Vec<Kept> = Vec::new();
    apply(&mut kept, daemons::table(&layout, &cluster.settings), &layout, &status).await;
    while shutdown.unless(reloads.recv()).await.is_some() {
        match Cluster::open(layout.dir()) {
            Ok(cluster) => {
                apply(&mut kept, daemons::table(&layout, &cluster.settings), &layout, &status).await
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "Cannot read the changed settings"),
        }
    }
    for kept in kept.into_iter().rev() {
        kept.stop().await;
    }
    tracing::info!("All daemons stopped");
    std::fs::remove_file(layout.pid_file("supervisor"))?;
    Ok(())
}

/// A daemon and the task that keeps it.
struct Kept {
    fingerprint: Fingerprint,
    stop: Shutdown,
    task: JoinHandle<()>,
}

impl Kept {
    async fn stop(self) {
        self.stop.trigger();
        if let Err(error) = self.task.await {
            tracing::error!(daemon = self.fingerprint.name, %error, "Keeper failed");
        }
    }
}

/// Brings what runs to what should: restarts the changed, leaves the others.
async fn apply(kept: &mut Vec<Kept>, wanted: Vec<Daemon>, layout: &Arc<Layout>, status: &Arc<status::Board>) {
    let prints: Vec<Fingerprint> = wanted.iter().map(status::fingerprint).collect();
    let running: Vec<Fingerprint> = kept.iter().map(|k| k.fingerprint.clone()).collect();
    let changed = plan::changed(&running, &prints);
    for name in changed.iter().rev() {
        if let Some(position) = kept.iter().position(|k| k.fingerprint.name == *name) {
            tracing::info!(daemon = name, "Restarting: its program, flags or files have changed");
            kept.remove(position).stop().await;
        }
    }
    for (daemon, fingerprint) in wanted.into_iter().zip(prints) {
        if kept.iter().any(|k| k.fingerprint.name == daemon.name) {
            continue;
        }
        let stop = Shutdown::new();
        let task = tokio::spawn(keeper::keep(daemon, layout.clone(), status.clone(), stop.clone()));
        kept.push(Kept { fingerprint, stop, task });
    }
    let order = |name: &str| daemons::NAMES.iter().position(|n| *n == name);
    kept.sort_by_key(|k| order(k.fingerprint.name));
}
