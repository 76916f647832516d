//! Which CPUs to take of those that are free, so that as few parts of the machine as can be are cut. Pure.
//!
//! Whole NUMA nodes and sockets first (the larger ones first), then whole caches where that was asked for, whole
//! cores, single CPUs; among equals the part with the fewest free CPUs, then the lowest number. [`spread`] instead
//! takes as many from each of as few NUMA nodes as do (KEP-2902).
//!
//! COMPAT: the choices are those of upstream's static policy, and so are the words when there are too few.

use std::collections::BTreeMap;

use super::cpu_set::CpuSet;
use super::topology::{Level, Topology};

/// How to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// `prefer-align-cpus-by-uncorecache`
    pub by_cache: bool,
}

/// What is free and what was taken.
struct Taker<'a> {
    topology: &'a Topology,
    manner: Manner,
    free: CpuSet,
    taken: CpuSet,
    missing: usize,
}

impl Taker<'_> {
    fn is_done(&self) -> bool {
        self.missing == 0
    }

    fn free_in(&self, level: Level, part: usize) -> CpuSet {
        let at = |cpu: &usize| self.topology.cpus.get(cpu).is_some_and(|place| place.at(level) == part);
        self.free.iter().filter(at).collect()
    }

    /// The parts with free CPUs, those with the fewest first; within one part of another level if that is given.
    fn parts(&self, level: Level, outer: Option<(Level, usize)>) -> Vec<usize> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let places = self.free.iter().filter_map(|cpu| self.topology.cpus.get(&cpu));
        for place in places.filter(|place| outer.is_none_or(|(level, part)| place.at(level) == part)) {
            counts.entry(place.at(level)).or_default();
        }
        for (part, count) in &mut counts {
            *count = self.free_in(level, *part).len();
        }
        let mut parts: Vec<(usize, usize)> = counts.into_iter().map(|(part, count)| (count, part)).collect();
        parts.sort_unstable();
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// The larger of nodes and sockets, and the smaller.
    fn first_and_second(&self) -> (Level, Level) {
        if self.topology.parts(Level::Socket).len() >= self.topology.parts(Level::Node).len() {
            (Level::Node, Level::Socket)
        } else {
            (Level::Socket, Level::Node)
        }
    }

    /// The parts of a level in the order in which they are taken.
    fn order(&self, level: Level) -> Vec<usize> {
        let (first, second) = self.first_and_second();
        let outer = match level {
            _ if level == first => return self.parts(first, None),
            Level::Core => second,
            Level::Cache => Level::Node,
            _ => first,
        };
        self.order(outer).into_iter().flat_map(|part| self.parts(level, Some((outer, part)))).collect()
    }

    fn take(&mut self, cpus: &CpuSet) {
        self.taken = self.taken.union(cpus);
        self.free = self.free.without(cpus);
        self.missing = self.missing.saturating_sub(cpus.len());
    }

    /// All parts that are free as a whole, as far as that many are missing.
    fn take_whole(&mut self, level: Level) {
        for part in self.order(level) {
            let whole = self.topology.within(level, part);
            if whole.is_within(&self.free) && whole.len() <= self.missing {
                self.take(&whole);
            }
        }
    }

    /// What is missing out of one cache, if it has that much.
    fn take_of_cache(&mut self, cache: usize) {
        let threads = self.topology.per(Level::Core);
        let mut cores = self.parts(Level::Core, Some((Level::Cache, cache)));
        cores.sort_unstable();
        cores.truncate(self.missing.div_ceil(threads));
        let mut cpus: Vec<usize> = cores
            .iter()
            .flat_map(|core| self.free_in(Level::Core, *core).iter().collect::<Vec<_>>())
            .collect();
        cpus.sort_unstable();
        if self.missing % 2 == 1 && threads > 1 && cpus.len() > self.missing {
            cpus.pop();
        }
        if cpus.len() == self.missing {
            self.take(&cpus.into_iter().collect());
        }
    }

    fn take_by_cache(&mut self) {
        let size = self.topology.per(Level::Cache);
        for cache in self.order(Level::Cache) {
            if self.missing >= size {
                self.take_whole(Level::Cache);
            }
            if self.is_done() {
                return;
            }
            self.take_of_cache(cache);
            if self.is_done() {
                return;
            }
        }
    }

    fn singles(&self) -> Vec<usize> {
        let of = |core: usize| self.free_in(Level::Core, core).iter().collect::<Vec<_>>();
        self.order(Level::Core).into_iter().flat_map(of).collect()
    }

    fn take_single(&mut self) {
        // COMPAT: the order is that of before the first of them is taken.
        for cpu in self.singles() {
            if self.is_done() {
                return;
            }
            self.take(&[cpu].into_iter().collect());
        }
    }
}

