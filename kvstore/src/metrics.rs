//! Metrics, named as etcd names them. One registry for the process; each metric is counted where it
//! happens.

use std::sync::LazyLock;

use prometheus::{Counter, Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Registry, TextEncoder};

pub struct Metrics {
    registry: Registry,
    pub has_leader: IntGauge,
    pub is_leader: IntGauge,
    pub leader_changes: IntCounter,
    pub proposals_committed: Gauge,
    pub proposals_applied: Gauge,
    pub proposals_pending: IntGauge,
    pub proposals_failed: IntCounter,
    pub log_fsync_seconds: Histogram,
    pub log_written_bytes: IntCounter,
    pub db_size: IntGauge,
    pub db_size_in_use: IntGauge,
    pub quota: IntGauge,
    pub keys: IntGauge,
    pub current_revision: IntGauge,
    pub compact_revision: IntGauge,
    pub watchers: IntGauge,
    pub watch_streams: IntGauge,
    pub events: IntCounter,
    pub puts: IntCounter,
    pub deletes: IntCounter,
    pub ranges: IntCounter,
    pub txns: IntCounter,
    pub received_bytes: Counter,
    pub leases_granted: IntCounter,
    pub leases_revoked: IntCounter,
    pub leases_renewed: IntCounter,
    pub leases_expired: IntCounter,
}

/// etcd's buckets for a disk: 1 ms doubling to 8 s.
fn disk_buckets() -> Vec<f64> {
    prometheus::exponential_buckets(0.001, 2.0, 14).expect("start, factor and count are positive")
}

impl Metrics {
    fn new() -> Self {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help).expect("the name is valid");
            registry.register(Box::new(metric.clone())).expect("the name is used once");
            metric
        };
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help).expect("the name is valid");
            registry.register(Box::new(metric.clone())).expect("the name is used once");
            metric
        };
        let float_gauge = |name: &str, help: &str| {
            let metric = Gauge::new(name, help).expect("the name is valid");
            registry.register(Box::new(metric.clone())).expect("the name is used once");
            metric
        };
        let fsync = HistogramOpts::new(
            "etcd_disk_wal_fsync_duration_seconds",
            "The latency distributions of fsync called by WAL.",
        )
        .buckets(disk_buckets());
        let log_fsync_seconds = Histogram::with_opts(fsync).expect("the name is valid");
        registry.register(Box::new(log_fsync_seconds.clone())).expect("the name is used once");
        let received_bytes = Counter::new(
            "etcd_network_client_grpc_received_bytes_total",
            "The total number of bytes received from grpc clients.",
        )
        .expect("the name is valid");
        registry.register(Box::new(received_bytes.clone())).expect("the name is used once");
        Self {
            has_leader: gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not."),
            is_leader: gauge("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise."),
            leader_changes: counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen."),
            proposals_committed: float_gauge(
                "etcd_server_proposals_committed_total",
                "The total number of consensus proposals committed.",
            ),
            proposals_applied: float_gauge(
                "etcd_server_proposals_applied_total",
                "The total number of consensus proposals applied.",
            ),
            proposals_pending: gauge("etcd_server_proposals_pending", "The current number of pending proposals to commit."),
            proposals_failed: counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen."),
            log_fsync_seconds,
            log_written_bytes: counter("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL."),
            db_size: gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "Total size of the underlying database physically allocated in bytes.",
            ),
            db_size_in_use: gauge(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Total size of the underlying database logically in use in bytes.",
            ),
            quota: gauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes."),
            keys: gauge("etcd_debugging_mvcc_keys_total", "Total number of keys."),
            current_revision: gauge("etcd_debugging_mvcc_current_revision", "The current revision of store."),
            compact_revision: gauge("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store."),
            watchers: gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
            watch_streams: gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
            events: counter("etcd_debugging_mvcc_events_total", "Total number of events sent by this member."),
            puts: counter("etcd_mvcc_put_total", "Total number of puts seen by this member."),
            deletes: counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
            ranges: counter("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
            txns: counter("etcd_mvcc_txn_total", "Total number of txns seen by this member."),
            received_bytes,
            leases_granted: counter("etcd_debugging_lease_granted_total", "The total number of granted leases."),
            leases_revoked: counter("etcd_debugging_lease_revoked_total", "The total number of revoked leases."),
            leases_renewed: counter("etcd_debugging_lease_renewed_total", "The number of renewed leases seen by the leader."),
            leases_expired: counter("etcd_server_lease_expired_total", "The total number of expired leases."),
            registry,
        }
    }

    /// Everything, in Prometheus' text format.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The process's metrics.
pub fn get() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}
