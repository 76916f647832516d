//! Metrics, named as etcd names them, in the process's registry. Each is counted where it happens.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use daemon::metrics::{
    FloatGauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    exponential_buckets,
};

pub struct Metrics {
    pub has_leader: IntGauge,
    pub is_leader: IntGauge,
    pub leader_changes: IntCounter,
    pub proposals_committed: FloatGauge,
    pub proposals_applied: FloatGauge,
    pub proposals_pending: IntGauge,
    pub proposals_failed: IntCounter,
    pub log_fsync_seconds: Histogram,
    pub log_written_bytes: IntCounter,
    pub db_size: IntGauge,
    pub db_size_in_use: IntGauge,
    pub quota: IntGauge,
    pub health_success: IntCounter,
    pub health_failures: IntCounter,
    pub health_check: IntGaugeVec,
    pub health_checks: IntCounterVec,
    pub auth_revision: IntGauge,
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
    pub leases_granted: IntCounter,
    pub leases_revoked: IntCounter,
    pub leases_renewed: IntCounter,
    pub leases_expired: IntCounter,
    pub is_learner: IntGauge,
    pub learner_promotions: IntCounter,
    pub learner_promotion_failures: IntCounterVec,
    pub read_indexes_failed: IntCounter,
    pub peers: Peers,
}

/// What goes between members, by the other's id.
pub struct Peers {
    active: IntGaugeVec,
    sent_bytes: IntCounterVec,
    received_bytes: IntCounterVec,
    sent_failures: IntCounterVec,
    round_trip_seconds: HistogramVec,
    snapshots_sent: IntCounterVec,
    snapshots_failed: IntCounterVec,
    snapshots_received: IntCounterVec,
    /// This member's id, once it is known.
    local: OnceLock<String>,
}

impl Peers {
    fn new() -> Self {
        let registry = daemon::metrics::global();
        let to = |name, help| registry.counter_vec(name, help, &["To"]);
        let from = |name, help| registry.counter_vec(name, help, &["From"]);
        Self {
            active: registry.int_gauge_vec(
                "etcd_network_active_peers",
                "The current number of active peer connections.",
                &["Local", "Remote"],
            ),
            sent_bytes: to("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers."),
            received_bytes: from(
                "etcd_network_peer_received_bytes_total",
                "The total number of bytes received from peers.",
            ),
            sent_failures: to(
                "etcd_network_peer_sent_failures_total",
                "The total number of send failures from peers.",
            ),
            round_trip_seconds: registry.histogram_vec(
                "etcd_network_peer_round_trip_time_seconds",
                "Round-Trip-Time histogram between peers",
                &["To"],
                // 0.1 ms doubling to 3.2 s.
                &exponential_buckets(0.0001, 2.0, 16).expect("start, factor and count are positive"),
            ),
            snapshots_sent: to(
                "etcd_network_snapshot_send_success",
                "Total number of successful snapshot sends",
            ),
            snapshots_failed: to(
                "etcd_network_snapshot_send_failures",
                "Total number of snapshot send failures",
            ),
            snapshots_received: from(
                "etcd_network_snapshot_receive_success",
                "Total number of successful snapshot receives",
            ),
            local: OnceLock::new(),
        }
    }

    pub fn set_local(&self, id: u64) {
        // Said once, when the process starts.
        self.local.set(format!("{id:x}")).ok();
    }

    pub fn set_active(&self, peer: &str, active: bool) {
        if let Some(local) = self.local.get() {
            self.active.with_label_values(&[local.as_str(), peer]).set(i64::from(active));
        }
    }

    pub fn sent(&self, peer: &str, bytes: usize) {
        self.sent_bytes.with_label_values(&[peer]).inc_by(bytes as u64);
    }

    pub fn received(&self, peer: &str, bytes: usize) {
        self.received_bytes.with_label_values(&[peer]).inc_by(bytes as u64);
    }

    pub fn answered(&self, peer: &str, took: Option<Duration>) {
        if let Some(took) = took {
            self.round_trip_seconds.with_label_values(&[peer]).observe(took.as_secs_f64());
        }
    }

    pub fn failed(&self, peer: &str) {
        self.sent_failures.with_label_values(&[peer]).inc();
    }

    pub fn snapshot_sent(&self, peer: &str) {
        self.snapshots_sent.with_label_values(&[peer]).inc();
    }

    pub fn snapshot_failed(&self, peer: &str) {
        self.snapshots_failed.with_label_values(&[peer]).inc();
    }

    pub fn snapshot_received(&self, peer: &str) {
        self.snapshots_received.with_label_values(&[peer]).inc();
    }

