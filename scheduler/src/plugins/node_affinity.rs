//! NodeAffinity: nodeSelector and node affinity, required and preferred; a profile may add its own
//! (NodeAffinityArgs.addedAffinity).

use std::sync::Arc;

use api_types::core::v1::NodeAffinity as Affinity;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ClusterEvent, CycleState, Filter, Plugin, PreFilter, PreFiltered, PreScore, Rejection, Score, Verdict,
    normalize_to_max,
};
use crate::node::NodeView;
use crate::pod::PodView;
use api_types::core::v1::node::selection::{PreferredTerm, Terms};

pub struct NodeAffinity {
    added: Option<Terms>,
    added_preferred: Vec<PreferredTerm>,
}

impl NodeAffinity {
    /// With what the profile asks of every pod.
    pub fn new(added: &Option<Affinity>) -> Self {
        let required =
            added.as_ref().and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        Self { added: required.map(|r| Terms::of(r)), added_preferred: PreferredTerm::all(added.as_ref()) }
    }

    fn allowed(&self, node: &NodeView) -> bool {
        self.added.as_ref().is_none_or(|added| added.matches(&node.name, &node.labels))
    }
}

fn selected(pod: &PodView, node: &NodeView) -> bool {
    pod.selection.as_ref().is_none_or(|s| s.matches(&node.name, &node.labels))
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        event.node().is_some_and(|(old, new)| {
            self.allowed(new)
                && selected(pod, new)
                && old.is_none_or(|o| !selected(pod, o) || !self.allowed(o))
        })
    }
}

impl PreFilter for NodeAffinity {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodView, _: &Snapshot) -> Result<PreFiltered, Rejection> {
        match pod.selection.as_deref() {
            None if self.added.is_none() => Ok(PreFiltered::Skip),
            Some(selection) => match &selection.names {
                Some(names) if names.is_empty() => {
                    Err(Rejection::unresolvable("pod affinity terms conflict"))
                }
                Some(names) => Ok(PreFiltered::Nodes(names.clone())),
                None => Ok(PreFiltered::AllNodes),
            },
            None => Ok(PreFiltered::AllNodes),
        }
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, _: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        if !self.allowed(node.node()) {
            return Err(Rejection::unresolvable("node(s) didn't match scheduler-enforced node affinity"));
        }
        if !selected(pod, node.node()) {
            return Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"));
        }
        Ok(())
    }
}

impl PreScore for NodeAffinity {
    fn pre_score(&self, _: &mut CycleState, pod: &PodView, _: &Snapshot, _: &[Arc<NodeInfo>]) -> bool {
        !pod.preferred_nodes.is_empty() || !self.added_preferred.is_empty()
    }
}

impl Score for NodeAffinity {
    fn score(&self, _: &CycleState, pod: &PodView, node: &NodeInfo, _: &Snapshot) -> i64 {
        let terms = pod.preferred_nodes.iter().chain(&self.added_preferred);
        terms.filter(|t| t.matches(&node.node().name, &node.node().labels)).map(|t| t.weight).sum()
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) {
        normalize_to_max(scores, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_filter, node, pod};

    const NO: Option<&str> = Some("node(s) didn't match Pod's node affinity/selector");

    #[test]
    fn node_selector_and_affinity_both_hold() {
        let plugin = NodeAffinity::new(&None);
        let ssd = node("a").label("disk", "ssd").label("zone", "x");
        check_filter(&plugin, &pod("p").node_selector("disk", "ssd"), &ssd, None);
        check_filter(&plugin, &pod("p").node_selector("disk", "hdd"), &ssd, NO);
        check_filter(
            &plugin,
            &pod("p").node_selector("disk", "ssd").node_affinity("zone", "In", &["x"]),
            &ssd,
            None,
        );
        check_filter(
            &plugin,
            &pod("p").node_selector("disk", "ssd").node_affinity("zone", "In", &["y"]),
            &ssd,
            NO,
        );
    }

    #[test]
    fn terms_that_name_nodes_narrow_the_search() {
        let plugin = NodeAffinity::new(&None);
        let pre_filter = |pod: crate::testing::PodBuilder| {
            plugin.pre_filter(&mut CycleState::default(), &pod.view(), &Snapshot::default())
        };
        assert_eq!(pre_filter(pod("p")), Ok(PreFiltered::Skip));
        assert_eq!(pre_filter(pod("p").node_selector("a", "b")), Ok(PreFiltered::AllNodes));
        assert_eq!(pre_filter(pod("p").node_field(&["n1"])), Ok(PreFiltered::Nodes(["n1".into()].into())));
        let conflict = pod("p").node_field(&["n1"]).node_field_and(&["n2"]);
        assert_eq!(pre_filter(conflict).unwrap_err().message(), "pod affinity terms conflict");
    }
}
