//! Evictions: when the node runs low on memory, disk or process ids, dead containers and unused images
//! go first, and then pods, one at a time; and pods that store more than their limits go at any time.
//!
//! [`thresholds`] are what the configuration says, [`observe`] what there is; [`plan`] decides whether
//! something is to be reclaimed and [`rank`] from whom. This file is the loop around them.

pub mod observe;
pub mod plan;
pub mod rank;
pub mod thresholds;

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodQOSClass, Taint, TaintEffect, TolerationOperator};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;
use crate::resources::qos_class;
use crate::status::Eviction;
use crate::{housekeeping, image_gc, steady};
use observe::Filesystems;
use rank::Candidate;
use thresholds::{Pressure, Threshold};

/// COMPAT: how often upstream looks.
const EVERY: Duration = Duration::from_secs(10);
/// How long an evicted pod may take to go before the next is looked for.
const CLEANUP: Duration = Duration::from_secs(30);
/// Seconds that a pod has when there is no time.
const NO_TIME: i64 = 1;
const CRITICAL: i32 = 2_000_000_000;

/// The reason in a pod's status.
pub const REASON: &str = "Evicted";

/// What the node is short of.
#[derive(Default)]
pub struct Pressures(RwLock<Vec<Pressure>>);

impl Pressures {
    /// All of it.
    pub fn all(&self) -> Vec<Pressure> {
        self.0.read().clone()
    }

    /// Whether the node takes a pod in spite of it; the error says why not.
    pub fn admit(&self, pod: &Pod) -> Result<(), String> {
        admit(&self.0.read(), pod)
    }
}

/// The cluster does not work without the pod: by its priority, or because it has no object of its own.
pub fn is_critical(pod: &Pod) -> bool {
    let annotation = |name: &str| pod.metadata.annotations.get(name);
    annotation("kubernetes.io/config.mirror").is_some()
        || annotation("kubernetes.io/config.source").is_some_and(|source| source != "api")
        || pod.spec.priority.is_some_and(|priority| priority >= CRITICAL)
}

fn admit(pressures: &[Pressure], pod: &Pod) -> Result<(), String> {
    if pressures.is_empty() || is_critical(pod) {
        return Ok(());
    }
    // Memory that a pod asked for was counted by the scheduler; one that asked for none takes its chance.
    if pressures == [Pressure::Memory] {
        let taint = Taint {
            key: "node.kubernetes.io/memory-pressure".into(),
            effect: TaintEffect::NoSchedule,
            ..Default::default()
        };
        if qos_class(pod) != PodQOSClass::BestEffort || tolerates(pod, &taint) {
            return Ok(());
        }
    }
    let names: Vec<&str> = pressures
        .iter()
        .map(|pressure| match pressure {
            Pressure::Memory => "MemoryPressure",
            Pressure::Disk => "DiskPressure",
            Pressure::Pid => "PIDPressure",
        })
        .collect();
    Err(format!("The node had condition: [{}]. ", names.join(" ")))
}

fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    pod.spec.tolerations.iter().any(|toleration| {
        let effect = toleration.effect.is_unset() || toleration.effect == taint.effect;
        let key = toleration.key.is_empty() || toleration.key == taint.key;
        let value = toleration.operator == TolerationOperator::Exists || toleration.value == taint.value;
        let any = toleration.key.is_empty() && toleration.operator != TolerationOperator::Exists;
        effect && key && value && !any
    })
}

