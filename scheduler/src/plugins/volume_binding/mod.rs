//! VolumeBinding: the volumes of a pod's claims must be reachable from its node; claims whose class
//! waits for the pod get a volume that is, or have one made (KEP-490).
//!
//! Filter asks what the claims would get on each node, Reserve takes it for the one that was chosen,
//! PreBind (`bind.rs`) writes it and waits until the binder has completed the binding. Volumes of
//! in-tree cloud drivers are not translated to CSI, as there are none.

mod bind;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Cache, NodeInfo, Snapshot};
use crate::framework::{
    Around, ClusterEvent, CycleState, Filter, Plugin, PreBind, PreFilter, PreFiltered, Rejection, Reserve,
    Verdict, Wait,
};
use crate::metrics::metrics;
use crate::pod::PodView;
use crate::storage::find::{self, Claims};
use crate::storage::{Changed, Choice, Storage};

pub struct VolumeBinding {
    timeout: Duration,
}

impl VolumeBinding {
    /// Waits this long for bindings to be completed.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout }
    }
}

/// A pod's claims at the time of the attempt.
#[derive(Clone)]
struct Wanted {
    storage: Storage,
    claims: Arc<Claims>,
}

/// What Reserve took.
#[derive(Clone)]
struct Taken(Arc<Choice>);

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::Claim(_) => event.claim_of(pod).is_some(),
            ClusterEvent::Volume(Changed { new, .. }) => new.is_some(),
            ClusterEvent::Class(Changed { old, new: Some(new) }) => {
                old.as_ref().is_none_or(|old| old.topologies != new.topologies)
            }
            ClusterEvent::CsiNode(Changed { old: None, .. }) => true,
            ClusterEvent::CsiDriver(Changed { old: Some(old), new: Some(new) }) => {
                old.storage_capacity && !new.storage_capacity
            }
            ClusterEvent::Capacity(Changed { old, new: Some(new) }) => {
                old.as_ref().is_none_or(|old| new.limit > old.limit)
            }
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => old.labels != new.labels,
            _ => false,
        }
    }
}

impl PreFilter for VolumeBinding {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<PreFiltered, Rejection> {
        if pod.volume_claims.is_empty() {
            return Ok(PreFiltered::Skip);
        }
        let claims = find::claims(&snapshot.storage, pod)?;
        if !claims.immediate.is_empty() {
            return Err(Rejection::unresolvable("pod has unbound immediate PersistentVolumeClaims"));
        }
        state.put(Wanted { storage: snapshot.storage.clone(), claims: Arc::new(claims) });
        Ok(PreFiltered::AllNodes)
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, state: &CycleState, _: &PodView, node: &NodeInfo) -> Verdict {
        let Some(wanted) = state.get::<Wanted>() else { return Ok(()) };
        find::choose(&wanted.storage, &wanted.claims, node.node()).map(drop)
    }
}

impl Reserve for VolumeBinding {
    fn reserve(&self, state: &mut CycleState, pod: &PodView, node: &str, cache: &mut Cache) -> Verdict {
        let Some(wanted) = state.get::<Wanted>().filter(|w| !w.claims.waiting.is_empty()) else {
            return Ok(());
        };
        let failed = |rejection: Rejection| {
            metrics().volume_stage_failed.with_label_values(&["assume"]).inc();
            rejection
        };
        // As things are now: the snapshot may be older than an informer's last word.
        let Some(info) = cache.node(node) else {
            return Err(failed(Rejection::error(format!("node {node:?} not found"))));
        };
        let choice = find::choose(&wanted.storage, &wanted.claims, info).map_err(failed)?;
        if !cache.storage.assume(&choice, node) {
            let message = format!("claims or volumes of pod {:?} have changed", pod.key());
            return Err(failed(Rejection::error(message)));
        }
        state.put(Taken(Arc::new(choice)));
        Ok(())
    }

    fn unreserve(&self, state: &mut CycleState, _: &PodView, _: &str, cache: &mut Cache) {
        if let Some(Taken(choice)) = state.get::<Taken>() {
            cache.storage.restore(choice);
        }
    }
}

impl PreBind for VolumeBinding {
    fn has_work(&self, state: &CycleState) -> bool {
        state.get::<Taken>().is_some()
    }

    fn pre_bind(&self, state: &CycleState, pod: &Arc<PodView>, node: &str, around: &Around) -> Wait {
        let Some(Taken(choice)) = state.get::<Taken>().cloned() else {
            return Box::pin(async { Ok(()) });
        };
        let task = bind::Task {
            choice,
            pod: pod.clone(),
            node: node.to_owned(),
            around: around.clone(),
            timeout: self.timeout,
        };
        Box::pin(async move {
            task.run().await.map_err(|error| {
                metrics().volume_stage_failed.with_label_values(&["bind"]).inc();
                Rejection::error(error)
            })
        })
    }
}
