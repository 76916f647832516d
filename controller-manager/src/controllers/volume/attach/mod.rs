//! persistentvolume-attach-detach-controller: asks for volumes of CSI drivers to be attached to the
//! nodes whose pods use them, and to be detached when none does.
//!
//! A VolumeAttachment is the request; the driver's external attacher answers in its status, and the
//! kubelet waits for that. What is attached is reported in the node's `status.volumesAttached`; a volume
//! that the node still has in `volumesInUse` stays attached, unless the node is out of service or has
//! been silent for too long. Keys are nodes. Disks of `iscsi` and `fc` ([`disks`]) are given to nodes by name
//! alone; other volumes of no CSI driver, and of drivers that need no attaching, are passed over. Since one worker does it all, no two nodes are given the same volume.

mod disks;
mod memory;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Wake};
use client::informer::{Caches, Change};
use client::queue::Backoff;
use daemon::clock::SharedClock;
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::cached::{AttachmentObject, ClaimObject, DriverObject, NodeFacts, PodFacts, VolumeObject};
pub use disks::of_pod as disk_of;
use memory::Memory;
use plan::Hold;
pub use plan::Note;

/// See the module.
pub struct AttachDetach {
    clock: SharedClock,
    /// Whether volumes in use are taken away from nodes that have been silent for too long.
    force_on_timeout: bool,
    memory: Mutex<Memory>,
}

impl AttachDetach {
    pub fn new(clock: SharedClock, force_on_timeout: bool) -> Self {
        Self { clock, force_on_timeout, memory: Mutex::default() }
    }
}

/// A node, what its pods want attached, and what is to be detached.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub node: Box<str>,
    /// None when the node is gone.
    pub facts: Option<Arc<NodeFacts>>,
    pub wanted: Vec<Wanted>,
    pub leaving: Vec<Leaving>,
    pub disks: Vec<disks::Wanted>,
    pub leaving_disks: Vec<disks::Leaving>,
    pub force_on_timeout: bool,
}

/// A volume that pods of the node use.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub volume: Arc<VolumeObject>,
    pub driver: String,
    pub handle: String,
    /// The name of the object that asks for it to be attached.
    pub name: String,
    pub attachment: Option<Arc<AttachmentObject>>,
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    /// Whether another node has it, or has been promised it.
    pub elsewhere: bool,
    pub promised: bool,
    /// Pods of other nodes that use it.
    pub others: Vec<Key>,
    /// What its pods were told last.
    pub told: String,
}

/// An attachment that no pod of the node needs.
#[derive(Clone, Debug, Default)]
pub struct Leaving {
    pub attachment: Arc<AttachmentObject>,
    pub handle: String,
    pub hold: Hold,
}

/// The name of the object that asks for a volume to be attached to a node, as kubelets look for it.
pub fn attachment_name(handle: &str, driver: &str, node: &str) -> String {
    format!("csi-{}", hex::encode(Sha256::digest(format!("{handle}{driver}{node}"))))
}

/// A volume's name in the node's status.
fn unique_name(driver: &str, handle: &str) -> String {
    format!("kubernetes.io/csi/{driver}^{handle}")
}

impl Controller for AttachDetach {
    const NAME: &'static str = "persistentvolume-attach-detach-controller";
    const QUEUE: &'static str = "attachdetach";
    type View = View;
    type Own = Note;