/// Looks after the node; never ends.
pub async fn run(kubelet: Arc<Kubelet>) {
    kubelet.workers.wait_for_source().await;
    let configured = match kubelet.config.thresholds() {
        Ok(thresholds) => thresholds,
        Err(error) => {
            tracing::error!(%error, "no eviction: the thresholds cannot be read");
            return;
        }
    };
    let filesystems = loop {
        match observe::filesystems(&kubelet).await {
            Ok(filesystems) => break filesystems,
            Err(error) => tracing::warn!(error, "no eviction yet: cannot find the filesystems"),
        }
        tokio::time::sleep(EVERY).await;
    };
    let mut thresholds = configured;
    if thresholds::mirror_container_fs(&mut thresholds, filesystems.layout) {
        tracing::warn!(
            "thresholds of containerfs are those of the filesystem that it is on: the given ones do not hold"
        );
    }
    let mut watch = Watch { kubelet, filesystems, thresholds, state: plan::State::default(), counted: None };
    loop {
        let evicted = watch.look().await;
        if evicted.is_empty() {
            tokio::time::sleep(EVERY).await;
        } else {
            watch.wait_for(&evicted).await;
        }
    }
}

struct Watch {
    kubelet: Arc<Kubelet>,
    filesystems: Filesystems,
    thresholds: Vec<Threshold>,
    state: plan::State,
    /// When the files of pods with limits were last counted.
    counted: Option<Instant>,
}

impl Watch {
    /// One look; answers the uids of the pods that were evicted.
    async fn look(&mut self) -> Vec<String> {
        let kubelet = Arc::clone(&self.kubelet);
        let observations = observe::observe(&kubelet, &self.filesystems);
        let transition = kubelet.config.pressure_transition();
        let verdict = self.state.look(&self.thresholds, &observations, transition, steady::now());
        *kubelet.pressures.0.write() = verdict.pressures.clone();
        let evicted = self.evict_over_limit().await;
        if !evicted.is_empty() {
            return evicted;
        }
        let Some(first) = verdict.met.first() else { return Vec::new() };
        let resource = first.signal.resource();
        let message = format!("Attempting to reclaim {resource}");
        tracing::warn!(resource, signal = first.signal.name(), "a threshold is met");
        kubelet.recorder.node(&kubelet.node_name, "Warning", "EvictionThresholdMet", &message);
        if self.reclaim(first).await {
            return Vec::new();
        }
        let disk = first.signal.pressure() == Pressure::Disk;
        let mut candidates = observe::candidates(&kubelet, self.pods(|_| true), disk).await;
        rank::rank(&mut candidates, first.signal, self.filesystems.layout);
        if let Some(candidate) = candidates.iter().find(|candidate| !is_critical(&candidate.pod)) {
            let words = rank::words(candidate, resource, &verdict.met, &observations);
            let grace = if first.is_hard() {
                NO_TIME
            } else {
                let most = kubelet.config.eviction_max_pod_grace_period.into();
                let own = candidate.pod.spec.termination_grace_period_seconds;
                own.map_or(most, |own| own.min(most))
            };
            self.evict(candidate, words, grace, true);
            EVICTIONS.with_label_values(&[first.signal.name()]).inc();
            return vec![candidate.pod.metadata.uid.clone()];
        }
        Vec::new()
    }

    /// The pods that run, or are about to.
    fn pods(&self, wanted: impl Fn(&Pod) -> bool) -> Vec<Arc<Pod>> {
        let all = self.kubelet.workers.all().into_iter();
        all.filter(|(pod, stage)| *stage == Stage::Syncing && wanted(pod)).map(|(pod, _)| pod).collect()
    }

    /// Pods that store more than they may.
    async fn evict_over_limit(&mut self) -> Vec<String> {
        let every = self.kubelet.config.volume_stats_period();
        if self.counted.is_some_and(|at| at.elapsed() < every) {
            return Vec::new();
        }
        self.counted = Some(Instant::now());
        let limited = self.pods(rank::is_limited);
        if limited.is_empty() {
            return Vec::new();
        }
        let mut evicted = Vec::new();
        for candidate in observe::candidates(&self.kubelet, limited, true).await {
            let Some((message, metric)) = rank::over_limit(&candidate, self.filesystems.layout) else {
                continue;
            };
            if !is_critical(&candidate.pod) {
                let words = rank::Words { message, annotations: Vec::new() };
                self.evict(&candidate, words, NO_TIME, false);
                EVICTIONS.with_label_values(&[metric]).inc();
                evicted.push(candidate.pod.metadata.uid.clone());
            }
        }
        evicted
    }

