//! `NodeInfo`: a node and the sums over its pods that filters and scores read.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::node::NodeView;
use crate::pod::{HostPort, PodView};
use crate::resources::Resources;

/// A node with its pods, assumed ones included.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// Absent while pods are known that name a node which is not.
    node: Option<Arc<NodeView>>,
    pub pods: Vec<Arc<PodView>>,
    /// Of `pods`, those with any affinity to other pods.
    pub with_affinity: Vec<Arc<PodView>>,
    pub requested: Resources,
    /// As `requested`, with defaults for containers that ask for no cpu or memory.
    pub non_zero: Resources,
    pub ports: BTreeSet<HostPort>,
}

impl NodeInfo {
    #[cfg(test)]
    pub fn new(node: Arc<NodeView>) -> Self {
        Self { node: Some(node), ..Self::default() }
    }

    /// The node. Only infos with one are in a snapshot.
    pub fn node(&self) -> &Arc<NodeView> {
        self.node.as_ref().expect("a snapshot holds no info without its node")
    }

    pub fn known(&self) -> Option<&Arc<NodeView>> {
        self.node.as_ref()
    }

    pub fn set_node(&mut self, node: Option<Arc<NodeView>>) {
        self.node = node;
    }

    pub fn name(&self) -> &Arc<str> {
        &self.node().name
    }

    pub fn add(&mut self, pod: Arc<PodView>) {
        self.requested.add(&pod.requests.needed);
        self.non_zero.add(&pod.requests.non_zero);
        self.ports.extend(pod.ports.iter().cloned());
        if pod.affinity.is_some() {
            self.with_affinity.push(pod.clone());
        }
        self.pods.push(pod);
    }

    /// Whether the pod was there.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(at) = self.pods.iter().position(|p| &*p.uid == uid) else { return false };
        let pod = self.pods.swap_remove(at);
        self.with_affinity.retain(|p| &*p.uid != uid);
        self.requested.sub(&pod.requests.needed);
        self.non_zero.sub(&pod.requests.non_zero);
        for port in &pod.ports {
            // Another pod can hold an equal port only by force (nodeName set by hand).
            if !self.pods.iter().any(|p| p.ports.contains(port)) {
                self.ports.remove(port);
            }
        }
        true
    }

    /// Whether a pod with these ports can run here.
    pub fn has_free(&self, ports: &[HostPort]) -> bool {
        self.ports.is_empty() || !ports.iter().any(|p| self.ports.iter().any(|used| used.conflicts(p)))
    }
}