    fn backoff(&self) -> Backoff {
        // That of upstream's operations on volumes.
        Backoff::own(Duration::from_millis(500), Duration::from_secs(122))
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<NodeFacts>(),
            Wake::on::<PodFacts>(|change: &Change<'_, PodFacts>, _, keys| {
                let pods = [change.old, change.new].into_iter().flatten();
                let placed = pods
                    .filter(|pod| !pod.node.is_empty() && (!pod.claims.is_empty() || !pod.disks.is_empty()));
                keys.extend(placed.map(|pod| Key::cluster(pod.node.clone())));
            }),
            Wake::on::<AttachmentObject>(|change: &Change<'_, AttachmentObject>, caches, keys| {
                for attachment in [change.old, change.new].into_iter().flatten() {
                    keys.push(Key::cluster(attachment.spec.node_name.as_str()));
                    // Others may wait for it to be free.
                    let name = attachment.spec.source.persistent_volume_name.as_deref().unwrap_or_default();
                    if change.new.is_none()
                        && let Some(volume) = caches.store::<VolumeObject>().find("", name)
                    {
                        keys.extend(nodes_of(&volume, caches));
                    }
                }
            }),
            Wake::on::<ClaimObject>(|change: &Change<'_, ClaimObject>, caches, keys| {
                keys.extend(nodes_of_claim(&change.key.to_string(), caches));
            }),
            Wake::on::<VolumeObject>(|change: &Change<'_, VolumeObject>, caches, keys| {
                let attaches = |volume: &&Arc<VolumeObject>| {
                    volume.spec.source.csi.is_some() || disks::of_volume(&volume.spec.source).is_some()
                };
                for volume in change.new.into_iter().filter(attaches) {
                    keys.extend(nodes_of(volume, caches));
                }
            }),
            Wake::on::<DriverObject>(|_, caches, keys| {
                keys.extend(caches.store::<NodeFacts>().all().into_iter().map(|(key, _)| key));
            }),
        ]
    }

    /// Reads caches, and remembers what they do not keep.
    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let facts = caches.store::<NodeFacts>().get(key);
        if facts.as_ref().is_some_and(|facts| !facts.attach_managed) {
            return None;
        }
        let mut memory = self.memory.lock();
        let keeps = facts.as_ref().is_some_and(|facts| facts.keeps_terminated);
        let pods = caches.store::<PodFacts>().by_index("node", &key.name);
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut gathered = disks::Gathered::default();
        for here in pods.into_iter().filter(|(_, pod)| keeps || !pod.is_finished()) {
            gathered.inline(&here);
            for claim in &here.1.claims {
                let Some(volume) = volume_of(&here.0, &claim.name, caches) else { continue };
                if gathered.claimed(&volume, &here) {
                    continue;
                }
                let here = here.clone();
                match wanted.iter_mut().find(|w| w.volume.metadata.name == volume.metadata.name) {
                    Some(wanted) => wanted.pods.push(here),
                    None => wanted.extend(want(volume, here, &key.name, caches)),
                }
            }
        }
        let attachments = attachments(caches, "node", &key.name);
        memory.nodes(&key.name, facts.as_deref());
        memory.retain(&key.name, &attachments, &wanted);
        for wanted in &mut wanted {
            wanted.attachment = attachments.iter().find(|a| a.metadata.name == wanted.name).cloned();
            wanted.told = memory.wanted(&key.name, wanted);
            wanted.promised = memory.is_promised_elsewhere(&wanted.volume.metadata.name, &key.name);
            wanted.elsewhere |= wanted.promised;
        }
        let now = self.clock.now();
        let leaving = attachments
            .into_iter()
            .filter(|attachment| !wanted.iter().any(|w| w.name == attachment.metadata.name))
            .filter_map(|attachment| {
                let name = attachment.spec.source.persistent_volume_name.as_deref().unwrap_or_default();
                let volume = caches.store::<VolumeObject>().find("", name);
                let csi = volume.as_ref().and_then(|volume| volume.spec.source.csi.as_ref());
                memory.leaving(&key.name, attachment, csi.map(|csi| csi.volume_handle.as_str()), now)
            })
            .collect();
        let (disks, leaving_disks) = gathered.finish(&key.name, facts.as_deref(), caches, &mut memory, now);
        let force_on_timeout = self.force_on_timeout;
        Some(View { node: key.name.clone(), facts, wanted, leaving, disks, leaving_disks, force_on_timeout })
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Note> {
        plan::plan(view, now)
    }

    async fn perform(&self, note: Note, _: &Hands) -> Result<Option<Duration>, Failure> {
        self.memory.lock().note(note);
        Ok(None)
    }
}

fn attachments(caches: &Caches, index: &str, value: &str) -> Vec<Arc<AttachmentObject>> {
    let found = caches.store::<AttachmentObject>().by_index(index, value);
    found.into_iter().map(|(_, attachment)| attachment).collect()
}

/// The volume that a pod's claim is bound to.
fn volume_of(pod: &Key, claim: &str, caches: &Caches) -> Option<Arc<VolumeObject>> {
    let claim = caches.store::<ClaimObject>().find(&pod.namespace, claim)?;
    let volume = caches.store::<VolumeObject>().find("", &claim.spec.volume_name)?;
    let bound = volume.spec.claim_ref.as_ref().is_some_and(|r| r.uid == claim.metadata.uid);
    bound.then_some(volume)
}

fn want(volume: Arc<VolumeObject>, pod: (Key, Arc<PodFacts>), node: &str, caches: &Caches) -> Option<Wanted> {
    let csi = volume.spec.source.csi.as_ref()?;
    let (driver, handle) = (csi.driver.clone(), csi.volume_handle.clone());
    let object = caches.store::<DriverObject>().find("", &driver);
    if object.is_some_and(|object| object.spec.attach_required == Some(false)) {
        return None;
    }
    let elsewhere = attachments(caches, "volume", &volume.metadata.name)
        .iter()
        .any(|attachment| *attachment.spec.node_name != *node);
    let others = users(&volume.metadata.name, node, caches);
    let name = attachment_name(&handle, &driver, node);
    Some(Wanted { volume, driver, handle, name, pods: vec![pod], elsewhere, others, ..Wanted::default() })
}

/// Pods of other nodes that use a volume.
fn users(volume: &str, node: &str, caches: &Caches) -> Vec<Key> {
    let volume = caches.store::<VolumeObject>().find("", volume);
    let Some(claim) = volume.as_ref().and_then(|volume| volume.spec.claim_ref.as_ref()) else {
        return Vec::new();
    };
    let users = caches.store::<PodFacts>().by_index("claim", &format!("{}/{}", claim.namespace, claim.name));
    users
        .into_iter()
        .filter(|(_, pod)| !pod.is_finished() && !pod.node.is_empty() && *pod.node != *node)
        .map(|(key, _)| key)
        .collect()
}

/// The nodes whose status has a volume as attached.
fn nodes_with(name: &str, caches: &Caches) -> Vec<Key> {
    let nodes = caches.store::<NodeFacts>().all().into_iter();
    nodes
        .filter(|(_, facts)| facts.volumes_attached.iter().any(|one| **one == *name))
        .map(|(key, _)| key)
        .collect()
}

fn nodes_of(volume: &VolumeObject, caches: &Caches) -> Vec<Key> {
    let claim = volume.spec.claim_ref.as_ref();
    claim.map_or_else(Vec::new, |r| nodes_of_claim(&format!("{}/{}", r.namespace, r.name), caches))
}

fn nodes_of_claim(claim: &str, caches: &Caches) -> Vec<Key> {
    let pods = caches.store::<PodFacts>().by_index("claim", claim);
    let placed = pods.into_iter().filter(|(_, pod)| !pod.node.is_empty());
    placed.map(|(_, pod)| Key::cluster(pod.node.clone())).collect()
}
