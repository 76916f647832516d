//! persistentvolume-protection-controller and persistentvolumeclaim-protection-controller: a finalizer
//! on every volume and claim, which is taken off one that is being deleted once nothing uses it.
//!
//! Before a claim goes, the server itself is asked for the pods: a cache may not show one yet.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumePhase, Pod};
use api_types::kind::Object;
use api_types::meta::v1::{ListOptions, ObjectMeta};
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Never, Plan, Step, Wake};
use client::informer::{Caches, Change, Projection as _};
use jiff::Timestamp;

use crate::cached::{ClaimObject, PodFacts, VolumeObject};

const OF_VOLUMES: &str = "kubernetes.io/pv-protection";
const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().any(|f| f == finalizer)
}

/// With the finalizer while it lives, without it once it may go; `None` when nothing changes.
pub(super) fn protected<T: Object + Clone>(object: &T, finalizer: &str, in_use: bool) -> Option<Action> {
    let mut changed = object.clone();
    let finalizers = &mut changed.meta_mut().finalizers;
    match (object.meta().deletion_timestamp.is_some(), has(object.meta(), finalizer)) {
        (true, true) if !in_use => finalizers.retain(|f| f != finalizer),
        (false, false) => finalizers.push(finalizer.into()),
        _ => return None,
    }
    Some(Action::update(changed))
}

/// Protects volumes.
#[derive(Debug)]
pub struct VolumeProtection;

impl Controller for VolumeProtection {
    const NAME: &'static str = "persistentvolume-protection-controller";
    const QUEUE: &'static str = "pvprotection";
    type View = PersistentVolume;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<VolumeObject>()]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<PersistentVolume> {
        Some(caches.store::<VolumeObject>().get(key)?.0.clone())
    }

    fn plan(volume: &PersistentVolume, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let in_use = volume.status.phase == PersistentVolumePhase::Bound;
        if let Some(action) = protected(volume, OF_VOLUMES, in_use) {
            plan.act(action);
        }
        plan
    }
}

/// Protects claims.
#[derive(Debug)]
pub struct ClaimProtection;

/// A claim, and whether a pod uses it.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub claim: PersistentVolumeClaim,
    pub in_use: bool,
}

/// A claim that no pod of the cache uses.
#[derive(Debug)]
pub struct Unused(PersistentVolumeClaim);

impl Controller for ClaimProtection {
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";
    const QUEUE: &'static str = "pvcprotection";
    type View = View;
    type Own = Unused;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<ClaimObject>(),
            Wake::on::<PodFacts>(|change: &Change<'_, PodFacts>, _, keys| {
                let used = |pod: Option<&Arc<PodFacts>>| pod.is_some_and(|p| !p.node.is_empty());
                if used(change.old) == used(change.new) && change.new.is_some() {
                    return;
                }
                for pod in [change.old, change.new].into_iter().flatten() {
                    let namespace = &change.key.namespace;
                    keys.extend(pod.claims.iter().map(|c| Key::new(namespace.clone(), c.name.clone())));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let claim = caches.store::<ClaimObject>().get(key)?.0.clone();
        let pods = caches.store::<PodFacts>().by_index("claim", &key.to_string());
        let in_use = pods.iter().any(|(_, pod)| uses(pod, &key.name));
        Some(View { claim, in_use })
    }

    fn plan(view: &View, _: Timestamp) -> Plan<Unused> {
        let mut plan = Plan::nothing();
        let claim = &view.claim;
        match protected(claim, OF_CLAIMS, view.in_use) {
            Some(_) if claim.metadata.deletion_timestamp.is_some() => {
                plan.step(Step::Own(Unused(claim.clone())));
            }
            Some(action) => {
                plan.act(action);
            }
            None => {}
        }
        plan
    }

    /// Asks the server for the pods; the claim may go if none of them uses it.
    async fn perform(&self, Unused(claim): Unused, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let meta = &claim.metadata;
        let api = hands.client.api::<Pod>().namespace(meta.namespace.clone());
        let (mut in_use, all) = (false, ListOptions::default());
        let listed = api.list_each(&all, |pod| {
            in_use |= PodFacts::project(pod).is_some_and(|pod| uses(&pod, &meta.name));
        });
        listed.await.map_err(|error| Failure::new("list the pods", error))?;
        let mut plan = Plan::nothing();
        if let Some(action) = protected(&claim, OF_CLAIMS, in_use) {
            plan.act(action);
        }
        hands.all(plan).await.failures.into_iter().next().map_or(Ok(None), Err)
    }
}

/// A pod that has a node uses its claims until it is gone.
fn uses(pod: &PodFacts, claim: &str) -> bool {
    !pod.node.is_empty() && pod.claims.iter().any(|c| *c.name == *claim)
}

#[cfg(test)]
mod tests {
    use api_types::value::Time;

    use super::*;

    fn claim(finalizer: bool, deleting: bool) -> PersistentVolumeClaim {
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.finalizers = if finalizer { vec![OF_CLAIMS.into()] } else { vec![] };
        claim.metadata.deletion_timestamp = deleting.then_some(Time(Timestamp::UNIX_EPOCH));
        claim
    }

    fn plan(finalizer: bool, deleting: bool, in_use: bool) -> (usize, usize) {
        let view = View { claim: claim(finalizer, deleting), in_use };
        let plan = ClaimProtection::plan(&view, Timestamp::UNIX_EPOCH);
        (plan.actions().len(), plan.steps.len())
    }

    #[test]
    fn claims_are_protected_until_nothing_uses_them() {
        assert_eq!(plan(false, false, false), (1, 1), "it gets the finalizer");
        assert_eq!(plan(true, false, false), (0, 0));
        assert_eq!(plan(true, true, true), (0, 0), "it is in use");
        assert_eq!(plan(true, true, false), (0, 1), "the server is asked first");
        assert_eq!(plan(false, true, false), (0, 0));
    }

    #[test]
    fn volumes_are_protected_while_they_are_bound() {
        let mut volume = PersistentVolume::default();
        let actions =
            |volume: &PersistentVolume| VolumeProtection::plan(volume, Timestamp::UNIX_EPOCH).actions().len();
        assert_eq!(actions(&volume), 1);
        volume.metadata.finalizers = vec![OF_VOLUMES.into()];
        volume.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        volume.status.phase = PersistentVolumePhase::Bound;
        assert_eq!(actions(&volume), 0);
        volume.status.phase = PersistentVolumePhase::Released;
        assert_eq!(actions(&volume), 1);
    }

    #[test]
    fn a_pod_without_a_node_uses_nothing() {
        let claims = vec![crate::cached::Claim { volume: "v".into(), name: "data".into(), ephemeral: false }];
        let mut pod = PodFacts { claims: claims.into(), ..PodFacts::default() };
        assert!(!uses(&pod, "data"));
        pod.node = "n".into();
        assert!(uses(&pod, "data") && !uses(&pod, "other"));
    }
}
