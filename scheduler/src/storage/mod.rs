//! The cluster's storage as scheduling sees it: claims, volumes, classes and what CSI drivers report.
//!
//! A volume or claim that was given to a pod whose binding is not written yet is *assumed*: the
//! changed view covers the seen one, so that no other pod gets the volume, until a newer version is
//! seen or the assumption is taken back. Maps are shared with snapshots and copied when they change.

pub mod find;
mod objects;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

pub use objects::{
    AttachmentView, BOUND_BY_CONTROLLER, CapacityView, Changed, ClaimRef, ClaimView, ClassView,
    CsiDriverView, CsiNodeView, SELECTED_NODE, VolumeView, not_found,
};

/// Something with a place in the server's history.
pub trait Versioned {
    fn revision(&self) -> u64;
}

impl Versioned for ClaimView {
    fn revision(&self) -> u64 {
        self.revision
    }
}

impl Versioned for VolumeView {
    fn revision(&self) -> u64 {
        self.revision
    }
}

/// An object as seen, and as it will be once our write is.
#[derive(Debug)]
struct Assumable<T> {
    seen: Arc<T>,
    assumed: Option<Arc<T>>,
}

impl<T> Clone for Assumable<T> {
    fn clone(&self) -> Self {
        Self { seen: self.seen.clone(), assumed: self.assumed.clone() }
    }
}

/// Objects of one kind by name or `namespace/name`.
#[derive(Debug)]
pub struct Assumables<T>(Arc<HashMap<String, Assumable<T>>>);

impl<T> Clone for Assumables<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Assumables<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Versioned> Assumables<T> {
    /// With assumptions.
    pub fn get(&self, key: &str) -> Option<&Arc<T>> {
        self.0.get(key).map(|entry| entry.assumed.as_ref().unwrap_or(&entry.seen))
    }

    /// As the server last showed it.
    pub fn seen(&self, key: &str) -> Option<&Arc<T>> {
        self.0.get(key).map(|entry| &entry.seen)
    }

    /// All, with assumptions, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values().map(|entry| entry.assumed.as_ref().unwrap_or(&entry.seen))
    }

    fn set(&mut self, key: &str, new: Option<Arc<T>>) {
        let all = Arc::make_mut(&mut self.0);
        let Some(seen) = new else {
            all.remove(key);
            return;
        };
        match all.get_mut(key) {
            // The same version again: what is assumed of it still holds.
            Some(entry) if entry.seen.revision() >= seen.revision() => entry.seen = seen,
            _ => drop(all.insert(key.to_owned(), Assumable { seen, assumed: None })),
        }
    }

    /// Covers the seen version of which `changed` was made; false when that is no longer the latest.
    fn assume(&mut self, key: &str, changed: T) -> bool {
        match Arc::make_mut(&mut self.0).get_mut(key) {
            Some(entry) if entry.seen.revision() == changed.revision() => {
                entry.assumed = Some(Arc::new(changed));
                true
            }
            _ => false,
        }
    }

    fn restore(&mut self, key: &str) {
        if let Some(entry) = Arc::make_mut(&mut self.0).get_mut(key) {
            entry.assumed = None;
        }
    }
}

type Shared<K, T> = Arc<HashMap<K, Arc<T>>>;

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// By `namespace/name`.
    pub claims: Assumables<ClaimView>,
    pub volumes: Assumables<VolumeView>,
    pub classes: Shared<String, ClassView>,
    pub csi_nodes: Shared<String, CsiNodeView>,
    pub csi_drivers: Shared<String, CsiDriverView>,
    /// By `namespace/name`.
    pub capacities: Shared<String, CapacityView>,
    pub attachments: Shared<String, AttachmentView>,
}

fn put<K: Hash + Eq + Clone, T>(map: &mut Shared<K, T>, key: &K, new: Option<Arc<T>>) {
    let map = Arc::make_mut(map);
    match new {
        Some(new) => drop(map.insert(key.clone(), new)),
        None => drop(map.remove(key)),
    }
}

/// A kind of object that the storage is made of.
pub trait Part: Sized {
    /// Notes that it came or changed, or with `None` that it went.
    fn put(storage: &mut Storage, key: &str, new: Option<Arc<Self>>);
}

impl Part for ClaimView {
    fn put(storage: &mut Storage, key: &str, new: Option<Arc<Self>>) {
        storage.claims.set(key, new);
    }
}

impl Part for VolumeView {
    fn put(storage: &mut Storage, key: &str, new: Option<Arc<Self>>) {
        storage.volumes.set(key, new);
    }
}

/// `part!(View => field)`: a part that is kept as it is seen.
macro_rules! part {
    ($($view:ty => $field:ident),+) => {
        $(impl Part for $view {
            fn put(storage: &mut Storage, key: &str, new: Option<Arc<Self>>) {
                put(&mut storage.$field, &key.to_owned(), new);
            }
        })+
    };
}
part!(ClassView => classes, CsiNodeView => csi_nodes, CsiDriverView => csi_drivers);
part!(CapacityView => capacities, AttachmentView => attachments);

/// A volume that a pod's claim is to get.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    pub volume: Arc<VolumeView>,
    pub claim: Arc<ClaimView>,
}

/// What a pod's claims are to get on a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Volumes that exist.
    pub bindings: Vec<Binding>,
    /// Claims whose volume a provisioner makes for the node.
    pub provisions: Vec<Arc<ClaimView>>,
}

impl Storage {
    /// Takes what was chosen for `node`, before the server knows. Returns false, with nothing taken,
    /// when one of the objects has changed since.
    pub fn assume(&mut self, choice: &Choice, node: &str) -> bool {
        let bindings = choice.bindings.iter().all(|Binding { volume, claim }| {
            let reference = ClaimRef {
                namespace: claim.namespace.clone(),
                name: claim.name.clone(),
                uid: claim.uid.clone(),
            };
            let taken = VolumeView { claim: Some(reference), ..(**volume).clone() };
            self.volumes.assume(&volume.name, taken)
        });
        let all = bindings
            && choice.provisions.iter().all(|claim| {
                let selected = Some(node.to_owned());
                let marked = ClaimView { selected_node: selected, annotated: true, ..(**claim).clone() };
                self.claims.assume(&claim.key(), marked)
            });
        if !all {
            self.restore(choice);
        }
        all
    }

    /// Takes the assumptions back.
    pub fn restore(&mut self, choice: &Choice) {
        choice.bindings.iter().for_each(|b| self.volumes.restore(&b.volume.name));
        choice.provisions.iter().for_each(|claim| self.claims.restore(&claim.key()));
    }
}
