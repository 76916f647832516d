//! How policies do; names, labels and buckets are upstream's.

use std::sync::LazyLock;
use std::time::Duration;

use daemon::metrics::{self, HistogramVec, IntCounterVec};

const LABELS: [&str; 4] = ["policy", "policy_binding", "error_type", "enforcement_action"];
const SECONDS: [f64; 5] = [0.000_000_5, 0.001, 0.01, 0.1, 1.0];

static CHECKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_validating_admission_policy_check_total",
        "[BETA] Validation admission policy check total, labeled by policy and further identified by binding and \
         enforcement action taken.",
        &LABELS,
    )
});

static CHECK_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_validating_admission_policy_check_duration_seconds",
        "[BETA] Validation admission latency for individual validation expressions in seconds, labeled by policy and \
         further including binding and enforcement action taken.",
        &LABELS,
        &SECONDS,
    )
});

static MUTATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_mutating_admission_policy_check_total",
        "[ALPHA] Mutation admission policy check total, labeled by policy and further identified by binding.",
        &LABELS[..3],
    )
});

static MUTATION_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_mutating_admission_policy_check_duration_seconds",
        "[ALPHA] Mutation admission latency for individual mutation expressions in seconds, labeled by policy and \
         binding.",
        &LABELS[..3],
        &SECONDS,
    )
});

/// One change was tried.
pub fn mutated(policy: &str, binding: &str, error: Option<&str>, took: Duration) {
    let labels = [policy, binding, error.map_or("no_error", error_type)];
    MUTATIONS.with_label_values(&labels).inc();
    MUTATION_SECONDS.with_label_values(&labels).observe(took.as_secs_f64());
}

/// What sort of error an expression's text tells of.
pub fn error_type(message: &str) -> &'static str {
    if message.starts_with("compilation") {
        "compile_error"
    } else if message.starts_with("validation failed due to running out of cost budget") {
        "out_of_budget"
    } else {
        // COMPAT: an expression that is simply false is counted so as well.
        "invalid_error"
    }
}

/// An expression had this effect: `allow`, `deny`, `audit` or `warn`.
pub fn checked(policy: &str, binding: &str, message: &str, action: &str, took: Duration) {
    let labels = [policy, binding, error_type(message), action];
    CHECKS.with_label_values(&labels).inc();
    CHECK_SECONDS.with_label_values(&labels).observe(took.as_secs_f64());
}
