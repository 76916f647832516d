//! When each probe of each container runs: one map of trackers, one queue of due times, one loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Container, ContainerStatus, Pod, PodPhase, PodStatus, Probe};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::check::{self, Outcome};
use super::tracker::{Change, Limits, Seen, Step, Tracker};
use super::{ProbeView, Type, Verdict};
use crate::cri::Runtime;
use crate::events::Recorder;
use crate::steady;
use crate::sync_pod::plan::{is_sidecar, should_restart};

/// Containers that started this long before the kubelet keep their standing.
const RESTART_GRACE: i64 = 10;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    container: String,
    type_: Type,
}

struct Entry {
    tracker: Tracker,
    pod: Arc<Pod>,
    container: Container,
    probe: Probe,
    /// A run is under way.
    busy: bool,
    /// Runs that succeeded, failed, and could not be done.
    counts: [u64; 3],
    /// The turn that counts; older ones in the queue are stale.
    turn: u64,
    /// The container that runs, and since when by the steady clock.
    running: Option<(String, Timestamp)>,
}

/// When, which turn, whose.
type Due = (Instant, u64, KeyOrder);

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    queue: BinaryHeap<Reverse<Due>>,
    /// Verdicts by container id.
    verdicts: HashMap<(String, Type), Verdict>,
    turns: u64,
}

/// A key in the queue; the order among equal instants does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyOrder(Key);

impl PartialOrd for KeyOrder {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyOrder {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.0.uid, &self.0.container).cmp(&(&other.0.uid, &other.0.container))
    }
}

/// The status of the pod with a uid.
pub type StatusOf = Box<dyn Fn(&str) -> Option<PodStatus> + Send + Sync>;
/// Wakes the worker of the pod with a uid.
pub type Wake = Box<dyn Fn(&str) + Send + Sync>;

/// How often a probe came to a result.
pub struct Count {
    /// Whose it is.
    pub pod: Arc<Pod>,
    /// The container's name.
    pub container: String,
    /// Which of its probes.
    pub type_: Type,
    /// `successful`, `failed` or `unknown`.
    pub result: &'static str,
    /// So often.
    pub runs: u64,
}

/// What the probes need from the kubelet.
pub struct Surroundings {
    /// Runs exec probes.
    pub runtime: Runtime,
    /// Gets "Unhealthy" events.
    pub recorder: Recorder,
    /// The last computed status of a pod.
    pub status: StatusOf,
    /// Wakes a pod's worker.
    pub wake: Wake,
    /// When this kubelet started.
    pub started: Timestamp,
}

/// All probes of the node.
pub struct Probes {
    state: Mutex<State>,
    changed: Notify,
    around: Surroundings,
}

