//! How webhooks do; names, labels and buckets are upstream's.

use std::sync::LazyLock;

use daemon::metrics::{self, HistogramVec, IntCounterVec};

const SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Codes beyond are counted as this one.
const LARGEST_CODE: i32 = 600;

static LATENCY: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_admission_webhook_admission_duration_seconds",
        "[STABLE] Admission webhook latency histogram in seconds, identified by name and broken out for each \
         operation and API resource and type (validate or admit).",
        &["name", "type", "operation", "rejected"],
        &SECONDS,
    )
});

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_admission_webhook_request_total",
        "[ALPHA] Admission webhook request total, identified by name and broken out for each admission type \
         (validating or admit) and operation. Additional labels specify whether the request was rejected or not and \
         an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
        &["name", "type", "operation", "code", "rejected"],
    )
});

static REJECTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_admission_webhook_rejection_count",
        "[ALPHA] Admission webhook rejection count, identified by name and broken out for each admission type \
         (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or \
         apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code \
         if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is \
         greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality \
         bounded.",
        &["name", "type", "operation", "error_type", "rejection_code"],
    )
});

static FAIL_OPEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_admission_webhook_fail_open_count",
        "[ALPHA] Admission webhook fail open count, identified by name and broken out for each admission type \
         (validating or admit).",
        &["name", "type"],
    )
});

/// One webhook was asked. `phase` is `admit` or `validating`.
pub fn asked(name: &str, phase: &str, operation: &str, code: i32, rejected: bool, seconds: f64) {
    let rejected = if rejected { "true" } else { "false" };
    let code = code.min(LARGEST_CODE).to_string();
    LATENCY.with_label_values(&[name, phase, operation, rejected]).observe(seconds);
    REQUESTS.with_label_values(&[name, phase, operation, &code, rejected]).inc();
}

/// A request does not pass because of a webhook.
pub fn rejected(name: &str, phase: &str, operation: &str, error_type: &str, code: i32) {
    let code = code.min(LARGEST_CODE).to_string();
    REJECTIONS.with_label_values(&[name, phase, operation, error_type, &code]).inc();
}

/// A request passes although a webhook could not be asked.
pub fn failed_open(name: &str, phase: &str) {
    FAIL_OPEN.with_label_values(&[name, phase]).inc();
}
