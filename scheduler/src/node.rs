//! `NodeView`: the part of a node that scheduling decides by. Heartbeats do not change it, so that
//! an update that leaves the view equal wakes nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::{Node, Taint};

use crate::resources::Resources;

/// What scheduling decides by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    pub name: Arc<str>,
    pub labels: BTreeMap<String, String>,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    pub allocatable: Resources,
    /// How many pods the node takes.
    pub allowed_pods: i64,
    /// Names of images on the node and their sizes in bytes.
    pub images: Vec<(String, i64)>,
}

impl NodeView {
    pub fn of(node: &Node) -> Self {
        let images = node.status.images.iter();
        Self {
            name: node.metadata.name.as_str().into(),
            labels: node.metadata.labels.clone(),
            unschedulable: node.spec.unschedulable,
            taints: node.spec.taints.clone(),
            allocatable: Resources::of(&node.status.allocatable),
            allowed_pods: node.status.allocatable.get("pods").map_or(0, |q| q.value()),
            images: images.flat_map(|i| i.names.iter().map(|n| (n.clone(), i.size_bytes))).collect(),
        }
    }

    /// Region and zone, by which nodes are visited in turn.
    pub fn zone(&self) -> (&str, &str) {
        let label = |stable: &str, beta: &str| {
            self.labels.get(stable).or_else(|| self.labels.get(beta)).map_or("", String::as_str)
        };
        (
            label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
            label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
        )
    }
}