impl Probes {
    /// No probes yet.
    pub fn new(around: Surroundings) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Notify::new(), around })
    }

    /// Starts probing what is not probed yet, and follows changes of the pod.
    pub fn add(&self, pod: &Arc<Pod>) {
        let sidecars = pod.spec.init_containers.iter().filter(|container| is_sidecar(container));
        let mut state = self.state.lock();
        for container in pod.spec.containers.iter().chain(sidecars) {
            let probes = [
                (Type::Startup, &container.startup_probe),
                (Type::Readiness, &container.readiness_probe),
                (Type::Liveness, &container.liveness_probe),
            ];
            for (type_, probe) in probes {
                let Some(probe) = probe else { continue };
                let key = Key { uid: pod.metadata.uid.clone(), container: container.name.clone(), type_ };
                if let Some(entry) = state.entries.get_mut(&key) {
                    entry.pod = Arc::clone(pod);
                    continue;
                }
                let limits = Limits {
                    initial_delay: probe.initial_delay_seconds.into(),
                    successes: probe.success_threshold,
                    failures: probe.failure_threshold,
                };
                let entry = Entry {
                    tracker: Tracker::new(type_, limits),
                    pod: Arc::clone(pod),
                    container: container.clone(),
                    probe: (**probe).clone(),
                    busy: false,
                    counts: [0; 3],
                    turn: 0,
                    running: None,
                };
                state.entries.insert(key.clone(), entry);
                // Just after a restart of the kubelet the probes of all pods come at once: spread them.
                let age = steady::now().duration_since(self.around.started).as_secs();
                let delay = if age < probe.period_seconds.into() {
                    period(probe).mul_f64(fastrand::f64())
                } else {
                    Duration::ZERO
                };
                enqueue(&mut state, &key, Instant::now() + delay);
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Stops the probes that could restart containers of a pod that is ending.
    pub fn stop_liveness_and_startup(&self, uid: &str) {
        self.stop(|key| key.uid == uid && key.type_ != Type::Readiness);
    }

    /// Stops all probes of a pod.
    pub fn remove(&self, uid: &str) {
        self.stop(|key| key.uid == uid);
    }

    fn stop(&self, which: impl Fn(&Key) -> bool) {
        let mut state = self.state.lock();
        let State { entries, verdicts, .. } = &mut *state;
        entries.retain(|key, entry| {
            let stop = which(key);
            if stop {
                verdicts.remove(&(entry.tracker.id().to_owned(), key.type_));
            }
            !stop
        });
    }

    /// The verdict on a container, if there is one.
    pub fn verdict(&self, id: &str, type_: Type) -> Option<Verdict> {
        self.state.lock().verdicts.get(&(id.to_owned(), type_)).copied()
    }

    /// The runs of every probe, by result: for the metric.
    pub fn counts(&self) -> Vec<Count> {
        let state = self.state.lock();
        let mut counts = Vec::new();
        for (key, entry) in &state.entries {
            for (result, runs) in ["successful", "failed", "unknown"].into_iter().zip(entry.counts) {
                if runs > 0 {
                    let pod = Arc::clone(&entry.pod);
                    counts.push(Count {
                        pod,
                        container: key.container.clone(),
                        type_: key.type_,
                        result,
                        runs,
                    });
                }
            }
        }
        counts
    }

    /// Runs probes at their turns; never ends.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self.state.lock().queue.peek().map(|Reverse((at, ..))| *at);
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.changed.notified() => {}
            }
            for key in self.take_due() {
                self.turn(key);
            }
        }
    }

    fn take_due(&self) -> Vec<Key> {
        let (now, mut state) = (Instant::now(), self.state.lock());
        let mut due = Vec::new();
        while let Some(Reverse((at, turn, KeyOrder(key)))) = state.queue.peek().cloned() {
            if at > now {
                break;
            }
            state.queue.pop();
            if state.entries.get(&key).is_some_and(|entry| entry.turn == turn) {
                due.push(key);
            }
        }
        due
    }

    fn turn(self: &Arc<Self>, key: Key) {
        let status = (self.around.status)(&key.uid);
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(&key) else { return };
        let next = Instant::now() + period(&entry.probe);
        if entry.busy {
            enqueue(&mut state, &key, next);
            return;
        }
        let Some(status) = status else {
            enqueue(&mut state, &key, next);
            return;
        };
        let seen = seen(entry, &status, self.around.started);
        let (step, changes) = entry.tracker.before(&seen);
        let run = (step == Step::Probe).then(|| {
            entry.busy = true;
            (entry.container.clone(), entry.probe.clone(), Arc::clone(&entry.pod))
        });
        let changed = apply(&mut state, key.type_, changes);
        if step == Step::Stop {
            state.entries.remove(&key);
        } else {
            enqueue(&mut state, &key, next);
        }
        drop(state);
        if changed {
            (self.around.wake)(&key.uid);
        }
        if let Some((container, probe, pod)) = run {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                let outcome =
                    check::run(&this.around.runtime, &probe, &container, &seen.id, &status.pod_ip).await;
                this.finish(&key, &seen.id, &pod, outcome);
            });
        }
    }

    fn finish(&self, key: &Key, id: &str, pod: &Pod, outcome: Outcome) {
        let name = key.type_.as_str();
        let event = |reason: &str, message: String| {
            self.around.recorder.container(pod, &key.container, "Warning", reason, &message);
        };
        let verdict = match outcome {
            Outcome::Success => Some(Verdict::Success),
            Outcome::Warning(output) => {
                event("ProbeWarning", format!("{name} probe warning: {output}"));
                Some(Verdict::Success)
            }
            Outcome::Failure(output) => {
                event("Unhealthy", format!("{name} probe failed: {output}"));
                Some(Verdict::Failure)
            }
            Outcome::Error(error) => {
                event("Unhealthy", format!("{name} probe errored and resulted in unknown state: {error}"));
                None
            }
        };
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(key) else { return };
        entry.busy = false;
        entry.counts[match verdict {
            Some(Verdict::Success) => 0,
            Some(_) => 1,
            None => 2,
        }] += 1;
        let change = verdict.and_then(|verdict| entry.tracker.after(id, verdict));
        let changed = apply(&mut state, key.type_, change.into_iter().collect());
        drop(state);
        if changed {
            (self.around.wake)(&key.uid);
        }
    }

    /// Runs a readiness probe at once: its container may just have become ready.
    fn hurry(&self, uid: &str, container: &str) {
        let key = Key { uid: uid.into(), container: container.into(), type_: Type::Readiness };
        let mut state = self.state.lock();
        if state.entries.get(&key).is_some_and(|entry| !entry.busy) {
            // A moment later, so that the status that shows the container is there to be looked at.
            enqueue(&mut state, &key, Instant::now() + Duration::from_millis(20));
            drop(state);
            self.changed.notify_one();
        }
    }

    fn exists(&self, uid: &str, container: &str, type_: Type) -> bool {
        let key = Key { uid: uid.into(), container: container.into(), type_ };
        self.state.lock().entries.contains_key(&key)
    }

    fn started(&self, uid: &str, status: &ContainerStatus) -> bool {
        if status.state.running.is_none() {
            return false;
        }
        match self.verdict(bare_id(&status.container_id), Type::Startup) {
            Some(verdict) => verdict == Verdict::Success,
            None => status.started == Some(true) || !self.exists(uid, &status.name, Type::Startup),
        }
    }

    fn ready(&self, pod: &Pod, status: &ContainerStatus) -> bool {
        let Some(running) = &status.state.running else { return false };
        let uid = &pod.metadata.uid;
        let verdict = self.verdict(bare_id(&status.container_id), Type::Readiness);
        if verdict == Some(Verdict::Success) {
            return true;
        }
        if !self.exists(uid, &status.name, Type::Readiness) {
            return true;
        }
        if verdict.is_none() {
            let before_us = running.started_at.is_some_and(|at| self.before_us(at.0));
            let was_ready = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
            if before_us && was_ready.into_iter().any(|old| old.name == status.name && old.ready) {
                return true;
            }
        }
        self.hurry(uid, &status.name);
        false
    }

    fn before_us(&self, at: Timestamp) -> bool {
        self.around.started.duration_since(at).as_secs() > RESTART_GRACE
    }
}

