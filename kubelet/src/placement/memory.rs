//! Memory of their own NUMA nodes for containers (the memory manager's static policy, KEP-1769): the kernel gives a
//! Guaranteed pod's containers memory of the nodes that have room for what they ask for. Pure.
//!
//! A node is used for containers of one node or for those of one group of nodes, never for both. Sizes are bytes;
//! kinds are `memory` and `hugepages-SIZE`.

use std::collections::{BTreeMap, BTreeSet};

use api_types::Quantity;
use api_types::core::v1::{Container, Pod, PodQOSClass};
use api_types::value::Format;
use serde::{Deserialize, Serialize};

use super::asks_as_a_whole;
use super::hint::{Hint, Hints, Mask, prefer};
use super::topology::Topology;
use crate::resources;
use crate::sync_pod::plan::is_sidecar;

/// One kind of memory of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// All.
    pub total: u64,
    /// Never given away.
    pub system_reserved: u64,
    /// What can be given away.
    pub allocatable: u64,
    /// What was given away.
    pub reserved: u64,
    /// What is left of it.
    pub free: u64,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// How many blocks lie on it.
    pub number_of_assignments: i64,
    /// By kind.
    pub memory_map: BTreeMap<String, Table>,
    /// The nodes that it is used together with, itself among them.
    pub cells: Vec<usize>,
}

/// Part of what a container has: so much of a kind, on these nodes together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The nodes.
    pub numa_affinity: Vec<usize>,
    /// The kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// How much.
    pub size: u64,
}

/// All nodes.
pub type Machine = BTreeMap<usize, Node>;
/// What containers have, by pod and name.
pub type Own = BTreeMap<String, BTreeMap<String, Vec<Block>>>;

/// Who has which memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What is left where.
    pub machine: Machine,
    /// Who has what.
    pub own: Own,
}

/// What a pod's init containers leave to those after them.
pub type Reusable = BTreeMap<(Mask, String), u64>;
type Amounts = BTreeMap<String, u64>;

impl State {
    /// What a container has.
    pub fn of(&self, uid: &str, container: &str) -> Option<&Vec<Block>> {
        self.own.get(uid)?.get(container)
    }

    /// The nodes that a container's memory comes from; none: from anywhere.
    pub fn nodes(&self, uid: &str, container: &str) -> BTreeSet<usize> {
        self.of(uid, container).into_iter().flatten().flat_map(|block| block.numa_affinity.clone()).collect()
    }

    /// Takes back what pods have that are not to keep it. Whether there was any.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) -> bool {
        let gone: Vec<String> = self.own.keys().filter(|uid| !keep(uid)).cloned().collect();
        for uid in &gone {
            for block in self.own.remove(uid).into_iter().flatten().flat_map(|(_, blocks)| blocks) {
                give_back(&mut self.machine, &block);
            }
        }
        !gone.is_empty()
    }
}

fn lay(machine: &mut Machine, block: &Block, mut size: u64) {
    for number in &block.numa_affinity {
        let Some(node) = machine.get_mut(number) else { continue };
        node.number_of_assignments += 1;
        node.cells.clone_from(&block.numa_affinity);
        let Some(table) = node.memory_map.get_mut(&block.kind) else { continue };
        let part = size.min(table.free);
        table.reserved += part;
        table.free -= part;
        size -= part;
    }
}

fn give_back(machine: &mut Machine, block: &Block) {
    let mut size = block.size;
    for number in &block.numa_affinity {
        let Some(node) = machine.get_mut(number) else { continue };
        node.number_of_assignments -= 1;
        if node.number_of_assignments == 0 {
            node.cells = vec![*number];
        }
        let Some(table) = node.memory_map.get_mut(&block.kind) else { continue };
        let part = size.min(table.reserved);
        table.reserved -= part;
        table.free += part;
        size -= part;
    }
}

/// The name that huge pages of so many bytes have as a resource.
pub fn huge_pages(size: u64) -> String {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    format!("hugepages-{}", Quantity::from_units(size, Format::BinarySi))
}

/// What a container asks for.
fn asked(container: &Container) -> Amounts {
    let kinds = container.resources.requests.iter();
    let kinds = kinds.filter(|(name, _)| *name == "memory" || name.starts_with("hugepages-"));
    kinds.map(|(name, amount)| (name.clone(), u64::try_from(amount.value()).unwrap_or_default())).collect()
}

