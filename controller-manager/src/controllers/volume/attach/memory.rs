//! What the caches do not keep: since when an attachment is no longer needed, which volume a node was
//! just given, what a node that is gone used last, and what pods were told.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::plan::Hold;
use super::plan::Note;
use super::{Leaving, Wanted, attachment_name, disks, unique_name};
use crate::cached::{AttachmentObject, NodeFacts};

/// See the module.
#[derive(Default)]
pub struct Memory {
    /// By the attachment's name.
    attachments: HashMap<String, Remembered>,
    /// Volumes that a node was promised: until the caches show the attachment, or nobody wants it there.
    promised: HashMap<String, Promise>,
    /// What each node said last that it uses.
    in_use: HashMap<Box<str>, Vec<Box<str>>>,
    /// The disks of each node by their names: those that it has, and those that it is to have.
    disks: HashMap<Box<str>, HashMap<String, Held>>,
}

/// A disk of a node.
#[derive(Default)]
struct Held {
    leaving: Option<Timestamp>,
    told: String,
    /// It is the node's, or was promised to it.
    has: bool,
}

#[derive(Default)]
struct Remembered {
    node: Box<str>,
    /// The volume may be gone before its attachment.
    handle: String,
    leaving: Option<Timestamp>,
    told: String,
}

struct Promise {
    node: Box<str>,
    attachment: String,
}

impl Memory {
    /// Notes what the node uses, as long as it is there.
    pub fn nodes(&mut self, node: &str, facts: Option<&NodeFacts>) {
        if let Some(facts) = facts {
            self.in_use.insert(node.into(), facts.volumes_in_use.clone());
        }
    }

    /// Forgets what the node has no attachment and no wish for.
    pub fn retain(&mut self, node: &str, attachments: &[Arc<AttachmentObject>], wanted: &[Wanted]) {
        let shown = |name: &str| attachments.iter().any(|a| a.metadata.name == name);
        let wished = |name: &str| wanted.iter().any(|w| w.name == name);
        self.attachments.retain(|name, r| *r.node != *node || shown(name) || wished(name));
        let open = |promise: &Promise| !shown(&promise.attachment) && wished(&promise.attachment);
        self.promised.retain(|_, promise| *promise.node != *node || open(promise));
    }

    /// Notes that the attachment is needed; gives what its pods were told last.
    pub fn wanted(&mut self, node: &str, wanted: &Wanted) -> String {
        let remembered = self.attachments.entry(wanted.name.clone()).or_default();
        remembered.node = node.into();
        remembered.handle.clone_from(&wanted.handle);
        remembered.leaving = None;
        remembered.told.clone()
    }

    pub fn is_promised_elsewhere(&self, volume: &str, node: &str) -> bool {
        self.promised.get(volume).is_some_and(|promise| *promise.node != *node)
    }

    /// Notes that the attachment is not needed. `None` when it is none of this controller's.
    pub fn leaving(
        &mut self,
        node: &str,
        attachment: Arc<AttachmentObject>,
        handle: Option<&str>,
        now: Timestamp,
    ) -> Option<Leaving> {
        let name = &attachment.metadata.name;
        let known = self.attachments.get(name).map(|r| r.handle.clone());
        let handle = handle.map(str::to_owned).or(known)?;
        let driver = &attachment.spec.attacher;
        if *name != attachment_name(&handle, driver, node) {
            return None;
        }
        let remembered = self.attachments.entry(name.clone()).or_default();
        remembered.node = node.into();
        remembered.handle.clone_from(&handle);
        let since = *remembered.leaving.get_or_insert(now);
        let unique = unique_name(driver, &handle);
        // Of a node that was never seen the worst is assumed.
        let in_use = self.is_in_use(node, &unique);
        Some(Leaving { attachment, handle, hold: Hold { since, in_use } })
    }

    /// Of a node that was never seen the worst is assumed.
    fn is_in_use(&self, node: &str, unique: &str) -> bool {
        self.in_use.get(node).is_none_or(|names| names.iter().any(|name| **name == *unique))
    }

    /// Notes what disks the node has and wants; `attached` is none of a node that is gone.
    pub fn disks(&mut self, node: &str, attached: Option<&[&str]>, wanted: &[disks::Wanted]) {
        let wished = |name: &str| wanted.iter().any(|disk| disk.name == name);
        let held = self.disks.entry(node.into()).or_default();
        if let Some(attached) = attached {
            held.retain(|name, _| wished(name) || attached.contains(&name.as_str()));
            for name in attached {
                held.entry((*name).to_owned()).or_default().has = true;
            }
        }
        for disk in wanted {
            held.entry(disk.name.clone()).or_default().leaving = None;
        }
        if held.is_empty() {
            self.disks.remove(node);
        }
    }

    pub fn disk_told(&self, node: &str, disk: &str) -> String {
        let held = self.disks.get(node).and_then(|held| held.get(disk));
        held.map(|held| held.told.clone()).unwrap_or_default()
    }

    pub fn has_disk_elsewhere(&self, disk: &str, node: &str) -> bool {
        let mut others = self.disks.iter().filter(|(other, _)| ***other != *node);
        others.any(|(_, held)| held.get(disk).is_some_and(|held| held.has))
    }

    /// The disks that the node has and that no pod of it needs.
    pub fn leaving_disks(
        &mut self,
        node: &str,
        wanted: &[disks::Wanted],
        now: Timestamp,
    ) -> Vec<disks::Leaving> {
        let mut leaving = Vec::new();
        for (name, held) in self.disks.get_mut(node).into_iter().flatten() {
            if !wanted.iter().any(|disk| disk.name == *name) {
                leaving.push((name.clone(), *held.leaving.get_or_insert(now)));
            }
        }
        leaving.sort();
        let hold = |name: &str, since| Hold { since, in_use: self.is_in_use(node, name) };
        leaving.into_iter().map(|(name, since)| disks::Leaving { hold: hold(&name, since), name }).collect()
    }

    pub fn note(&mut self, note: Note) {
        match note {
            Note::Told { attachment, text } => {
                if let Some(remembered) = self.attachments.get_mut(&attachment) {
                    remembered.told = text;
                }
            }
            Note::Promised { volume, node, attachment } => {
                self.promised.insert(volume, Promise { node, attachment });
            }
            Note::DiskTold { node, disk, text } => {
                if let Some(held) = self.disks.get_mut(&node).and_then(|held| held.get_mut(&disk)) {
                    held.told = text;
                }
            }
            Note::DiskPromised { node, disk } => {
                self.disks.entry(node).or_default().entry(disk).or_default().has = true;
            }
            Note::DiskGone { node, disk } => {
                if let Some(held) = self.disks.get_mut(&node) {
                    held.remove(&disk);
                }
            }
        }
    }
}
