//! What one decision about a ReplicaSet, or what is told as one, needs.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use api_types::apps::v1::ReplicaSet;
use api_types::core::v1::ObjectReference;
use client::Key;
use client::informer::Caches;

use super::Replicated;
use crate::cached::{PodFacts, ReplicaSetObject, controller_of};

/// A ReplicaSet with its pods.
#[derive(Clone, Debug, Default)]
pub struct View<T> {
    pub set: ReplicaSet,
    /// Its pods, and those without a controller in its namespace.
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    /// Active pods by node, of all ReplicaSets with the same owner: where pods are doubled up.
    pub related: BTreeMap<Box<str>, usize>,
    /// The kind that it really is.
    pub kind: PhantomData<fn() -> T>,
}

impl<T: Replicated> View<T> {
    /// For events.
    pub(super) fn reference(&self) -> ObjectReference {
        let meta = &self.set.metadata;
        ObjectReference {
            kind: T::KIND.kind.into(),
            api_version: T::KIND.api_version.into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            ..ObjectReference::default()
        }
    }

    pub(super) fn observe(key: &Key, caches: &Caches) -> Option<Self> {
        let set = caches.store::<T::Cached>().get(key)?.to_set();
        let store = caches.store::<PodFacts>();
        let mut pods = store.by_index("owner", &set.metadata.uid);
        let mut related: BTreeMap<Box<str>, usize> = BTreeMap::new();
        let siblings = match controller_of(&set.metadata) {
            Some(owner) => caches.store::<ReplicaSetObject>().by_index("owner", &owner.uid),
            None => Vec::new(),
        };
        for (_, sibling) in &siblings {
            for (_, pod) in store.by_index("owner", &sibling.metadata.uid) {
                if pod.is_active() {
                    *related.entry(pod.node.clone()).or_default() += 1;
                }
            }
        }
        if siblings.is_empty() {
            for (_, pod) in pods.iter().filter(|(_, p)| p.is_active()) {
                *related.entry(pod.node.clone()).or_default() += 1;
            }
        }
        pods.extend(store.by_index("orphans", &key.namespace));
        Some(Self { set, pods, related, kind: PhantomData })
    }
}
