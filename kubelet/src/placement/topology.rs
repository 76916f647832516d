//! The machine as placing sees it: CPUs with their core, socket, NUMA node and last cache; NUMA nodes with their
//! memory. Read from `/sys` once, when the kubelet starts; everything else here is pure.
//!
//! COMPAT: a core's number is that of its lowest CPU, and where no cache is shared by less than a node the
//! socket stands for it, as upstream has it: checkpoints and choices are the same on both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::cpu_set::CpuSet;
use crate::volume::actual::entries;

/// Where a CPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The lowest CPU of its core.
    pub core: usize,
    /// Its socket.
    pub socket: usize,
    /// Its NUMA node.
    pub node: usize,
    /// Its last cache that is not the whole node's.
    pub cache: usize,
}

/// What a CPU is looked at as a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// NUMA node.
    Node,
    /// Socket.
    Socket,
    /// Last cache.
    Cache,
    /// Core.
    Core,
}

impl Place {
    /// The number of the part.
    pub fn at(&self, level: Level) -> usize {
        match level {
            Level::Node => self.node,
            Level::Socket => self.socket,
            Level::Cache => self.cache,
            Level::Core => self.core,
        }
    }
}

/// A NUMA node's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Bytes.
    pub memory: u64,
    /// Size of huge pages in bytes, with how many there are.
    pub huge_pages: Vec<(u64, u64)>,
    /// How far other nodes are, by their place in the list of nodes.
    pub distances: Vec<u64>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// CPUs that are on.
    pub cpus: BTreeMap<usize, Place>,
    /// NUMA nodes.
    pub nodes: BTreeMap<usize, Node>,
}

impl Topology {
    /// All CPUs.
    pub fn all(&self) -> CpuSet {
        self.cpus.keys().copied().collect()
    }

    /// The parts of a level.
    pub fn parts(&self, level: Level) -> BTreeSet<usize> {
        self.cpus.values().map(|place| place.at(level)).collect()
    }

    /// The CPUs of a part.
    pub fn within(&self, level: Level, part: usize) -> CpuSet {
        self.cpus.iter().filter(|(_, place)| place.at(level) == part).map(|(cpu, _)| *cpu).collect()
    }

    /// CPUs of one part of a level, on average.
    pub fn per(&self, level: Level) -> usize {
        (self.cpus.len() / self.parts(level).len().max(1)).max(1)
    }

    /// The NUMA node of a CPU.
    pub fn node_of(&self, cpu: usize) -> Option<usize> {
        self.cpus.get(&cpu).map(|place| place.node)
    }

    /// All CPUs lie in one last cache. Never where no such cache is known to be shared by less than a node.
    pub fn shares_cache(&self, cpus: &CpuSet) -> bool {
        let caches: BTreeSet<usize> =
            cpus.iter().filter_map(|cpu| self.cpus.get(&cpu).map(|place| place.cache)).collect();
        caches.len() == 1
    }

    /// Looks at the machine; `memory` is all its memory in bytes, for kernels without NUMA.
    pub fn look(memory: u64) -> Self {
        Self::read(Path::new("/sys/devices/system"), memory)
    }

    /// Reads a folder like `/sys/devices/system`.
    pub fn read(system: &Path, memory: u64) -> Self {
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let list = |path: &Path| text(path).parse::<CpuSet>().unwrap_or_default();
        let online = list(&system.join("cpu/online"));
        let mut nodes = BTreeMap::new();
        let mut node_of = BTreeMap::new();
        for dir in entries(&system.join("node")).unwrap_or_default() {
            let Some(number) = numbered(&dir, "node") else { continue };
            node_of.extend(list(&dir.join("cpulist")).iter().map(|cpu| (cpu, number)));
            let distances = text(&dir.join("distance"));
            nodes.insert(
                number,
                Node {
                    memory: total(&text(&dir.join("meminfo"))).unwrap_or_default(),
                    huge_pages: huge_pages(&dir.join("hugepages")),
                    distances: distances.split_whitespace().filter_map(|one| one.parse().ok()).collect(),
                },
            );
        }
        if nodes.is_empty() {
            let huge_pages = huge_pages(Path::new("/sys/kernel/mm/hugepages"));
            nodes.insert(0, Node { memory, huge_pages, distances: vec![10] });
        }
        let mut cpus = BTreeMap::new();
        for cpu in online.iter() {
            let dir = system.join(format!("cpu/cpu{cpu}"));
            let siblings = list(&dir.join("topology/thread_siblings_list")).intersection(&online);
            let socket = text(&dir.join("topology/physical_package_id")).parse().unwrap_or_default();
            let node = node_of.get(&cpu).copied().unwrap_or_default();
            let in_node = node_of.values().filter(|other| **other == node).count().max(1);
            let place = Place {
                core: siblings.iter().next().unwrap_or(cpu),
                socket,
                node,
                cache: last_cache(&dir.join("cache"), in_node).unwrap_or(socket),
            };
            cpus.insert(cpu, place);
        }
        Self { cpus, nodes }
    }
}

