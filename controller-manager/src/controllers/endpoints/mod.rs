//! endpoints-controller: one Endpoints object for each Service with a selector, with the addresses of
//! its pods.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::core::v1::{Endpoints, Service};
use client::Key;
use client::controller::{Controller, Never, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

use crate::cached::{EndpointsObject, PodFacts, ServiceObject};
use crate::service_pods;

/// See the module.
#[derive(Debug)]
pub struct EndpointsController;

/// A Service's pods, and the Endpoints of its name.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub service: Option<Service>,
    pub pods: Vec<(Key, Arc<PodFacts>)>,
    pub current: Option<Endpoints>,
}

impl Controller for EndpointsController {
    const NAME: &'static str = "endpoints-controller";
    const QUEUE: &'static str = "endpoint";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<ServiceObject>(),
            Wake::on::<PodFacts>(service_pods::wake),
            Wake::on::<EndpointsObject>(wake_itself),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let service = caches.store::<ServiceObject>().get(key).map(|s| s.0.clone());
        let current = caches.store::<EndpointsObject>().get(key).map(|e| e.0.clone());
        let pods = service.as_ref().map(|s| service_pods::selected(s, caches)).unwrap_or_default();
        Some(View { service, pods, current })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        plan::plan(view)
    }
}

/// What was deleted, or is of our own making. Endpoints that people write are left alone as long as
/// their Service is not deleted: they may be there before it.
fn wake_itself(change: &Change<'_, EndpointsObject>, _: &Caches, keys: &mut Vec<Key>) {
    if change.new.is_none_or(|new| plan::is_ours(new)) {
        keys.push(change.key.clone());
    }
}
