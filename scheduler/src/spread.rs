//! A pod's topology spread constraints, compiled (API doc "TopologySpreadConstraint").

use std::collections::BTreeMap;

use api_types::core::v1::{
    NodeInclusionPolicy, Pod, TopologySpreadConstraint, UnsatisfiableConstraintAction,
};
use api_types::meta::v1::LabelSelectorRequirement;
use api_types::selector::Labels;

use crate::node::NodeView;
use crate::plugins::taint_toleration;
use crate::pod::PodView;

/// How evenly pods are to be spread over the values of one node label.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadConstraint {
    pub max_skew: i64,
    pub topology_key: String,
    /// DoNotSchedule, as opposed to ScheduleAnyway.
    pub required: bool,
    pub selector: Labels,
    pub min_domains: usize,
    honor_affinity: bool,
    honor_taints: bool,
}

impl SpreadConstraint {
    /// The constraints of a pod.
    pub fn all(pod: &Pod) -> Vec<Self> {
        let constraints = pod.spec.topology_spread_constraints.iter();
        constraints.map(|c| Self::of(c, &pod.metadata.labels)).collect()
    }

    /// One constraint of a pod with the given labels.
    pub fn of(constraint: &TopologySpreadConstraint, labels: &BTreeMap<String, String>) -> Self {
        let mut selector = constraint.label_selector.as_deref().cloned();
        for key in &constraint.match_label_keys {
            if let (Some(value), Some(selector)) = (labels.get(key), selector.as_mut()) {
                selector.match_expressions.push(LabelSelectorRequirement {
                    key: key.clone(),
                    operator: "In".into(),
                    values: vec![value.clone()],
                });
            }
        }
        Self {
            max_skew: constraint.max_skew.into(),
            topology_key: constraint.topology_key.clone(),
            required: constraint.when_unsatisfiable == UnsatisfiableConstraintAction::DoNotSchedule,
            selector: Labels::from_spec(selector.as_ref()).unwrap_or_else(|_| Labels::nothing()),
            min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
            honor_affinity: constraint.node_affinity_policy != Some(NodeInclusionPolicy::Ignore),
            honor_taints: constraint.node_taints_policy == Some(NodeInclusionPolicy::Honor),
        }
    }

    /// A soft constraint with defaults for the rest: upstream's system default is made of these.
    pub fn soft(topology_key: &str, max_skew: i64) -> Self {
        Self {
            max_skew,
            topology_key: topology_key.to_owned(),
            required: false,
            selector: Labels::nothing(),
            min_domains: 1,
            honor_affinity: true,
            honor_taints: false,
        }
    }

    /// Whether the node counts when `pod` is spread.
    pub fn counts(&self, pod: &PodView, node: &NodeView) -> bool {
        let wanted = || pod.selection.as_ref().is_none_or(|s| s.matches(&node.name, &node.labels));
        let tolerated = || taint_toleration::untolerated(&pod.tolerations, &node.taints).is_none();
        (!self.honor_affinity || wanted()) && (!self.honor_taints || tolerated())
    }
}
