//! Which waiting pods are promised which node: preemption makes room there, and until they get it
//! others must not take it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::pod::PodView;

/// Nominated pods by node. Cheap to share with a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Nominator {
    by_node: Arc<BTreeMap<Arc<str>, Vec<Arc<PodView>>>>,
    nodes: HashMap<Arc<str>, Arc<str>>,
    /// Nominations that we made and the pod's view does not show yet.
    own: HashMap<Arc<str>, Arc<str>>,
}

impl Nominator {
    /// Notes the pod's nomination: `ours` (an empty name takes it back), else the one that we made,
    /// else the one in its status.
    pub fn set(&mut self, pod: &Arc<PodView>, ours: Option<Arc<str>>) {
        if let Some(node) = ours {
            self.own.insert(pod.uid.clone(), node);
        } else if self.own.get(&pod.uid).is_some_and(|own| *own == pod.nominated_node) {
            // The apiserver has caught up with us.
            self.own.remove(&pod.uid);
        }
        let node = self.own.get(&pod.uid).unwrap_or(&pod.nominated_node).clone();
        self.unlist(&pod.uid);
        if !node.is_empty() {
            Arc::make_mut(&mut self.by_node).entry(node.clone()).or_default().push(pod.clone());
            self.nodes.insert(pod.uid.clone(), node);
        }
    }

    /// Forgets a pod.
    pub fn remove(&mut self, uid: &str) {
        self.own.remove(uid);
        self.unlist(uid);
    }

    fn unlist(&mut self, uid: &str) {
        let Some(node) = self.nodes.remove(uid) else { return };
        let all = Arc::make_mut(&mut self.by_node);
        if let Some(pods) = all.get_mut(&node) {
            pods.retain(|p| &*p.uid != uid);
            if pods.is_empty() {
                all.remove(&node);
            }
        }
    }

    /// The node that a pod is promised.
    #[cfg(test)]
    pub fn node_of(&self, uid: &str) -> Option<&Arc<str>> {
        self.nodes.get(uid)
    }

    /// Pods of a lower priority that are promised the node.
    pub fn lower(&self, node: &str, priority: i32) -> Vec<Arc<PodView>> {
        let pods = self.by_node.get(node).into_iter().flatten();
        pods.filter(|p| p.priority < priority).cloned().collect()
    }

    pub fn all(&self) -> Arc<BTreeMap<Arc<str>, Vec<Arc<PodView>>>> {
        self.by_node.clone()
    }
}
