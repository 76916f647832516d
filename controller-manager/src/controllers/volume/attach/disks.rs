//! Disks that nobody has to attach: `iscsi` and `fc`.
//!
//! A kubelet logs in to them by itself, but waits, as with any volume, until the node's `status.volumesAttached` has
//! their names. So the names are given and taken away by the same rules as of CSI drivers' volumes: to one node at a
//! time where only one can write, and kept while the node says that it uses them. What is attached is read from the
//! nodes; of nodes that are gone it is remembered ([`super::memory`]).

use std::sync::Arc;

use api_types::core::v1::{FCVolumeSource, PersistentVolumeSource, VolumeSource};
use client::Key;
use client::controller::{Plan, Step, Told};
use client::informer::Caches;
use jiff::Timestamp;

use super::memory::Memory;
use super::plan::{self, Hold, PROMISE_CHECK};
use super::{Note, View, nodes_with, users};
use crate::cached::{NodeFacts, PodFacts, VolumeObject};
use crate::service_pods::reference;

const PLUGINS: [&str; 2] = ["kubernetes.io/iscsi/", "kubernetes.io/fc/"];

/// A disk that pods of the node use.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// In the node's status.
    pub name: String,
    /// The PersistentVolume's name, or the volume's in the pod.
    pub volume: String,
    pub attached: bool,
    /// Whether only one node at a time can have it.
    pub exclusive: bool,
    /// Whether another node has it, or has been promised it.
    pub elsewhere: bool,
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    /// Pods of other nodes that use it.
    pub others: Vec<Key>,
    /// What its pods were told last.
    pub told: String,
}

/// A disk that is attached and that no pod of the node needs.
#[derive(Clone, Debug, Default)]
pub struct Leaving {
    pub name: String,
    pub hold: Hold,
}

/// It is a disk's name.
pub fn is_disk(name: &str) -> bool {
    PLUGINS.iter().any(|plugin| name.starts_with(plugin))
}

fn iscsi(portal: &str, iqn: &str, lun: i32) -> String {
    format!("{}{portal}:{iqn}:{lun}", PLUGINS[0])
}

/// COMPAT: lists as Go prints them.
fn fc(source: &FCVolumeSource) -> Option<String> {
    match source.lun {
        Some(lun) if !source.target_wwns.is_empty() => {
            Some(format!("{}[{}]:{lun}", PLUGINS[1], source.target_wwns.join(" ")))
        }
        _ if !source.wwids.is_empty() => Some(format!("{}[{}]", PLUGINS[1], source.wwids.join(" "))),
        _ => None,
    }
}

/// The disk's name in a node's status, of a volume in a pod that is one.
pub fn of_pod(source: &VolumeSource) -> Option<String> {
    if let Some(source) = &source.iscsi {
        return Some(iscsi(&source.target_portal, &source.iqn, source.lun));
    }
    source.fc.as_deref().and_then(fc)
}

/// The same of a PersistentVolume.
pub fn of_volume(source: &PersistentVolumeSource) -> Option<String> {
    if let Some(source) = &source.iscsi {
        return Some(iscsi(&source.target_portal, &source.iqn, source.lun));
    }
    source.fc.as_deref().and_then(fc)
}

/// The disks of a node's pods, gathered pod by pod.
#[derive(Default)]
pub struct Gathered(Vec<Wanted>);

impl Gathered {
    /// Those that stand in the pod itself.
    pub fn inline(&mut self, pod: &(Key, Arc<PodFacts>)) {
        for disk in &pod.1.disks {
            self.add(&disk.name, &disk.volume, false, pod);
        }
    }

    /// One behind a claim; false: it is none.
    pub fn claimed(&mut self, volume: &VolumeObject, pod: &(Key, Arc<PodFacts>)) -> bool {
        let Some(name) = of_volume(&volume.spec.source) else { return false };
        self.add(&name, &volume.metadata.name, plan::exclusive(volume), pod);
        true
    }

    fn add(&mut self, name: &str, volume: &str, exclusive: bool, pod: &(Key, Arc<PodFacts>)) {
        let at = self.0.iter().position(|wanted| wanted.name == name).unwrap_or_else(|| {
            self.0.push(Wanted { name: name.into(), volume: volume.into(), exclusive, ..Wanted::default() });
            self.0.len() - 1
        });
        self.0[at].pods.push(pod.clone());
    }

