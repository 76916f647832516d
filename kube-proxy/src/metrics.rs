//! kube-proxy's metrics, with upstream's names, labels and buckets.

use std::sync::LazyLock;

use daemon::metrics::{
    FloatGauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    exponential_buckets, global,
};

/// All of them. Those with a label `ip_family` have one value for each table.
pub struct Metrics {
    pub sync: HistogramVec,
    pub full_sync: HistogramVec,
    pub partial_sync: HistogramVec,
    pub last_sync: GaugeVec,
    pub queued: FloatGauge,
    pub endpoint_changes: IntCounter,
    pub endpoint_changes_pending: IntGauge,
    pub service_changes: IntCounter,
    pub service_changes_pending: IntGauge,
    pub sync_failures: IntCounterVec,
    pub no_local_endpoints: IntGaugeVec,
    pub healthz: IntCounterVec,
    pub livez: IntCounterVec,
    pub conntrack: HistogramVec,
    pub conntrack_deleted: IntCounterVec,
    pub network_programming: HistogramVec,
}

/// Upstream's: a quarter and half of a second, each second of a minute, each five of the next, then half minutes.
pub fn programming_buckets() -> Vec<f64> {
    let steps = |first: f64, step: f64, count: u32| (0..count).map(move |n| first + step * f64::from(n));
    let all = steps(0.25, 0.25, 2).chain(steps(1.0, 1.0, 59));
    all.chain(steps(60.0, 5.0, 12)).chain(steps(120.0, 30.0, 7)).collect()
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let registry = global();
    let seconds = exponential_buckets(0.001, 2.0, 15).expect("the constants make sense");
    let family = &["ip_family"];
    Metrics {
        sync: registry.histogram_vec(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "[ALPHA] SyncProxyRules latency in seconds",
            family,
            &seconds,
        ),
        full_sync: registry.histogram_vec(
            "kubeproxy_sync_full_proxy_rules_duration_seconds",
            "[ALPHA] SyncProxyRules latency in seconds for full resyncs",
            family,
            &seconds,
        ),
        partial_sync: registry.histogram_vec(
            "kubeproxy_sync_partial_proxy_rules_duration_seconds",
            "[ALPHA] SyncProxyRules latency in seconds for partial resyncs",
            family,
            &seconds,
        ),
        last_sync: registry.gauge_vec(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "[ALPHA] The last time proxy rules were successfully synced",
            family,
        ),
        queued: registry.gauge(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "[ALPHA] The last time a sync of proxy rules was queued",
        ),
        endpoint_changes: registry.counter(
            "kubeproxy_sync_proxy_rules_endpoint_changes_total",
            "[ALPHA] Cumulative proxy rules Endpoint changes",
        ),
        endpoint_changes_pending: registry.int_gauge(
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "[ALPHA] Pending proxy rules Endpoint changes",
        ),
        service_changes: registry.counter(
            "kubeproxy_sync_proxy_rules_service_changes_total",
            "[ALPHA] Cumulative proxy rules Service changes",
        ),
        service_changes_pending: registry.int_gauge(
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "[ALPHA] Pending proxy rules Service changes",
        ),
        sync_failures: registry.counter_vec(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
            "[ALPHA] Cumulative proxy nftables sync failures",
            family,
        ),
        no_local_endpoints: registry.int_gauge_vec(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "[ALPHA] Number of services with a Local traffic policy and no endpoints",
            &["traffic_policy", "ip_family"],
        ),
        healthz: registry.counter_vec(
            "kubeproxy_proxy_healthz_total",
            "[ALPHA] Cumulative proxy healthz HTTP status",
            &["code"],
        ),
        livez: registry.counter_vec(
            "kubeproxy_proxy_livez_total",
            "[ALPHA] Cumulative proxy livez HTTP status",
            &["code"],
        ),
        conntrack: registry.histogram_vec(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "[ALPHA] ReconcileConntrackFlowsLatency latency in seconds",
            family,
            &seconds,
        ),
        conntrack_deleted: registry.counter_vec(
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "[ALPHA] Cumulative conntrack flows deleted by conntrack reconciler",
            family,
        ),
        network_programming: registry.histogram_vec(
            "kubeproxy_network_programming_duration_seconds",
            "[ALPHA] In Cluster Network Programming Latency in seconds",
            family,
            &programming_buckets(),
        ),
    }
});

/// The process's metrics.
pub fn metrics() -> &'static Metrics {
    &METRICS
}
