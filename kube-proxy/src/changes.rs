//! What the informers show, collected until the next sync: Services, their slices and our node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Node, NodeAddressType, Service};
use api_types::discovery::v1::{AddressType, EndpointSlice};
use api_types::meta::v1::ListOptions;
use client::informer::{Change, Projection};
use daemon::clock::SharedClock;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metrics::metrics;
use crate::state::{Endpoints, Family, Services, add_endpoints, service_ports};

/// A Service, without what kube-proxy does not read.
#[derive(Debug)]
pub struct ServiceView(Service);

impl Projection for ServiceView {
    type Source = Service;

    fn project(mut service: Service) -> Option<Self> {
        service.metadata.managed_fields.clear();
        service.metadata.annotations.clear();
        service.spec.selector.clear();
        Some(Self(service))
    }

    /// Services that other proxies serve are not ours.
    fn selection() -> ListOptions {
        ListOptions {
            label_selector: "!service.kubernetes.io/service-proxy-name".into(),
            ..ListOptions::default()
        }
    }
}

/// An EndpointSlice, without what kube-proxy does not read.
#[derive(Debug)]
pub struct SliceView {
    slice: EndpointSlice,
    /// When the change happened that made the slice what it is, as its controller noted.
    triggered: Option<Timestamp>,
}

/// The controllers' note.
const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

impl Projection for SliceView {
    type Source = EndpointSlice;

    fn project(mut slice: EndpointSlice) -> Option<Self> {
        let triggered = slice.metadata.annotations.get(TRIGGERED).and_then(|time| time.parse().ok());
        slice.metadata.managed_fields.clear();
        slice.metadata.annotations.clear();
        for endpoint in &mut slice.endpoints {
            endpoint.target_ref = None;
            endpoint.deprecated_topology.clear();
        }
        Some(Self { slice, triggered })
    }

    /// Headless Services have nothing to forward.
    fn selection() -> ListOptions {
        let label_selector =
            "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name".to_owned();
        ListOptions { label_selector, ..ListOptions::default() }
    }
}

/// What of our node matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    pub zone: String,
    pub addresses: Vec<std::net::IpAddr>,
    pub pod_cidrs: Vec<ipnet::IpNet>,
    /// Neither being deleted nor about to be removed by an autoscaler.
    pub eligible: bool,
}

impl NodeView {
    pub fn of(node: &Node) -> Self {
        let addresses = |wanted: NodeAddressType| {
            let all = node.status.addresses.iter();
            all.filter(move |a| a.type_ == wanted).filter_map(|a| a.address.parse().ok())
        };
        let going = node.spec.taints.iter().any(|t| t.key == "ToBeDeletedByClusterAutoscaler");
        Self {
            zone: node.metadata.labels.get("topology.kubernetes.io/zone").cloned().unwrap_or_default(),
            addresses: addresses(NodeAddressType::InternalIP)
                .chain(addresses(NodeAddressType::ExternalIP))
                .collect(),
            pod_cidrs: node.spec.pod_cidrs.iter().filter_map(|c| c.parse().ok()).collect(),
            eligible: node.metadata.deletion_timestamp.is_none() && !going,
        }
    }
}

/// By namespace and name.
type Key = (String, String);

/// The Service that a slice is of.
fn service_of(slice: &EndpointSlice) -> Key {
    let name = slice.metadata.labels.get("kubernetes.io/service-name").cloned().unwrap_or_default();
    (slice.metadata.namespace.clone(), name)
}

fn family_of(slice: &EndpointSlice) -> Option<Family> {
    match slice.address_type {
        AddressType::IPv4 => Some(Family::V4),
        AddressType::IPv6 => Some(Family::V6),
        _ => None,
    }
}

#[derive(Default)]
struct Seen {
    services: BTreeMap<Key, Arc<ServiceView>>,
    /// In order of Services, so that those of one are together.
    slices: BTreeMap<Key, Arc<SliceView>>,
    node: Option<Arc<NodeView>>,
    /// Since when changes wait.
    pending: Option<Duration>,
    /// When what waits was triggered, by the Service's namespace and name.
    triggers: BTreeMap<Key, Vec<(Family, Timestamp)>>,
}

/// What has been seen. Whoever syncs waits here.
pub struct Changes {
    seen: Mutex<Seen>,
    clock: SharedClock,
    changed: Notify,
    /// What was triggered before says nothing of this process.
    started: Timestamp,
}

/// All that a sync works from.
pub struct Collected {
    pub families: Vec<(Family, Services, Endpoints)>,
    pub node: Option<Arc<NodeView>>,
    /// When the changes to endpoints were triggered that were not collected before.
    pub triggers: Vec<(Family, Timestamp)>,
}

