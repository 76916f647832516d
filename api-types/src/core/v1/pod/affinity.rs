//! Where a pod wants to run: affinity, tolerations, spreading.

use crate::core::v1::{Taint, TaintEffect};
use crate::meta::v1::LabelSelector;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Wishes and demands about where a pod runs.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Affinity {
    /// About the node itself.
    #[api(1)]
    pub node_affinity: Option<Box<NodeAffinity>>,
    /// About being near other pods.
    #[api(2)]
    pub pod_affinity: Option<Box<PodAffinity>>,
    /// About keeping away from other pods.
    #[api(3)]
    pub pod_anti_affinity: Option<Box<PodAntiAffinity>>,
}

/// What nodes a pod demands or prefers.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeAffinity {
    /// Nodes that will do; checked when the pod is placed, not afterwards.
    #[api(1)]
    pub required_during_scheduling_ignored_during_execution: Option<Box<NodeSelector>>,
    /// Nodes that are better than others, by weight.
    #[api(2, list = atomic)]
    pub preferred_during_scheduling_ignored_during_execution: Vec<PreferredSchedulingTerm>,
}

/// A preference for some nodes.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PreferredSchedulingTerm {
    /// What a match is worth, 1 to 100.
    #[api(1, required)]
    pub weight: i32,
    /// Which nodes match.
    #[api(2, required)]
    pub preference: NodeSelectorTerm,
}

/// Selects nodes: one of several terms must match.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct NodeSelector {
    /// The terms, of which one is enough.
    #[api(1, required, list = atomic)]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Demands on a node that must all hold; an empty term matches nothing.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct NodeSelectorTerm {
    /// Demands on the node's labels.
    #[api(1, list = atomic)]
    pub match_expressions: Vec<NodeSelectorRequirement>,
    /// Demands on the node's fields; only metadata.name.
    #[api(2, list = atomic)]
    pub match_fields: Vec<NodeSelectorRequirement>,
}

/// One demand on a label or field of a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeSelectorRequirement {
    /// Label or field that is looked at.
    #[api(1, required)]
    pub key: String,
    /// How it is compared.
    #[api(2, required)]
    pub operator: NodeSelectorOperator,
    /// What it is compared with; one integer for Gt and Lt, none for Exists and DoesNotExist.
    #[api(3, list = atomic)]
    pub values: Vec<String>,
}

open_enum! {
    /// How a node's label is compared.
    pub enum NodeSelectorOperator {
        In = "In",
        NotIn = "NotIn",
        Exists = "Exists",
        DoesNotExist = "DoesNotExist",
        Gt = "Gt",
        Lt = "Lt",
    }
}

/// Which pods a pod demands or prefers to be near.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodAffinity {
    /// Terms that must all hold when the pod is placed.
    #[api(1, list = atomic)]
    pub required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>,
    /// Terms that make a node better, by weight.
    #[api(2, list = atomic)]
    pub preferred_during_scheduling_ignored_during_execution: Vec<WeightedPodAffinityTerm>,
}

/// Which pods a pod must or would rather keep away from.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodAntiAffinity {
    /// Terms none of which may hold when the pod is placed.
    #[api(1, list = atomic)]
    pub required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>,
    /// Terms that make a node worse, by weight.
    #[api(2, list = atomic)]
    pub preferred_during_scheduling_ignored_during_execution: Vec<WeightedPodAffinityTerm>,
}

/// Some pods, and what being near them means.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodAffinityTerm {
    /// Labels of the pods meant; none given matches no pod.
    #[api(1)]
    pub label_selector: Option<Box<LabelSelector>>,
    /// Namespaces to look in, added to those of namespaceSelector; both empty means the pod's own.
    #[api(2, list = atomic)]
    pub namespaces: Vec<String>,
    /// Node label whose equal value means near.
    #[api(3, required)]
    pub topology_key: String,
    /// Labels of the namespaces to look in; an empty selector means all.
    #[api(4)]
    pub namespace_selector: Option<Box<LabelSelector>>,
    /// Labels whose value the other pods must share with this one.
    #[api(5, list = atomic)]
    pub match_label_keys: Vec<String>,
    /// Labels whose value the other pods must not share with this one.
    #[api(6, list = atomic)]
    pub mismatch_label_keys: Vec<String>,
}

/// A term and what it is worth.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct WeightedPodAffinityTerm {
    /// What a match is worth, 1 to 100.
    #[api(1, required)]
    pub weight: i32,
    /// The term.
    #[api(2, required)]
    pub pod_affinity_term: PodAffinityTerm,
}

/// Lets a pod onto nodes with a matching taint.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Toleration {
    /// Taint that is tolerated; empty, with Exists, means every taint.
    #[api(1)]
    pub key: String,
    /// How the value is compared; Equal when not given.
    #[api(2)]
    pub operator: TolerationOperator,
    /// Value of the taint; empty with Exists.
    #[api(3)]
    pub value: String,
    /// Effect that is tolerated; empty means all.
    #[api(4)]
    pub effect: TaintEffect,
    /// Seconds that a NoExecute taint is tolerated; for ever when not given.
    #[api(5)]
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it covers the taint. Lt and Gt belong to a feature that is off by default.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_unset() || self.effect == taint.effect;
        let key = self.key.is_empty() || self.key == taint.key;
        effect
            && key
            && match &self.operator {
                TolerationOperator::Unset | TolerationOperator::Equal => self.value == taint.value,
                TolerationOperator::Exists => true,
                TolerationOperator::Lt | TolerationOperator::Gt | TolerationOperator::Other(_) => false,
            }
    }
}

open_enum! {
    /// How a toleration compares with a taint's value.
    pub enum TolerationOperator {
        Exists = "Exists",
        Equal = "Equal",
        Lt = "Lt",
        Gt = "Gt",
    }
}

/// How evenly pods are to be spread over parts of the cluster.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct TopologySpreadConstraint {
    /// Difference in pods that is allowed between the fullest and the emptiest part.
    #[api(1, required)]
    pub max_skew: i32,
    /// Node label whose values are the parts.
    #[api(2, required)]
    pub topology_key: String,
    /// What to do with a pod that fits nowhere.
    #[api(3, required)]
    pub when_unsatisfiable: UnsatisfiableConstraintAction,
    /// Which pods are counted.
    #[api(4)]
    pub label_selector: Option<Box<LabelSelector>>,
    /// Parts there must be, lest the emptiest counts as zero pods.
    #[api(5)]
    pub min_domains: Option<i32>,
    /// Whether nodes that the pod's affinity excludes are counted.
    #[api(6)]
    pub node_affinity_policy: Option<NodeInclusionPolicy>,
    /// Whether nodes that the pod does not tolerate are left out.
    #[api(7)]
    pub node_taints_policy: Option<NodeInclusionPolicy>,
    /// Labels whose value counted pods must share with this one.
    #[api(8, list = atomic)]
    pub match_label_keys: Vec<String>,
}

open_enum! {
    /// What to do with a pod that cannot be spread as wanted.
    pub enum UnsatisfiableConstraintAction {
        DoNotSchedule = "DoNotSchedule",
        ScheduleAnyway = "ScheduleAnyway",
    }
}

open_enum! {
    /// Whether a rule on nodes is honoured when spreading.
    pub enum NodeInclusionPolicy {
        Ignore = "Ignore",
        Honor = "Honor",
    }
}
