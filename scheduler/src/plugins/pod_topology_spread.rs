//! PodTopologySpread: evens pods out over the values of node labels (API doc "Pod Topology Spread
//! Constraints"). Hard constraints filter, soft ones score; pods without any are spread softly over
//! hosts and zones by the Services and ReplicaSets that select them, unless a profile says otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use api_types::selector::Labels;

use crate::cache::{NodeInfo, Snapshot};
use crate::config::args::SpreadArgs;
use crate::framework::{
    ClusterEvent, CycleState, Filter, MAX_SCORE, Plugin, PreFilter, PreFiltered, PreScore, Rejection, Score,
    Verdict,
};
use crate::node::NodeView;
use crate::pod::PodView;
use crate::spread::SpreadConstraint;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Constraints in force, each with matching pods by label value.
#[derive(Clone, Debug, Default)]
struct Hard(Vec<(SpreadConstraint, HashMap<String, i64>)>);

/// Soft constraints in force.
#[derive(Clone, Debug, Default)]
struct Soft {
    constraints: Vec<SoftConstraint>,
    /// Nodes that lack a label, which are not scored.
    ignored: std::collections::HashSet<Arc<str>>,
}

#[derive(Clone, Debug)]
struct SoftConstraint {
    rule: SpreadConstraint,
    /// All of these select the pods that count; one unless the constraint is a default.
    selectors: Vec<Labels>,
    counts: HashMap<String, i64>,
    weight: f64,
}

pub struct PodTopologySpread {
    defaults: Vec<SpreadConstraint>,
    system_defaults: bool,
}

impl PodTopologySpread {
    pub fn new(args: &SpreadArgs) -> Self {
        match &args.defaults {
            Some(list) => Self { defaults: list.clone(), system_defaults: false },
            None => Self {
                defaults: vec![SpreadConstraint::soft(HOSTNAME, 3), SpreadConstraint::soft(ZONE, 5)],
                system_defaults: true,
            },
        }
    }

    /// The pod's constraints of one sort, or the defaults of that sort if it has none at all.
    fn constraints(
        &self,
        pod: &PodView,
        snapshot: &Snapshot,
        required: bool,
    ) -> Vec<(SpreadConstraint, Vec<Labels>)> {
        let of_sort = |list: &[SpreadConstraint]| -> Vec<SpreadConstraint> {
            list.iter().filter(|c| c.required == required).cloned().collect()
        };
        if !pod.spread.is_empty() {
            return of_sort(&pod.spread).into_iter().map(|c| (c.clone(), vec![c.selector])).collect();
        }
        let defaults = of_sort(&self.defaults);
        if defaults.is_empty() {
            return Vec::new();
        }
        let selectors: Vec<Labels> = snapshot.workloads.of(pod).into_iter().cloned().collect();
        if selectors.is_empty() {
            return Vec::new();
        }
        defaults.into_iter().map(|c| (c, selectors.clone())).collect()
    }
}

/// Pods of the namespace that all selectors match. Pods on their way out do not count.
fn matching(node: &NodeInfo, namespace: &str, selectors: &[Labels]) -> i64 {
    if selectors.iter().all(Labels::is_everything) {
        // COMPAT: upstream counts nothing for an empty selector.
        return 0;
    }
    let counted = |p: &&Arc<PodView>| {
        !p.deleting && &*p.namespace == namespace && selectors.iter().all(|s| s.matches(&p.labels))
    };
    node.pods.iter().filter(counted).count() as i64
}

