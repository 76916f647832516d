//! How long rules of custom kinds take; names and buckets are upstream's.

use std::sync::LazyLock;
use std::time::Duration;

use daemon::metrics::{self, Histogram};

/// What Prometheus' clients take where nothing is said.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static COMPILATION: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "[BETA] CEL compilation time in seconds.";
    metrics::global().histogram("apiserver_cel_compilation_duration_seconds", help, &SECONDS)
});

static EVALUATION: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "[BETA] CEL evaluation time in seconds.";
    metrics::global().histogram("apiserver_cel_evaluation_duration_seconds", help, &SECONDS)
});

/// The rules of one node of a schema were compiled.
pub fn compiled(took: Duration) {
    COMPILATION.observe(took.as_secs_f64());
}

/// An object was held against its rules.
pub fn evaluated(took: Duration) {
    EVALUATION.observe(took.as_secs_f64());
}
