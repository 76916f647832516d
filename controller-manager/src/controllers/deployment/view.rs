//! What one decision about a Deployment needs.

use std::sync::Arc;

use api_types::apps::v1::{Deployment, ReplicaSet};
use client::Key;
use client::informer::Caches;

use super::revision;
use crate::cached::{DeploymentObject, PodFacts, ReplicaSetObject};

/// A Deployment with its ReplicaSets.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub deployment: Deployment,
    /// Its ReplicaSets, and those without a controller in its namespace.
    pub sets: Vec<Arc<ReplicaSetObject>>,
    /// Whether a pod of a ReplicaSet (by UID) is neither finished nor gone.
    pub running: Vec<Box<str>>,
    /// Whatever has the name that the next new ReplicaSet would get.
    pub occupant: Option<ReplicaSet>,
}

impl View {
    pub(super) fn observe(key: &Key, caches: &Caches) -> Option<Self> {
        let deployment = caches.store::<DeploymentObject>().get(key)?.0.clone();
        let store = caches.store::<ReplicaSetObject>();
        let owned = store.by_index("owner", &deployment.metadata.uid);
        let pods = caches.store::<PodFacts>();
        let running = owned
            .iter()
            .map(|(_, set)| set.metadata.uid.as_str())
            .filter(|uid| pods.by_index("owner", uid).iter().any(|(_, pod)| !pod.is_finished()))
            .map(Into::into)
            .collect();
        let occupant = store.find(&key.namespace, &revision::name(&deployment)).map(|set| set.0.clone());
        let orphans = store.by_index("orphans", &key.namespace);
        let sets = owned.into_iter().chain(orphans).map(|(_, set)| set).collect();
        Some(Self { deployment, sets, running, occupant })
    }
}