fn too_few(count: usize, free: &CpuSet) -> String {
    format!("not enough cpus available to satisfy request: requested={count}, available={}", free.len())
}

/// Takes `count` of the free CPUs, cutting as few parts as can be.
///
/// # Errors
/// When there are too few, worded as upstream's.
pub fn pack(topology: &Topology, free: &CpuSet, count: usize, manner: Manner) -> Result<CpuSet, String> {
    if count > free.len() {
        return Err(too_few(count, free));
    }
    let mut taker = Taker { topology, manner, free: free.clone(), taken: CpuSet::default(), missing: count };
    let (first, second) = taker.first_and_second();
    for level in [first, second] {
        taker.take_whole(level);
    }
    if manner.by_cache && !taker.is_done() {
        taker.take_by_cache();
    }
    taker.take_whole(Level::Core);
    taker.take_single();
    if taker.is_done() { Ok(taker.taken) } else { Err("failed to allocate cpus".into()) }
}

/// How a number of CPUs is laid on NUMA nodes.
struct Layout {
    nodes: Vec<usize>,
    each: usize,
    rest: Vec<usize>,
    balance: f64,
}

/// Takes `count` of the free CPUs, the same number from each of as few NUMA nodes as can give them, in groups of
/// `group`.
///
/// # Errors
/// As [`pack`].
pub fn spread(topology: &Topology, free: &CpuSet, count: usize, group: usize) -> Result<CpuSet, String> {
    let plain = Manner::default();
    if count == 0 || !count.is_multiple_of(group) {
        return pack(topology, free, count, plain);
    }
    if count > free.len() {
        return Err(too_few(count, free));
    }
    let taker =
        Taker { topology, manner: plain, free: free.clone(), taken: CpuSet::default(), missing: count };
    let nodes = taker.order(Level::Node);
    let has: BTreeMap<usize, usize> =
        nodes.iter().map(|node| (*node, taker.free_in(Level::Node, *node).len())).collect();
    let groups_of_all = topology.cpus.len().div_ceil(group);
    let groups_per_node = groups_of_all.div_ceil(topology.parts(Level::Node).len().max(1)).max(1);
    let groups = count.div_ceil(group);
    for size in groups.div_ceil(groups_per_node)..=groups.min(nodes.len()) {
        let mut best: Option<Layout> = None;
        for combination in combinations(&nodes, size) {
            let Some(layout) = layout(&has, combination, count, group) else { continue };
            if best.as_ref().is_none_or(|best| layout.balance < best.balance) {
                best = Some(layout);
            }
        }
        let Some(layout) = best else { continue };
        return lay(taker, &layout, count, group);
    }
    pack(topology, free, count, plain)
}

/// How `count` CPUs lie on these nodes, if they can; the best way for what does not come out even.
fn layout(has: &BTreeMap<usize, usize>, nodes: Vec<usize>, count: usize, group: usize) -> Option<Layout> {
    let of = |node: &usize| has.get(node).copied().unwrap_or_default();
    let in_groups: usize = nodes.iter().map(|node| of(node) / group * group).sum();
    let each = count / nodes.len() / group * group;
    if in_groups < count || nodes.iter().any(|node| of(node) < each) {
        return None;
    }
    let mut left = has.clone();
    for node in &nodes {
        *left.entry(*node).or_default() -= each;
    }
    let rest = count - each * nodes.len();
    if rest == 0 {
        return Some(Layout { nodes, each, rest: Vec::new(), balance: deviation(&left) });
    }
    let able: Vec<usize> = nodes.iter().copied().filter(|node| left[node] >= group).collect();
    let mut best: Option<(f64, Vec<usize>)> = None;
    for size in (1..=able.len()).rev() {
        for subset in combinations(&able, size) {
            let mut after = left.clone();
            let mut missing = rest;
            // Round and round, a group from each.
            while missing > 0 {
                let before = missing;
                for node in &subset {
                    let here = after.entry(*node).or_default();
                    if missing > 0 && *here >= group {
                        *here -= group;
                        missing -= group;
                    }
                }
                if missing == before {
                    break;
                }
            }
            let balance = deviation(&after);
            if missing == 0 && best.as_ref().is_none_or(|(least, _)| balance < *least) {
                best = Some((balance, subset));
            }
        }
    }
    let (balance, rest) = best?;
    Some(Layout { nodes, each, rest, balance })
}

