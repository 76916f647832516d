//! Which CPUs, which NUMA nodes' memory and which devices a pod's containers have to themselves: upstream's CPU,
//! memory and topology managers.
//!
//! [`topology`] is the machine, [`settings`] what is asked of it. A pod is given all it needs when it is admitted
//! ([`Placement::admit`]): every resource says which NUMA nodes would do ([`hint`]), then [`cpus`], [`memory`] and
//! the device plugins give accordingly. It has that until it is over, whatever restarts; [`checkpoint`] is how it is
//! kept. Containers without CPUs of their own share the others: [`reconcile`] tells the runtime when those change.
//! Everything but `checkpoint`, `reconcile` and this file is pure.

pub mod checkpoint;
pub mod cpu_set;
pub mod cpus;
pub mod hint;
pub mod memory;
pub mod metrics;
pub mod reconcile;
pub mod settings;
pub mod take;
pub mod topology;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use api_types::core::v1::{Container, Pod, PodSpec, ResourceList};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::device::plan::Ids;
use crate::device::{Devices, Reusable};
use cpu_set::CpuSet;
use hint::{Hint, Hints, Policy};
use settings::{Policies, Scope, Settings};
use topology::Topology;

const CPU_FILE: &str = "cpu_manager_state";
const MEMORY_FILE: &str = "memory_manager_state";

/// Why a pod cannot have what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of the pod's status.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// What should not have happened: the scheduler has counted.
    pub fn unexpected(error: impl std::fmt::Display) -> Self {
        Self {
            reason: "UnexpectedAdmissionError".into(),
            message: format!("Allocate failed due to {error}, which is unexpected"),
        }
    }

    fn topology() -> Self {
        Self {
            reason: "TopologyAffinityError".into(),
            message: "Resources cannot be allocated with Topology locality".into(),
        }
    }
}

/// The pod names resources for all its containers together (KEP-2837): those share.
fn asks_as_a_whole(pod: &Pod) -> bool {
    let kinds = |name: &String| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-");
    let own = pod.spec.resources.as_ref();
    own.is_some_and(|own| own.requests.keys().chain(own.limits.keys()).any(kinds))
}

/// A pod's containers as they start; `true`: an init container.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = (&Container, bool)> {
    let init = spec.init_containers.iter().map(|container| (container, true));
    init.chain(spec.containers.iter().map(|container| (container, false)))
}

#[derive(Default)]
struct State {
    cpus: cpus::State,
    memory: memory::State,
    /// The CPUs that the runtime was told of, by the container's id.
    told: HashMap<String, CpuSet>,
}

/// What a pod's containers leave to those that start later.
#[derive(Default)]
struct Leftovers {
    devices: BTreeMap<String, Ids>,
    cpus: cpus::Reusable,
    memory: memory::Reusable,
}

/// Who has what on this node.
pub struct Placement {
    dir: PathBuf,
    names: (String, String),
    topology: Topology,
    policies: Policies,
    state: Mutex<State>,
    /// Pods are admitted one after the other.
    turn: tokio::sync::Mutex<()>,
    /// The shared CPUs are others.
    changed: Notify,
}

impl Placement {
    /// Reads who has what; `reserved` is what the node keeps from pods, thresholds of eviction included.
    ///
    /// # Errors
    /// When the settings do not fit the machine, or the files do not fit the settings: worded as upstream's.
    pub fn load(
        root: &Path,
        settings: &Settings,
        topology: Topology,
        reserved: &ResourceList,
    ) -> Result<Self, String> {
        let policies = settings.policies(&topology, reserved)?;
        let names = (settings.cpu_name().to_owned(), settings.memory_name().to_owned());
        let restored = |error: checkpoint::CheckpointError, kind: &str, file: &str| {
            format!(
                "start {} manager error: could not restore state from checkpoint: {error}, please drain this node and delete the {kind} manager checkpoint file {:?} before restarting Kubelet",
                kind.to_lowercase(),
                root.join(file).to_string_lossy()
            )
        };
        let mut cpus = checkpoint::read_cpus(&root.join(CPU_FILE), &names.0)
            .map_err(|error| restored(error, "CPU", CPU_FILE))?
            .unwrap_or_default();
        if let Some(policy) = &policies.cpus {
            cpus = policy.start(cpus).map_err(|error| {
                format!("start cpu manager error: {error}: invalid state, please drain node and remove policy state file")
            })?;
        }
        let mut memory = checkpoint::read_memory(&root.join(MEMORY_FILE), &names.1)
            .map_err(|error| restored(error, "memory", MEMORY_FILE))?
            .unwrap_or_default();
        if let Some(policy) = &policies.memory {
            memory = policy.start(memory).map_err(|error| {
                format!("start memory manager error: {error}: invalid state, please drain node and remove policy state file")
            })?;
        }
        let placement = Self {
            dir: root.to_owned(),
            names,
            topology,
            policies,
            state: Mutex::new(State { cpus, memory, told: HashMap::new() }),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        };
        {
            let state = placement.state.lock();
            placement.save_cpus(&state.cpus);
            placement.save_memory(&state.memory);
            metrics::start(&placement.policies, &placement.topology, &state.cpus);
        }
        Ok(placement)
    }