/// What a pod asks for at once.
fn asked_by_pod(pod: &Pod) -> Amounts {
    let (mut running, mut sidecars, mut peak) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in &pod.spec.init_containers {
        for (kind, amount) in asked(container) {
            let beside = sidecars.entry(kind.clone()).or_default();
            if is_sidecar(container) {
                *beside += amount;
            } else {
                let most = peak.entry(kind).or_default();
                *most = (*most).max(*beside + amount);
            }
        }
    }
    for container in &pod.spec.containers {
        for (kind, amount) in asked(container) {
            *running.entry(kind).or_default() += amount;
        }
    }
    for (kind, amount) in &mut running {
        *amount += sidecars.get(kind).copied().unwrap_or_default();
        *amount = (*amount).max(peak.get(kind).copied().unwrap_or_default());
    }
    running
}

fn is_served(pod: &Pod) -> bool {
    resources::qos_class(pod) == PodQOSClass::Guaranteed && !asks_as_a_whole(pod)
}

/// The static policy on one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Static {
    /// The machine, with nothing given away.
    empty: Machine,
}

impl Static {
    /// The policy with so much of each node's memory reserved.
    ///
    /// # Errors
    /// When nothing is reserved.
    pub fn new(topology: &Topology, reserved: &BTreeMap<usize, Amounts>) -> Result<Self, String> {
        if reserved.values().filter_map(|kinds| kinds.get("memory")).sum::<u64>() == 0 {
            return Err("[memorymanager] you should specify the system reserved memory".into());
        }
        let mut empty = Machine::new();
        for (number, node) in &topology.nodes {
            let kept = |kind: &str| {
                reserved.get(number).and_then(|kinds| kinds.get(kind)).copied().unwrap_or_default()
            };
            let table = |kind: &str, total: u64, elsewhere: u64| {
                let allocatable = total.saturating_sub(kept(kind)).saturating_sub(elsewhere);
                Table { total, system_reserved: kept(kind), allocatable, reserved: 0, free: allocatable }
            };
            let mut memory_map = BTreeMap::new();
            let mut in_pages = 0;
            for (size, count) in &node.huge_pages {
                in_pages += size * count;
                let kind = huge_pages(*size);
                memory_map.insert(kind.clone(), table(&kind, size * count, 0));
            }
            memory_map.insert("memory".to_owned(), table("memory", node.memory, in_pages));
            empty.insert(*number, Node { number_of_assignments: 0, memory_map, cells: vec![*number] });
        }
        Ok(Self { empty })
    }

    /// The state at the start: what the file says, or nothing given away.
    ///
    /// # Errors
    /// When the file cannot be of this machine with these settings, worded as upstream's.
    pub fn start(&self, read: State) -> Result<State, String> {
        if read.machine.is_empty() {
            if !read.own.is_empty() {
                return Err(
                    "[memorymanager] machine state can not be empty when it has memory assignments".into()
                );
            }
            return Ok(State { machine: self.empty.clone(), own: Own::new() });
        }
        let mut expected = self.empty.clone();
        for (pod, containers) in &read.own {
            for (container, blocks) in containers {
                for block in blocks {
                    let who = format!(
                        "[memorymanager] (pod: {pod}, container: {container}) the memory assignment uses"
                    );
                    for number in &block.numa_affinity {
                        let node = expected.get(number);
                        let node = node.ok_or_else(|| format!("{who} the NUMA that does not exist"))?;
                        if !node.memory_map.contains_key(&block.kind) {
                            return Err(format!("{who} memory resource that does not exist"));
                        }
                    }
                    lay(&mut expected, block, block.size);
                }
            }
        }
        if !same(&read.machine, &expected) {
            return Err("[memorymanager] the expected machine state is different from the real one".into());
        }
        Ok(read)
    }

    /// What could be given away.
    pub fn allocatable(&self) -> Vec<Block> {
        let of = |(number, node): (&usize, &Node)| -> Vec<Block> {
            let kinds = node.memory_map.iter().filter(|(_, table)| table.allocatable > 0);
            let block = |(kind, table): (&String, &Table)| Block {
                numa_affinity: vec![*number],
                kind: kind.clone(),
                size: table.allocatable,
            };
            kinds.map(block).collect()
        };
        self.empty.iter().flat_map(of).collect()
    }

