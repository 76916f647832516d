//! What a daemon's requests to the apiserver took, as client-go counts them: `rest_client_*`. Hosts are those of the
//! server's URL; attempts count each for itself, durations are of whole requests with their turn and further tries.

use std::sync::LazyLock;
use std::time::Duration;

use daemon::metrics::{self, HistogramVec, IntCounterVec};

struct Metrics {
    durations: HistogramVec,
    turns: HistogramVec,
    sent: HistogramVec,
    received: HistogramVec,
    attempts: IntCounterVec,
    retries: IntCounterVec,
}

const SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// 64 bytes to 16 MB.
const BYTES: &[f64] =
    &[64.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0];

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let all = metrics::global();
    let by_verb = &["verb", "host"];
    Metrics {
        durations: all.histogram_vec(
            "rest_client_request_duration_seconds",
            "[ALPHA] Request latency in seconds. Broken down by verb, and host.",
            by_verb,
            SECONDS,
        ),
        turns: all.histogram_vec(
            "rest_client_rate_limiter_duration_seconds",
            "[ALPHA] Client side rate limiter latency in seconds. Broken down by verb, and host.",
            by_verb,
            SECONDS,
        ),
        sent: all.histogram_vec(
            "rest_client_request_size_bytes",
            "[ALPHA] Request size in bytes. Broken down by verb and host.",
            by_verb,
            BYTES,
        ),
        received: all.histogram_vec(
            "rest_client_response_size_bytes",
            "[ALPHA] Response size in bytes. Broken down by verb and host.",
            by_verb,
            BYTES,
        ),
        attempts: all.counter_vec(
            "rest_client_requests_total",
            "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
            &["code", "method", "host"],
        ),
        retries: all.counter_vec(
            "rest_client_request_retries_total",
            "[ALPHA] Number of request retries, partitioned by status code, verb, and host.",
            &["code", "verb", "host"],
        ),
    }
});

/// Where requests of one method to one host are counted.
#[derive(Clone, Copy)]
pub(crate) struct Counts<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
}

impl Counts<'_> {
    /// A whole request but a watch.
    pub(crate) fn took(self, time: Duration) {
        METRICS.durations.with_label_values(&[self.method, self.host]).observe(time.as_secs_f64());
    }

    /// The wait of a client that has limits.
    pub(crate) fn waited(self, time: Duration) {
        METRICS.turns.with_label_values(&[self.method, self.host]).observe(time.as_secs_f64());
    }

    /// One attempt, with what it sent; `None` for one without an answer.
    pub(crate) fn attempted(self, code: Option<u16>, sent: usize) {
        METRICS.attempts.with_label_values(&[&shown(code), self.method, self.host]).inc();
        if sent > 0 {
            METRICS.sent.with_label_values(&[self.method, self.host]).observe(sent as f64);
        }
    }

    /// An attempt after which there is another.
    pub(crate) fn again(self, code: Option<u16>) {
        METRICS.retries.with_label_values(&[&shown(code), self.method, self.host]).inc();
    }

    pub(crate) fn received(self, bytes: usize) {
        METRICS.received.with_label_values(&[self.method, self.host]).observe(bytes as f64);
    }
}

fn shown(code: Option<u16>) -> String {
    code.map_or_else(|| "<error>".to_owned(), |code| code.to_string())
}
