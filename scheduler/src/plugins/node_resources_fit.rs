//! NodeResourcesFit: a node must have what the pod asks for; nodes are scored by what they have left
//! (or, by configuration, by how full they become).

use crate::cache::{NodeInfo, Snapshot};
use crate::config::args::{FitArgs, Strategy};
use crate::devices::{self, Class};
use crate::framework::{
    ClusterEvent, Code, CycleState, Filter, MAX_SCORE, Plugin, Rejection, Score, Verdict,
};
use crate::node::NodeView;
use crate::plugins::resource_claims::Delegated;
use crate::pod::PodView;
use crate::resources::{self, Resources};
use crate::storage::Changed;

pub struct Fit {
    args: FitArgs,
}

impl Fit {
    pub fn new(args: FitArgs) -> Self {
        Self { args }
    }

    fn ignored(&self, name: &str) -> bool {
        let group = name.split_once('/').map(|(group, _)| group);
        resources::is_extended(name)
            && (self.args.ignored.contains(name)
                || group.is_some_and(|g| self.args.ignored_groups.contains(g)))
    }

    /// What the node lacks: reasons, and whether no preemption could change it.
    fn lacking(
        &self,
        pod: &PodView,
        node: &NodeView,
        used: &Resources,
        pods: usize,
        delegated: impl Fn(&str) -> bool,
    ) -> (Vec<std::borrow::Cow<'static, str>>, bool) {
        let (mut reasons, mut unresolvable) = (Vec::new(), false);
        if pods as i64 + 1 > node.allowed_pods {
            reasons.push("Too many pods".into());
        }
        let needed = &pod.requests.needed;
        let named = ["cpu", "memory", "ephemeral-storage"].map(|n| (n, needed.get(n)));
        let scalar = needed.scalar.iter().map(|(name, amount)| (name.as_str(), *amount));
        for (name, amount) in named.into_iter().chain(scalar) {
            let capacity = node.allocatable.get(name);
            // Devices may stand behind what the node itself does not have.
            if capacity == 0 && delegated(name) {
                continue;
            }
            if amount > 0 && amount > capacity - used.get(name) && !self.ignored(name) {
                reasons.push(format!("Insufficient {name}").into());
                unresolvable |= amount > capacity;
            }
        }
        (reasons, unresolvable)
    }

    /// Whether the pod would fit the node if nothing ran there.
    fn fits_empty(&self, pod: &PodView, node: &NodeView) -> bool {
        self.lacking(pod, node, &Resources::default(), 0, devices::can_back).0.is_empty()
    }
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        let shares = |gone: &PodView| {
            let freed = &gone.requests.needed;
            let needed = &pod.requests.needed;
            let named = ["cpu", "memory", "ephemeral-storage"];
            let scalar = needed.scalar.keys().map(String::as_str);
            needed.is_zero() || named.into_iter().chain(scalar).any(|n| needed.get(n) > 0 && freed.get(n) > 0)
        };
        match event {
            // A pod's end frees a place for a pod, whatever it asked for.
            ClusterEvent::AssignedPodDeleted(_) => true,
            ClusterEvent::AssignedPodUpdated { old, new } => {
                old.requests != new.requests && shares(old) || (new.finished && !old.finished)
            }
            ClusterEvent::DeviceClass(Changed { old, new: Some(new) }) => {
                let wanted = |name: &str| pod.requests.needed.get(name) > 0;
                let stands_for = |class: &Class| class.spec.extended_resource_name.clone();
                let name = &new.metadata.name;
                match old {
                    Some(old) if stands_for(old) == stands_for(new) => false,
                    None if pod.requests.needed.scalar.keys().any(|r| devices::is_named_after(r, name)) => {
                        true
                    }
                    _ => stands_for(new).is_some_and(|resource| wanted(&resource)),
                }
            }
            ClusterEvent::PodUpdated { old, new } => new.uid == pod.uid && old.requests != new.requests,
            _ => event.node().is_some_and(|(old, new)| {
                self.fits_empty(pod, new)
                    && old.is_none_or(|o| {
                        o.allocatable != new.allocatable || o.allowed_pods != new.allowed_pods
                    })
            }),
        }
    }
}

impl Filter for Fit {
    fn filter(&self, state: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        let delegated = state.get::<Delegated>();
        let delegated = |name: &str| delegated.is_some_and(|Delegated(names)| names.contains(name));
        let (reasons, unresolvable) =
            self.lacking(pod, node.node(), &node.requested, node.pods.len(), delegated);
        if reasons.is_empty() {
            return Ok(());
        }
        let code = if unresolvable { Code::Unresolvable } else { Code::Unschedulable };
        Err(Rejection { code, reasons, plugin: "" })
    }
}

/// Allocatable and used amounts of a resource with the pod there; `None` when it does not count.
pub(super) fn usage(name: &str, pod: &Resources, used: &Resources, node: &NodeView) -> Option<(i64, i64)> {
    let capacity = node.allocatable.get(name);
    if capacity == 0 || (resources::is_scalar(name) && pod.get(name) == 0) {
        return None;
    }
    Some((capacity, used.get(name) + pod.get(name)))
}

