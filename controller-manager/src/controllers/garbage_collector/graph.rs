//! The graph of owners and dependents, as the monitors have seen it. Pure: changes in, tasks out.
//!
//! Invariants: `dependents` holds exactly the edges that the nodes' owner references draw; an owner
//! need not be a node (it may be gone, or of a kind that is not followed), and need not be meant by a
//! reference that has its UID: namespace, kind and name tell that.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use api_types::core::v1::well_known::finalizer;
use api_types::meta::v1::{ObjectMeta, OwnerReference};
use client::{Key, ResourceRef};

/// An object's identity; never used again.
pub(super) type Uid = Arc<str>;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// Whether the object is to be deleted, or its owner references to be trimmed.
    Examine(Uid),
    /// The object goes and wants its dependents kept.
    Orphan(Uid),
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub resource: Arc<ResourceRef>,
    pub key: Key,
    pub owners: Vec<Edge>,
    pub deleting: bool,
    /// It carries the finalizer of foreground deletion, or of orphaning.
    pub foreground: bool,
    pub orphan: bool,
}

/// An owner reference, as far as the graph needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub owner: Uid,
    /// A hash of the group, kind and name that the owner is said to have.
    coordinates: u64,
    /// The owner's foreground deletion waits for this object.
    pub blocks: bool,
}

impl Node {
    pub fn new(resource: Arc<ResourceRef>, meta: &ObjectMeta) -> Self {
        let has = |name: &str| meta.finalizers.iter().any(|f| f == name);
        Self {
            resource,
            key: Key::of(meta),
            owners: meta.owner_references.iter().map(Edge::of).collect(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(finalizer::FOREGROUND),
            orphan: has(finalizer::ORPHAN),
        }
    }

    /// It goes once its blocking dependents have gone.
    pub fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    /// Whether an object of the namespace (of none, if it is empty) can be owned by this one.
    pub fn is_in_reach(&self, namespace: &str) -> bool {
        self.key.namespace.is_empty() || *self.key.namespace == *namespace
    }

    /// Whether the reference of an object in the namespace means this one, of those with its UID.
    pub fn is_meant_by(&self, edge: &Edge, namespace: &str) -> bool {
        let own = coordinates(&self.resource.group, &self.resource.kind, &self.key.name);
        self.is_in_reach(namespace) && own == edge.coordinates
    }

    fn wants_orphans(&self) -> bool {
        self.deleting && self.orphan
    }
}

impl Edge {
    pub fn of(reference: &OwnerReference) -> Self {
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        Self {
            owner: reference.uid.as_str().into(),
            coordinates: coordinates(group, &reference.kind, &reference.name),
            blocks: reference.block_owner_deletion == Some(true),
        }
    }
}

fn coordinates(group: &str, kind: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (group, kind, name).hash(&mut hasher);
    hasher.finish()
}

/// A dependent of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dependent {
    pub uid: Uid,
    pub node: Arc<Node>,
    pub blocks: bool,
}

/// All objects that the monitors have seen.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Arc<Node>>,
    dependents: HashMap<Uid, HashSet<Uid>>,
}

impl Graph {
    pub fn node(&self, uid: &str) -> Option<&Arc<Node>> {
        self.nodes.get(uid)
    }

    /// The objects that name this one as their owner.
    pub fn dependents(&self, uid: &str) -> Vec<Dependent> {
        let Some(dependents) = self.dependents.get(uid) else { return Vec::new() };
        let dependent = |dependent: &Uid| {
            let node = self.nodes.get(dependent)?.clone();
            let blocks = node.owners.iter().any(|e| &*e.owner == uid && e.blocks);
            Some(Dependent { uid: dependent.clone(), node, blocks })
        };
        dependents.iter().filter_map(dependent).collect()
    }

    /// An object appeared or changed.
    pub fn put(&mut self, uid: &str, node: Arc<Node>) -> Vec<Task> {
        let uid: Uid = uid.into();
        let mut tasks = Vec::new();
        let old = self.nodes.insert(uid.clone(), node.clone());
        let old_owners = old.as_ref().map(|o| o.owners.clone()).unwrap_or_default();
        for edge in &old_owners {
            let kept = node.owners.iter().find(|e| e.owner == edge.owner);
            if kept.is_none() {
                self.cut(&edge.owner, &uid);
            }
            // It no longer holds its owner up.
            if edge.blocks && kept.is_none_or(|e| !e.blocks) {
                tasks.extend(self.waiting_owner(&edge.owner));
            }
        }
        let mut orphaned = false;
        for edge in &node.owners {
            self.dependents.entry(edge.owner.clone()).or_default().insert(uid.clone());
            orphaned |= match self.nodes.get(&edge.owner) {
                // It may be gone, or be seen later: a look decides, as where another object has the UID.
                None => true,
                // An owner that goes in the foreground takes new dependents with it.
                Some(owner) => owner.waits_for_dependents() || !owner.is_meant_by(edge, &node.key.namespace),
            };
        }
        if orphaned && old_owners != node.owners {
            tasks.push(Task::Examine(uid.clone()));
        }
        if old.is_none() {
            // References that were there before it and mean another object.
            tasks.extend(self.dependents(&uid).into_iter().filter_map(|dependent| {
                let own = dependent.node.owners.iter().find(|edge| edge.owner == uid)?;
                let meant = node.is_meant_by(own, &dependent.node.key.namespace);
                (!meant).then_some(Task::Examine(dependent.uid))
            }));
        }
        if node.wants_orphans() && !old.as_ref().is_some_and(|n| n.wants_orphans()) {
            tasks.push(Task::Orphan(uid.clone()));
        }
        if node.waits_for_dependents() && !old.as_ref().is_some_and(|n| n.waits_for_dependents()) {
            tasks.extend(self.dependents(&uid).into_iter().map(|d| Task::Examine(d.uid)));
            tasks.push(Task::Examine(uid));
        }
        tasks
    }

    /// An object is gone.
    pub fn remove(&mut self, uid: &str) -> Vec<Task> {
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return Vec::new() };
        let mut tasks: Vec<Task> = self.dependents(&uid).into_iter().map(|d| Task::Examine(d.uid)).collect();
        for edge in &node.owners {
            self.cut(&edge.owner, &uid);
            tasks.extend(self.waiting_owner(&edge.owner));
        }
        tasks
    }

    fn cut(&mut self, owner: &Uid, dependent: &Uid) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    fn waiting_owner(&self, owner: &Uid) -> Option<Task> {
        let waits = self.nodes.get(owner).is_some_and(|n| n.waits_for_dependents());
        waits.then(|| Task::Examine(owner.clone()))
    }
}