impl ProbeView for Probes {
    fn mark(&self, pod: &Pod, status: &mut PodStatus) {
        for container in &mut status.container_statuses {
            let started = self.started(&pod.metadata.uid, container);
            container.started = Some(started);
            container.ready = started && self.ready(pod, container);
        }
        for container in &mut status.init_container_statuses {
            let started = self.started(&pod.metadata.uid, container);
            container.started = Some(started);
            let sidecar =
                pod.spec.init_containers.iter().any(|spec| spec.name == container.name && is_sidecar(spec));
            container.ready = if sidecar {
                started && self.ready(pod, container)
            } else {
                container.state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0)
            };
        }
    }
}

/// The id without the runtime's name before it.
pub fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, id)| id)
}

fn period(probe: &Probe) -> Duration {
    Duration::from_secs(probe.period_seconds.max(1).unsigned_abs().into())
}

fn enqueue(state: &mut State, key: &Key, at: Instant) {
    state.turns += 1;
    let turn = state.turns;
    if let Some(entry) = state.entries.get_mut(key) {
        entry.turn = turn;
        state.queue.push(Reverse((at, turn, KeyOrder(key.clone()))));
    }
}

/// Notes verdicts; answers whether one is new.
fn apply(state: &mut State, type_: Type, changes: Vec<Change>) -> bool {
    let mut changed = false;
    for Change { id, verdict } in changes {
        let key = (id, type_);
        let before = match verdict {
            Some(verdict) => state.verdicts.insert(key, verdict),
            None => state.verdicts.remove(&key),
        };
        changed |= before != verdict;
    }
    changed
}

fn seen(entry: &mut Entry, status: &PodStatus, kubelet_started: Timestamp) -> Seen {
    let name = &entry.container.name;
    let container = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .find(|container| container.name == *name);
    let mut seen = Seen {
        pod_ended: matches!(status.phase, PodPhase::Failed | PodPhase::Succeeded),
        deleting: entry.pod.metadata.deletion_timestamp.is_some(),
        ..Default::default()
    };
    let Some(container) = container else { return seen };
    seen.id = bare_id(&container.container_id).to_owned();
    seen.started = container.started == Some(true);
    if let Some(running) = &container.state.running {
        let since = running.started_at.map(|at| at.0).unwrap_or_default();
        let now = steady::now();
        // By the clock that goes on: what a probe waits for comes, whatever becomes of the node's.
        if entry.running.as_ref().is_none_or(|(id, _)| *id != seen.id) {
            entry.running = Some((seen.id.clone(), steady::of(since, Timestamp::now(), now)));
        }
        seen.running_for = entry.running.as_ref().map(|(_, since)| now.duration_since(*since).as_secs());
        seen.older_than_kubelet = kubelet_started.duration_since(since).as_secs() > RESTART_GRACE;
    }
    seen.ended_for_good = container
        .state
        .terminated
        .as_ref()
        .is_some_and(|ended| !should_restart(&entry.container, &entry.pod.spec, ended.exit_code));
    seen
}
