//! DefaultPreemption: when a pod fits nowhere, which pods of lower priority would have to go.
//!
//! For each node on which removing pods can help: take away all pods of lower priority, see whether
//! the pod fits, give back as many as possible, the important ones first. Of the nodes, take the one
//! whose victims matter least. Pure (but for extenders, which are asked); deleting the victims is the executor's work.
//! Budgets of disruptions are kept where that is possible, and violated where it is not.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::cache::{NodeInfo, violating};
use crate::config::args::PreemptionArgs;
use crate::cycle::fit_error;
use crate::extender;
use crate::framework::{ClusterEvent, Code, Failed, Plugin, PostFilter, PostFiltered, Rejection};
use crate::metrics::metrics;
use crate::pod::PodView;

/// A node and who would have to go, most important first.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub node: Arc<str>,
    pub victims: Vec<Arc<PodView>>,
    /// How many of them a budget protects.
    pub violations: usize,
}

pub struct DefaultPreemption {
    min_percentage: usize,
    min_absolute: usize,
}

impl DefaultPreemption {
    pub fn new(args: &PreemptionArgs) -> Self {
        Self {
            min_percentage: args.min_candidate_nodes_percentage,
            min_absolute: args.min_candidate_nodes_absolute,
        }
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn wakes(&self, _: &PodView, _: &ClusterEvent) -> bool {
        false
    }
}

impl PostFilter for DefaultPreemption {
    fn post_filter(&self, failed: &Failed<'_>) -> PostFiltered {
        metrics().preemption_attempts.inc();
        match self.preempt(failed) {
            Ok(Candidate { node, victims, .. }) => {
                PostFiltered { nominate: Some(node), victims, ..PostFiltered::default() }
            }
            Err(NoCandidate { nominate, why, failed }) => PostFiltered {
                nominate,
                message: format!("preemption: {why}"),
                failed,
                ..PostFiltered::default()
            },
        }
    }
}

/// Why nothing is preempted.
#[derive(Debug, Default)]
struct NoCandidate {
    nominate: Option<Arc<str>>,
    why: String,
    /// Whether an extender failed.
    failed: bool,
}

impl NoCandidate {
    fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }
}

impl DefaultPreemption {
    fn preempt(&self, failed: &Failed<'_>) -> Result<Candidate, NoCandidate> {
        may_preempt(failed).map_err(NoCandidate::because)?;
        let hopeful = |info: &&Arc<NodeInfo>| {
            failed.rejections.get(info.name()).is_some_and(|r| r.code == Code::Unschedulable)
        };
        let nodes: Vec<&Arc<NodeInfo>> = failed.snapshot.nodes.iter().filter(hopeful).collect();
        let wanted = (nodes.len() * self.min_percentage / 100).max(self.min_absolute);
        let offset = if nodes.is_empty() { 0 } else { failed.random as usize % nodes.len() };
        let (mut candidates, mut statuses) = (Vec::new(), HashMap::new());
        for info in nodes[offset..].iter().chain(&nodes[..offset]) {
            match victims(failed, info) {
                Ok((victims, violations)) => {
                    candidates.push(Candidate { node: info.name().clone(), victims, violations });
                }
                Err(rejection) => drop(statuses.insert(info.name().clone(), rejection)),
            }
            if candidates.len() >= wanted {
                break;
            }
        }
        if candidates.is_empty() {
            let absent = Some("Preemption is not helpful for scheduling".to_owned());
            let why = fit_error(failed.snapshot.nodes.len(), statuses.values(), absent);
            // An empty name: a nomination that did not work out is taken back.
            return Err(NoCandidate { nominate: Some("".into()), ..NoCandidate::because(why) });
        }
        let node = |name: &str| failed.snapshot.get(name).cloned();
        let candidates = extender::preempt(&failed.profile.extenders, failed.pod, candidates, node)
            .map_err(|why| NoCandidate { failed: true, ..NoCandidate::because(why) })?;
        least_harm(candidates).ok_or_else(|| NoCandidate::because("no candidate node for preemption"))
    }
}

