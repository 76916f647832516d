//! The pods, also by the node they are bound to: kubelets may see what their pods need.

use super::{Lister, PodView};
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

type Key = (Box<str>, Box<str>);

/// All pods by namespace and name, and by node.
#[derive(Debug, Default)]
pub struct Pods {
    all: Lister<PodView>,
    by_node: RwLock<HashMap<Box<str>, BTreeSet<Key>>>,
}

impl Pods {
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<PodView>> {
        self.all.get(namespace, name)
    }

    /// Whether a pod that is bound to `node`, in `namespace` (any when empty), is as `wanted` says.
    pub fn any_on_node(&self, node: &str, namespace: &str, wanted: impl Fn(&PodView) -> bool) -> bool {
        let by_node = self.by_node.read();
        let Some(keys) = by_node.get(node) else { return false };
        keys.iter()
            .filter(|(ns, _)| namespace.is_empty() || **ns == *namespace)
            .filter_map(|(ns, name)| self.all.get(ns, name))
            .any(|pod| pod.node_name == node && wanted(&pod))
    }

    pub fn put(&self, namespace: &str, name: &str, pod: PodView) {
        let node = pod.node_name.clone();
        let old = self.all.put(namespace, name, pod);
        let key = || (Box::from(namespace), Box::from(name));
        let mut by_node = self.by_node.write();
        if let Some(old) = old.filter(|old| old.node_name != node) {
            drop_key(&mut by_node, &old.node_name, &key());
        }
        if !node.is_empty() {
            by_node.entry(node.into()).or_default().insert(key());
        }
    }

    pub fn remove(&self, namespace: &str, name: &str) {
        if let Some(old) = self.all.remove(namespace, name) {
            drop_key(&mut self.by_node.write(), &old.node_name, &(namespace.into(), name.into()));
        }
    }

    pub(super) fn keys(&self) -> Vec<(String, String)> {
        self.all.keys()
    }
}

fn drop_key(by_node: &mut HashMap<Box<str>, BTreeSet<Key>>, node: &str, key: &Key) {
    if let Some(keys) = by_node.get_mut(node) {
        keys.remove(key);
        if keys.is_empty() {
            by_node.remove(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_found_on_the_node_they_are_bound_to() {
        let pods = Pods::default();
        let pod = |node: &str| PodView { node_name: node.into(), ..PodView::default() };
        let on = |node: &str, namespace: &str| pods.any_on_node(node, namespace, |_| true);
        pods.put("web", "a", pod(""));
        assert!(!on("", "") && !on("n1", ""));
        pods.put("web", "a", pod("n1"));
        assert!(on("n1", "") && on("n1", "web") && !on("n1", "other") && !on("n2", ""));
        pods.put("web", "a", pod("n2"));
        assert!(!on("n1", "") && on("n2", "web"));
        pods.remove("web", "a");
        assert!(!on("n2", "") && pods.by_node.read().is_empty());
    }
}
