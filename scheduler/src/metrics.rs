//! The scheduler's metrics, with upstream's names, labels and buckets.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use daemon::metrics::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, exponential_buckets, global,
};

use crate::framework::Rejection;
use crate::profile::Profile;

/// How an attempt to schedule a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    Scheduled,
    Unschedulable,
    Error,
}

impl Attempted {
    fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

/// An extension point whose duration is measured.
#[derive(Clone, Copy, Debug)]
pub enum Point {
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Unreserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

/// All of them.
pub struct Metrics {
    attempts: IntCounterVec,
    attempt_duration: HistogramVec,
    pub algorithm_duration: Histogram,
    point_duration: HistogramVec,
    pub sli_duration: HistogramVec,
    pub attempts_per_pod: Histogram,
    pub after_flush: IntCounter,
    pub pending: IntGaugeVec,
    pub incoming: IntCounterVec,
    pub unschedulable: IntGaugeVec,
    pub cache_size: IntGaugeVec,
    pub preemption_attempts: IntCounter,
    pub preemption_victims: Histogram,
    pub bindings: IntGaugeVec,
    pub volume_stage_failed: IntCounterVec,
    pub claim_creates: IntCounterVec,
    pub device_allocations: IntCounterVec,
    pub device_wait: HistogramVec,
}

fn buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    exponential_buckets(start, factor, count).expect("the constants make sense")
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let registry = global();
    Metrics {
        attempts: registry.counter_vec(
            "scheduler_schedule_attempts_total",
            "[STABLE] Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
            &["result", "profile"],
        ),
        attempt_duration: registry.histogram_vec(
            "scheduler_scheduling_attempt_duration_seconds",
            "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            &["result", "profile"],
            &buckets(0.001, 2.0, 15),
        ),
        algorithm_duration: registry.histogram(
            "scheduler_scheduling_algorithm_duration_seconds",
            "[ALPHA] Scheduling algorithm latency in seconds",
            &buckets(0.001, 2.0, 15),
        ),
        point_duration: registry.histogram_vec(
            "scheduler_framework_extension_point_duration_seconds",
            "[STABLE] Latency for running all plugins of a specific extension point.",
            &["extension_point", "status", "profile"],
            &buckets(0.0001, 2.0, 12),
        ),
        sli_duration: registry.histogram_vec(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.",
            &["attempts"],
            &buckets(0.01, 2.0, 20),
        ),
        attempts_per_pod: registry.histogram(
            "scheduler_pod_scheduling_attempts",
            "[STABLE] Number of attempts to successfully schedule a pod.",
            &buckets(1.0, 2.0, 5),
        ),
        after_flush: registry.counter(
            "scheduler_pod_scheduled_after_flush_total",
            "[ALPHA] Number of pods that were successfully scheduled after being flushed from unschedulablePods due to timeout. This metric helps detect potential queueing hint misconfigurations or event handling issues.",
        ),
        pending: registry.int_gauge_vec(
            "scheduler_pending_pods",
            "[STABLE] Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.",
            &["queue"],
        ),
        incoming: registry.counter_vec(
            "scheduler_queue_incoming_pods_total",
            "[STABLE] Number of pods added to scheduling queues by event and queue type.",
            &["queue", "event"],
        ),
        unschedulable: registry.int_gauge_vec(
            "scheduler_unschedulable_pods",
            "[ALPHA] The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin.",
            &["plugin", "profile"],
        ),
        cache_size: registry.int_gauge_vec(
            "scheduler_cache_size",
            "[ALPHA] Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
            &["type"],
        ),
        preemption_attempts: registry.counter(
            "scheduler_preemption_attempts_total",
            "[STABLE] Total preemption attempts in the cluster till now",
        ),
        preemption_victims: registry.histogram(
            "scheduler_preemption_victims",
            "[STABLE] Number of selected preemption victims",
            &buckets(1.0, 2.0, 7),
        ),
        bindings: registry.int_gauge_vec(
            "scheduler_goroutines",
            "[ALPHA] Number of running goroutines split by the work they do such as binding.",
            &["operation"],
        ),
        volume_stage_failed: registry.counter_vec(
            "scheduler_volume_scheduling_stage_error_total",
            "[ALPHA] Volume scheduling stage error count",
            &["operation"],
        ),
        claim_creates: registry.counter_vec(
            "scheduler_resourceclaim_creates_total",
            "[ALPHA] Number of ResourceClaims creation requests within scheduler",
            &["status"],
        ),
        device_allocations: registry.counter_vec(
            "scheduler_dra_bindingconditions_allocations_total",
            "[ALPHA] Number of allocations using devices with BindingConditions, counted per driver per scheduling attempt",
            &["profile", "driver", "status"],
        ),
        device_wait: registry.histogram_vec(
            "scheduler_dra_bindingconditions_wait_duration_seconds",
            "[ALPHA] Time in seconds spent waiting for BindingConditions to be satisfied during PreBind.",
            &["profile", "driver", "status"],
            &buckets(0.1, 2.0, 14),
        ),
    }
});

/// The process's metrics.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

impl Metrics {
    /// Counts an attempt that took `duration`.
    pub fn attempted(&self, how: Attempted, profile: &str, duration: Duration) {
        let labels = [how.as_str(), profile];
        self.attempts.with_label_values(&labels).inc();
        self.attempt_duration.with_label_values(&labels).observe(duration.as_secs_f64());
    }

    /// Notes that a profile's plugins of an extension point took `duration`.
    pub fn point(&self, point: Point, outcome: &impl Outcome, profile: &str, duration: Duration) {
        let labels = [&format!("{point:?}"), outcome.status(), profile];
        self.point_duration.with_label_values(&labels).observe(duration.as_secs_f64());
    }
}

/// Runs an extension point and notes how long it took. The only clock in the algorithm: nothing is
/// decided by it.
pub fn timed<T: Outcome>(profile: &Profile, point: Point, run: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let outcome = run();
    metrics().point(point, &outcome, &profile.name, started.elapsed());
    outcome
}

/// What an extension point returns, as far as metrics go.
pub trait Outcome {
    /// Upstream's word for how it ended.
    fn status(&self) -> &'static str {
        "Success"
    }
}

impl<T> Outcome for Result<T, Rejection> {
    fn status(&self) -> &'static str {
        self.as_ref().map_or_else(|rejection| rejection.code.label(), |_| "Success")
    }
}
impl Outcome for () {}
impl Outcome for Vec<i64> {}
impl Outcome for std::collections::BTreeSet<&'static str> {}
impl Outcome for crate::cycle::Search {}
impl Outcome for crate::framework::PostFiltered {
    fn status(&self) -> &'static str {
        match (self.failed, self.message.is_empty()) {
            (true, _) => "Error",
            (false, true) => "Success",
            (false, false) => "Unschedulable",
        }
    }
}