/// `node3` → 3
fn numbered(path: &Path, prefix: &str) -> Option<usize> {
    path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok()
}

/// `Node 0 MemTotal:  16 kB` in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.contains("MemTotal:"))?;
    let kilobytes: u64 = line.split("MemTotal:").nth(1)?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The cache of the third level or above, if less than the whole node shares it.
fn last_cache(dir: &Path, in_node: usize) -> Option<usize> {
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    entries(dir).unwrap_or_default().into_iter().find_map(|cache| {
        numbered(&cache, "index")?;
        let level: usize = text(&cache.join("level")).parse().ok()?;
        let sharing = text(&cache.join("shared_cpu_list")).parse::<CpuSet>().ok()?;
        let partly = level > 2 && sharing.len() < in_node;
        if partly { text(&cache.join("id")).parse().ok() } else { None }
    })
}

fn huge_pages(dir: &Path) -> Vec<(u64, u64)> {
    let mut sizes: Vec<(u64, u64)> = entries(dir)
        .unwrap_or_default()
        .iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count = std::fs::read_to_string(path.join("nr_hugepages")).ok()?;
            Some((kilobytes * 1024, count.trim().parse().ok()?))
        })
        .collect();
    sizes.sort_unstable();
    sizes
}

#[cfg(test)]
pub mod fixtures {
    //! Machines for tests.

    use super::*;

    /// `sockets` with `cores` each, of two CPUs where `threads`; a socket is a NUMA node with 1 GiB. The second
    /// threads have the numbers above all first ones, as Intel counts.
    pub fn machine(sockets: usize, cores: usize, threads: bool) -> Topology {
        let mut topology = Topology::default();
        let firsts = sockets * cores;
        for core in 0..firsts {
            let socket = core / cores;
            let place = Place { core, socket, node: socket, cache: socket };
            topology.cpus.insert(core, place);
            if threads {
                topology.cpus.insert(firsts + core, place);
            }
        }
        for node in 0..sockets {
            let distances = (0..sockets).map(|other| if other == node { 10 } else { 20 }).collect();
            topology.nodes.insert(node, Node { memory: 1 << 30, huge_pages: Vec::new(), distances });
        }
        topology
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_as_the_kernel_shows_it() {
        let root = std::env::temp_dir().join(format!("kubelet-topology-{}", uuid::Uuid::new_v4()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        };
        // Two sockets of two cores with two threads each; CPU 7 is off.
        write("cpu/online", "0-6");
        for cpu in 0..8 {
            let (core, socket) = (cpu % 4, cpu % 4 / 2);
            write(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"), &format!("{core},{}", core + 4));
            write(&format!("cpu/cpu{cpu}/topology/physical_package_id"), &socket.to_string());
            write(&format!("cpu/cpu{cpu}/cache/index3/level"), "3");
            write(&format!("cpu/cpu{cpu}/cache/index3/id"), &core.to_string());
            write(&format!("cpu/cpu{cpu}/cache/index3/shared_cpu_list"), &format!("{core},{}", core + 4));
        }
        for (node, cpus) in [(0, "0-1,4-5"), (1, "2-3,6")] {
            write(&format!("node/node{node}/cpulist"), cpus);
            write(&format!("node/node{node}/distance"), "10 21");
            write(&format!("node/node{node}/meminfo"), &format!("Node {node} MemTotal:     1024 kB"));
            write(&format!("node/node{node}/hugepages/hugepages-2048kB/nr_hugepages"), "3");
        }
        let seen = Topology::read(&root, 0);
        assert_eq!(seen.all().to_string(), "0-6");
        assert_eq!(seen.cpus[&6], Place { core: 2, socket: 1, node: 1, cache: 2 });
        assert_eq!(seen.within(Level::Core, 3).to_string(), "3");
        let node = Node { memory: 1 << 20, huge_pages: vec![(2 << 20, 3)], distances: vec![10, 21] };
        assert_eq!(seen.nodes[&1], node);
        std::fs::remove_dir_all(&root).unwrap();
        // A kernel without NUMA, which shows nothing.
        assert_eq!(Topology::read(&root, 7).nodes[&0].memory, 7);
    }
}