    /// Of a peer that is no member any more.
    pub fn forget(&self, peer: &str) {
        if let Some(local) = self.local.get() {
            // Fails when there was none.
            self.active.remove_label_values(&[local.as_str(), peer]).ok();
        }
    }
}

impl Metrics {
    fn new() -> Self {
        let registry = daemon::metrics::global();
        let gauge = |name, help| registry.int_gauge(name, help);
        let counter = |name, help| registry.counter(name, help);
        let float_gauge = |name, help| registry.gauge(name, help);
        let log_fsync_seconds = registry.histogram(
            "etcd_disk_wal_fsync_duration_seconds",
            "The latency distributions of fsync called by WAL.",
            // 1 ms doubling to 8 s.
            &exponential_buckets(0.001, 2.0, 14).expect("start, factor and count are positive"),
        );
        Self {
            has_leader: gauge(
                "etcd_server_has_leader",
                "Whether or not a leader exists. 1 is existence, 0 is not.",
            ),
            is_leader: gauge(
                "etcd_server_is_leader",
                "Whether or not this member is a leader. 1 if is, 0 otherwise.",
            ),
            leader_changes: counter(
                "etcd_server_leader_changes_seen_total",
                "The number of leader changes seen.",
            ),
            proposals_committed: float_gauge(
                "etcd_server_proposals_committed_total",
                "The total number of consensus proposals committed.",
            ),
            proposals_applied: float_gauge(
                "etcd_server_proposals_applied_total",
                "The total number of consensus proposals applied.",
            ),
            proposals_pending: gauge(
                "etcd_server_proposals_pending",
                "The current number of pending proposals to commit.",
            ),
            proposals_failed: counter(
                "etcd_server_proposals_failed_total",
                "The total number of failed proposals seen.",
            ),
            log_fsync_seconds,
            log_written_bytes: counter(
                "etcd_disk_wal_write_bytes_total",
                "Total number of bytes written in WAL.",
            ),
            db_size: gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "Total size of the underlying database physically allocated in bytes.",
            ),
            db_size_in_use: gauge(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Total size of the underlying database logically in use in bytes.",
            ),
            health_success: counter(
                "etcd_server_health_success",
                "The total number of successful health checks",
            ),
            health_failures: counter(
                "etcd_server_health_failures",
                "The total number of failed health checks",
            ),
            health_check: registry.int_gauge_vec(
                "etcd_server_healthcheck",
                "The result of each kind of healthcheck.",
                &["type", "name"],
            ),
            health_checks: registry.counter_vec(
                "etcd_server_healthchecks_total",
                "The total number of each kind of healthcheck.",
                &["type", "name", "status"],
            ),
            auth_revision: gauge("etcd_debugging_auth_revision", "The current revision of auth store."),
            quota: gauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes."),
            keys: gauge("etcd_debugging_mvcc_keys_total", "Total number of keys."),
            current_revision: gauge("etcd_debugging_mvcc_current_revision", "The current revision of store."),
            compact_revision: gauge(
                "etcd_debugging_mvcc_compact_revision",
                "The revision of the last compaction in store.",
            ),
            watchers: gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
            watch_streams: gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
            events: counter(
                "etcd_debugging_mvcc_events_total",
                "Total number of events sent by this member.",
            ),
            puts: counter("etcd_mvcc_put_total", "Total number of puts seen by this member."),
            deletes: counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
            ranges: counter("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
            txns: counter("etcd_mvcc_txn_total", "Total number of txns seen by this member."),
            leases_granted: counter(
                "etcd_debugging_lease_granted_total",
                "The total number of granted leases.",
            ),
            leases_revoked: counter(
                "etcd_debugging_lease_revoked_total",
                "The total number of revoked leases.",
            ),
            leases_renewed: counter(
                "etcd_debugging_lease_renewed_total",
                "The number of renewed leases seen by the leader.",
            ),
            leases_expired: counter("etcd_server_lease_expired_total", "The total number of expired leases."),
            is_learner: gauge(
                "etcd_server_is_learner",
                "Whether or not this member is a learner. 1 if is, 0 otherwise.",
            ),
            learner_promotions: counter(
                "etcd_server_learner_promote_successes",
                "The total number of successful learner promotions while this member is leader.",
            ),
            learner_promotion_failures: registry.counter_vec(
                "etcd_server_learner_promote_failures",
                "The total number of failed learner promotions (likely learner not ready) while this member is leader.",
                &["Reason"],
            ),
            read_indexes_failed: counter(
                "etcd_server_read_indexes_failed_total",
                "The total number of failed read indexes seen.",
            ),
            peers: Peers::new(),
        }
    }
}

/// The process's metrics.
pub fn get() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}