    /// Where a container's memory could come from, for each kind.
    pub fn hints(&self, state: &State, pod: &Pod, container: &Container, reusable: &Reusable) -> Vec<Hints> {
        if !is_served(pod) {
            return Vec::new();
        }
        let asked = asked(container);
        match state.of(&pod.metadata.uid, &container.name) {
            Some(blocks) => had(blocks, &asked),
            None => for_each_kind(fitting(&state.machine, &asked, reusable), &asked),
        }
    }

    /// Where all of a pod's memory could come from, for each kind.
    pub fn pod_hints(&self, state: &State, pod: &Pod) -> Vec<Hints> {
        let asked = asked_by_pod(pod);
        if !is_served(pod) || asked.is_empty() {
            return Vec::new();
        }
        let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
        let has = containers.filter_map(|container| state.of(&pod.metadata.uid, &container.name)).next();
        match has {
            Some(blocks) => had(blocks, &asked),
            None => for_each_kind(fitting(&state.machine, &asked, &Reusable::new()), &asked),
        }
    }

    /// Gives a container its memory, from the hinted nodes if there are any. Whether something was given.
    ///
    /// # Errors
    /// When that cannot be, worded as upstream's; nothing was given then.
    pub fn allocate(
        &self,
        state: &mut State,
        pod: &Pod,
        (container, init): (&Container, bool),
        hint: Hint,
        reusable: &mut Reusable,
    ) -> Result<bool, String> {
        let uid = &pod.metadata.uid;
        if !is_served(pod) {
            return Ok(false);
        }
        let temporary = init && !is_sidecar(container);
        if let Some(blocks) = state.of(uid, &container.name) {
            leave(reusable, temporary, blocks);
            return Ok(false);
        }
        let asked = asked(container);
        let nodes = choose(&state.machine, &asked, reusable, hint)?;
        let mut blocks = Vec::new();
        for (kind, size) in &asked {
            let block = Block { numa_affinity: nodes.nodes().collect(), kind: kind.clone(), size: *size };
            let again = reusable.get(&(nodes, kind.clone())).copied().unwrap_or_default();
            lay(&mut state.machine, &block, size.saturating_sub(again));
            blocks.push(block);
        }
        leave(reusable, temporary, &blocks);
        let own = state.own.entry(uid.clone()).or_default();
        // What was used again counts for the later container alone.
        for block in &blocks {
            let mut left = block.size;
            let before = pod.spec.init_containers.iter().take_while(|other| other.name != container.name);
            for other in before.filter(|other| !is_sidecar(other)) {
                let theirs = own.get_mut(&other.name).into_iter().flatten();
                for theirs in theirs
                    .filter(|theirs| theirs.kind == block.kind && theirs.numa_affinity == block.numa_affinity)
                {
                    let part = left.min(theirs.size);
                    theirs.size -= part;
                    left -= part;
                }
            }
        }
        own.insert(container.name.clone(), blocks);
        Ok(true)
    }
}

/// Notes what is left to later containers once one has its blocks.
fn leave(reusable: &mut Reusable, temporary: bool, blocks: &[Block]) {
    for block in blocks {
        let key = (Mask::of(block.numa_affinity.iter().copied()), block.kind.clone());
        let left = reusable.entry(key).or_default();
        *left = if temporary { (*left).max(block.size) } else { left.saturating_sub(block.size) };
    }
}

/// The nodes that a container's memory comes from, by the topology manager's hint as far as it goes.
fn choose(machine: &Machine, asked: &Amounts, reusable: &Reusable, hint: Hint) -> Result<Mask, String> {
    let hints = || fitting(machine, asked, reusable);
    let mut best = hint;
    if best.nodes.is_none() {
        best = narrowest(hints()).ok_or(
            "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available",
        )?;
        if hint.preferred && !best.preferred {
            return Err("[memorymanager] failed to find the default preferred hint".into());
        }
    }
    let nodes = best.nodes.unwrap_or_default();
    let enough = asked.iter().all(|(kind, size)| sum(machine, nodes, kind, |table| table.free) >= *size);
    if !enough {
        let wider = hints().into_iter().filter(|wider| {
            let wider = wider.nodes.unwrap_or_default();
            wider.0 & nodes.0 == nodes.0
        });
        let wider = narrowest(wider.collect())
            .ok_or("[memorymanager] failed to find NUMA nodes to extend the current topology hint")?;
        if best.preferred && !wider.preferred {
            return Err("[memorymanager] failed to find the extended preferred hint".into());
        }
        best = wider;
    }
    let nodes = best.nodes.unwrap_or_default();
    if nodes.count() > 1 && nodes.nodes().any(|number| !may_join(machine, number, nodes)) {
        return Err("[memorymanager] preferred hint violates NUMA node allocation".into());
    }
    Ok(nodes)
}