impl Changes {
    pub fn new(clock: SharedClock) -> Arc<Self> {
        let started = clock.now();
        Arc::new(Self { seen: Mutex::default(), clock, changed: Notify::new(), started })
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        let now = self.clock.monotonic();
        {
            let mut seen = self.seen.lock();
            change(&mut seen);
            seen.pending.get_or_insert(now);
        }
        metrics().queued.set(self.clock.now().as_second() as f64);
        self.changed.notify_one();
    }

    pub fn service_changed(&self, change: &Change<'_, ServiceView>) {
        let key = (change.key.namespace.to_string(), change.key.name.to_string());
        metrics().service_changes.inc();
        metrics().service_changes_pending.inc();
        self.change(|seen| match change.new {
            Some(new) => drop(seen.services.insert(key, new.clone())),
            None => drop(seen.services.remove(&key)),
        });
    }

    pub fn slice_changed(&self, change: &Change<'_, SliceView>) {
        let key = (change.key.namespace.to_string(), change.key.name.to_string());
        self.slice_seen(key, change.new);
    }

    fn slice_seen(&self, key: Key, new: Option<&Arc<SliceView>>) {
        metrics().endpoint_changes.inc();
        metrics().endpoint_changes_pending.inc();
        let started = self.started;
        self.change(|seen| {
            let Some(new) = new else {
                if let Some(old) = seen.slices.remove(&key) {
                    // COMPAT: how long a removal took is not known: the note is of the last change before it.
                    seen.triggers.remove(&service_of(&old.slice));
                }
                return;
            };
            if let (Some(at), Some(family)) =
                (new.triggered.filter(|at| *at > started), family_of(&new.slice))
            {
                seen.triggers.entry(service_of(&new.slice)).or_default().push((family, at));
            }
            seen.slices.insert(key, new.clone());
        });
    }

    /// The node came, changed in what matters, or went.
    pub fn node_changed(&self, node: Option<NodeView>) {
        if self.node().as_deref() != node.as_ref() {
            self.change(|seen| seen.node = node.map(Arc::new));
        }
    }

    pub fn node(&self) -> Option<Arc<NodeView>> {
        self.seen.lock().node.clone()
    }

    /// Since when changes wait for a sync.
    pub fn pending_since(&self) -> Option<Duration> {
        self.seen.lock().pending
    }

    /// Resolves when something changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Everything as it is now; nothing is pending any more.
    pub fn collect(&self, node_name: &str) -> Collected {
        let mut seen = self.seen.lock();
        seen.pending = None;
        let triggers = std::mem::take(&mut seen.triggers).into_values().flatten().collect();
        metrics().service_changes_pending.set(0);
        metrics().endpoint_changes_pending.set(0);
        let family = |family: Family| {
            let ports = seen.services.values().flat_map(|s| service_ports(&s.0, family));
            let services: Services = ports.collect();
            let mut endpoints = Endpoints::new();
            for view in seen.slices.values() {
                add_endpoints(&mut endpoints, &view.slice, family, node_name);
            }
            (family, services, endpoints)
        };
        let families = Family::BOTH.into_iter().map(family).collect();
        Collected { families, node: seen.node.clone(), triggers }
    }

    /// The sync of what was collected failed: it is still to be done.
    pub fn put_back(&self) {
        self.seen.lock().pending.get_or_insert(self.clock.monotonic());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_dated_by_their_trigger_once() {
        let changes = Changes::new(daemon::clock::System::shared());
        let view = |trigger: &str| {
            let mut slice = EndpointSlice { address_type: AddressType::IPv4, ..EndpointSlice::default() };
            slice.metadata.labels.insert("kubernetes.io/service-name".into(), "web".into());
            slice.metadata.annotations.insert(TRIGGERED.into(), trigger.into());
            Arc::new(SliceView::project(slice).unwrap())
        };
        let seen = |slice: Option<&Arc<SliceView>>| changes.slice_seen(("n".into(), "web-1".into()), slice);
        let triggers = || changes.collect("here").triggers;
        seen(Some(&view("2020-01-01T00:00:00Z")));
        assert_eq!(triggers(), [], "before this process began");
        let later = "2999-01-01T00:00:00.5Z";
        seen(Some(&view(later)));
        assert_eq!(triggers(), [(Family::V4, later.parse().unwrap())]);
        assert_eq!(triggers(), [], "only once");
        seen(Some(&view(later)));
        seen(None);
        assert_eq!(triggers(), [], "a removal has no date");
    }

    #[test]
    fn the_buckets_are_upstreams() {
        let all = crate::metrics::programming_buckets();
        assert_eq!(all.len(), 80);
        assert_eq!(
            (all[0], all[2], all[60], all[61], all[73], all[79]),
            (0.25, 1.0, 59.0, 60.0, 120.0, 300.0)
        );
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
