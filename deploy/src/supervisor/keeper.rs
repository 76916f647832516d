//! Keeping one daemon: start it, wait for its end, start it again. Executes what plan.rs decides.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use daemon::shutdown::Shutdown;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::plan;
use super::status::{Board, DaemonStatus};
use crate::daemons::Daemon;
use crate::host::processes::Identity;
use crate::layout::Layout;

/// How long a daemon may take to stop before it is killed.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long to hold back a first start for what should listen before it.
const PREDECESSOR: Duration = Duration::from_secs(30);
/// A log of this size is set aside before a start.
const LOG_BYTES: u64 = 64 << 20;

/// Keeps `daemon` running until `stop`.
pub async fn keep(daemon: Daemon, layout: Arc<Layout>, board: Arc<Board>, stop: Shutdown) {
    let mut status = DaemonStatus::new(daemon.name);
    board.put(&status);
    if let Some(address) = daemon.after {
        let opened = async { tokio::time::timeout(PREDECESSOR, open(address)).await };
        if stop.unless(opened).await.is_none() {
            return;
        }
    }
    loop {
        let started = Instant::now();
        let exit = match start(&daemon, &layout) {
            Ok(mut child) => {
                status.process = child.id().and_then(|pid| Identity::of(pid as i32));
                status.since = Timestamp::now();
                record(&layout, &status);
                board.put(&status);
                tracing::info!(daemon = daemon.name, pid = child.id(), "Started");
                match stop.unless(child.wait()).await {
                    Some(exit) => exit.map_or_else(|e| e.to_string(), |s| s.to_string()),
                    None => {
                        end(&daemon, child).await;
                        status.process = None;
                        record(&layout, &status);
                        board.put(&status);
                        return;
                    }
                }
            }
            Err(error) => format!("{error:#}"),
        };
        // Taken away with the looking: it speaks of this end only.
        let asked = std::fs::remove_file(layout.asked_to_end(daemon.name)).is_ok();
        status.failures = plan::failures(status.failures, started.elapsed(), asked);
        status.restarts += 1;
        status.process = None;
        status.since = Timestamp::now();
        record(&layout, &status);
        let delay = plan::delay(status.failures);
        tracing::warn!(daemon = daemon.name, exit, failures = status.failures, delay = ?delay, "Stopped");
        status.last_exit = Some(exit);
        board.put(&status);
        if stop.unless(tokio::time::sleep(delay)).await.is_none() {
            return;
        }
    }
}

/// Returns once something listens.
async fn open(address: SocketAddr) {
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn start(daemon: &Daemon, layout: &Layout) -> anyhow::Result<Child> {
    let log = log_file(&layout.log(daemon.name))?;
    Command::new(&daemon.program)
        .args(&daemon.args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Its own group: what a terminal or a shell sends to ours does not reach it.
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .with_context(|| format!("cannot start {}", daemon.program.display()))
}

fn log_file(path: &Path) -> anyhow::Result<File> {
    if std::fs::metadata(path).is_ok_and(|m| m.len() > LOG_BYTES) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn record(layout: &Layout, status: &DaemonStatus) {
    let file = layout.pid_file(&status.name);
    let written = match &status.process {
        Some(process) => std::fs::write(file, serde_json::to_vec(process).expect("plain data")),
        None => std::fs::remove_file(file).or(Ok(())),
    };
    if let Err(error) = written {
        tracing::warn!(daemon = status.name, %error, "Cannot write the pid file");
    }
}

async fn end(daemon: &Daemon, mut child: Child) {
    if let Some(process) = child.id().and_then(|pid| Identity::of(pid as i32)) {
        process.signal(Signal::SIGTERM);
    }
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(exit) => {
            let exit = exit.map_or_else(|e| e.to_string(), |s| s.to_string());
            tracing::info!(daemon = daemon.name, exit, "Stopped on request");
        }
        Err(_) => {
            tracing::warn!(daemon = daemon.name, "Killed: it did not stop in time");
            // Err means that it has ended after all.
            let _ = child.kill().await;
        }
    }
}
