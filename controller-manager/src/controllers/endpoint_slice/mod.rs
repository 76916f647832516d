//! endpointslice-controller: the addresses behind each Service with a selector, in slices of at most
//! `--max-endpoints-per-slice`, one set of slices for each address family and set of ports.

mod endpoints;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Service;
use api_types::core::v1::well_known::label;
use api_types::discovery::v1::EndpointSlice;
use client::Key;
use client::controller::{Controller, Never, Plan, Wake};
use client::informer::{Caches, Change};
use client::queue::Backoff;
use jiff::Timestamp;

use crate::cached::{NodeFacts, PodFacts, ServiceObject, SliceObject};
use crate::service_pods;

/// Value of the managed-by label.
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";

/// See the module.
#[derive(Debug)]
pub struct EndpointSlices {
    pub max_per_slice: usize,
}

/// A Service's pods, and its slices.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub service: Option<Service>,
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    /// Zone by node.
    pub zones: BTreeMap<Box<str>, String>,
    pub slices: Vec<EndpointSlice>,
    pub max_per_slice: usize,
}

impl Controller for EndpointSlices {
    const NAME: &'static str = "endpointslice-controller";
    const QUEUE: &'static str = "endpoint_slice";
    type View = View;
    type Own = Never;

    fn backoff(&self) -> Backoff {
        Backoff::between(Duration::from_secs(1), Duration::from_secs(1000))
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<ServiceObject>(),
            Wake::on::<PodFacts>(service_pods::wake),
            Wake::on::<SliceObject>(wake_service),
            Wake::nothing::<NodeFacts>(),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let service = caches.store::<ServiceObject>().get(key).map(|s| s.0.clone());
        let pods = service.as_ref().map(|s| service_pods::selected(s, caches)).unwrap_or_default();
        let nodes = caches.store::<NodeFacts>();
        let zone = |node: &str| nodes.find("", node).and_then(|n| n.labels.get(label::ZONE).cloned());
        let zones = pods.iter().filter_map(|(_, pod)| Some((pod.node.clone(), zone(&pod.node)?))).collect();
        let slices = caches
            .store::<SliceObject>()
            .by_index("service", &format!("{}/{}", key.namespace, key.name))
            .into_iter()
            .filter(|(_, slice)| is_managed_by(slice, MANAGER))
            .map(|(_, slice)| slice.0.clone())
            .collect();
        Some(View { service, pods, zones, slices, max_per_slice: self.max_per_slice })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        plan::plan(view)
    }
}

/// Whether the slice is the given controller's.
pub(crate) fn is_managed_by(slice: &EndpointSlice, manager: &str) -> bool {
    slice.metadata.labels.get(label::ENDPOINT_SLICE_MANAGED_BY).is_some_and(|by| by == manager)
}

/// The Service of a slice, before and after.
fn wake_service(change: &Change<'_, SliceObject>, _: &Caches, keys: &mut Vec<Key>) {
    for slice in [change.old, change.new].into_iter().flatten() {
        if let Some(service) = slice.metadata.labels.get(label::SERVICE_NAME)
            && is_managed_by(slice, MANAGER)
        {
            keys.push(Key::new(change.key.namespace.clone(), service.as_str()));
        }
    }
}
