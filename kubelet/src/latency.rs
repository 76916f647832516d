//! How long turns of pods, their starts and listings of the runtime take: the histograms that
//! dashboards and alerts of kubelets read, under upstream's names.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use daemon::metrics::{self, FloatGauge, Histogram, HistogramVec};
use parking_lot::Mutex;

use crate::pod_worker::Stage;

/// Prometheus' own default.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const START_SECONDS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];

struct Latencies {
    turn: HistogramVec,
    first_turn: Histogram,
    start: Histogram,
    listing: Histogram,
    between: Histogram,
    last: Mutex<Option<Instant>>,
    seen: FloatGauge,
}

static LATENCIES: LazyLock<Latencies> = LazyLock::new(|| {
    let all = metrics::global();
    Latencies {
        turn: all.histogram_vec(
            "kubelet_pod_worker_duration_seconds",
            "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync",
            &["operation_type"],
            &SECONDS,
        ),
        first_turn: all.histogram(
            "kubelet_pod_worker_start_duration_seconds",
            "Duration in seconds from kubelet seeing a pod to starting a worker.",
            &SECONDS,
        ),
        start: all.histogram(
            "kubelet_pod_start_duration_seconds",
            "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
            &START_SECONDS,
        ),
        listing: all.histogram(
            "kubelet_pleg_relist_duration_seconds",
            "Duration in seconds for relisting pods in PLEG.",
            &SECONDS,
        ),
        between: all.histogram(
            "kubelet_pleg_relist_interval_seconds",
            "Interval in seconds between relisting in PLEG.",
            &SECONDS,
        ),
        last: Mutex::new(None),
        seen: all.gauge(
            "kubelet_pleg_last_seen_seconds",
            "Timestamp in seconds when PLEG was last seen active.",
        ),
    }
});

/// What a turn is called. COMPAT: an update of a pod is not told from another look at it.
fn operation(stage: Stage, first: bool) -> &'static str {
    match (stage, first) {
        (Stage::Syncing, true) => "create",
        (Stage::Syncing, false) => "sync",
        (Stage::Terminating, _) => "kill",
        _ => "terminated",
    }
}

/// A pod had a turn.
pub fn turned(stage: Stage, first: bool, took: Duration) {
    LATENCIES.turn.with_label_values(&[operation(stage, first)]).observe(took.as_secs_f64());
}

/// A pod got its first turn.
pub fn began(since_seen: Duration) {
    LATENCIES.first_turn.observe(since_seen.as_secs_f64());
}

/// A pod runs.
pub fn started(since_seen: Duration) {
    LATENCIES.start.observe(since_seen.as_secs_f64());
}

/// The runtime was listed.
pub fn listed(took: Duration, now: jiff::Timestamp) {
    LATENCIES.listing.observe(took.as_secs_f64());
    if let Some(before) = LATENCIES.last.lock().replace(Instant::now()) {
        LATENCIES.between.observe(before.elapsed().as_secs_f64());
    }
    LATENCIES.seen.set(now.as_second() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_by_what_they_do() {
        turned(Stage::Syncing, true, Duration::from_millis(20));
        turned(Stage::Terminated, false, Duration::from_millis(20));
        listed(Duration::from_millis(1), jiff::Timestamp::from_second(7).unwrap());
        let text = String::from_utf8(metrics::global().text()).unwrap();
        for line in [
            "kubelet_pod_worker_duration_seconds_count{operation_type=\"create\"} ",
            "kubelet_pod_worker_duration_seconds_bucket{operation_type=\"terminated\",le=\"0.025\"} ",
            "kubelet_pleg_relist_duration_seconds_count ",
            "kubelet_pleg_last_seen_seconds 7",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