/// Whether a node may be used together with these.
fn may_join(machine: &Machine, number: usize, nodes: Mask) -> bool {
    machine.get(&number).is_none_or(|node| {
        node.number_of_assignments == 0
            || Mask::of(node.cells.iter().copied()) == nodes && node.cells.len() > 1
    })
}

fn sum(machine: &Machine, nodes: Mask, kind: &str, read: fn(&Table) -> u64) -> u64 {
    let tables = nodes.nodes().filter_map(|number| machine.get(&number)?.memory_map.get(kind));
    tables.map(read).sum()
}

/// All sets of nodes with room for what is asked for.
fn fitting(machine: &Machine, asked: &Amounts, reusable: &Reusable) -> Vec<Hint> {
    let nodes: Vec<usize> = machine.keys().copied().collect();
    let mut least = Mask::of(nodes.iter().copied()).count();
    let mut masks = Vec::new();
    for mask in Mask::subsets(&nodes) {
        if asked.iter().any(|(kind, size)| sum(machine, mask, kind, |table| table.allocatable) < *size) {
            continue;
        }
        least = least.min(mask.count());
        let single = mask.count() == 1;
        let grouped = |number: usize| machine.get(&number).is_some_and(|node| node.cells.len() > 1);
        if single && mask.nodes().any(grouped) {
            continue;
        }
        if !single && mask.nodes().any(|number| !may_join(machine, number, mask)) {
            continue;
        }
        let again = |kind: &String| reusable.get(&(mask, kind.clone())).copied().unwrap_or_default();
        if asked
            .iter()
            .all(|(kind, size)| sum(machine, mask, kind, |table| table.free) + again(kind) >= *size)
        {
            masks.push(mask);
        }
    }
    prefer(masks, least)
}

/// The preferred one, or the one with the fewest nodes.
fn narrowest(hints: Vec<Hint>) -> Option<Hint> {
    hints.into_iter().reduce(|best, hint| {
        let narrower = hint.preferred == best.preferred
            && hint.nodes.unwrap_or_default().narrower(best.nodes.unwrap_or_default());
        if (hint.preferred && !best.preferred) || narrower { hint } else { best }
    })
}

/// COMPAT: where nothing fits upstream says nothing, and fails when it comes to give.
fn for_each_kind(hints: Vec<Hint>, asked: &Amounts) -> Vec<Hints> {
    if hints.is_empty() { Vec::new() } else { asked.iter().map(|_| Some(hints.clone())).collect() }
}

/// What a container has is what it is to have, if it asks for the same.
fn had(blocks: &[Block], asked: &Amounts) -> Vec<Hints> {
    let same =
        blocks.len() == asked.len() && blocks.iter().all(|block| asked.get(&block.kind) == Some(&block.size));
    if !same {
        return Vec::new();
    }
    let hint = |block: &Block| {
        let nodes = Some(Mask::of(block.numa_affinity.iter().copied()));
        Some(vec![Hint { nodes, preferred: true }])
    };
    blocks.iter().map(hint).collect()
}

/// The same but for which of a group's nodes gave how much.
fn same(read: &Machine, expected: &Machine) -> bool {
    let group = |node: &Node| node.cells.iter().copied().collect::<BTreeSet<_>>();
    read.len() == expected.len()
        && read.iter().all(|(number, node)| {
            let Some(other) = expected.get(number) else { return false };
            let (cells, mask) = (group(node), Mask::of(node.cells.iter().copied()));
            node.number_of_assignments == other.number_of_assignments
                && cells == group(other)
                && node.memory_map.len() == other.memory_map.len()
                && node.memory_map.iter().all(|(kind, table)| {
                    let Some(wanted) = other.memory_map.get(kind) else { return false };
                    let fixed = |table: &Table| (table.total, table.system_reserved, table.allocatable);
                    let moved = |machine: &Machine| {
                        (
                            sum(machine, mask, kind, |table| table.free),
                            sum(machine, mask, kind, |table| table.reserved),
                        )
                    };
                    fixed(table) == fixed(wanted) && moved(read) == moved(expected)
                })
        })
}
