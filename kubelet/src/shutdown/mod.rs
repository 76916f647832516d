//! Graceful node shutdown: logind tells that the machine goes down and waits, pods are stopped in the order of
//! [`plan`], and then logind may go on. Without settings for it nothing of this runs.

pub mod logind;
pub mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daemon::metrics::{self, FloatGauge};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;
use crate::status::Eviction;
use logind::{Logind, LogindError};
use plan::{Period, Step};

/// logind is asked for again that long after it could not be followed.
const AGAIN: Duration = Duration::from_secs(30);
/// How often pods are looked at whose end is waited for.
const LOOK: Duration = Duration::from_millis(200);
/// COMPAT: upstream's file below the root directory.
const STATE: &str = "graceful_node_shutdown_state";

struct Times {
    start: FloatGauge,
    end: FloatGauge,
}

static TIMES: LazyLock<Times> = LazyLock::new(|| {
    let registry = metrics::global();
    Times {
        start: registry.gauge(
            "kubelet_graceful_shutdown_start_time_seconds",
            "Last graceful shutdown start time since unix epoch in seconds",
        ),
        end: registry.gauge(
            "kubelet_graceful_shutdown_end_time_seconds",
            "Last graceful shutdown end time since unix epoch in seconds",
        ),
    }
});

/// Whether the machine is about to go down.
#[derive(Debug, Default)]
pub struct Ending(AtomicBool);

impl Ending {
    /// It is.
    pub fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Follows logind, where the settings ask for it.
pub fn start(kubelet: &Arc<Kubelet>) {
    let periods = kubelet.config.shutdown_periods().unwrap_or_default();
    if periods.is_empty() {
        return;
    }
    show_last(&kubelet.root.join(STATE));
    let (sender, words) = mpsc::unbounded_channel();
    let wanted = plan::requested(&periods);
    tokio::spawn(follow(wanted, sender));
    tokio::spawn(run(Arc::clone(kubelet), periods, words));
}

/// What is heard: whether a shutdown begins, and the lock that holds it.
struct Word {
    begins: bool,
    lock: Option<std::os::fd::OwnedFd>,
}

async fn follow(wanted: Duration, words: mpsc::UnboundedSender<Word>) {
    let mut told = false;
    while !words.is_closed() {
        let Err(error) = listen(wanted, &words).await else { return };
        // Once: a machine without logind stays without it.
        if told {
            tracing::debug!(%error, "cannot follow the machine's shutdown");
        } else {
            tracing::error!(%error, "Failed to start node shutdown manager");
        }
        told = true;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn listen(wanted: Duration, words: &mpsc::UnboundedSender<Word>) -> Result<(), LogindError> {
    let mut logind = Logind::open(wanted).await?;
    let mut lock = Some(logind.lock().await?);
    tracing::info!(?wanted, "following the machine's shutdown");
    loop {
        let begins = logind.wait().await?;
        if !begins {
            lock = Some(logind.lock().await?);
        }
        // The lock goes with the word, and is released when the pods have stopped.
        let held = if begins { lock.take() } else { None };
        if words.send(Word { begins, lock: held }).is_err() {
            return Ok(());
        }
    }
}

async fn run(kubelet: Arc<Kubelet>, periods: Vec<Period>, mut words: mpsc::UnboundedReceiver<Word>) {
    while let Some(word) = words.recv().await {
        let message = match word.begins {
            true => "Shutdown manager detected shutdown event",
            false => "Shutdown manager detected shutdown cancellation",
        };
        tracing::info!(node = kubelet.node_name, message);
        kubelet.recorder.node(&kubelet.node_name, "Normal", "NodeShutdown", message);
        kubelet.shutdown.0.store(word.begins, Ordering::Relaxed);
        if word.begins {
            let started = Timestamp::now();
            record(&kubelet.root.join(STATE), started, None);
            stop_all(&kubelet, &periods).await;
            record(&kubelet.root.join(STATE), started, Some(Timestamp::now()));
            tracing::info!(node = kubelet.node_name, "pods are stopped: the machine may go down");
            drop(word.lock);
        }
    }
}

/// Stops all pods.
async fn stop_all(kubelet: &Arc<Kubelet>, periods: &[Period]) {
    let all = kubelet.workers.all();
    let active = all.iter().filter(|(_, stage)| *stage <= Stage::Terminating).map(|(pod, _)| &**pod);
    for Step { limit, pods } in plan::steps(periods, active) {
        let until = Instant::now() + limit;
        for pod in &pods {
            let message = "Pod was terminated in response to imminent node shutdown.".to_owned();
            let eviction = Eviction { reason: "Terminated".into(), message, disrupts: true };
            kubelet.workers.evict(&pod.uid, eviction, pod.grace);
        }
        // Until their volumes are free: a storage driver is among those that are stopped last.
        let left = || {
            let now = kubelet.workers.all();
            let stopping = |(pod, stage): &&(Arc<api_types::core::v1::Pod>, Stage)| {
                *stage < Stage::Done && pods.iter().any(|one| one.uid == pod.metadata.uid)
            };
            now.iter().filter(stopping).count()
        };
        while left() > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        tracing::info!(pods = pods.len(), left = left(), "a priority's pods were stopped");
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// Writes down when the machine went down, for the kubelet that comes after.
fn record(path: &PathBuf, started: Timestamp, ended: Option<Timestamp>) {
    TIMES.start.set(seconds(started));
    TIMES.end.set(ended.map_or(0.0, seconds));
    // COMPAT: Go's zero time stands for none.
    let ended = ended.map_or("0001-01-01T00:00:00Z".to_owned(), |ended| ended.to_string());
    let state = json!({"startTime": started.to_string(), "endTime": ended});
    if let Err(error) = std::fs::write(path, state.to_string()) {
        tracing::warn!(%error, path = %path.display(), "Failed to store graceful shutdown state");
    }
}

fn show_last(path: &Path) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let time = |name: &str| state.get(name)?.as_str()?.parse::<Timestamp>().ok();
    for (name, gauge) in [("startTime", &TIMES.start), ("endTime", &TIMES.end)] {
        if let Some(time) = time(name).filter(|time| *time > Timestamp::UNIX_EPOCH) {
            gauge.set(seconds(time));
        }
    }
}
