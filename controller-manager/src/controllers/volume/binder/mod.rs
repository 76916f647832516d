//! persistentvolume-binder-controller: brings claims and volumes together.
//!
//! Two loops, of claims and of volumes, each of which makes the next write that is missing and looks
//! again once that is seen: the volume names the claim, the volume is Bound, the claim names the
//! volume, the claim is Bound. A crash in between leaves something that the next look completes.
//! `fit.rs` has which volume suits a claim. Volumes are made and deleted by provisioners outside of this
//! process: claims are marked for them, and nothing here deletes data.

mod claim;
mod fit;
#[cfg(test)]
mod tests;
mod volume;

use std::sync::Arc;

use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim};
use api_types::storage::v1::StorageClass;
use client::Key;
use client::controller::{Controller, Never, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

use crate::cached::{ClaimObject, ClassObject, PodFacts, VolumeObject};

/// Annotations of the binding, as provisioners and the scheduler know them.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// The loop of claims.
#[derive(Debug)]
pub struct Claims;

/// A claim, and what it may be bound to.
#[derive(Clone, Debug, Default)]
pub struct ClaimView {
    pub claim: PersistentVolumeClaim,
    pub volumes: Vec<Arc<VolumeObject>>,
    /// The class that it names.
    pub class: Option<StorageClass>,
    /// The class of claims that name none.
    pub default_class: Option<String>,
    /// Pods that use it and have no node.
    pub waiting_pods: Vec<Box<str>>,
}

/// The loop of volumes.
#[derive(Debug)]
pub struct Volumes;

/// A volume, and the claim that it names.
#[derive(Clone, Debug, Default)]
pub struct VolumeView {
    pub volume: PersistentVolume,
    pub claim: Option<Arc<ClaimObject>>,
}

impl Controller for Claims {
    const NAME: &'static str = "persistentvolume-binder-controller";
    const QUEUE: &'static str = "claims";
    type View = ClaimView;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<ClaimObject>(),
            Wake::on::<VolumeObject>(wake_by_volume),
            Wake::on::<ClassObject>(|_, caches, keys| keys.extend(unbound(caches))),
            Wake::on::<PodFacts>(|change: &Change<'_, PodFacts>, _, keys| {
                let Some(pod) = change.new.filter(|_| change.old.is_none()) else { return };
                let namespace = &change.key.namespace;
                keys.extend(pod.claims.iter().map(|c| Key::new(namespace.clone(), c.name.clone())));
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<ClaimView> {
        let claim = caches.store::<ClaimObject>().get(key)?.0.clone();
        let classes = caches.store::<ClassObject>();
        let class = classes.find("", fit::class_of(&claim)).map(|class| class.0.clone());
        let defaults = classes.all().into_iter().map(|(_, class)| class);
        let defaults =
            defaults.filter(|c| c.metadata.annotations.get(DEFAULT_CLASS).is_some_and(|v| v == "true"));
        // The youngest wins.
        let default = defaults.max_by(|a, b| {
            let age = |c: &StorageClass| c.metadata.creation_timestamp;
            age(a).cmp(&age(b)).then_with(|| b.metadata.name.cmp(&a.metadata.name))
        });
        let volumes = caches.store::<VolumeObject>().all().into_iter().map(|(_, volume)| volume).collect();
        let pods = caches.store::<PodFacts>().by_index("claim", &key.to_string());
        let waiting = pods.into_iter().filter(|(_, pod)| pod.node.is_empty() && pod.is_active());
        Some(ClaimView {
            claim,
            volumes,
            class,
            default_class: default.map(|c| c.metadata.name.clone()),
            waiting_pods: waiting.map(|(key, _)| key.name).collect(),
        })
    }

    fn plan(view: &ClaimView, _: Timestamp) -> Plan {
        claim::plan(view)
    }
}

impl Controller for Volumes {
    const NAME: &'static str = "persistentvolume-binder-controller";
    const QUEUE: &'static str = "volumes";
    type View = VolumeView;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<VolumeObject>(),
            Wake::on::<ClaimObject>(|change: &Change<'_, ClaimObject>, caches, keys| {
                let named = [change.old, change.new].into_iter().flatten().map(|c| &c.spec.volume_name);
                keys.extend(named.filter(|name| !name.is_empty()).map(|name| Key::cluster(name.as_str())));
                if change.new.is_none() || change.old.is_none() {
                    let claimed = caches.store::<VolumeObject>().by_index("claim", &change.key.to_string());
                    keys.extend(claimed.into_iter().map(|(key, _)| key));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<VolumeView> {
        let volume = caches.store::<VolumeObject>().get(key)?.0.clone();
        let claim = volume.spec.claim_ref.as_ref();
        let claim = claim.and_then(|r| caches.store::<ClaimObject>().find(&r.namespace, &r.name));
        Some(VolumeView { volume, claim })
    }

    fn plan(view: &VolumeView, _: Timestamp) -> Plan {
        volume::plan(view)
    }
}

/// The claim that the volume names; one that names none may suit any that waits.
fn wake_by_volume(change: &Change<'_, VolumeObject>, caches: &Caches, keys: &mut Vec<Key>) {
    let references = [change.old, change.new].into_iter().flatten().filter_map(|v| v.spec.claim_ref.as_ref());
    keys.extend(references.map(|r| Key::new(r.namespace.as_str(), r.name.as_str())));
    if change.new.is_none_or(|volume| volume.spec.claim_ref.is_none()) {
        keys.extend(unbound(caches));
    }
}

fn unbound(caches: &Caches) -> Vec<Key> {
    let claims = caches.store::<ClaimObject>().all();
    let waits = |claim: &ClaimObject| !claim.metadata.annotations.contains_key(BIND_COMPLETED);
    claims.into_iter().filter(|(_, claim)| waits(claim)).map(|(key, _)| key).collect()
}
