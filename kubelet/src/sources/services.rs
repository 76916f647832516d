//! The Services whose addresses are in containers' environments. Only what the variables need is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::Service;
use client::Client;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::follow::{Event, follow};
use crate::environment;

/// The cluster's Services.
pub struct Services {
    all: RwLock<BTreeMap<(String, String), Service>>,
    ready: watch::Sender<bool>,
}

fn essence(service: Service) -> ((String, String), Service) {
    let key = (service.metadata.namespace.clone(), service.metadata.name.clone());
    let mut kept = Service::default();
    kept.metadata.namespace.clone_from(&key.0);
    kept.metadata.name.clone_from(&key.1);
    kept.spec.cluster_ip = service.spec.cluster_ip;
    kept.spec.ports = service.spec.ports;
    (key, kept)
}

impl Services {
    /// Nothing is known yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { all: RwLock::default(), ready: watch::channel(false).0 })
    }

    /// Follows the API; never ends.
    pub async fn run(self: Arc<Self>, client: Client) {
        follow(client.api::<Service>(), String::new(), |event| {
            match event {
                Event::All(services) => {
                    *self.all.write() = services.into_iter().map(essence).collect();
                    self.ready.send_replace(true);
                }
                Event::Set(service) => {
                    let (key, kept) = essence(service);
                    self.all.write().insert(key, kept);
                }
                Event::Gone(service) => {
                    self.all.write().remove(&(service.metadata.namespace, service.metadata.name));
                }
                Event::Failed(error) => tracing::warn!(%error, "cannot follow Services"),
            }
            true
        })
        .await;
    }

    /// They were read at least once.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// The variables for a container in `namespace`.
    pub fn variables(&self, namespace: &str, links: bool) -> BTreeMap<String, String> {
        environment::of_services(self.all.read().values(), namespace, links)
    }
}
