//! The cache: nodes with their pods, as the informers and our own decisions have them.
//!
//! A pod that was given a node but whose binding has not been seen yet is *assumed*: it takes its
//! room at once, until the informer confirms it or the binding fails. Assumed pods do not expire:
//! the binding task always ends in one of the two. Pure; the caller holds the lock.

mod budget;
mod node_info;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use api_types::selector::Labels;

pub use budget::{BudgetView, violating};
pub use node_info::NodeInfo;
pub use snapshot::Snapshot;

use crate::devices::Devices;
use crate::node::NodeView;
use crate::pod::PodView;
use crate::pod_affinity::NamespaceLabels;
use crate::storage::Storage;

/// Selectors of Services and ReplicaSets by namespace: by them pods without spread constraints are spread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadSelectors(pub BTreeMap<String, BTreeMap<String, Labels>>);

impl WorkloadSelectors {
    /// Adds, replaces or (with `None`) removes the selector of the object `key` in `namespace`.
    pub fn set(&mut self, namespace: &str, key: &str, selector: Option<Labels>) {
        let own = self.0.entry(namespace.to_owned()).or_default();
        match selector {
            Some(selector) => drop(own.insert(key.to_owned(), selector)),
            None => drop(own.remove(key)),
        }
        if own.is_empty() {
            self.0.remove(namespace);
        }
    }

    /// The selectors that select the pod.
    pub fn of(&self, pod: &PodView) -> Vec<&Labels> {
        let own = self.0.get(&*pod.namespace);
        own.into_iter().flat_map(BTreeMap::values).filter(|s| s.matches(&pod.labels)).collect()
    }
}

#[derive(Debug)]
struct Placed {
    pod: Arc<PodView>,
    assumed: bool,
}

/// Nodes and the pods on them.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: HashMap<Arc<str>, Arc<NodeInfo>>,
    pods: HashMap<Arc<str>, Placed>,
    /// How many of the pods are assumed.
    assumed: usize,
    namespaces: Arc<NamespaceLabels>,
    workloads: Arc<WorkloadSelectors>,
    image_nodes: Arc<HashMap<String, usize>>,
    pub storage: Storage,
    pub devices: Devices,
    budgets: Arc<BTreeMap<String, Arc<BudgetView>>>,
    /// Nodes that changed since the last snapshot.
    dirty: HashSet<Arc<str>>,
    /// Whether nodes came, went or changed zones since then.
    reorder: bool,
}

/// Sizes, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub nodes: usize,
    pub pods: usize,
    pub assumed: usize,
}

impl Cache {
    fn edit(&mut self, node: &Arc<str>, change: impl FnOnce(&mut NodeInfo)) {
        let info = self.nodes.entry(node.clone()).or_default();
        change(Arc::make_mut(info));
        self.dirty.insert(node.clone());
        if info.known().is_none() && info.pods.is_empty() {
            self.nodes.remove(node);
        }
    }

    /// Adds a node or replaces what is known of it.
    pub fn set_node(&mut self, node: Arc<NodeView>) {
        let old = self.nodes.get(&node.name).and_then(|i| i.known()).cloned();
        self.reorder |= old.as_ref().is_none_or(|old| old.zone() != node.zone());
        self.count_images(old.as_deref(), Some(&node));
        self.edit(&node.name.clone(), |info| info.set_node(Some(node)));
    }

    /// Forgets a node; its pods are kept until they are deleted too.
    pub fn remove_node(&mut self, name: &Arc<str>) {
        let Some(old) = self.nodes.get(name).and_then(|i| i.known()).cloned() else { return };
        self.count_images(Some(&old), None);
        self.reorder = true;
        self.edit(name, |info| info.set_node(None));
    }