impl Score for Fit {
    fn score(&self, _: &CycleState, pod: &PodView, node: &NodeInfo, _: &Snapshot) -> i64 {
        let (mut total, mut weights) = (0, 0);
        for (name, weight) in &self.args.resources {
            // cpu and memory count pods that ask for nothing as asking for a little.
            let (own, used) = match name.as_str() {
                "cpu" | "memory" => (&pod.requests.non_zero, &node.non_zero),
                _ => (&pod.requests.needed, &node.requested),
            };
            let Some((capacity, used)) = usage(name, own, used, node.node()) else { continue };
            let score = match &self.args.strategy {
                Strategy::LeastAllocated if used > capacity => 0,
                Strategy::LeastAllocated => (capacity - used) * MAX_SCORE / capacity,
                // What exceeds the node counts as a full node.
                Strategy::MostAllocated => used.min(capacity) * MAX_SCORE / capacity,
                Strategy::RequestedToCapacityRatio(shape) => {
                    match shape.score(used.min(capacity) * 100 / capacity) {
                        // COMPAT: a resource without a score does not count, rather than as nothing.
                        0 => continue,
                        score => score,
                    }
                }
            };
            total += score * weight;
            weights += weight;
        }
        match (&self.args.strategy, weights) {
            (_, 0) => 0,
            (Strategy::RequestedToCapacityRatio(_), _) => (total * 2 + weights) / (weights * 2),
            _ => total / weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_filter_with, node, pod, score};

    fn fit() -> Fit {
        Fit::new(FitArgs::default())
    }

    #[test]
    fn what_is_missing_is_named() {
        let small = node("a").allocatable("cpu", "1").allocatable("memory", "1Gi").allocatable("pods", "2");
        let used = [pod("q").requests("cpu", "600m").requests("memory", "512Mi")];
        check_filter_with(&fit(), &pod("p"), &small, &used, None);
        check_filter_with(&fit(), &pod("p").requests("cpu", "400m"), &small, &used, None);
        check_filter_with(&fit(), &pod("p").requests("cpu", "401m"), &small, &used, Some("Insufficient cpu"));
        let both = pod("p").requests("cpu", "2").requests("memory", "1Gi");
        check_filter_with(&fit(), &both, &small, &used, Some("Insufficient cpu, Insufficient memory"));
        let gpu = pod("p").requests("example.com/gpu", "1");
        check_filter_with(&fit(), &gpu, &small, &used, Some("Insufficient example.com/gpu"));
        let two = [pod("q"), pod("r")];
        check_filter_with(&fit(), &pod("p"), &small, &two, Some("Too many pods"));
    }

    #[test]
    fn what_the_node_never_had_no_preemption_gives() {
        let info = crate::testing::info(&node("a").allocatable("cpu", "1").allocatable("pods", "9"), &[]);
        let verdict =
            |cpu| fit().filter(&CycleState::default(), &pod("p").requests("cpu", cpu).view(), &info);
        assert_eq!(verdict("2").unwrap_err().code, Code::Unresolvable);
        let full = crate::testing::info(
            &node("a").allocatable("cpu", "1").allocatable("pods", "9"),
            &[pod("q").requests("cpu", "1")],
        );
        let rejection = fit().filter(&CycleState::default(), &pod("p").requests("cpu", "1").view(), &full);
        assert_eq!(rejection.unwrap_err().code, Code::Unschedulable);
    }

    #[test]
    fn ignored_resources_are_not_checked() {
        let mut args = FitArgs::default();
        args.ignored_groups.insert("example.com".into());
        let plain = node("a").allocatable("pods", "9");
        check_filter_with(&Fit::new(args), &pod("p").requests("example.com/gpu", "1"), &plain, &[], None);
    }

    #[test]
    fn emptier_nodes_score_higher() {
        let big = node("a").allocatable("cpu", "4000m").allocatable("memory", "10000");
        let incoming = pod("p").requests("cpu", "3000m").requests("memory", "5000");
        // (4000-3000)*100/4000 = 25, (10000-5000)*100/10000 = 50
        assert_eq!(score(&fit(), &incoming, &big, &[]), 37);
        let fuller = Fit::new(FitArgs { strategy: Strategy::MostAllocated, ..FitArgs::default() });
        assert_eq!(score(&fuller, &incoming, &big, &[]), 62);
    }

    #[test]
    fn a_shape_says_what_a_utilization_is_worth() {
        let mut args = crate::config::args::PluginArgs::default();
        let shape = serde_json::json!([
            {"utilization": 0, "score": 0}, {"utilization": 50, "score": 10}, {"utilization": 100, "score": 2},
        ]);
        let strategy = serde_json::json!({
            "type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape},
        });
        args.set("NodeResourcesFit", serde_json::json!({"scoringStrategy": strategy})).unwrap();
        let big = node("a").allocatable("cpu", "4000m").allocatable("memory", "10000");
        let scored = |cpu: &str, memory: &str| {
            let incoming = pod("p").requests("cpu", cpu).requests("memory", memory);
            score(&Fit::new(args.fit.clone()), &incoming, &big, &[])
        };
        assert_eq!(scored("2000m", "5000"), 100);
        assert_eq!(scored("1000m", "5000"), 75, "half way up");
        assert_eq!(scored("3000m", "5000"), 80, "half way down to 20");
        assert_eq!(scored("9000m", "9000"), 28, "more than there is counts as all of it: (20 + 36) / 2");
    }
}