fn has_all_keys<'a>(node: &NodeView, mut rules: impl Iterator<Item = &'a SpreadConstraint>) -> bool {
    rules.all(|c| node.labels.contains_key(&c.topology_key))
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        let counted = |other: &PodView| {
            other.namespace == pod.namespace
                && (pod.spread.is_empty() || pod.spread.iter().any(|c| c.selector.matches(&other.labels)))
        };
        let topology = |node: &NodeView| -> Vec<Option<String>> {
            pod.spread.iter().map(|c| node.labels.get(&c.topology_key).cloned()).collect()
        };
        match event {
            ClusterEvent::AssignedPodAdded(other) | ClusterEvent::AssignedPodDeleted(other) => counted(other),
            ClusterEvent::AssignedPodUpdated { old, new } => {
                counted(old) != counted(new) || (old.deleting != new.deleting && counted(new))
            }
            ClusterEvent::PodUpdated { old, new } => new.uid == pod.uid && old.labels != new.labels,
            ClusterEvent::NodeAdded(node) | ClusterEvent::NodeDeleted(node) => {
                has_all_keys(node, pod.spread.iter())
            }
            ClusterEvent::NodeUpdated { old, new } => {
                topology(old) != topology(new) || old.taints != new.taints
            }
            _ => false,
        }
    }
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<PreFiltered, Rejection> {
        let constraints = self.constraints(pod, snapshot, true);
        if constraints.is_empty() {
            return Ok(PreFiltered::Skip);
        }
        let mut hard: Vec<_> = constraints.iter().map(|(c, _)| (c.clone(), HashMap::new())).collect();
        for info in &snapshot.nodes {
            let node = info.node();
            if !has_all_keys(node, constraints.iter().map(|(c, _)| c)) {
                continue;
            }
            for ((rule, selectors), (_, counts)) in constraints.iter().zip(&mut hard) {
                if rule.counts(pod, node) {
                    let value = node.labels.get(&rule.topology_key).cloned().unwrap_or_default();
                    *counts.entry(value).or_default() += matching(info, &pod.namespace, selectors);
                }
            }
        }
        state.put(Hard(hard));
        Ok(PreFiltered::AllNodes)
    }

    fn add_pod(&self, state: &mut CycleState, pod: &PodView, added: &PodView, node: &NodeInfo, _: &Snapshot) {
        update(state, pod, added, node, 1);
    }

    fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        removed: &PodView,
        node: &NodeInfo,
        _: &Snapshot,
    ) {
        update(state, pod, removed, node, -1);
    }
}

fn update(state: &mut CycleState, pod: &PodView, other: &PodView, info: &NodeInfo, by: i64) {
    let Some(Hard(constraints)) = state.get_mut::<Hard>() else { return };
    let node = info.node();
    if other.namespace != pod.namespace || !has_all_keys(node, constraints.iter().map(|(c, _)| c)) {
        return;
    }
    for (rule, counts) in constraints {
        if rule.selector.matches(&other.labels) && rule.counts(pod, node) {
            let value = node.labels.get(&rule.topology_key).cloned().unwrap_or_default();
            *counts.entry(value).or_default() += by;
        }
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, state: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        const NO: &str = "node(s) didn't match pod topology spread constraints";
        for (rule, counts) in state.get::<Hard>().into_iter().flat_map(|h| &h.0) {
            let Some(value) = node.node().labels.get(&rule.topology_key) else {
                return Err(Rejection::unresolvable(format!("{NO} (missing required label)")));
            };
            // Too few values: the emptiest one is thought to be elsewhere, with no pods.
            let fewest =
                if counts.len() < rule.min_domains { 0 } else { counts.values().copied().min().unwrap_or(0) };
            let own = i64::from(rule.selector.matches(&pod.labels));
            let here = counts.get(value).copied().unwrap_or(0);
            if here + own - fewest > rule.max_skew {
                return Err(Rejection::unschedulable(NO));
            }
        }
        Ok(())
    }
}

impl PreScore for PodTopologySpread {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
        feasible: &[Arc<NodeInfo>],
    ) -> bool {
        let constraints = self.constraints(pod, snapshot, false);
        if constraints.is_empty() {
            return false;
        }
        // The system's defaults spread over hosts also where there are no zones.
        let need_all = !pod.spread.is_empty() || !self.system_defaults;
        let eligible =
            |info: &NodeInfo| !need_all || has_all_keys(info.node(), constraints.iter().map(|(c, _)| c));
        let mut soft = Soft::default();
        soft.ignored.extend(feasible.iter().filter(|n| !eligible(n)).map(|n| n.name().clone()));
        for (rule, selectors) in &constraints {
            let scored = || feasible.iter().filter(|n| eligible(n));
            let per_host = rule.topology_key == HOSTNAME;
            let mut counts = HashMap::new();
            if !per_host {
                let value =
                    |n: &Arc<NodeInfo>| n.node().labels.get(&rule.topology_key).cloned().unwrap_or_default();
                counts.extend(scored().map(|n| (value(n), 0)));
                for info in snapshot.nodes.iter().filter(|n| eligible(n) && rule.counts(pod, n.node())) {
                    if let Some(count) = counts.get_mut(&value(info)) {
                        *count += matching(info, &pod.namespace, selectors);
                    }
                }
            }
            let size = if per_host { scored().count() } else { counts.len() };
            let weight = (size as f64 + 2.0).ln();
            soft.constraints.push(SoftConstraint {
                rule: rule.clone(),
                selectors: selectors.clone(),
                counts,
                weight,
            });
        }
        state.put(soft);
        true
    }
}