    fn count_images(&mut self, old: Option<&NodeView>, new: Option<&NodeView>) {
        if old.map(|n| &n.images) == new.map(|n| &n.images) {
            return;
        }
        let counts = Arc::make_mut(&mut self.image_nodes);
        for (image, _) in new.into_iter().flat_map(|n| &n.images) {
            *counts.entry(image.clone()).or_default() += 1;
        }
        for (image, _) in old.into_iter().flat_map(|n| &n.images) {
            if let Some(count) = counts.get_mut(image) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(image);
                }
            }
        }
    }

    /// Adds a pod that the informer shows on a node, or replaces it; confirms it if it was assumed.
    pub fn set_pod(&mut self, pod: Arc<PodView>) {
        self.place(pod, false);
    }

    /// Gives a pod the node in its view before the apiserver knows.
    pub fn assume(&mut self, pod: Arc<PodView>) {
        self.place(pod, true);
    }

    fn place(&mut self, pod: Arc<PodView>, assumed: bool) {
        self.remove_pod(&pod.uid);
        self.edit(&pod.node_name.clone(), |info| info.add(pod.clone()));
        self.assumed += usize::from(assumed);
        self.pods.insert(pod.uid.clone(), Placed { pod, assumed });
    }

    /// Removes a pod, whether assumed or confirmed. Returns it if it was there.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodView>> {
        let Placed { pod: old, assumed } = self.pods.remove(uid)?;
        self.assumed -= usize::from(assumed);
        self.edit(&old.node_name.clone(), |info| _ = info.remove(uid));
        Some(old)
    }

    /// What is known of a node.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeView>> {
        self.nodes.get(name).and_then(|info| info.known())
    }

    /// Takes back an assumption, unless it was confirmed meanwhile. Returns the pod if it was there.
    pub fn forget(&mut self, uid: &str) -> Option<Arc<PodView>> {
        if self.is_assumed(uid) { self.remove_pod(uid) } else { None }
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|p| p.assumed)
    }

    /// The pod as last placed.
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodView>> {
        self.pods.get(uid).map(|p| &p.pod)
    }

    /// Sets (or with `None` removes) the labels of a namespace; says whether that changed anything.
    pub fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) -> bool {
        if self.namespaces.get(name) == labels.as_ref() {
            return false;
        }
        let all = Arc::make_mut(&mut self.namespaces);
        match labels {
            Some(labels) => drop(all.insert(name.to_owned(), labels)),
            None => drop(all.remove(name)),
        }
        true
    }

    /// As [`WorkloadSelectors::set`].
    pub fn set_workload(&mut self, namespace: &str, key: &str, selector: Option<Labels>) {
        Arc::make_mut(&mut self.workloads).set(namespace, key, selector);
    }

    /// Adds, replaces or (with `None`) removes a budget of disruptions, by `namespace/name`.
    pub fn set_budget(&mut self, key: &str, budget: Option<Arc<BudgetView>>) {
        let all = Arc::make_mut(&mut self.budgets);
        match budget {
            Some(budget) => drop(all.insert(key.to_owned(), budget)),
            None => drop(all.remove(key)),
        }
    }

    pub fn size(&self) -> Size {
        Size { nodes: self.nodes.len(), pods: self.pods.len(), assumed: self.assumed }
    }

    /// Brings `snapshot`, the one that was made last, up to date.
    pub fn update(&mut self, snapshot: &mut Snapshot) {
        snapshot.image_nodes = self.image_nodes.clone();
        snapshot.namespaces = self.namespaces.clone();
        snapshot.workloads = self.workloads.clone();
        snapshot.storage = self.storage.clone();
        snapshot.devices = self.devices.clone();
        snapshot.budgets = self.budgets.clone();
        if std::mem::take(&mut self.reorder) {
            self.dirty.clear();
            snapshot.nodes = self.in_order();
            let names = snapshot.nodes.iter().enumerate();
            snapshot.index = names.map(|(at, info)| (info.name().clone(), at)).collect();
            return;
        }
        for name in self.dirty.drain() {
            if let (Some(at), Some(info)) = (snapshot.index.get(&name), self.nodes.get(&name)) {
                snapshot.nodes[*at] = info.clone();
            }
        }
    }

    /// Known nodes: by name within a zone, one of each zone in turn.
    fn in_order(&self) -> Vec<Arc<NodeInfo>> {
        let mut zones: BTreeMap<(&str, &str), Vec<&Arc<NodeInfo>>> = BTreeMap::new();
        for info in self.nodes.values() {
            if let Some(node) = info.known() {
                zones.entry(node.zone()).or_default().push(info);
            }
        }
        for zone in zones.values_mut() {
            zone.sort_by(|a, b| a.name().cmp(b.name()));
        }
        let longest = zones.values().map(Vec::len).max().unwrap_or(0);
        let turns = (0..longest).flat_map(|turn| zones.values().filter_map(move |z| z.get(turn)));
        turns.map(|info| (*info).clone()).collect()
    }
}
