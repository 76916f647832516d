//! How long turns of pods, their starts and listings of the runtime take: the histograms that
//! dashboards and alerts of kubelets read, under upstream's names.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use api_types::core::v1::{ConditionStatus, Pod, PodConditionType, PodPhase, PodStatus};
use daemon::metrics::{self, FloatGauge, Histogram, HistogramVec};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::pod_worker::Stage;
use crate::sync_pod::plan::is_sidecar;

/// Prometheus' own default.
pub const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const START_SECONDS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];

struct Latencies {
    turn: HistogramVec,
    first_turn: Histogram,
    start: Histogram,
    whole: HistogramVec,
    sli: HistogramVec,
    listing: Histogram,
    between: Histogram,
    last: Mutex<Option<Instant>>,
    seen: FloatGauge,
}

static LATENCIES: LazyLock<Latencies> = LazyLock::new(|| {
    let all = metrics::global();
    Latencies {
        turn: all.histogram_vec(
            "kubelet_pod_worker_duration_seconds",
            "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync",
            &["operation_type"],
            &SECONDS,
        ),
        first_turn: all.histogram(
            "kubelet_pod_worker_start_duration_seconds",
            "Duration in seconds from kubelet seeing a pod to starting a worker.",
            &SECONDS,
        ),
        start: all.histogram(
            "kubelet_pod_start_duration_seconds",
            "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
            &START_SECONDS,
        ),
        whole: all.histogram_vec(
            "kubelet_pod_start_total_duration_seconds",
            "Duration in seconds to start a pod since creation, including time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch",
            &[],
            &START_SECONDS,
        ),
        sli: all.histogram_vec(
            "kubelet_pod_start_sli_duration_seconds",
            "Duration in seconds to start a pod, excluding time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch",
            &[],
            &START_SECONDS,
        ),
        listing: all.histogram(
            "kubelet_pleg_relist_duration_seconds",
            "Duration in seconds for relisting pods in PLEG.",
            &SECONDS,
        ),
        between: all.histogram(
            "kubelet_pleg_relist_interval_seconds",
            "Interval in seconds between relisting in PLEG.",
            &SECONDS,
        ),
        last: Mutex::new(None),
        seen: all.gauge(
            "kubelet_pleg_last_seen_seconds",
            "Timestamp in seconds when PLEG was last seen active.",
        ),
    }
});

/// What a turn is called. COMPAT: an update of a pod is not told from another look at it.
fn operation(stage: Stage, first: bool) -> &'static str {
    match (stage, first) {
        (Stage::Syncing, true) => "create",
        (Stage::Syncing, false) => "sync",
        (Stage::Terminating, _) => "kill",
        _ => "terminated",
    }
}

/// A pod had a turn.
pub fn turned(stage: Stage, first: bool, took: Duration) {
    LATENCIES.turn.with_label_values(&[operation(stage, first)]).observe(took.as_secs_f64());
}

/// A pod got its first turn.
pub fn began(since_seen: Duration) {
    LATENCIES.first_turn.observe(since_seen.as_secs_f64());
}

/// A pod runs, so long after it was first seen.
pub fn started(since_seen: Duration) {
    LATENCIES.start.observe(since_seen.as_secs_f64());
}

/// All containers of a pod run; `pulling` is the time that its images took.
pub fn ran(pod: &Pod, status: &PodStatus, pulling: Duration, now: Timestamp) {
    // One that nobody could place at first did not wait for the kubelet.
    let placed = pod.status.conditions.iter().find(|one| one.type_ == PodConditionType::PodScheduled);
    let Some(created) = pod.metadata.creation_timestamp else { return };
    if placed.is_some_and(|one| one.status == ConditionStatus::False) {
        return;
    }
    let whole = now.duration_since(created.0).as_secs_f64();
    let none: [&str; 0] = [];
    LATENCIES.whole.with_label_values(&none).observe(whole);
    if !is_stateful(pod) {
        let own = whole - pulling.as_secs_f64() - initialising(pod, status);
        LATENCIES.sli.with_label_values(&none).observe(own);
    }
}

/// All its containers have started.
pub fn has_started(status: &PodStatus) -> bool {
    status.phase == PodPhase::Running
        && status.container_statuses.iter().all(|container| container.state.running.is_some())
}

/// It has volumes that outlive it, as the definition of the SLI has it.
fn is_stateful(pod: &Pod) -> bool {
    pod.spec.volumes.iter().map(|volume| &volume.source).any(|source| {
        source.secret.is_none()
            && source.config_map.is_none()
            && source.downward_api.is_none()
            && source.empty_dir.is_none()
            && source.projected.is_none()
    })
}

/// Seconds that its init containers ran, one after the other.
fn initialising(pod: &Pod, status: &PodStatus) -> f64 {
    let sidecar = |name: &str| pod.spec.init_containers.iter().any(|one| one.name == name && is_sidecar(one));
    let ended = status.init_container_statuses.iter().filter(|one| !sidecar(&one.name));
    let ran = ended.filter_map(|one| {
        let ended = one.state.terminated.as_ref()?;
        Some(ended.finished_at?.0.duration_since(ended.started_at?.0).as_secs_f64())
    });
    ran.sum()
}

/// The runtime was listed.
pub fn listed(took: Duration, now: jiff::Timestamp) {
    LATENCIES.listing.observe(took.as_secs_f64());
    if let Some(before) = LATENCIES.last.lock().replace(Instant::now()) {
        LATENCIES.between.observe(before.elapsed().as_secs_f64());
    }
    LATENCIES.seen.set(now.as_second() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::{ContainerStateTerminated, ContainerStatus, Volume};

    #[test]
    fn starts_are_told_without_images_and_init_containers() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let time = |second| Some(api_types::meta::Time(at(second)));
        let mut pod = Pod::default();
        pod.metadata.creation_timestamp = time(100);
        let mut status = PodStatus { phase: PodPhase::Running, ..Default::default() };
        let mut init = ContainerStatus { name: "init".into(), ..Default::default() };
        init.state.terminated = Some(Box::new(ContainerStateTerminated {
            started_at: time(101),
            finished_at: time(103),
            ..Default::default()
        }));
        status.init_container_statuses.push(init);
        assert!(has_started(&status));
        status.container_statuses.push(ContainerStatus::default());
        assert!(!has_started(&status));
        ran(&pod, &status, Duration::from_secs(3), at(109));
        pod.spec.volumes.push(Volume::default());
        ran(&pod, &status, Duration::ZERO, at(109));
        let text = String::from_utf8(metrics::global().text()).unwrap();
        for line in [
            "kubelet_pod_start_sli_duration_seconds_sum 4\n",
            "kubelet_pod_start_sli_duration_seconds_count 1\n",
            "kubelet_pod_start_total_duration_seconds_sum 18\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn turns_are_counted_by_what_they_do() {
        turned(Stage::Syncing, true, Duration::from_millis(20));
        turned(Stage::Terminated, false, Duration::from_millis(20));
        listed(Duration::from_millis(1), jiff::Timestamp::from_second(7).unwrap());
        let text = String::from_utf8(metrics::global().text()).unwrap();
        for line in [
            "kubelet_pod_worker_duration_seconds_count{operation_type=\"create\"} ",
            "kubelet_pod_worker_duration_seconds_bucket{operation_type=\"terminated\",le=\"0.025\"} ",
            "kubelet_pleg_relist_duration_seconds_count ",
            "kubelet_pleg_last_seen_seconds 7",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