    /// Some containers have CPUs to themselves.
    pub fn shares_cpus(&self) -> bool {
        self.policies.cpus.is_some()
    }

    /// Containers' memory comes from nodes that are chosen for them.
    pub fn places_memory(&self) -> bool {
        self.policies.memory.is_some()
    }

    /// The CPUs that a container runs on; none: on all.
    pub fn cpus(&self, uid: &str, container: &str) -> CpuSet {
        let state = self.state.lock();
        state.cpus.of(uid, container).unwrap_or(&state.cpus.shared).clone()
    }

    /// The CPUs that a container has to itself.
    pub fn own_cpus(&self, uid: &str, container: &str) -> CpuSet {
        self.state.lock().cpus.of(uid, container).cloned().unwrap_or_default()
    }

    /// Some container of the pod has CPUs to itself: quotas would only get in its way.
    pub fn pod_has_own_cpus(&self, uid: &str) -> bool {
        self.state.lock().cpus.own.contains_key(uid)
    }

    /// The NUMA nodes of a container's memory, as the kernel lists them; empty: all.
    pub fn memory_nodes(&self, uid: &str, container: &str) -> String {
        let nodes = self.state.lock().memory.nodes(uid, container);
        nodes.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
    }

    /// The memory that a container has.
    pub fn memory(&self, uid: &str, container: &str) -> Vec<memory::Block> {
        self.state.lock().memory.of(uid, container).cloned().unwrap_or_default()
    }

    /// The CPUs that the machine has.
    pub fn every_cpu(&self) -> CpuSet {
        self.topology.cpus.keys().copied().collect()
    }

    /// The CPUs that containers may have to themselves.
    pub fn allocatable_cpus(&self) -> CpuSet {
        self.policies.cpus.as_ref().map(cpus::Static::allocatable).unwrap_or_default()
    }

    /// The memory that containers may have.
    pub fn allocatable_memory(&self) -> Vec<memory::Block> {
        self.policies.memory.as_ref().map(memory::Static::allocatable).unwrap_or_default()
    }

    /// The runtime has a container on these CPUs.
    pub fn told(&self, id: &str, cpus: CpuSet) {
        if self.shares_cpus() {
            self.state.lock().told.insert(id.to_owned(), cpus);
        }
    }

    /// Gives a pod's containers all that they are to have to themselves; what they have they keep. `active` says
    /// which pods are not over; `first`: the pod was not looked at before.
    ///
    /// # Errors
    /// Why the pod cannot run here; what it was given until then it has until it is over.
    pub async fn admit(
        &self,
        devices: &Devices,
        pod: &Pod,
        first: bool,
        active: impl Fn(&str) -> bool,
    ) -> Result<(), Refusal> {
        if first {
            metrics::ADMISSIONS.inc();
        }
        // A pod that nothing is chosen for need not wait for a plugin that takes its time with another's devices.
        let _turn = match self.chooses(devices, pod) {
            true => Some(self.turn.lock().await),
            false => None,
        };
        let timer = std::time::Instant::now();
        devices.retain(&active);
        self.retain(&active);
        let result = self.place(devices, pod).await;
        if first {
            metrics::ADMISSION_TIME.observe(timer.elapsed().as_secs_f64() * 1000.0);
        }
        if first && result.is_err() && self.policies.merger.policy != Policy::None {
            metrics::ADMISSION_ERRORS.inc();
        }
        result
    }

    /// Something of the node's is, or may be, to be chosen for the pod.
    fn chooses(&self, devices: &Devices, pod: &Pod) -> bool {
        let own_cpus = |container| self.policies.cpus.is_some() && cpus::wanted(pod, container) > 0;
        self.policies.merger.policy != Policy::None
            || self.policies.memory.is_some()
            || containers(&pod.spec).any(|(container, _)| devices.asked(container) || own_cpus(container))
    }

