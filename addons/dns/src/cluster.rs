//! What the answers are made from: of each Service, EndpointSlice and Namespace the few facts that a
//! query asks for, followed by informers.

use std::net::IpAddr;
use std::sync::Arc;

use api_types::core::v1::{Namespace, Service, ServiceType};
use api_types::discovery::v1::EndpointSlice;
use api_types::kind::Resource as _;
use client::informer::{Caches, Index, Projection, Store};
use client::key::Key;

/// The label by which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const BY_ADDRESS: &str = "address";
const BY_SERVICE: &str = "service";

/// How a Service is found.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// At addresses of its own.
    Addresses(Vec<IpAddr>),
    /// At those of its endpoints.
    Headless,
    /// Under a name outside of the cluster.
    External(Box<str>),
}

/// A named port.
#[derive(Debug, PartialEq, Eq)]
pub struct Port {
    pub name: Box<str>,
    /// In lower case, as names have it.
    pub protocol: Box<str>,
    pub number: u16,
}

impl Port {
    fn new(name: &str, protocol: &str, number: i32) -> Option<Self> {
        let protocol = if protocol.is_empty() { "tcp".into() } else { protocol.to_lowercase() };
        let number = u16::try_from(number).ok()?;
        Some(Self { name: name.into(), protocol: protocol.into(), number })
    }
}

/// A Service.
#[derive(Debug)]
pub struct ServiceView {
    pub place: Place,
    pub ports: Box<[Port]>,
}

impl Projection for ServiceView {
    type Source = Service;

    fn project(service: Service) -> Option<Self> {
        let spec = service.spec;
        let place = match spec.type_ {
            ServiceType::ExternalName => Place::External(spec.external_name.as_str().into()),
            _ if spec.cluster_ip == "None" => Place::Headless,
            _ => Place::Addresses(spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect()),
        };
        let ports = spec.ports.iter().filter_map(|p| Port::new(&p.name, p.protocol.as_str(), p.port));
        Some(Self { place, ports: ports.collect() })
    }

    fn indexes() -> &'static [Index<Self>] {
        &[Index {
            name: BY_ADDRESS,
            values: |_, service, values| {
                if let Place::Addresses(addresses) = &service.place {
                    values.extend(addresses.iter().map(IpAddr::to_string));
                }
            },
        }]
    }
}

/// An endpoint that is ready.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name below the Service's: a hostname, or its address with dashes.
    pub name: Box<str>,
    pub address: IpAddr,
}

/// A slice of a Service's endpoints.
#[derive(Debug)]
pub struct SliceView {
    service: Box<str>,
    pub endpoints: Box<[Endpoint]>,
    pub ports: Box<[Port]>,
}

impl Projection for SliceView {
    type Source = EndpointSlice;

    fn project(slice: EndpointSlice) -> Option<Self> {
        let service = slice.metadata().labels.get(SERVICE_NAME)?.as_str().into();
        let endpoints = slice
            .endpoints
            .iter()
            // Absent counts as ready.
            .filter(|endpoint| endpoint.conditions.ready.unwrap_or(true))
            .flat_map(|endpoint| {
                let hostname = endpoint.hostname.as_deref().unwrap_or_default();
                endpoint.addresses.iter().filter_map(move |address| {
                    let address: IpAddr = address.parse().ok()?;
                    let name = if hostname.is_empty() { dashed(address) } else { hostname.to_owned() };
                    Some(Endpoint { name: name.into(), address })
                })
            })
            .collect();
        let port = |p: &api_types::discovery::v1::EndpointPort| {
            let protocol = p.protocol.as_ref().map_or("", |p| p.as_str());
            Port::new(p.name.as_deref().unwrap_or_default(), protocol, p.port?)
        };
        Some(Self { service, endpoints, ports: slice.ports.iter().filter_map(port).collect() })
    }

    fn indexes() -> &'static [Index<Self>] {
        &[
            Index {
                name: BY_SERVICE,
                values: |key, slice, values| values.push(qualified(&key.namespace, &slice.service)),
            },
            Index {
                name: BY_ADDRESS,
                values: |_, slice, values| {
                    values.extend(slice.endpoints.iter().map(|e| e.address.to_string()));
                },
            },
        ]
    }
}

/// That a namespace exists.
#[derive(Debug)]
pub struct NamespaceView;

impl Projection for NamespaceView {
    type Source = Namespace;

    fn project(_: Namespace) -> Option<Self> {
        Some(Self)
    }
}

/// An address as a label: `10-0-0-1`.
pub fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn qualified(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The cluster as the caches show it.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub services: Arc<Store<ServiceView>>,
    pub slices: Arc<Store<SliceView>>,
    pub namespaces: Arc<Store<NamespaceView>>,
}

impl Cluster {
    pub fn of(caches: &Caches) -> Self {
        Self { services: caches.store(), slices: caches.store(), namespaces: caches.store() }
    }

    /// Whether every part has been listed once.
    pub fn is_known(&self) -> bool {
        self.services.is_synced() && self.slices.is_synced() && self.namespaces.is_synced()
    }

    pub fn namespace_exists(&self, name: &str) -> bool {
        self.namespaces.find("", name).is_some()
    }

    /// The slices of a Service.
    pub fn slices_of(&self, namespace: &str, service: &str) -> Vec<Arc<SliceView>> {
        let slices = self.slices.by_index(BY_SERVICE, &qualified(namespace, service));
        slices.into_iter().map(|(_, slice)| slice).collect()
    }

    /// The Services that have an address.
    pub fn services_at(&self, address: IpAddr) -> Vec<Key> {
        self.services.by_index(BY_ADDRESS, &address.to_string()).into_iter().map(|(key, _)| key).collect()
    }

    /// Namespace, headless Service and name of the endpoints that have an address.
    pub fn endpoints_at(&self, address: IpAddr) -> Vec<(Box<str>, Box<str>, Box<str>)> {
        let mut found = Vec::new();
        for (key, slice) in self.slices.by_index(BY_ADDRESS, &address.to_string()) {
            let headless = self
                .services
                .find(&key.namespace, &slice.service)
                .is_some_and(|service| service.place == Place::Headless);
            let named = slice.endpoints.iter().filter(|e| headless && e.address == address);
            found.extend(named.map(|e| (key.namespace.clone(), slice.service.clone(), e.name.clone())));
        }
        found
    }
}
