//! One store for each projection in the process, started when first asked for.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api_types::kind::Resource as _;
use api_types::meta::v1::ListOptions;
use daemon::clock::{self, SharedClock};
use daemon::shutdown::Shutdown;
use parking_lot::{Mutex, RwLock};

use super::{AnyStore, Projection, Reflector, Store};
use crate::connection::Client;
use crate::path::ResourceRef;

/// The stores of a process; clones share them.
#[derive(Clone)]
pub struct Caches {
    inner: Arc<Inner>,
    /// What was asked for through these caches and their clones; none for those of the whole process.
    asked: Option<Arc<Mutex<HashSet<TypeId>>>>,
}

struct Inner {
    /// None in tests that fill stores by hand.
    client: Option<Client>,
    shutdown: Shutdown,
    clock: SharedClock,
    stores: RwLock<HashMap<TypeId, Held>>,
}

struct Held {
    resource: ResourceRef,
    /// Follows all objects, and not a selection of them.
    whole: bool,
    typed: Arc<dyn Any + Send + Sync>,
    erased: Arc<dyn AnyStore>,
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.inner.stores.read().values().map(|h| h.resource.qualified())).finish()
    }
}

impl Caches {
    /// Stores that follow `client`'s server until shutdown.
    pub fn new(client: Client, shutdown: Shutdown) -> Self {
        Self::with(Some(client), shutdown)
    }

    /// Stores that follow nothing: for tests.
    pub fn detached() -> Self {
        Self::with(None, Shutdown::new())
    }

    fn with(client: Option<Client>, shutdown: Shutdown) -> Self {
        let clock = clock::System::shared();
        let inner = Inner { client, shutdown, clock, stores: RwLock::default() };
        Self { inner: Arc::new(inner), asked: None }
    }

    /// The same stores, of which only those asked for through the result are waited for: one kind that
    /// cannot be listed must not hold up those who never look at it.
    #[must_use]
    pub fn scoped(&self) -> Self {
        Self { inner: self.inner.clone(), asked: Some(Arc::default()) }
    }

    /// The store of a projection. The first call starts its reflector; needs a tokio runtime then.
    pub fn store<P: Projection>(&self) -> Arc<Store<P>> {
        let id = TypeId::of::<P>();
        if let Some(asked) = &self.asked {
            asked.lock().insert(id);
        }
        let typed = |held: &Held| {
            held.typed.clone().downcast::<Store<P>>().expect("the store is filed under its own type")
        };
        if let Some(held) = self.inner.stores.read().get(&id) {
            return typed(held);
        }
        let mut stores = self.inner.stores.write();
        let held = stores.entry(id).or_insert_with(|| {
            let store = Arc::new(Store::<P>::default());
            self.follow(&store);
            let resource = ResourceRef::from(P::Source::facts());
            let whole = P::selection() == ListOptions::default();
            Held { resource, whole, typed: store.clone(), erased: store }
        });
        typed(held)
    }

    fn follow<P: Projection>(&self, store: &Arc<Store<P>>) {
        let Some(client) = &self.inner.client else { return };
        let api = client.api::<P::Source>();
        let what = api.resource().qualified();
        let clock = self.inner.clock.clone();
        let reflector = Reflector::new(api, store.clone(), P::selection(), P::project, what, clock);
        tokio::spawn(reflector.run(self.inner.shutdown.clone()));
    }

    /// All stores that follow every object of a resource, whatever they keep of it. Those of a
    /// selection are left out: they may never hear of a write.
    pub fn of_resource(&self, group: &str, resource: &str) -> Vec<Arc<dyn AnyStore>> {
        let stores = self.inner.stores.read();
        stores
            .values()
            .filter(|h| h.whole && h.resource.group == group && h.resource.resource == resource)
            .map(|h| h.erased.clone())
            .collect()
    }

    /// Calls `each` for every store that these caches answer for.
    fn for_each(&self, mut each: impl FnMut(&Held)) {
        let asked = self.asked.as_ref().map(|asked| asked.lock().clone());
        let stores = self.inner.stores.read();
        let ours = |id: &TypeId| asked.as_ref().is_none_or(|asked| asked.contains(id));
        stores.iter().filter(|(id, _)| ours(id)).for_each(|(_, held)| each(held));
    }

    /// Waits until every store that was asked for so far has its first complete list.
    pub async fn wait_synced(&self) {
        let mut waiting = Vec::new();
        self.for_each(|held| waiting.push(held.erased.watch_synced()));
        for mut synced in waiting {
            let _ = synced.wait_for(|s| *s).await;
        }
    }

    /// Which resources have no complete list yet.
    pub fn unsynced(&self) -> Vec<String> {
        let mut resources = Vec::new();
        self.for_each(|held| {
            if !held.erased.is_synced() {
                resources.push(held.resource.qualified());
            }
        });
        resources
    }

    /// Whether every store that was asked for so far has its first complete list.
    pub fn is_synced(&self) -> bool {
        let mut synced = true;
        self.for_each(|held| synced &= held.erased.is_synced());
        synced
    }
}

impl<P: Projection> Store<P> {
    /// Puts an object as a watch would: for tests of what reads stores.
    pub fn put(&self, object: P::Source) {
        let (key, facts) = (crate::key::Key::of(object.metadata()), super::Facts::of(object.metadata()));
        self.apply(key, facts, P::project(object));
    }

    /// Fills the store as a first list would: for tests of what waits for stores.
    pub fn fill(&self, objects: impl IntoIterator<Item = P::Source>) {
        let entry = |object: P::Source| {
            let meta = object.metadata();
            let (key, facts) = (crate::key::Key::of(meta), super::Facts::of(meta));
            Some((key, facts, P::project(object)?))
        };
        self.replace(objects.into_iter().filter_map(entry).collect(), 1);
    }

    /// Removes an object as a watch would: for tests of what reads stores.
    pub fn remove(&self, key: &crate::key::Key, revision: u64) {
        self.apply(key.clone(), super::Facts { revision, ..self.facts(key).unwrap_or_default() }, None);
    }
}
