//! Which NUMA nodes suit a container best: each kind of resource says where it could come from ([`Hint`]s), and
//! the policy of the topology manager (KEP-693) merges what they say. Pure.
//!
//! A resource's hints are all sets of nodes that could hold it; those with the fewest possible nodes are preferred.
//! The merge looks at every combination of one hint of each resource, takes the nodes that are in all of them, and
//! keeps the best. A combination is preferred when all its hints are and name the same nodes.

use std::cmp::Ordering;

/// A set of NUMA nodes, by bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mask(pub u64);

impl Mask {
    /// These nodes; those that no mask can hold are left out.
    pub fn of(nodes: impl IntoIterator<Item = usize>) -> Self {
        Self(nodes.into_iter().filter(|node| *node < 64).fold(0, |mask, node| mask | 1 << node))
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Is in it.
    pub fn has(self, node: usize) -> bool {
        node < 64 && self.0 & (1 << node) != 0
    }

    /// Rising.
    pub fn nodes(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |node| self.has(*node))
    }

    /// Fewer nodes, or as many with lower numbers.
    pub fn narrower(self, than: Self) -> bool {
        self.count().cmp(&than.count()).then(self.0.cmp(&than.0)) == Ordering::Less
    }

    /// Every set of these nodes that is not empty: single ones first, then pairs, and so on, lower numbers first.
    pub fn subsets(nodes: &[usize]) -> Vec<Self> {
        let all = nodes.len().min(16);
        let mut picks: Vec<Vec<usize>> = (1_u32..1 << all)
            .map(|bits| (0..all).filter(|at| bits & (1 << at) != 0).map(|at| nodes[at]).collect())
            .collect();
        picks.sort_by_key(|pick| (pick.len(), pick.clone()));
        picks.into_iter().map(Self::of).collect()
    }
}

/// One way to have a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// From these nodes; `None`: from wherever.
    pub nodes: Option<Mask>,
    /// It could not be narrower.
    pub preferred: bool,
}

impl Hint {
    /// Of a resource that does not care.
    pub const ANY: Self = Self { nodes: None, preferred: true };
    /// Of a resource that cannot be had.
    const NONE: Self = Self { nodes: None, preferred: false };
}

/// What one resource says: `None` does not care, no hints cannot be had.
pub type Hints = Option<Vec<Hint>>;

/// What becomes of hints that do not agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nothing is asked.
    #[default]
    None,
    /// The best is taken, whatever it is.
    BestEffort,
    /// Only what is preferred.
    Restricted,
    /// Only what comes from one node.
    SingleNode,
}

/// The topology manager's way to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merger {
    /// What is taken.
    pub policy: Policy,
    /// The machine's NUMA nodes.
    pub nodes: Vec<usize>,
    /// Distances between them, in the order of `nodes`, where near ones are preferred (`prefer-closest-numa-nodes`).
    pub distances: Option<Vec<Vec<u64>>>,
}

impl Merger {
    /// The best hint, and whether it will do.
    pub fn merge(&self, said: &[Hints]) -> (Hint, bool) {
        let all = Mask::of(self.nodes.iter().copied());
        let mut lists: Vec<Vec<Hint>> = said
            .iter()
            .map(|hints| match hints {
                None => vec![Hint::ANY],
                Some(hints) if hints.is_empty() => vec![Hint::NONE],
                Some(hints) => hints.clone(),
            })
            .collect();
        if self.policy == Policy::SingleNode {
            for list in &mut lists {
                list.retain(|hint| hint.preferred && hint.nodes.is_none_or(|nodes| nodes.count() == 1));
            }
        }
        // Of those that are not preferred, as many nodes as the neediest resource has to have.
        let narrowest = |list: &Vec<Hint>| list.iter().filter_map(|hint| hint.nodes).map(Mask::count).min();
        let needed = lists.iter().filter_map(narrowest).max().unwrap_or_default();
        let mut best: Option<Hint> = None;
        each_combination(&lists, &mut Vec::new(), &mut |combination| {
            let candidate = combine(all, combination);
            if candidate.nodes.is_some_and(|nodes| nodes.count() > 0)
                && best.is_none_or(|best| self.better(best, candidate, needed))
            {
                best = Some(candidate);
            }
        });
        let mut best = best.unwrap_or(Hint { nodes: Some(all), preferred: false });
        if self.policy == Policy::SingleNode && best.nodes == Some(all) {
            best.nodes = None;
        }
        let does = matches!(self.policy, Policy::None | Policy::BestEffort) || best.preferred;
        (best, does)
    }

    /// Whether the second takes the place of the first.
    fn better(&self, current: Hint, candidate: Hint, needed: u32) -> bool {
        if current.preferred != candidate.preferred {
            return candidate.preferred;
        }
        let (now, then) = (current.nodes.unwrap_or_default(), candidate.nodes.unwrap_or_default());
        let fitter = || self.fitter(now, then);
        if current.preferred {
            return fitter();
        }
        match (now.count().cmp(&needed), then.count().cmp(&needed)) {
            (Ordering::Greater, _) => fitter(),
            (Ordering::Equal, other) => other == Ordering::Equal && fitter(),
            (Ordering::Less, Ordering::Greater) => false,
            (Ordering::Less, Ordering::Equal) => true,
            (Ordering::Less, Ordering::Less) => match then.count().cmp(&now.count()) {
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal => fitter(),
            },
        }
    }

