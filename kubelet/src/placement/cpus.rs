//! CPUs of their own for containers (the CPU manager's static policy, KEP-3570): a container of a Guaranteed pod that
//! asks for whole CPUs has them for itself until its pod is over; all others share the rest. Pure.
//!
//! Reserved CPUs are shared and never given away. What an init container had, the containers after it may have.
//! Pods with resources of their own (KEP-2837) share.

use std::collections::BTreeMap;

use api_types::core::v1::{Container, Pod, PodQOSClass};

use super::cpu_set::CpuSet;
use super::hint::{Hint, Hints, Mask, prefer};
use super::take::{self, Manner};
use super::topology::{Level, Topology};
use super::{Refusal, asks_as_a_whole};
use crate::resources;
use crate::sync_pod::plan::is_sidecar;

/// The options of the static policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `full-pcpus-only`
    pub full_cores: bool,
    /// `distribute-cpus-across-numa`
    pub across_nodes: bool,
    /// `strict-cpu-reservation`
    pub strict_reservation: bool,
    /// `prefer-align-cpus-by-uncorecache`
    pub by_cache: bool,
}

/// Who has which CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What all others share.
    pub shared: CpuSet,
    /// By pod and container.
    pub own: BTreeMap<String, BTreeMap<String, CpuSet>>,
}

impl State {
    /// A container's own CPUs.
    pub fn of(&self, uid: &str, container: &str) -> Option<&CpuSet> {
        self.own.get(uid)?.get(container)
    }

    /// All that are somebody's own.
    pub fn taken(&self) -> CpuSet {
        self.own.values().flat_map(BTreeMap::values).flat_map(CpuSet::iter).collect()
    }

    /// Gives CPUs to a container.
    pub fn give(&mut self, uid: &str, container: &str, cpus: CpuSet) {
        self.shared = self.shared.without(&cpus);
        self.own.entry(uid.to_owned()).or_default().insert(container.to_owned(), cpus);
    }

    /// Takes back what pods have that are not to keep it. Whether there was any.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) -> bool {
        let before = self.taken();
        self.own.retain(|uid, _| keep(uid));
        let freed = before.without(&self.taken());
        self.shared = self.shared.union(&freed);
        !freed.is_empty()
    }
}

/// The static policy on one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Static {
    /// The machine.
    pub topology: Topology,
    /// Never anyone's own.
    pub reserved: CpuSet,
    /// How CPUs are chosen.
    pub options: Options,
}

/// What a pod's init containers leave to those after them.
pub type Reusable = CpuSet;

/// How many CPUs of its own a container is to have.
pub fn wanted(pod: &Pod, container: &Container) -> usize {
    if resources::qos_class(pod) != PodQOSClass::Guaranteed || asks_as_a_whole(pod) {
        return 0;
    }
    let milli = resources::cpu(&container.resources.requests);
    if milli % 1000 == 0 { usize::try_from(milli / 1000).unwrap_or_default() } else { 0 }
}

/// How many a pod needs at once.
fn wanted_by_pod(pod: &Pod) -> usize {
    let (mut sidecars, mut peak) = (0, 0);
    for container in &pod.spec.init_containers {
        let count = wanted(pod, container);
        if is_sidecar(container) {
            sidecars += count;
        } else {
            peak = peak.max(sidecars + count);
        }
    }
    let running: usize = pod.spec.containers.iter().map(|container| wanted(pod, container)).sum();
    peak.max(sidecars + running)
}

/// What is left to later containers once this one has its CPUs.
pub fn leave(reusable: &Reusable, container: &Container, init: bool, cpus: &CpuSet) -> Reusable {
    if init && !is_sidecar(container) { reusable.union(cpus) } else { reusable.without(cpus) }
}

impl Static {
    /// The policy with that many CPUs reserved, or those that are named.
    ///
    /// # Errors
    /// When the machine does not have as many.
    pub fn new(topology: Topology, count: usize, named: CpuSet, options: Options) -> Result<Self, String> {
        let mut policy = Self { topology, reserved: CpuSet::default(), options };
        policy.reserved = if named.is_empty() {
            policy.take(&policy.topology.all(), count).unwrap_or_default()
        } else {
            named
        };
        if policy.reserved.len() != count {
            return Err(format!(
                "new static policy error: [cpumanager] unable to reserve the required amount of CPUs (size of {} did not equal {count})",
                policy.reserved
            ));
        }
        Ok(policy)
    }

    /// What containers may have for their own.
    pub fn allocatable(&self) -> CpuSet {
        self.topology.all().without(&self.reserved)
    }

    /// The state at the start: what the file says, or all CPUs shared.
    ///
    /// # Errors
    /// When the file cannot be of this machine with these settings, worded as upstream's.
    pub fn start(&self, read: State) -> Result<State, String> {
        let strict = self.options.strict_reservation;
        let all = self.topology.all();
        if read.shared.is_empty() {
            if !read.own.is_empty() {
                return Err("default cpuset cannot be empty".into());
            }
            let shared = if strict { self.allocatable() } else { all };
            return Ok(State { shared, own: BTreeMap::new() });
        }
        let reserved = self.reserved.intersection(&read.shared);
        if strict && !reserved.is_empty() {
            return Err(format!(
                "some of strictly reserved cpus: \"{reserved}\" are present in defaultCpuSet: \"{}\"",
                read.shared
            ));
        }
        if !strict && reserved != self.reserved {
            return Err(format!(
                "not all reserved cpus: \"{}\" are present in defaultCpuSet: \"{}\"",
                self.reserved, read.shared
            ));
        }
        for (pod, containers) in &read.own {
            for (container, cpus) in containers {
                if !cpus.intersection(&read.shared).is_empty() {
                    return Err(format!(
                        "pod: {pod}, container: {container} cpuset: \"{cpus}\" overlaps with default cpuset \"{}\"",
                        read.shared
                    ));
                }
            }
        }
        let known = read.shared.union(&read.taken());
        let expected = if strict { self.allocatable() } else { all };
        if known != expected {
            return Err(format!(
                "current set of available CPUs \"{expected}\" doesn't match with CPUs in state \"{known}\""
            ));
        }
        Ok(read)
    }