fn lay(mut taker: Taker<'_>, layout: &Layout, count: usize, group: usize) -> Result<CpuSet, String> {
    for node in &layout.nodes {
        let cpus = pack(taker.topology, &taker.free_in(Level::Node, *node), layout.each, taker.manner)?;
        taker.take(&cpus);
    }
    let mut missing = count - layout.each * layout.nodes.len();
    while missing > 0 {
        let before = missing;
        for node in &layout.rest {
            let free = taker.free_in(Level::Node, *node);
            if missing > 0 && free.len() >= group {
                let cpus = pack(taker.topology, &free, group, taker.manner)?;
                taker.take(&cpus);
                missing -= group;
            }
        }
        if missing == before {
            return Err(format!("accounting error, not enough CPUs allocated, remaining: {missing}"));
        }
    }
    Ok(taker.taken)
}

/// The standard deviation, to three places.
fn deviation(left: &BTreeMap<usize, usize>) -> f64 {
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    let count = left.len().max(1) as f64;
    let mean = round(left.values().sum::<usize>() as f64 / count);
    let squares: f64 = left.values().map(|value| (*value as f64 - mean).powi(2)).sum();
    round((squares / count).sqrt())
}

/// All ways to choose so many, in order.
fn combinations(of: &[usize], size: usize) -> Vec<Vec<usize>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in of.iter().enumerate() {
        for mut rest in combinations(&of[at + 1..], size - 1) {
            rest.insert(0, *first);
            all.push(rest);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::topology::fixtures::machine;
    use super::*;

    fn check(topology: &Topology, free: &str, count: usize, expected: &str) {
        let taken = pack(topology, &free.parse().unwrap(), count, Manner::default()).unwrap();
        assert_eq!(taken.to_string(), expected, "{count} of {free}");
    }

    #[test]
    fn whole_parts_come_first_and_cut_ones_are_filled() {
        // Sockets 0-3,8-11 and 4-7,12-15; a core is n and n + 8.
        let two = machine(2, 4, true);
        check(&two, "0-15", 1, "0");
        check(&two, "0-15", 2, "0,8");
        check(&two, "0-15", 3, "0-1,8");
        check(&two, "1-15", 1, "8");
        check(&two, "1-15", 2, "1,9");
        check(&two, "1-15", 8, "4-7,12-15");
        check(&two, "0-15", 16, "0-15");
        check(&two, "0-15", 9, "0-4,8-11");
        check(&two, "4-15", 6, "4-6,12-14");
        check(&two, "0-15", 0, "");
        let few = pack(&two, &"0-1".parse().unwrap(), 3, Manner::default()).unwrap_err();
        assert_eq!(few, "not enough cpus available to satisfy request: requested=3, available=2");
    }

    #[test]
    fn caches_are_kept_whole_where_that_was_asked_for() {
        let mut one = machine(1, 8, false);
        for (cpu, place) in &mut one.cpus {
            place.cache = cpu / 4;
        }
        let manner = Manner { by_cache: true };
        let taken =
            |free: &str, count| pack(&one, &free.parse().unwrap(), count, manner).unwrap().to_string();
        // Cache 0 has the fewest free, and too few.
        assert_eq!(taken("2-7", 3), "4-6");
        assert_eq!(taken("2-7", 2), "2-3");
        assert_eq!(taken("1-7", 4), "4-7");
        assert_eq!(pack(&one, &"2-7".parse().unwrap(), 3, Manner::default()).unwrap().to_string(), "2-4");
    }

    #[test]
    fn nodes_give_the_same_number_each() {
        let two = machine(2, 4, true);
        let of = |free: &str, count, group| {
            spread(&two, &free.parse().unwrap(), count, group).unwrap().to_string()
        };
        // What one node can give comes from one.
        assert_eq!(of("0-15", 4, 1), "0-1,8-9");
        assert_eq!(of("0-15", 10, 1), "0-2,4-6,8-9,12-13");
        assert_eq!(of("0-15", 12, 2), "0-2,4-6,8-10,12-14");
        // The rest comes from the node that has more.
        assert_eq!(of("1-15", 11, 1), "1-2,4-6,8-10,12-14");
        let few = spread(&two, &"0".parse().unwrap(), 2, 1).unwrap_err();
        assert_eq!(few, "not enough cpus available to satisfy request: requested=2, available=1");
    }
}
