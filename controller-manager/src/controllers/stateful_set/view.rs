//! What one decision about a StatefulSet needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::apps::v1::{ControllerRevision, StatefulSet};
use api_types::core::v1::ObjectReference;
use client::Key;
use client::informer::Caches;

use super::{claims, crew, revision};
use crate::adoption;
use crate::cached::{ClaimObject, PodFacts, RevisionObject, StatefulSetObject};

/// A StatefulSet with its pods, claims and revisions.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub set: StatefulSet,
    /// Its pods, and those without a controller in its namespace.
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    /// Its revisions, and those without a controller that it selects.
    pub revisions: Vec<ControllerRevision>,
    /// Claims of its pods that are there, by name.
    pub claims: BTreeMap<String, Arc<ClaimObject>>,
    /// Whatever has the name that a new revision would get.
    pub occupant: Option<ControllerRevision>,
}

impl View {
    pub(super) fn observe(key: &Key, caches: &Caches) -> Option<Self> {
        let set = caches.store::<StatefulSetObject>().get(key)?.0.clone();
        let store = caches.store::<PodFacts>();
        let mut pods = store.by_index("owner", &set.metadata.uid);
        pods.extend(store.by_index("orphans", &key.namespace));

        let store = caches.store::<RevisionObject>();
        let selector = set.spec.selector.as_deref();
        let own = store.by_index("owner", &set.metadata.uid);
        let orphans = store.by_index("orphans", &key.namespace);
        let revisions = own.into_iter().chain(orphans).map(|(_, revision)| revision);
        let selected = |r: &Arc<RevisionObject>| adoption::selects(selector, &r.metadata.labels);
        let revisions = revisions.filter(selected).map(|revision| revision.0.clone()).collect();
        let fresh = revision::fresh(&set, 1, set.status.collision_count.unwrap_or(0));
        let occupant = store.find(&key.namespace, &fresh.metadata.name).map(|r| r.0.clone());

        let numbers = pods.iter().filter_map(|(pod, _)| crew::ordinal_of(&set, &pod.name));
        let names = numbers.chain(crew::range(&set)).flat_map(|n| claims::names(&set, n));
        let store = caches.store::<ClaimObject>();
        let claims =
            names.filter_map(|name| Some((name.clone(), store.find(&key.namespace, &name)?))).collect();
        Some(Self { set, pods, revisions, claims, occupant })
    }

    /// For events.
    pub(super) fn reference(&self) -> ObjectReference {
        client::events::reference(&self.set)
    }
}