    fn evict(&self, candidate: &Candidate, words: rank::Words, grace: i64, disrupts: bool) {
        let pod = &candidate.pod;
        tracing::warn!(
            pod = pod.metadata.name,
            namespace = pod.metadata.namespace,
            message = words.message,
            "evicting"
        );
        self.kubelet.recorder.annotated(pod, "Warning", REASON, &words.message, &words.annotations);
        let eviction = Eviction { reason: REASON.into(), message: words.message, disrupts };
        self.kubelet.workers.evict(&pod.metadata.uid, eviction, grace);
    }

    /// Frees what no pod needs; `true` when that is enough.
    async fn reclaim(&self, threshold: &Threshold) -> bool {
        use thresholds::Signal::{
            ContainerFs, ContainerFsInodes, ImageFs, ImageFsInodes, NodeFs, NodeFsInodes,
        };
        let layout = self.filesystems.layout;
        let on_image = matches!(threshold.signal, ImageFs | ImageFsInodes);
        let on_node = matches!(threshold.signal, NodeFs | NodeFsInodes);
        let on_container = matches!(threshold.signal, ContainerFs | ContainerFsInodes);
        let (containers, images) = match (layout.image_fs, layout.split) {
            (false, _) => (on_image || on_node || on_container, on_image || on_node || on_container),
            (true, false) => (on_image || on_container, on_image || on_container),
            (true, true) => (on_node || on_container, on_image),
        };
        if containers && let Err(error) = housekeeping::collect(&self.kubelet, true).await {
            tracing::warn!(error, "cannot remove dead containers");
        }
        if images && let Err(error) = image_gc::remove_unused(&self.kubelet).await {
            tracing::warn!(error, "cannot remove unused images");
        }
        if !containers && !images {
            return false;
        }
        let observations = observe::observe(&self.kubelet, &self.filesystems);
        plan::met(&self.thresholds, &observations, true).is_empty()
    }

    /// Waits until nothing is left of the pods, as far as there is time.
    async fn wait_for(&self, uids: &[String]) {
        let until = Instant::now() + CLEANUP;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let left = self
                .kubelet
                .workers
                .all()
                .into_iter()
                .any(|(pod, stage)| stage < Stage::Done && uids.contains(&pod.metadata.uid));
            if !left || Instant::now() >= until {
                return;
            }
        }
    }
}

/// `kubelet_evictions`
static EVICTIONS: std::sync::LazyLock<prometheus::IntCounterVec> = std::sync::LazyLock::new(|| {
    daemon::metrics::global().counter_vec(
        "kubelet_evictions",
        "Cumulative number of pod evictions by eviction signal",
        &["eviction_signal"],
    )
});

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::Toleration;

    #[test]
    fn under_pressure_only_those_come_in_who_do_no_harm() {
        let check = |pressures: &[Pressure], pod: &Pod, expected: Option<&str>| {
            assert_eq!(admit(pressures, pod).err().as_deref(), expected);
        };
        let mut pod = Pod::default();
        check(&[], &pod, None);
        let memory = "The node had condition: [MemoryPressure]. ";
        check(&[Pressure::Memory], &pod, Some(memory));
        pod.spec.tolerations.push(Toleration {
            key: "node.kubernetes.io/memory-pressure".into(),
            operator: TolerationOperator::Exists,
            ..Default::default()
        });
        check(&[Pressure::Memory], &pod, None);
        check(
            &[Pressure::Memory, Pressure::Disk],
            &pod,
            Some("The node had condition: [MemoryPressure DiskPressure]. "),
        );
        pod.spec.priority = Some(CRITICAL);
        check(&[Pressure::Disk], &pod, None);
        let mut burstable = Pod::default();
        burstable.status.qos_class = PodQOSClass::Burstable;
        check(&[Pressure::Memory], &burstable, None);
        check(&[Pressure::Disk], &burstable, Some("The node had condition: [DiskPressure]. "));
    }
}
