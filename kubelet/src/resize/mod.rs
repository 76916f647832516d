//! In-place resize (KEP-1287, KEP-5419): how the resources of a pod that runs are changed.
//!
//! There are three amounts. The spec says what is *wanted*; what the node has promised is *allocated*
//! and what runtime and control groups were last told is *actuated*; the latter two are kept in
//! [`checkpoint`]s. A pod is run as it is allocated: [`Resizes::settle`] gives its worker that view, and
//! promises what is wanted as soon as there is room. [`act`] tells runtime and control groups. Decisions
//! are in [`plan`], what the status says of it in [`conditions`].

pub mod act;
pub mod checkpoint;
pub mod conditions;
pub mod plan;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Container, Pod, PodCondition, PodQOSClass, ResourceRequirements};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::admission;
use crate::cri::observed::{ObservedPod, State};
use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;
use crate::resources;
use checkpoint::{Checkpoint, CheckpointError, PodResources};
use conditions::Conditions;
use plan::{Amounts, Waiting};

/// How often a resize that waits is tried without a cause. COMPAT: upstream's three minutes.
pub const RETRY: Duration = Duration::from_secs(180);

/// What pods were promised and told.
pub struct Resizes {
    allocated: Checkpoint,
    actuated: Checkpoint,
    conditions: Mutex<HashMap<String, Conditions>>,
    /// Promises are made one after the other; the uids are of those that wait.
    waiting: Mutex<BTreeSet<String>>,
}

