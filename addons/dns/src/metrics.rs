//! cluster-dns's metrics, under the names that dashboards for cluster DNS already ask for.

use std::sync::LazyLock;

use daemon::metrics::{HistogramVec, IntCounterVec, exponential_buckets, global};

/// All of them. The label `zone` is the cluster's domain, or `.` for all other names.
pub struct Metrics {
    pub requests: IntCounterVec,
    pub responses: IntCounterVec,
    pub duration: HistogramVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let registry = global();
    let seconds = exponential_buckets(0.000_25, 2.0, 16).expect("the constants make sense");
    Metrics {
        requests: registry.counter_vec(
            "coredns_dns_requests_total",
            "Counter of DNS requests made per zone, protocol and type",
            &["proto", "type", "zone"],
        ),
        responses: registry.counter_vec(
            "coredns_dns_responses_total",
            "Counter of response status codes",
            &["rcode", "zone"],
        ),
        duration: registry.histogram_vec(
            "coredns_dns_request_duration_seconds",
            "Histogram of the time (in seconds) each request took per zone",
            &["zone"],
            &seconds,
        ),
    }
});

pub fn metrics() -> &'static Metrics {
    &METRICS
}
