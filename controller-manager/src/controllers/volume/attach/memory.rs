//! What the caches do not keep: since when an attachment is no longer needed, which volume a node was
//! just given, what a node that is gone used last, and what pods were told.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::plan::Note;
use super::{Leaving, Wanted, attachment_name, unique_name};
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
        let in_use = self.in_use.get(node).is_none_or(|names| names.iter().any(|name| **name == *unique));
        Some(Leaving { attachment, handle, since, in_use })
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
        }
    }
}