impl Resizes {
    /// Reads what an earlier kubelet, ours or upstream's, kept in its directory.
    pub fn load(root: &Path) -> Result<Self, CheckpointError> {
        Ok(Self {
            allocated: Checkpoint::load(root.join("allocated_pods_state"))?,
            actuated: Checkpoint::load(root.join("actuated_pods_state"))?,
            conditions: Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    /// The pod as it was promised to be.
    pub fn given(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let given = self.allocated.get(&pod.metadata.uid).and_then(|given| plan::with(pod, &given));
        given.map_or_else(|| Arc::clone(pod), Arc::new)
    }

    /// What the pod's containers were last told.
    pub fn actuated(&self, uid: &str) -> Option<PodResources> {
        self.actuated.get(uid)
    }

    /// The conditions for the pod's status.
    pub fn conditions(&self, pod: &Pod) -> Vec<PodCondition> {
        self.with_conditions(pod, |conditions| conditions.list())
    }

    fn with_conditions<T>(&self, pod: &Pod, edit: impl FnOnce(&mut Conditions) -> T) -> T {
        let mut all = self.conditions.lock();
        edit(all.entry(pod.metadata.uid.clone()).or_insert_with(|| Conditions::of(pod)))
    }

    /// Makes the promise when there is room, and answers the pod as it is to run now. `true` when a
    /// resize waits.
    pub fn settle(&self, kubelet: &Kubelet, pod: &Arc<Pod>, observed: &ObservedPod) -> (Arc<Pod>, bool) {
        let uid = &pod.metadata.uid;
        let Some(given) = self.allocated.get(uid) else {
            // Just admitted, or started by a kubelet that kept no promises.
            let wanted = plan::resources_of(pod);
            keep(self.allocated.set(uid, wanted));
            self.adopt(pod, observed);
            return (Arc::clone(pod), false);
        };
        self.adopt(&self.given(pod), observed);
        if plan::with(pod, &given).is_none() {
            self.waiting.lock().remove(uid);
            self.with_conditions(pod, Conditions::clear_pending);
            return (Arc::clone(pod), false);
        }
        self.retry(kubelet, pod);
        let waits = self.waiting.lock().contains(uid);
        (self.given(pod), waits)
    }

    /// Containers of which no one noted what they were told have what they were given.
    fn adopt(&self, given: &Pod, observed: &ObservedPod) {
        let uid = &given.metadata.uid;
        let known = self.actuated.get(uid).unwrap_or_default();
        let runs = |name: &str| observed.container(name).is_some_and(|seen| seen.state == State::Running);
        let spec = &given.spec;
        let unknown = spec
            .init_containers
            .iter()
            .chain(&spec.containers)
            .filter(|container| runs(&container.name) && !known.containers.contains_key(&container.name));
        for container in unknown {
            self.told(given, container);
        }
        if known.pod.is_none() && observed.may_run() {
            self.told_pod(given);
        }
    }

    /// A container is started with what it was given.
    pub fn told(&self, given: &Pod, container: &Container) {
        let resources = plan::effective(given, container);
        keep(self.actuated.update(&given.metadata.uid, |told| {
            told.containers.insert(container.name.clone(), resources);
        }));
    }

    /// The pod's control group has what the pod was given.
    pub fn told_pod(&self, given: &Pod) {
        if let Some(resources) = given.spec.resources.as_deref().cloned() {
            keep(self.actuated.update(&given.metadata.uid, |told| told.pod = Some(resources)));
        }
    }

    /// Tries all resizes that wait and this one, the most deserving first.
    fn retry(&self, kubelet: &Kubelet, asking: &Arc<Pod>) {
        // One at a time: two pods must not be promised the same room.
        let mut waiting = self.waiting.lock();
        waiting.insert(asking.metadata.uid.clone());
        let mut pods: HashMap<String, Arc<Pod>> = kubelet
            .workers
            .all()
            .into_iter()
            .filter(|(_, stage)| *stage < Stage::Terminated)
            .map(|(pod, _)| (pod.metadata.uid.clone(), pod))
            .collect();
        pods.insert(asking.metadata.uid.clone(), Arc::clone(asking));
        let mut order: Vec<Waiting> =
            waiting.iter().filter_map(|uid| pods.get(uid)).map(|pod| self.claim(pod)).collect();
        plan::order(&mut order);
        let mut still = BTreeSet::new();
        for claim in order {
            let Some(pod) = pods.get(&claim.uid) else { continue };
            let others: Vec<Arc<Pod>> = pods
                .values()
                .filter(|other| other.metadata.uid != claim.uid)
                .map(|other| self.given(other))
                .collect();
            let before = self.conditions(pod);
            if !self.promise(kubelet, pod, &others) {
                still.insert(claim.uid.clone());
            }
            if claim.uid != asking.metadata.uid && self.conditions(pod) != before {
                kubelet.workers.wake(&claim.uid);
            }
        }
        *waiting = still;
    }

    fn claim(&self, pod: &Arc<Pod>) -> Waiting {
        let requests = |pod: &Pod| resources::total(&pod.spec, |resources| &resources.requests);
        let (wanted, given) = (requests(pod), requests(&self.given(pod)));
        Waiting {
            uid: pod.metadata.uid.clone(),
            increases: wanted.cpu > given.cpu || wanted.memory > given.memory,
            priority: pod.spec.priority.unwrap_or_default(),
            guaranteed: resources::qos_class(pod) == PodQOSClass::Guaranteed,
            since: self.with_conditions(pod, |conditions| conditions.pending_since()),
        }
    }

    /// Promises what the pod wants; `false` when it has to wait for room.
    fn promise(&self, kubelet: &Kubelet, pod: &Arc<Pod>, others: &[Arc<Pod>]) -> bool {
        let generation = pod.metadata.generation;
        let now = Timestamp::now();
        let fixed = (kubelet.placement.shares_cpus(), kubelet.placement.places_memory());
        let given = self.given(pod);
        let infeasible =
            plan::infeasible(pod, &given, fixed).or_else(|| kubelet.swap.hinders_resize(pod, &given));
        let answer = match infeasible {
            Some(message) => Err(("Infeasible", message)),
            None => admission::check(pod, others, &kubelet.allocatable, kubelet.most_pods())
                .map_err(|refusal| ("Deferred", refusal.message)),
        };
        match answer {
            Ok(()) => {
                if !keep(self.allocated.set(&pod.metadata.uid, plan::resources_of(pod))) {
                    return false;
                }
                self.with_conditions(pod, |conditions| {
                    conditions.clear_pending();
                    conditions.start(generation, now);
                });
                let message = message("Pod resize started", pod, generation, "");
                kubelet.recorder.pod(pod, "Normal", "ResizeStarted", &message);
                true
            }
            Err((reason, why)) => {
                let news = self
                    .with_conditions(pod, |conditions| conditions.set_pending(reason, &why, generation, now));
                if news {
                    let message = message(&format!("Pod resize {reason}"), pod, generation, &why);
                    kubelet.recorder.pod(pod, "Warning", &format!("Resize{reason}"), &message);
                }
                // What can never be does not wait for room.
                reason == "Infeasible"
            }
        }
    }

    /// Room may have come free: the pods that wait look again.
    pub fn poke(&self, kubelet: &Kubelet) {
        for uid in self.waiting.lock().iter() {
            kubelet.workers.wake(uid);
        }
    }

    /// Notes whether what runs is what was promised. `given` is the pod as allocated.
    pub fn note_progress(&self, kubelet: &Kubelet, given: &Pod, observed: &ObservedPod) {
        if self.in_progress(given, observed) {
            let generation = given.metadata.generation;
            self.with_conditions(given, |conditions| conditions.continue_(generation, Timestamp::now()));
        } else if let Some(generation) = self.with_conditions(given, Conditions::complete) {
            let message = message("Pod resize completed", given, generation, "");
            kubelet.recorder.pod(given, "Normal", "ResizeCompleted", &message);
            self.poke(kubelet);
        }
    }

    fn in_progress(&self, given: &Pod, observed: &ObservedPod) -> bool {
        let told = self.actuated.get(&given.metadata.uid).unwrap_or_default();
        let spec = &given.spec;
        let sidecars =
            spec.init_containers.iter().filter(|container| crate::sync_pod::plan::is_sidecar(container));
        let differs = |container: &Container| {
            let runs = observed.container(&container.name).is_some_and(|seen| seen.state == State::Running);
            let wanted = Amounts::of(&plan::effective(given, container));
            runs && told.containers.get(&container.name).is_some_and(|told| Amounts::of(told) != wanted)
        };
        let pods = match (&spec.resources, &told.pod) {
            (Some(wanted), Some(told)) => Amounts::of(wanted) != Amounts::of(told),
            _ => false,
        };
        pods || sidecars.chain(&spec.containers).any(differs)
    }

    /// The resize does not get on.
    fn failed(&self, kubelet: &Kubelet, given: &Pod, error: &str) {
        let generation = given.metadata.generation;
        let news =
            self.with_conditions(given, |conditions| conditions.fail(error, generation, Timestamp::now()));
        if let Some(generation) = news {
            let message = message("Pod resize error", given, generation, error);
            kubelet.recorder.pod(given, "Warning", "ResizeError", &message);
        }
    }

    /// Part of what a container or the pod was given is in force.
    fn record(&self, uid: &str, edit: impl FnOnce(&mut PodResources)) {
        keep(self.actuated.update(uid, edit));
    }

    /// Nothing of the pod runs any more.
    pub fn ended(&self, pod: &Pod) {
        self.waiting.lock().remove(&pod.metadata.uid);
        self.conditions.lock().insert(pod.metadata.uid.clone(), Conditions::default());
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.waiting.lock().remove(uid);
        self.conditions.lock().remove(uid);
        keep(self.allocated.remove(uid));
        keep(self.actuated.remove(uid));
    }

    /// Forgets the pods that no one knows.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        keep(self.allocated.retain(&known));
        keep(self.actuated.retain(&known));
    }
}

/// A checkpoint that cannot be written is tried again with the next change.
fn keep(result: Result<(), CheckpointError>) -> bool {
    if let Err(error) = &result {
        tracing::error!(%error, "cannot keep the resources of pods");
    }
    result.is_ok()
}

/// COMPAT: events of a resize carry the pod's resources as JSON.
fn message(what: &str, pod: &Pod, generation: i64, error: &str) -> String {
    let resources = |resources: &ResourceRequirements| {
        let bytes = api_types::codec::json::value_to_vec(resources);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let list = |containers: &[Container]| {
        let all: Vec<String> = containers
            .iter()
            .map(|container| {
                let name = serde_json::Value::from(container.name.as_str());
                format!("{{\"name\":{name},\"resources\":{}}}", resources(&container.resources))
            })
            .collect();
        format!("[{}]", all.join(","))
    };
    let mut parts = Vec::new();
    for (name, containers) in
        [("initContainers", &pod.spec.init_containers), ("containers", &pod.spec.containers)]
    {
        if !containers.is_empty() {
            parts.push(format!("\"{name}\":{}", list(containers)));
        }
    }
    if generation != 0 {
        parts.push(format!("\"generation\":{generation}"));
    }
    if !error.is_empty() {
        parts.push(format!("\"error\":{}", serde_json::Value::from(error)));
    }
    format!("{what}: {{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Quantity;

    /// COMPAT: as upstream's own test expects it.
    #[test]
    fn events_carry_the_resources() {
        let mut container = Container { name: "c0".into(), ..Default::default() };
        let mut pod = Pod::default();
        pod.spec.containers.push(container.clone());
        assert_eq!(
            message("Pod resize completed", &pod, 3, ""),
            r#"Pod resize completed: {"containers":[{"name":"c0","resources":{}}],"generation":3}"#
        );
        for list in [&mut container.resources.limits, &mut container.resources.requests] {
            list.insert("cpu".into(), Quantity::parse("100m").unwrap());
            list.insert("memory".into(), Quantity::parse("100").unwrap());
        }
        pod.spec.containers[0] = container;
        assert_eq!(
            message("Pod resize error", &pod, 1, "some error occurred"),
            r#"Pod resize error: {"containers":[{"name":"c0","resources":{"limits":{"cpu":"100m","memory":"100"},"requests":{"cpu":"100m","memory":"100"}}}],"generation":1,"error":"some error occurred"}"#
        );
    }
}