    /// With what the caches and the memory know of them, and those that no pod needs any more.
    pub fn finish(
        self,
        node: &str,
        facts: Option<&NodeFacts>,
        caches: &Caches,
        memory: &mut Memory,
        now: Timestamp,
    ) -> (Vec<Wanted>, Vec<Leaving>) {
        let mut wanted = self.0;
        let attached: Vec<&str> = facts
            .iter()
            .flat_map(|facts| &facts.volumes_attached)
            .map(|name| &**name)
            .filter(|name| is_disk(name))
            .collect();
        for disk in &mut wanted {
            disk.attached = attached.contains(&disk.name.as_str());
        }
        memory.disks(node, facts.is_some().then_some(attached.as_slice()), &wanted);
        for disk in &mut wanted {
            disk.told = memory.disk_told(node, &disk.name);
            if disk.exclusive && !disk.attached {
                disk.elsewhere = memory.has_disk_elsewhere(&disk.name, node)
                    || nodes_with(&disk.name, caches).iter().any(|other| *other.name != *node);
                disk.others = users(&disk.volume, node, caches);
            }
        }
        let leaving = memory.leaving_disks(node, &wanted, now);
        (wanted, leaving)
    }
}

/// Says what the node has from now on.
pub fn plan(view: &View, now: Timestamp, reported: &mut Vec<String>, plan: &mut Plan<Note>) {
    for leaving in &view.leaving_disks {
        if !plan::may_go(view, leaving.hold, now, plan) {
            reported.push(leaving.name.clone());
        } else if view.facts.is_none() {
            plan.step(Step::Own(Note::DiskGone { node: view.node.clone(), disk: leaving.name.clone() }));
        }
    }
    for disk in &view.disks {
        let volume = &disk.volume;
        if disk.attached {
            reported.push(disk.name.clone());
        } else if view.facts.is_none() {
        } else if disk.elsewhere {
            // Nobody tells when the other node is done.
            plan.look_again(PROMISE_CHECK);
            let text = format!("Multi-Attach error for volume {volume:?}");
            tell(view, disk, text.clone(), plan, |pod| {
                let message = format!("{text} {}", plan::used_by(&disk.others, &pod.0));
                Told::warning(reference(&pod.0, &pod.1), "FailedAttachVolume", message)
            });
        } else {
            reported.push(disk.name.clone());
            let (node, name) = (view.node.clone(), disk.name.clone());
            plan.step(Step::Own(Note::DiskPromised { node, disk: name }));
            let text = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
            tell(view, disk, text.clone(), plan, |pod| {
                Told::normal(reference(&pod.0, &pod.1), "SuccessfulAttachVolume", text.clone())
            });
        }
    }
}

/// Tells all pods, once for each `text`.
fn tell(
    view: &View,
    disk: &Wanted,
    text: String,
    plan: &mut Plan<Note>,
    told: impl Fn(&(Key, Arc<PodFacts>)) -> Told,
) {
    if disk.told == text {
        return;
    }
    for pod in &disk.pods {
        plan.tell(told(pod));
    }
    plan.step(Step::Own(Note::DiskTold { node: view.node.clone(), disk: disk.name.clone(), text }));
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::ISCSIVolumeSource;

    use super::*;

    #[test]
    fn names_are_upstreams() {
        let mut source = VolumeSource::default();
        assert_eq!(of_pod(&source), None);
        let mut disk = FCVolumeSource { wwids: vec!["a b".into(), "c".into()], ..Default::default() };
        source.fc = Some(Box::new(disk.clone()));
        assert_eq!(of_pod(&source).unwrap(), "kubernetes.io/fc/[a b c]");
        (disk.target_wwns, disk.lun) = (vec!["1".into(), "2".into()], Some(3));
        source.fc = Some(Box::new(disk));
        assert_eq!(of_pod(&source).unwrap(), "kubernetes.io/fc/[1 2]:3");
        source.iscsi = Some(Box::new(ISCSIVolumeSource {
            target_portal: "10.0.0.1".into(),
            iqn: "iqn.2001-04.com.example:a".into(),
            lun: 7,
            ..Default::default()
        }));
        assert_eq!(of_pod(&source).unwrap(), "kubernetes.io/iscsi/10.0.0.1:iqn.2001-04.com.example:a:7");
    }
}