    /// Where a container's CPUs could come from.
    pub fn hints(&self, state: &State, pod: &Pod, container: &Container, reusable: &Reusable) -> Hints {
        let count = wanted(pod, container);
        if count == 0 {
            return None;
        }
        Some(match state.of(&pod.metadata.uid, &container.name) {
            Some(own) if own.len() != count => Vec::new(),
            Some(own) => self.generate(own, &CpuSet::default(), count),
            None => self.generate(&state.shared.without(&self.reserved), reusable, count),
        })
    }

    /// Where all of a pod's CPUs could come from.
    pub fn pod_hints(&self, state: &State, pod: &Pod) -> Hints {
        let count = wanted_by_pod(pod);
        if count == 0 {
            return None;
        }
        let mut assigned = CpuSet::default();
        for container in pod.spec.init_containers.iter().chain(&pod.spec.containers) {
            let Some(own) = state.of(&pod.metadata.uid, &container.name) else { continue };
            if own.len() != wanted(pod, container) {
                return Some(Vec::new());
            }
            assigned = assigned.union(own);
        }
        if assigned.len() == count {
            return Some(self.generate(&assigned, &CpuSet::default(), count));
        }
        Some(self.generate(&state.shared.without(&self.reserved), &assigned, count))
    }

    fn generate(&self, available: &CpuSet, reusable: &CpuSet, count: usize) -> Vec<Hint> {
        let nodes: Vec<usize> = self.topology.parts(Level::Node).into_iter().collect();
        let on = |mask: Mask, cpus: &CpuSet| {
            cpus.iter().filter(|cpu| self.topology.node_of(*cpu).is_some_and(|node| mask.has(node))).count()
        };
        let all = self.topology.all();
        let mut least = Mask::of(nodes.iter().copied()).count();
        let mut fitting = Vec::new();
        for mask in Mask::subsets(&nodes) {
            if on(mask, &all) >= count {
                least = least.min(mask.count());
            }
            let kept = on(mask, reusable) == reusable.len();
            if kept && reusable.len() + on(mask, available) >= count {
                fitting.push(mask);
            }
        }
        prefer(fitting, least)
    }

    /// The CPUs that a container is given, from the hinted nodes first; `None`: it shares, or has its own already.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn allocate(
        &self,
        state: &State,
        pod: &Pod,
        container: &Container,
        hint: Option<Mask>,
        reusable: &Reusable,
    ) -> Result<Option<CpuSet>, Refusal> {
        let count = wanted(pod, container);
        if count == 0 {
            return Ok(None);
        }
        self.whole_cores(state, count)?;
        if state.of(&pod.metadata.uid, &container.name).is_some() {
            return Ok(None);
        }
        let free = state.shared.without(&self.reserved).union(reusable);
        let mut taken = CpuSet::default();
        if let Some(hint) = hint {
            let near =
                free.iter().filter(|cpu| self.topology.node_of(*cpu).is_some_and(|node| hint.has(node)));
            let near: CpuSet = near.collect();
            taken = self.take(&near, count.min(near.len())).map_err(Refusal::unexpected)?;
        }
        let rest = self.take(&free.without(&taken), count - taken.len()).map_err(Refusal::unexpected)?;
        Ok(Some(taken.union(&rest)))
    }

    /// With `full-pcpus-only`, whether so many are whole cores and free.
    fn whole_cores(&self, state: &State, count: usize) -> Result<(), Refusal> {
        let per_core = self.topology.per(Level::Core);
        if !self.options.full_cores {
            return Ok(());
        }
        let refuse = |message: String| Err(Refusal { reason: "SMTAlignmentError".into(), message });
        if !count.is_multiple_of(per_core) {
            return refuse(format!(
                "SMT Alignment Error: requested {count} cpus not multiple cpus per core = {per_core}"
            ));
        }
        let cut = self.reserved.iter().filter_map(|cpu| self.topology.cpus.get(&cpu));
        let cut: CpuSet = cut
            .flat_map(|place| self.topology.within(Level::Core, place.core).iter().collect::<Vec<_>>())
            .collect();
        let free = state.shared.without(&cut).len();
        if count > free {
            return refuse(format!(
                "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = {free}, requested CPUs = {count}, CPUs per core = {per_core}"
            ));
        }
        Ok(())
    }

    fn take(&self, free: &CpuSet, count: usize) -> Result<CpuSet, String> {
        if self.options.across_nodes {
            let group = if self.options.full_cores { self.topology.per(Level::Core) } else { 1 };
            return take::spread(&self.topology, free, count, group);
        }
        take::pack(&self.topology, free, count, Manner { by_cache: self.options.by_cache })
    }
}
