//! What one decision about a DaemonSet needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::apps::v1::{ControllerRevision, DaemonSet};
use api_types::core::v1::ObjectReference;
use client::Key;
use client::informer::Caches;

use super::backoff::{Backoff, Backoffs};
use super::history;
use crate::adoption;
use crate::cached::{DaemonSetObject, NodeFacts, PodFacts, RevisionObject};

/// A DaemonSet with its pods and all nodes.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub set: DaemonSet,
    /// Its pods, and those without a controller in its namespace.
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    /// Its revisions, and those without a controller that it selects.
    pub revisions: Vec<ControllerRevision>,
    /// Whatever has the name that a new revision would get.
    pub occupant: Option<ControllerRevision>,
    pub nodes: Vec<(Key, Arc<NodeFacts>)>,
    /// Nodes whose failed pods are left alone for a while.
    pub backoffs: BTreeMap<Box<str>, Backoff>,
}

impl View {
    pub(super) fn observe(key: &Key, caches: &Caches, backoffs: &Backoffs) -> Option<Self> {
        let set = caches.store::<DaemonSetObject>().get(key)?.0.clone();
        let store = caches.store::<PodFacts>();
        let mut pods = store.by_index("owner", &set.metadata.uid);
        pods.extend(store.by_index("orphans", &key.namespace));

        let store = caches.store::<RevisionObject>();
        let own = store.by_index("owner", &set.metadata.uid);
        let orphans = store.by_index("orphans", &key.namespace);
        let selected =
            |r: &Arc<RevisionObject>| adoption::selects(set.spec.selector.as_deref(), &r.metadata.labels);
        let revisions = own.into_iter().chain(orphans).map(|(_, r)| r).filter(selected);
        let revisions = revisions.map(|r| r.0.clone()).collect();
        let fresh = history::fresh(&set, 1, set.status.collision_count.unwrap_or(0));
        let occupant = store.find(&key.namespace, &fresh.metadata.name).map(|r| r.0.clone());
        let nodes = caches.store::<NodeFacts>().all();
        Some(Self { set, pods, revisions, occupant, nodes, backoffs: backoffs.of(key) })
    }

    /// For events.
    pub(super) fn reference(&self) -> ObjectReference {
        client::events::reference(&self.set)
    }
}