fn may_preempt(failed: &Failed<'_>) -> Result<(), &'static str> {
    let pod = failed.pod;
    if !pod.may_preempt {
        return Err("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = &pod.nominated_node;
    // Its nominated node has become impossible: it may look for another.
    if failed.rejections.get(nominated).is_some_and(|r| r.code == Code::Unresolvable) {
        return Ok(());
    }
    let leaving = |p: &Arc<PodView>| p.priority < pod.priority && p.terminating_by_preemption;
    if failed.snapshot.get(nominated).is_some_and(|info| info.pods.iter().any(leaving)) {
        return Err("not eligible due to a terminating pod on the nominated node.");
    }
    Ok(())
}

/// The fewest and least important pods whose removal makes room on the node, and how many of them a
/// budget protects.
fn victims(failed: &Failed<'_>, info: &NodeInfo) -> Result<(Vec<Arc<PodView>>, usize), Rejection> {
    let (pod, profile, snapshot) = (failed.pod, failed.profile, failed.snapshot);
    let (mut info, mut state) = (info.clone(), failed.state.clone());
    let mut lower: Vec<_> = info.pods.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(Rejection::unresolvable("No preemption victims found for incoming pod"));
    }
    let none = BTreeSet::new();
    for victim in &lower {
        info.remove(&victim.uid);
        profile.run_remove_pod(&mut state, pod, victim, &info, snapshot);
    }
    profile.run_filter_with_nominated(&state, &none, pod, &info, snapshot)?;
    lower.sort_by(by_importance);
    // Those that a budget protects are spared first.
    let (violating, others) = violating(snapshot, lower);
    let (protected, mut victims, mut violations) = (violating.len(), Vec::new(), 0);
    for (at, candidate) in violating.into_iter().chain(others).enumerate() {
        info.add(candidate.clone());
        profile.run_add_pod(&mut state, pod, &candidate, &info, snapshot);
        if profile.run_filter_with_nominated(&state, &none, pod, &info, snapshot).is_err() {
            info.remove(&candidate.uid);
            profile.run_remove_pod(&mut state, pod, &candidate, &info, snapshot);
            victims.push(candidate);
            violations += usize::from(at < protected);
        }
    }
    if victims.is_empty() {
        let reason = format!("expected at least one victim pod on node {:?}", info.name());
        return Err(Rejection::error(reason));
    }
    victims.sort_by(by_importance);
    Ok((victims, violations))
}

fn by_importance(a: &Arc<PodView>, b: &Arc<PodView>) -> Ordering {
    if a.more_important_than(b) {
        Ordering::Less
    } else if b.more_important_than(a) {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

/// The candidate with, in this order: the fewest violated budgets, the least important most important victim, the smallest sum
/// of priorities, the fewest victims, the youngest of the most important victims.
fn least_harm(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|c| {
        let highest = c.victims.iter().map(|v| v.priority).max().unwrap_or(i32::MIN);
        // Raised above zero, so that fewer pods of a negative priority count as less.
        let sum: i64 = c.victims.iter().map(|v| i64::from(v.priority) + i64::from(i32::MAX) + 1).sum();
        let oldest = c
            .victims
            .iter()
            .filter(|v| v.priority == highest)
            .map(|v| v.start_time.unwrap_or(jiff::Timestamp::MAX))
            .min();
        (c.violations, highest, sum, c.victims.len(), std::cmp::Reverse(oldest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{BudgetView, Snapshot};
    use crate::config::SchedulerConfig;
    use crate::cycle::{Attempt, Failure};
    use crate::testing::{NodeBuilder, PodBuilder, cluster, node, pod};
    use api_types::policy::v1::PodDisruptionBudget;
    use client::informer::Projection as _;

    fn post(incoming: &PodBuilder, nodes: &[NodeBuilder], others: &[PodBuilder]) -> PostFiltered {
        post_in(cluster(nodes, others), incoming)
    }

    fn post_in(snapshot: Snapshot, incoming: &PodBuilder) -> PostFiltered {
        let profiles = SchedulerConfig::default().profiles().unwrap();
        let random = &mut fastrand::Rng::with_seed(7);
        let attempt = Attempt { profile: &profiles[0], snapshot: &snapshot, percentage: 0, start: 0, random };
        match attempt.run(&incoming.shared()).result {
            Err(Failure::Unfit { post, .. }) => *post,
            other => panic!("{:?}", other.map(|c| c.node)),
        }
    }

    fn check(
        incoming: &PodBuilder,
        nodes: &[NodeBuilder],
        others: &[PodBuilder],
        node: &str,
        victims: &[&str],
    ) {
        let post = post(incoming, nodes, others);
        let names: Vec<_> = post.victims.iter().map(|v| v.name.as_str()).collect();
        assert_eq!((post.nominate.as_deref(), names.as_slice()), (Some(node), victims), "{}", post.message);
    }

    fn machine(name: &str) -> NodeBuilder {
        node(name).allocatable("cpu", "4")
    }
    fn uses(name: &str, cpu: &str, priority: i32, on: &str) -> PodBuilder {
        pod(name).requests("cpu", cpu).priority(priority).on(on)
    }

    #[test]
    fn the_fewest_and_least_important_go() {
        let urgent = pod("p").requests("cpu", "2").priority(100);
        let others = [uses("low", "2", 1, "a"), uses("mid", "1", 5, "a"), uses("mid2", "1", 5, "a")];
        check(&urgent, &[machine("a")], &others, "a", &["low"]);
    }

    #[test]
    fn the_node_with_the_least_important_victims_is_taken() {
        let urgent = pod("p").requests("cpu", "4").priority(100);
        let others = [uses("x", "4", 10, "a"), uses("y", "2", 9, "b"), uses("z", "2", 9, "b")];
        check(&urgent, &[machine("a"), machine("b")], &others, "b", &["y", "z"]);
    }

    #[test]
    fn budgets_are_kept_where_that_is_possible() {
        let victims = |allowed: i32, others: &[PodBuilder]| {
            let mut snapshot = cluster(&[machine("a"), machine("b")], others);
            let mut budget = PodDisruptionBudget::default();
            budget.metadata.namespace = "default".into();
            let labels = [("app".to_owned(), "db".to_owned())];
            budget.spec.selector.get_or_insert_default().match_labels = labels.into();
            budget.status.disruptions_allowed = allowed;
            let view = BudgetView::project(budget).map(Arc::new).unwrap();
            snapshot.budgets = Arc::new([("default/db".to_owned(), view)].into());
            let post = post_in(snapshot, &pod("p").requests("cpu", "2").priority(100));
            let names: Vec<_> = post.victims.iter().map(|v| v.name.clone()).collect();
            (post.nominate.unwrap().to_string(), names)
        };
        let db = |name: &str, priority: i32, on: &str| uses(name, "2", priority, on).pod_label("app", "db");
        // On one node: the protected pod stays although it is less important.
        let full = [db("db", 1, "a"), uses("web", "2", 5, "a"), uses("x", "4", 50, "b")];
        assert_eq!(victims(0, &full), ("a".into(), vec!["web".into()]));
        assert_eq!(victims(1, &full), ("a".into(), vec!["db".into()]));
        // Of two nodes: the one where no budget is violated.
        let spread = [db("d1", 1, "a"), db("d2", 1, "a"), uses("y", "4", 9, "b")];
        assert_eq!(victims(0, &spread), ("b".into(), vec!["y".into()]));
    }

    #[test]
    fn equals_are_left_alone_and_never_means_never() {
        let same = pod("p").requests("cpu", "4").priority(10);
        let message = post(&same, &[machine("a")], &[uses("x", "4", 10, "a")]).message;
        assert_eq!(
            message,
            "no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        );
        let never = pod("p")
            .requests("cpu", "4")
            .priority(100)
            .edit(|p| p.spec.preemption_policy = Some("Never".into()));
        let message = post(&never, &[machine("a")], &[uses("x", "4", 10, "a")]).message;
        assert_eq!(
            message,
            "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
        );
    }

    #[test]
    fn a_pod_whose_room_is_being_made_waits() {
        let waiting =
            pod("p").requests("cpu", "4").priority(100).edit(|p| p.status.nominated_node_name = "a".into());
        let leaving = uses("x", "4", 10, "a").edit(|p| {
            p.metadata.deletion_timestamp = Some(Default::default());
            p.status.conditions.push(api_types::core::v1::PodCondition {
                type_: "DisruptionTarget".into(),
                status: "True".into(),
                reason: "PreemptionByScheduler".into(),
                ..Default::default()
            });
        });
        let post = post(&waiting, &[machine("a")], &[leaving]);
        assert_eq!(post.nominate, None);
        assert_eq!(
            post.message,
            "no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node."
        );
    }
}
