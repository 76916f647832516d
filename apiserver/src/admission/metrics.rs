//! How long admission takes and what it refuses; names, labels and buckets are upstream's.

use super::Operation;
use daemon::metrics::{self, HistogramVec, IntCounterVec};
use std::sync::LazyLock;
use std::time::Duration;

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

static EXCLUSIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_admission_match_condition_exclusions_total",
        "[ALPHA] Admission match condition evaluation exclusions count, identified by name of resource containing the \
         match condition and broken out for each kind containing matchConditions (webhook or policy), operation and \
         admission type (validate or admit).",
        &["name", "kind", "type", "operation"],
    )
});

static CONDITION_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_admission_match_condition_evaluation_errors_total",
        "[ALPHA] Admission match condition evaluation errors count, identified by name of resource containing the \
         match condition and broken out for each kind containing matchConditions (webhook or policy), operation and \
         admission type (validate or admit).",
        &["name", "kind", "type", "operation"],
    )
});

static CONDITION_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_admission_match_condition_evaluation_seconds",
        "[ALPHA] Admission match condition evaluation time in seconds, identified by name and broken out for each \
         kind containing matchConditions (webhook or policy), operation and type (validate or admit).",
        &["name", "kind", "type", "operation"],
        &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25],
    )
});

/// The match conditions of one webhook or policy.
pub struct Conditions<'a> {
    /// Of the webhook or the policy.
    pub name: &'a str,
    /// `webhook` or `policy`.
    pub kind: &'static str,
    /// `admit`, `validating` for webhooks, `validate` for policies.
    pub phase: &'static str,
}

impl Conditions<'_> {
    /// They were asked, and so many of them could not be evaluated.
    pub fn asked(&self, operation: Operation, errors: u64, took: Duration) {
        let labels = [self.name, self.kind, self.phase, operation.word()];
        CONDITION_SECONDS.with_label_values(&labels).observe(took.as_secs_f64());
        if errors > 0 {
            CONDITION_ERRORS.with_label_values(&labels).inc_by(errors);
        }
    }

    /// They keep a request from a webhook.
    pub fn exclude(&self, operation: Operation) {
        EXCLUSIONS.with_label_values(&[self.name, self.kind, self.phase, operation.word()]).inc();
    }
}

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
