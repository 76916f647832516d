//! NodeResourcesBalancedAllocation: prefers nodes on which the pod evens out how much of each
//! resource is in use, by the change of the standard deviation of the used shares.

use std::sync::Arc;

use super::node_resources_fit::usage;
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{CycleState, MAX_SCORE, Plugin, PreScore, Score};
use crate::pod::PodView;
use crate::resources::Resources;

pub struct BalancedAllocation {
    resources: Vec<(String, i64)>,
}

impl BalancedAllocation {
    pub fn new(resources: &[(String, i64)]) -> Self {
        Self { resources: resources.to_vec() }
    }

    fn balance(&self, counted: &PodView, added: &Resources, node: &NodeInfo) -> i64 {
        let shares: Vec<f64> = self
            .resources
            .iter()
            .filter_map(|(name, _)| {
                // Which resources count depends on the pod, also when the node is looked at without it.
                let (capacity, _) = usage(name, &counted.requests.needed, &node.requested, node.node())?;
                let used = node.requested.get(name) + added.get(name);
                Some((used as f64 / capacity as f64).min(1.0))
            })
            .collect();
        let deviation = match shares.as_slice() {
            [a, b] => ((a - b) / 2.0).abs(),
            [_, _, ..] => {
                let count = shares.len() as f64;
                let mean = shares.iter().sum::<f64>() / count;
                (shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / count).sqrt()
            }
            _ => 0.0,
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
}

impl PreScore for BalancedAllocation {
    /// A pod that asks for nothing changes no balance.
    fn pre_score(&self, _: &mut CycleState, pod: &PodView, _: &Snapshot, _: &[Arc<NodeInfo>]) -> bool {
        self.resources.iter().any(|(name, _)| pod.requests.needed.get(name) > 0)
    }
}

impl Score for BalancedAllocation {
    fn score(&self, _: &CycleState, pod: &PodView, node: &NodeInfo, _: &Snapshot) -> i64 {
        let with = self.balance(pod, &pod.requests.needed, node);
        let without = self.balance(pod, &Resources::default(), node);
        MAX_SCORE / 2 + (MAX_SCORE / 2 + with - without) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod, score};

    #[test]
    fn a_pod_that_evens_out_the_node_scores_higher() {
        let plugin = BalancedAllocation::new(&[("cpu".into(), 1), ("memory".into(), 1)]);
        let machine = node("a").allocatable("cpu", "10").allocatable("memory", "10000");
        let busy_cpu = [pod("q").requests("cpu", "5").requests("memory", "1000")];
        let check = |cpu: &str, memory: &str, expected| {
            let incoming = pod("p").requests("cpu", cpu).requests("memory", memory);
            assert_eq!(score(&plugin, &incoming, &machine, &busy_cpu), expected, "{cpu} {memory}");
        };
        // Without the pod the balance is 80; even growth keeps it, memory evens it out, cpu makes it worse.
        check("1", "1000", 75);
        check("1m", "4000", 84);
        check("4", "1", 65);
    }
}