    fn fitter(&self, now: Mask, then: Mask) -> bool {
        if now == then {
            return false;
        }
        let Some(distances) = &self.distances else { return !now.narrower(then) };
        if self.policy == Policy::SingleNode || now.count() != then.count() {
            return !now.narrower(then);
        }
        let (near, far) = (self.spread(distances, then), self.spread(distances, now));
        match near.total_cmp(&far) {
            Ordering::Equal => then.0 < now.0,
            other => other == Ordering::Less,
        }
    }

    /// The average distance between nodes, themselves included.
    fn spread(&self, distances: &[Vec<u64>], mask: Mask) -> f64 {
        let at: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes.get(*index).is_some_and(|n| mask.has(*n)))
            .collect();
        let pairs = at.iter().flat_map(|from| at.iter().map(move |to| (*from, *to)));
        let sum: u64 = pairs.filter_map(|(from, to)| distances.get(from)?.get(to)).sum();
        sum as f64 / (at.len() * at.len()).max(1) as f64
    }
}

fn each_combination(lists: &[Vec<Hint>], picked: &mut Vec<Hint>, visit: &mut impl FnMut(&[Hint])) {
    let Some((first, rest)) = lists.split_first() else { return visit(picked) };
    for hint in first {
        picked.push(*hint);
        each_combination(rest, picked, visit);
        picked.pop();
    }
}

fn combine(all: Mask, combination: &[Hint]) -> Hint {
    let named: Vec<Mask> = combination.iter().filter_map(|hint| hint.nodes).collect();
    let same = named.windows(2).all(|pair| pair[0] == pair[1]);
    Hint {
        nodes: Some(named.iter().fold(all, |nodes, other| Mask(nodes.0 & other.0))),
        preferred: same && combination.iter().all(|hint| hint.preferred),
    }
}

/// Makes those hints preferred that have as few nodes as any could.
pub fn prefer(masks: Vec<Mask>, least: u32) -> Vec<Hint> {
    masks.into_iter().map(|nodes| Hint { nodes: Some(nodes), preferred: nodes.count() == least }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(nodes: &[usize], preferred: bool) -> Hint {
        Hint { nodes: Some(Mask::of(nodes.iter().copied())), preferred }
    }

    fn check(policy: Policy, said: &[Hints], expected: Hint, admitted: bool) {
        let merger = Merger { policy, nodes: vec![0, 1], distances: None };
        assert_eq!(merger.merge(said), (expected, admitted), "{policy:?}");
    }

    #[test]
    fn sets_of_nodes_come_from_narrow_to_wide() {
        let all: Vec<u64> = Mask::subsets(&[0, 1, 2]).into_iter().map(|mask| mask.0).collect();
        assert_eq!(all, [0b1, 0b10, 0b100, 0b11, 0b101, 0b110, 0b111]);
    }

    #[test]
    fn resources_that_agree_are_preferred_by_every_policy() {
        let said = [
            Some(vec![hint(&[0], true), hint(&[1], true), hint(&[0, 1], false)]),
            Some(vec![hint(&[1], true), hint(&[0, 1], false)]),
            None,
        ];
        for policy in [Policy::BestEffort, Policy::Restricted, Policy::SingleNode] {
            check(policy, &said, hint(&[1], true), true);
        }
    }

    #[test]
    fn resources_that_do_not_agree_are_taken_with_best_effort_only() {
        let said = [Some(vec![hint(&[0], true)]), Some(vec![hint(&[1], true), hint(&[0, 1], false)])];
        check(Policy::BestEffort, &said, hint(&[0], false), true);
        check(Policy::Restricted, &said, hint(&[0], false), false);
        check(Policy::SingleNode, &said, Hint { nodes: None, preferred: false }, false);
        // What cannot be had at all.
        let none = [Some(vec![]), Some(vec![hint(&[1], true)])];
        check(Policy::BestEffort, &none, hint(&[1], false), true);
        check(Policy::Restricted, &none, hint(&[1], false), false);
    }

    #[test]
    fn a_pod_that_asks_for_nothing_goes_anywhere() {
        check(Policy::Restricted, &[None], hint(&[0, 1], true), true);
        check(Policy::SingleNode, &[None], Hint::ANY, true);
        let wide = [Some(vec![hint(&[0, 1], true)])];
        check(Policy::Restricted, &wide, hint(&[0, 1], true), true);
        check(Policy::SingleNode, &wide, Hint { nodes: None, preferred: false }, false);
    }

    #[test]
    fn near_nodes_are_better_where_that_was_asked_for() {
        let distances = vec![vec![10, 30, 12], vec![30, 10, 30], vec![12, 30, 10]];
        let said = [Some(vec![hint(&[0, 1], true), hint(&[0, 2], true), hint(&[1, 2], true)])];
        let mut merger =
            Merger { policy: Policy::Restricted, nodes: vec![0, 1, 2], distances: Some(distances) };
        assert_eq!(merger.merge(&said).0, hint(&[0, 2], true));
        merger.distances = None;
        assert_eq!(merger.merge(&said).0, hint(&[0, 1], true));
    }
}
