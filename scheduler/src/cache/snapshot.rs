//! `Snapshot`: the cluster as one scheduling attempt sees it. It shares its parts with the cache,
//! so that making one costs as much as changed since the last.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{BudgetView, NodeInfo, WorkloadSelectors};
use crate::devices::Devices;
use crate::pod::PodView;
use crate::pod_affinity::NamespaceLabels;
use crate::storage::Storage;

/// Nodes and pods at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// All nodes, zones taking turns.
    pub nodes: Vec<Arc<NodeInfo>>,
    pub(super) index: HashMap<Arc<str>, usize>,
    /// How many nodes have each image.
    pub image_nodes: Arc<HashMap<String, usize>>,
    /// Pods that wait for room on the node where preemption makes it.
    pub nominated: Arc<BTreeMap<Arc<str>, Vec<Arc<PodView>>>>,
    pub namespaces: Arc<NamespaceLabels>,
    pub workloads: Arc<WorkloadSelectors>,
    pub storage: Storage,
    pub devices: Devices,
    /// Budgets of disruptions, by `namespace/name`.
    pub budgets: Arc<BTreeMap<String, Arc<BudgetView>>>,
}

impl Snapshot {
    pub fn get(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.index.get(name).map(|at| &self.nodes[*at])
    }

    /// Nodes that hold pods with affinity to other pods.
    pub fn nodes_with_affinity(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.nodes.iter().filter(|n| !n.with_affinity.is_empty())
    }
}
