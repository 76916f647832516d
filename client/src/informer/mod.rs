//! Caches that follow the apiserver: a reflector lists and watches, a store keeps what its owner
//! decides by.
//!
//! [`Projection`] says what is kept of each object; [`Store`] holds it, indexed, and tells
//! subscribers what changed; [`Caches`] holds one store for each projection, so that all readers in
//! a process share it. A store trails the server; [`Store::wait_revision`] waits for one's own writes.

mod caches;
mod reflector;
mod store;
#[cfg(test)]
mod tests;

pub use caches::Caches;
pub use reflector::{Outcome, Reflector, Source, State, Step};
pub use store::{AnyStore, Change, Store};

use api_types::kind::Resource;
use api_types::meta::v1::{ListOptions, ObjectMeta};

use crate::key::Key;

/// A secondary index: under which values an object is found.
#[derive(Clone, Copy, Debug)]
pub struct Index<P> {
    pub name: &'static str,
    /// Adds the object's values; none leaves it out of the index.
    pub values: fn(&Key, &P, &mut Vec<String>),
}

/// What a store keeps of each object of a kind.
pub trait Projection: Sized + Send + Sync + 'static {
    type Source: Resource;

    /// The part worth keeping; `None` leaves the object out of the store.
    fn project(source: Self::Source) -> Option<Self>;

    /// Secondary indexes. By key and by namespace one can look without any.
    fn indexes() -> &'static [Index<Self>] {
        &[]
    }

    /// Restricts what is listed and watched: selectors only.
    fn selection() -> ListOptions {
        ListOptions::default()
    }
}

/// The whole object, for kinds that are few and small.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole<T>(pub T);

impl<T: Resource> Projection for Whole<T> {
    type Source = T;
    fn project(source: T) -> Option<Self> {
        Some(Self(source))
    }
}

impl<T> std::ops::Deref for Whole<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// An object's facts beside its projection: what waiting for one's own writes needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub revision: u64,
    pub uid: Box<str>,
    pub deleting: bool,
}

impl Facts {
    fn of(meta: &ObjectMeta) -> Self {
        Self {
            revision: revision(&meta.resource_version),
            uid: meta.uid.as_str().into(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }
}

/// resourceVersions compare as numbers (KEP-5504); what is none counts as the oldest.
pub fn revision(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or(0)
}
