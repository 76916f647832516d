//! endpointslice-mirroring-controller: Endpoints that people write for Services without selectors are
//! copied into EndpointSlices, which is all that proxies read.

mod plan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use api_types::core::v1::well_known::label;
use api_types::core::v1::{Endpoints, Service};
use api_types::discovery::v1::EndpointSlice;
use client::Key;
use client::controller::{Controller, Never, Plan, Wake};
use client::informer::{Caches, Change};
use client::queue::Backoff;
use jiff::Timestamp;

use super::endpoint_slice::is_managed_by;
use crate::cached::{EndpointsObject, ServiceObject, SliceObject};

/// Value of the managed-by label.
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

/// See the module.
#[derive(Debug)]
pub struct Mirroring {
    pub max_per_subset: usize,
}

/// What has one name, and the slices that mirror it.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub endpoints: Option<Endpoints>,
    pub service: Option<Service>,
    pub slices: Vec<EndpointSlice>,
    pub max_per_subset: usize,
}

impl Controller for Mirroring {
    const NAME: &'static str = "endpointslice-mirroring-controller";
    const QUEUE: &'static str = "endpoint_slice_mirroring";
    type View = View;
    type Own = Never;

    fn backoff(&self) -> Backoff {
        Backoff::between(Duration::from_secs(1), Duration::from_secs(100))
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<EndpointsObject>(),
            Wake::itself::<ServiceObject>(),
            Wake::on::<SliceObject>(|change: &Change<'_, SliceObject>, _, keys| {
                for slice in [change.old, change.new].into_iter().flatten() {
                    if let Some(name) = slice.metadata.labels.get(label::SERVICE_NAME)
                        && is_managed_by(slice, MANAGER)
                    {
                        keys.push(Key::new(change.key.namespace.clone(), name.as_str()));
                    }
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let slices =
            caches.store::<SliceObject>().by_index("service", &format!("{}/{}", key.namespace, key.name));
        Some(View {
            endpoints: caches.store::<EndpointsObject>().get(key).map(|e| e.0.clone()),
            service: caches.store::<ServiceObject>().get(key).map(|s| s.0.clone()),
            slices: slices
                .into_iter()
                .map(|(_, s)| s.0.clone())
                .filter(|s| is_managed_by(s, MANAGER))
                .collect(),
            max_per_subset: self.max_per_subset,
        })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        plan::plan(view)
    }
}
