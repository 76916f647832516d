//! Counts of decisions; names, labels and buckets are upstream's.

use crate::request::Decision;
use daemon::metrics::{self, HistogramVec, IntCounterVec};
use std::sync::LazyLock;

static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "authorization_attempts_total",
        "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', \
         'no-opinion' or 'error'.",
        &["result"],
    )
});

static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "authorization_duration_seconds",
        "[ALPHA] Authorization duration in seconds broken out by result.",
        &["result"],
        &metrics::exponential_buckets(0.001, 2.0, 15).expect("15 growing buckets can be made"),
    )
});

/// The answer to one request, and how many seconds it took.
pub fn decided(decision: &Decision, seconds: f64) {
    let word = match decision {
        Decision::Allow(_) => "allowed",
        Decision::Deny(_) => "denied",
        Decision::NoOpinion(_) => "no-opinion",
    };
    ATTEMPTS.with_label_values(&[word]).inc();
    DURATIONS.with_label_values(&[word]).observe(seconds);
}
