//! How long admission takes and what it refuses; names, labels and buckets are upstream's.

use super::Operation;
use daemon::metrics::{self, HistogramVec};
use std::sync::LazyLock;

const SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

static PLUGINS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_admission_controller_admission_duration_seconds",
        "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each \
         operation and API resource and type (validate or admit).",
        &["name", "type", "operation", "rejected"],
        &SECONDS,
    )
});

static STEPS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_admission_step_admission_duration_seconds",
        "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource \
         and step type (validate or admit).",
        &["type", "operation", "rejected"],
        &SECONDS,
    )
});

/// One plugin's part in one phase.
pub(super) fn plugin(name: &str, phase: &str, operation: Operation, rejected: bool, seconds: f64) {
    PLUGINS.with_label_values(&[name, phase, operation.word(), yes(rejected)]).observe(seconds);
}

/// A whole phase.
pub(super) fn step(phase: &str, operation: Operation, rejected: bool, seconds: f64) {
    STEPS.with_label_values(&[phase, operation.word(), yes(rejected)]).observe(seconds);
}

fn yes(rejected: bool) -> &'static str {
    if rejected { "true" } else { "false" }
}
