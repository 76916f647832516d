//! `Lister`: the objects (or projections) of one kind by namespace and name.
//!
//! One writer feeds it; readers hold the lock for the time of a lookup or one walk.

use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

type ByName<T> = BTreeMap<Box<str>, Arc<T>>;

/// The objects of one kind. Cluster-wide kinds use the empty namespace.
#[derive(Debug)]
pub struct Lister<T> {
    by_namespace: RwLock<HashMap<Box<str>, ByName<T>>>,
}

impl<T> Default for Lister<T> {
    fn default() -> Self {
        Self { by_namespace: RwLock::default() }
    }
}

impl<T> Lister<T> {
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.by_namespace.read().get(namespace)?.get(name).cloned()
    }

    /// Walks a namespace in order of names until `visit` breaks.
    pub fn visit<B>(
        &self,
        namespace: &str,
        mut visit: impl FnMut(&Arc<T>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match self.by_namespace.read().get(namespace) {
            Some(objects) => objects.values().try_for_each(&mut visit),
            None => ControlFlow::Continue(()),
        }
    }

    /// Adds or replaces; gives what was there.
    pub fn put(&self, namespace: &str, name: &str, object: T) -> Option<Arc<T>> {
        let mut all = self.by_namespace.write();
        if !all.contains_key(namespace) {
            all.insert(namespace.into(), BTreeMap::new());
        }
        let objects = all.get_mut(namespace).expect("it was put there just now");
        objects.insert(name.into(), Arc::new(object))
    }

    /// Gives what was there.
    pub fn remove(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let mut all = self.by_namespace.write();
        let objects = all.get_mut(namespace)?;
        let gone = objects.remove(name);
        if objects.is_empty() {
            all.remove(namespace);
        }
        gone
    }

    /// Namespace and name of everything.
    pub fn keys(&self) -> Vec<(String, String)> {
        let all = self.by_namespace.read();
        all.iter()
            .flat_map(|(namespace, objects)| {
                objects.keys().map(move |name| (namespace.to_string(), name.to_string()))
            })
            .collect()
    }
}
