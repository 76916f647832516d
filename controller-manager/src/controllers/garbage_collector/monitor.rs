//! Follows the metadata of every resource that can be listed, watched and deleted; looks for new
//! resources from time to time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::meta::v1::{ListOptions, PartialObjectMetadata};
use client::informer::{Change, Reflector, Store};
use client::queue::Queue;
use client::{Client, ResourceRef};
use daemon::clock::SharedClock;
use daemon::logging::error_chain;
use daemon::shutdown::Shutdown;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::examine::group_kind;
use super::graph::{Graph, Node, Task};
use crate::presence::Presence;
use crate::table::Start;

/// How often discovery is asked.
const PERIOD: Duration = Duration::from_secs(30);
/// Verbs that a resource must have.
const VERBS: &[&str] = &["delete", "list", "watch"];
/// Resources that own nothing and are owned by nothing that matters (upstream's list).
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];

/// The resource of each group and kind.
#[derive(Clone, Default)]
pub(super) struct Kinds(Arc<RwLock<ByKind>>);

/// By group and kind.
type ByKind = HashMap<(String, String), Arc<ResourceRef>>;

impl Kinds {
    /// By an owner reference's apiVersion and kind, in whatever version is preferred.
    pub fn resource(&self, api_version: &str, kind: &str) -> Option<Arc<ResourceRef>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.0.read().get(&(group.to_owned(), kind.to_owned())).cloned()
    }
}

pub(super) struct Monitors {
    client: Client,
    presence: Presence,
    graph: Arc<Mutex<Graph>>,
    queue: Queue<Task>,
    clock: SharedClock,
    kinds: Kinds,
    synced: watch::Sender<bool>,
    running: BTreeMap<ResourceRef, (Shutdown, Arc<Store<Node>>)>,
}

impl Monitors {
    pub fn new(start: &Start, graph: Arc<Mutex<Graph>>, queue: Queue<Task>) -> Self {
        Self {
            client: start.client.clone(),
            presence: start.presence.clone(),
            graph,
            queue,
            clock: start.clock.clone(),
            kinds: Kinds::default(),
            synced: watch::Sender::new(false),
            running: BTreeMap::new(),
        }
    }

    pub fn kinds(&self) -> Kinds {
        self.kinds.clone()
    }

    /// Turns true once every resource of the first discovery has been listed.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Never returns.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let found = self.sync(&shutdown).await;
            if found && !*self.synced.borrow() {
                for (_, store) in self.running.values() {
                    store.wait_synced().await;
                }
                tracing::info!(
                    resources = self.running.len(),
                    "Garbage collector: all resource monitors have synced"
                );
                self.synced.send_replace(true);
            }
            self.clock.sleep(if found { PERIOD } else { Duration::from_secs(2) }).await;
        }
    }

    /// Starts and stops monitors by what discovery says.
    async fn sync(&mut self, shutdown: &Shutdown) -> bool {
        let discovery = match self.client.discover().await {
            Ok(discovery) => discovery,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "Cannot discover resources to collect");
                return false;
            }
        };
        for (group, error) in &discovery.failures {
            tracing::warn!(group, error = error_chain(error), "Cannot discover the resources of a group");
        }
        let mut kinds = HashMap::new();
        let mut wanted = Vec::new();
        for found in discovery.resources {
            let resource = Arc::new(found.resource.clone());
            kinds.entry(group_kind(&resource)).or_insert_with(|| resource.clone());
            let ignored = IGNORED.contains(&(&*resource.group, &*resource.resource));
            if found.can(VERBS) && !ignored {
                wanted.push(resource);
            }
        }
        *self.kinds.0.write() = kinds;
        for resource in &wanted {
            if !self.running.contains_key(&**resource) {
                self.start(resource.clone(), shutdown);
            }
        }
        // A group that cannot be asked just now keeps its monitors.
        if discovery.failures.is_empty() {
            self.running.retain(|resource, (stop, _)| {
                let keep = wanted.iter().any(|w| **w == *resource);
                if !keep {
                    stop.trigger();
                }
                keep
            });
        }
        true
    }

    fn start(&mut self, resource: Arc<ResourceRef>, shutdown: &Shutdown) {
        let store = Arc::new(Store::<Node>::with_indexes(&[]));
        let (graph, queue, about) = (self.graph.clone(), self.queue.clone(), resource.clone());
        let (presence, told) = (self.presence.clone(), resource.clone());
        store.subscribe(move |change: &Change<'_, Node>| {
            if change.old.is_none() || change.new.is_none() {
                presence.tell(&told, &change.key.namespace);
            }
            let mut graph = graph.lock();
            let tasks = match change.new {
                Some(node) => graph.put(change.uid, node.clone()),
                None => graph.remove(change.uid),
            };
            drop(graph);
            tasks.into_iter().for_each(|task| queue.add(task));
        });
        let project = move |object: PartialObjectMetadata| Some(Node::new(about.clone(), &object.metadata));
        let api = self.client.metadata_api((*resource).clone());
        let what = resource.qualified();
        let reflector =
            Reflector::new(api, store.clone(), ListOptions::default(), project, what, self.clock.clone());
        let stop = shutdown.child();
        tokio::spawn(reflector.run(stop.clone()));
        self.running.insert((*resource).clone(), (stop, store));
    }
}
