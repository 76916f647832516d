//! The plugins, one file each, and the table of them: a row says what a plugin is called, which
//! points it extends and how it is made from its arguments. The order is upstream's default order.

pub mod default_binder;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_balanced_allocation;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod node_volume_limits;
pub mod pod_topology_spread;
pub mod priority_sort;
pub mod resource_claims;
pub mod scheduling_gates;
pub mod taint_toleration;
pub mod volume_binding;
pub mod volume_restrictions;
pub mod volume_zone;

use std::sync::Arc;

use crate::config::args::PluginArgs;
use crate::framework::{
    Bind, Filter, Permit, Plugin, PostBind, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort,
    Reserve, Score,
};
use crate::preemption::DefaultPreemption;

/// A plugin by the points that it extends.
#[derive(Clone)]
pub struct Points {
    pub plugin: Arc<dyn Plugin>,
    pub pre_enqueue: Option<Arc<dyn PreEnqueue>>,
    pub queue_sort: Option<Arc<dyn QueueSort>>,
    pub pre_filter: Option<Arc<dyn PreFilter>>,
    pub filter: Option<Arc<dyn Filter>>,
    pub post_filter: Option<Arc<dyn PostFilter>>,
    pub pre_score: Option<Arc<dyn PreScore>>,
    pub score: Option<Arc<dyn Score>>,
    pub reserve: Option<Arc<dyn Reserve>>,
    pub permit: Option<Arc<dyn Permit>>,
    pub pre_bind: Option<Arc<dyn PreBind>>,
    pub bind: Option<Arc<dyn Bind>>,
    pub post_bind: Option<Arc<dyn PostBind>>,
}

impl Points {
    /// A plugin that extends nothing yet.
    pub fn none(plugin: Arc<dyn Plugin>) -> Self {
        Self {
            plugin,
            pre_enqueue: None,
            queue_sort: None,
            pre_filter: None,
            filter: None,
            post_filter: None,
            pre_score: None,
            score: None,
            reserve: None,
            permit: None,
            pre_bind: None,
            bind: None,
            post_bind: None,
        }
    }
}

/// `points!(plugin => filter, score)`: the plugin at these points.
macro_rules! points {
    ($plugin:expr => $($point:ident),+) => {{
        let plugin = std::sync::Arc::new($plugin);
        #[allow(clippy::needless_update, reason = "a plugin may extend every point")]
        $crate::plugins::Points { $($point: Some(plugin.clone()),)+ ..$crate::plugins::Points::none(plugin) }
    }};
}

/// One plugin.
pub struct Row {
    pub name: &'static str,
    /// The weight of its score by default; 0 for those that do not score.
    pub weight: i64,
    /// Makes it. Arguments of the wrong kind cannot come: the configuration checked them.
    pub make: fn(&PluginArgs) -> Points,
}

/// All plugins that there are, in the default order.
pub const TABLE: &[Row] = &[
    Row {
        name: "SchedulingGates",
        weight: 0,
        make: |_| points!(scheduling_gates::SchedulingGates => pre_enqueue),
    },
    Row { name: "PrioritySort", weight: 0, make: |_| points!(priority_sort::PrioritySort => queue_sort) },
    Row {
        name: "NodeUnschedulable",
        weight: 0,
        make: |_| points!(node_unschedulable::NodeUnschedulable => filter),
    },
    Row { name: "NodeName", weight: 0, make: |_| points!(node_name::NodeName => filter) },
    Row {
        name: "TaintToleration",
        weight: 3,
        make: |_| points!(taint_toleration::TaintToleration => filter, pre_score, score),
    },
    Row {
        name: "NodeAffinity",
        weight: 2,
        make: |args| points!(node_affinity::NodeAffinity::new(&args.node_affinity) => pre_filter, filter, pre_score, score),
    },
    Row { name: "NodePorts", weight: 0, make: |_| points!(node_ports::NodePorts => pre_filter, filter) },
    Row {
        name: "NodeResourcesFit",
        weight: 1,
        make: |args| points!(node_resources_fit::Fit::new(args.fit.clone()) => filter, score),
    },
    Row {
        name: "VolumeRestrictions",
        weight: 0,
        make: |_| points!(volume_restrictions::VolumeRestrictions => pre_filter, filter),
    },
    Row {
        name: "NodeVolumeLimits",
        weight: 0,
        make: |_| points!(node_volume_limits::NodeVolumeLimits => pre_filter, filter),
    },
    Row {
        name: "VolumeBinding",
        weight: 0,
        make: |args| points!(volume_binding::VolumeBinding::new(args.bind_timeout) => pre_filter, filter, reserve, pre_bind),
    },
    Row { name: "VolumeZone", weight: 0, make: |_| points!(volume_zone::VolumeZone => pre_filter, filter) },
    Row {
        name: "PodTopologySpread",
        weight: 2,
        make: |args| points!(pod_topology_spread::PodTopologySpread::new(&args.spread) => pre_filter, filter, pre_score, score),
    },
    Row {
        name: "InterPodAffinity",
        weight: 2,
        make: |args| points!(inter_pod_affinity::InterPodAffinity::new(&args.inter_pod) => pre_filter, filter, pre_score, score),
    },
    Row {
        name: "DynamicResources",
        weight: 2,
        make: |args| {
            let clock = daemon::clock::System::shared();
            points!(resource_claims::DynamicResources::new(args.devices, clock) => pre_enqueue, pre_filter, filter, post_filter, score, reserve, pre_bind)
        },
    },
    Row {
        name: "DefaultPreemption",
        weight: 0,
        make: |args| points!(DefaultPreemption::new(&args.preemption) => post_filter),
    },
    Row {
        name: "NodeResourcesBalancedAllocation",
        weight: 1,
        make: |args| points!(node_resources_balanced_allocation::BalancedAllocation::new(&args.balanced) => pre_score, score),
    },
    Row { name: "ImageLocality", weight: 1, make: |_| points!(image_locality::ImageLocality => score) },
    Row { name: "DefaultBinder", weight: 0, make: |_| points!(default_binder::DefaultBinder => bind) },
];

/// The row of a plugin.
pub fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}