    async fn place(&self, devices: &Devices, pod: &Pod) -> Result<(), Refusal> {
        let mut left = Leftovers::default();
        let merger = &self.policies.merger;
        let strict = merger.policy == Policy::SingleNode;
        let nodes: Vec<usize> = self.topology.nodes.keys().copied().collect();
        let choose = |said: Vec<Hints>, scope: &str| {
            let (best, does) = merger.merge(&said);
            tracing::debug!(pod = pod.metadata.name, ?said, ?best, does, "NUMA nodes");
            if strict {
                metrics::aligned(does, scope, "numa_node");
            }
            if does { Ok(best) } else { Err(Refusal::topology()) }
        };
        let mut hint = Hint { nodes: None, preferred: false };
        let placed = merger.policy != Policy::None;
        if placed && self.policies.scope == Scope::Pod {
            let mut said = devices.pod_hints(pod, &nodes);
            said.extend(self.pod_hints(pod));
            hint = choose(said, "pod")?;
        }
        for (container, init) in containers(&pod.spec) {
            if placed && self.policies.scope == Scope::Container {
                let mut said = devices.hints(pod, container, &nodes, &left.devices);
                said.extend(self.hints(pod, container, &left));
                hint = choose(said, "container")?;
            }
            let reusable = Reusable { init, free: &mut left.devices };
            devices.allocate(pod, container, hint.nodes, reusable).await.map_err(Refusal::unexpected)?;
            self.give(pod, (container, init), hint, &mut left)?;
        }
        Ok(())
    }

    fn hints(&self, pod: &Pod, container: &Container, left: &Leftovers) -> Vec<Hints> {
        let state = self.state.lock();
        let cpus = self.policies.cpus.as_ref();
        let mut said = vec![cpus.and_then(|policy| policy.hints(&state.cpus, pod, container, &left.cpus))];
        if let Some(policy) = &self.policies.memory {
            said.extend(policy.hints(&state.memory, pod, container, &left.memory));
        }
        said
    }

    fn pod_hints(&self, pod: &Pod) -> Vec<Hints> {
        let state = self.state.lock();
        let cpus = self.policies.cpus.as_ref();
        let mut said = vec![cpus.and_then(|policy| policy.pod_hints(&state.cpus, pod))];
        if let Some(policy) = &self.policies.memory {
            said.extend(policy.pod_hints(&state.memory, pod));
        }
        said
    }

    /// A container's CPUs and memory.
    fn give(
        &self,
        pod: &Pod,
        (container, init): (&Container, bool),
        hint: Hint,
        left: &mut Leftovers,
    ) -> Result<(), Refusal> {
        let (uid, name) = (pod.metadata.uid.as_str(), container.name.as_str());
        let mut state = self.state.lock();
        if let Some(policy) = &self.policies.cpus
            && cpus::wanted(pod, container) > 0
        {
            let given = policy.allocate(&state.cpus, pod, container, hint.nodes, &left.cpus);
            metrics::cpus_asked(policy, &given);
            if let Some(cpus) = given? {
                tracing::info!(pod = pod.metadata.name, container = name, %cpus, "CPUs of its own");
                state.cpus.give(uid, name, cpus);
                self.save_cpus(&state.cpus);
                metrics::cpus(policy, &state.cpus);
                self.changed.notify_one();
            }
            if let Some(own) = state.cpus.of(uid, name) {
                left.cpus = cpus::leave(&left.cpus, container, init, own);
            }
        }
        if let Some(policy) = &self.policies.memory {
            let given = policy.allocate(&mut state.memory, pod, (container, init), hint, &mut left.memory);
            metrics::memory_asked(pod, &given);
            if given.map_err(Refusal::unexpected)? {
                self.save_memory(&state.memory);
            }
        }
        Ok(())
    }

    /// A pod is over: others may have what it had.
    pub fn release(&self, uid: &str) {
        self.retain(|other| other != uid);
    }

    fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut state = self.state.lock();
        if let Some(policy) = &self.policies.cpus
            && state.cpus.retain(&keep)
        {
            self.save_cpus(&state.cpus);
            metrics::cpus(policy, &state.cpus);
            self.changed.notify_one();
        }
        if self.policies.memory.is_some() && state.memory.retain(&keep) {
            self.save_memory(&state.memory);
        }
    }

    fn save_cpus(&self, state: &cpus::State) {
        if let Err(error) = checkpoint::write_cpus(&self.dir.join(CPU_FILE), &self.names.0, state) {
            tracing::error!(%error, "cannot write who has which CPUs");
        }
    }

    fn save_memory(&self, state: &memory::State) {
        if let Err(error) = checkpoint::write_memory(&self.dir.join(MEMORY_FILE), &self.names.1, state) {
            tracing::error!(%error, "cannot write who has which memory");
        }
    }
}