impl Score for PodTopologySpread {
    /// Weighted number of matching pods: fewer is better, which normalize turns round.
    fn score(&self, state: &CycleState, pod: &PodView, node: &NodeInfo, _: &Snapshot) -> i64 {
        let Some(soft) = state.get::<Soft>().filter(|s| !s.ignored.contains(node.name())) else { return 0 };
        let mut score = 0.0;
        for SoftConstraint { rule, selectors, counts, weight } in &soft.constraints {
            let Some(value) = node.node().labels.get(&rule.topology_key) else { continue };
            let count = if rule.topology_key == HOSTNAME {
                matching(node, &pod.namespace, selectors)
            } else {
                counts.get(value).copied().unwrap_or(0)
            };
            score += count as f64 * weight + (rule.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, state: &CycleState, nodes: &[Arc<NodeInfo>], scores: &mut [i64]) {
        let Some(soft) = state.get::<Soft>() else { return };
        let counted = |at: usize| !soft.ignored.contains(nodes[at].name());
        let valid: Vec<i64> = (0..scores.len()).filter(|at| counted(*at)).map(|at| scores[at]).collect();
        let (lowest, highest) =
            (valid.iter().copied().min().unwrap_or(0), valid.iter().copied().max().unwrap_or(0));
        for (at, score) in scores.iter_mut().enumerate() {
            *score = match highest {
                _ if !counted(at) => 0,
                0 => MAX_SCORE,
                _ => MAX_SCORE * (highest + lowest - *score) / highest,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PodBuilder, cluster, node, pod};

    fn check(incoming: &PodBuilder, on: &str, others: &[PodBuilder], expected: Option<&str>) {
        let nodes = [
            node("a").label("zone", "x"),
            node("b").label("zone", "x"),
            node("c").label("zone", "y"),
            node("d"),
        ];
        let snapshot = cluster(&nodes, others);
        let plugin = PodTopologySpread::new(&SpreadArgs::default());
        let (mut state, pod) = (CycleState::default(), incoming.view());
        plugin.pre_filter(&mut state, &pod, &snapshot).unwrap();
        let verdict = plugin.filter(&state, &pod, snapshot.get(on).unwrap());
        assert_eq!(verdict.err().map(|r| r.message()).as_deref(), expected, "on {on}");
    }

    #[test]
    fn skew_stays_within_the_bound() {
        let no = Some("node(s) didn't match pod topology spread constraints");
        let web = |name: &str, on: &str| pod(name).pod_label("app", "web").on(on);
        let incoming = pod("p").pod_label("app", "web").spread("zone", 1, "DoNotSchedule", "app", "web");
        check(&incoming, "a", &[], None);
        check(&incoming, "a", &[web("1", "b")], no);
        check(&incoming, "c", &[web("1", "b")], None);
        check(&incoming, "a", &[web("1", "b"), web("2", "c")], None);
        check(
            &incoming,
            "d",
            &[],
            Some("node(s) didn't match pod topology spread constraints (missing required label)"),
        );
        check(&pod("p"), "d", &[web("1", "b")], None);
    }

    #[test]
    fn too_few_domains_count_the_emptiest_as_zero() {
        let web = |name: &str, on: &str| pod(name).pod_label("app", "web").on(on);
        let incoming = pod("p")
            .pod_label("app", "web")
            .spread("zone", 1, "DoNotSchedule", "app", "web")
            .edit(|p| p.spec.topology_spread_constraints[0].min_domains = Some(3));
        let both = [web("1", "b"), web("2", "c")];
        check(&incoming, "a", &both, Some("node(s) didn't match pod topology spread constraints"));
    }

    #[test]
    fn soft_constraints_prefer_the_emptier_zone() {
        let others = [pod("1").pod_label("app", "web").on("a"), pod("2").pod_label("app", "web").on("b")];
        let snapshot = cluster(
            &[node("a").label("zone", "x"), node("b").label("zone", "x"), node("c").label("zone", "y")],
            &others,
        );
        let plugin = PodTopologySpread::new(&SpreadArgs::default());
        let incoming =
            pod("p").pod_label("app", "web").spread("zone", 1, "ScheduleAnyway", "app", "web").view();
        let mut state = CycleState::default();
        assert!(plugin.pre_score(&mut state, &incoming, &snapshot, &snapshot.nodes));
        let mut scores: Vec<i64> =
            snapshot.nodes.iter().map(|n| plugin.score(&state, &incoming, n, &snapshot)).collect();
        plugin.normalize(&state, &snapshot.nodes, &mut scores);
        let by_name: HashMap<_, _> =
            snapshot.nodes.iter().map(|n| n.name().to_string()).zip(scores).collect();
        assert_eq!((by_name["a"], by_name["b"], by_name["c"]), (0, 0, 100));
    }
}
