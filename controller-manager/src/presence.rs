//! Who is told when an object of any resource comes or goes, built in or not.
//!
//! The garbage collector follows the metadata of all of them anyway and tells; where it is off nobody does.

use std::sync::Arc;

use client::ResourceRef;
use parking_lot::RwLock;

type Listener = Box<dyn Fn(&ResourceRef, &str) + Send + Sync>;

/// Shared by all controllers.
#[derive(Clone, Default)]
pub struct Presence(Arc<RwLock<Vec<Listener>>>);

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Presence").field(&self.0.read().len()).finish()
    }
}

impl Presence {
    /// `listener` hears the resource and the namespace, of what is there already too.
    pub fn subscribe(&self, listener: impl Fn(&ResourceRef, &str) + Send + Sync + 'static) {
        self.0.write().push(Box::new(listener));
    }

    pub fn tell(&self, resource: &ResourceRef, namespace: &str) {
        for listener in self.0.read().iter() {
            listener(resource, namespace);
        }
    }
}
