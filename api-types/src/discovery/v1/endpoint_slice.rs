//! EndpointSlice: some of the addresses behind a Service.

use std::collections::BTreeMap;

use crate::columns::first_of;
use crate::core::v1::well_known::label;
use crate::core::v1::{ObjectReference, Protocol};
use crate::kind::{Column, Kind, Strategy, resource, set_generation};
use crate::meta::v1::ObjectMeta;
use crate::names;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Some of the addresses behind a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.discovery.v1")]
pub struct EndpointSlice {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Family of all addresses in the slice.
    #[api(4, required)]
    pub address_type: AddressType,
    /// The addresses, at most 1000.
    #[api(2, always, list = atomic)]
    pub endpoints: Vec<Endpoint>,
    /// Ports that every endpoint offers; null means all.
    #[api(3, always, list = atomic)]
    pub ports: Vec<EndpointPort>,
}

open_enum! {
    /// What the addresses of a slice are.
    pub enum AddressType {
        IPv4 = "IPv4",
        IPv6 = "IPv6",
        Fqdn = "FQDN",
    }
}

/// One destination behind a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.discovery.v1")]
pub struct Endpoint {
    /// Its addresses, which lead to the same place; consumers take the first.
    #[api(1, required, list = set)]
    pub addresses: Vec<String>,
    /// Whether it can take traffic.
    #[api(2)]
    pub conditions: EndpointConditions,
    /// Host name in DNS.
    #[api(3)]
    pub hostname: Option<String>,
    /// The object that it stands for, mostly a pod.
    #[api(4)]
    pub target_ref: Option<Box<ObjectReference>>,
    /// Topology labels of older versions; kept, not written.
    #[api(5)]
    pub deprecated_topology: BTreeMap<String, String>,
    /// Node that it is on.
    #[api(6)]
    pub node_name: Option<String>,
    /// Zone that it is in.
    #[api(7)]
    pub zone: Option<String>,
    /// Who should use it.
    #[api(8)]
    pub hints: Option<Box<EndpointHints>>,
}

/// Whether an endpoint can take traffic.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.discovery.v1")]
pub struct EndpointConditions {
    /// Whether it should get traffic; unknown counts as yes.
    #[api(1)]
    pub ready: Option<bool>,
    /// As ready, but also for terminating pods.
    #[api(2)]
    pub serving: Option<bool>,
    /// Whether it is going away.
    #[api(3)]
    pub terminating: Option<bool>,
}

/// Who should use an endpoint.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.discovery.v1")]
pub struct EndpointHints {
    /// Zones whose traffic it should get.
    #[api(1, list = atomic)]
    pub for_zones: Vec<ForZone>,
    /// Nodes whose traffic it should get.
    #[api(2, list = atomic)]
    pub for_nodes: Vec<ForNode>,
}

/// A zone that an endpoint is meant for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.discovery.v1")]
pub struct ForZone {
    /// Name of the zone.
    #[api(1, required)]
    pub name: String,
}

/// A node that an endpoint is meant for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.discovery.v1")]
pub struct ForNode {
    /// Name of the node.
    #[api(1, required)]
    pub name: String,
}

/// One port of a slice.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.discovery.v1", structure = atomic)]
pub struct EndpointPort {
    /// Name as in the Service's port.
    #[api(1)]
    pub name: Option<String>,
    /// Transport protocol; TCP when not given.
    #[api(2)]
    pub protocol: Option<Protocol>,
    /// The port number; null means all ports.
    #[api(3)]
    pub port: Option<i32>,
    /// Protocol spoken over it, as a hint to proxies.
    #[api(4)]
    pub app_protocol: Option<String>,
}

resource!(
    EndpointSlice,
    Kind::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "endpointslice")
);

impl Strategy for EndpointSlice {
    fn set_defaults(&mut self) {
        for port in &mut self.ports {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert(Protocol::Tcp);
        }
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
        self.drop_topology(None);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        let changed = self.address_type != old.address_type
            || self.endpoints != old.endpoints
            || self.ports != old.ports
            || self.metadata.labels != old.metadata.labels;
        set_generation(&mut self.metadata, &old.metadata, changed);
        self.drop_topology(Some(old));
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("AddressType", "Kind of the addresses.", |slice, _| {
                    slice.address_type.as_str().into()
                }),
                Column::text("Ports", "Ports of every endpoint.", |slice: &Self, _| {
                    let text = |port: &EndpointPort| match (port.port, &port.name) {
                        (Some(number), _) => number.to_string(),
                        (None, Some(name)) => name.clone(),
                        (None, None) => "*".to_owned(),
                    };
                    first_of(&slice.ports.iter().map(text).collect::<Vec<_>>(), "<unset>").into()
                }),
                Column::text("Endpoints", "Addresses in the slice.", |slice: &Self, _| {
                    let all = slice.endpoints.iter().flat_map(|e| e.addresses.iter().cloned());
                    first_of(&all.collect::<Vec<_>>(), "<unset>").into()
                }),
                Column::age(),
            ]
        }
    }
}

impl EndpointSlice {
    /// COMPAT: deprecatedTopology cannot be written in v1. A client that sends back what it read
    /// keeps the node that the old field named.
    fn drop_topology(&mut self, old: Option<&Self>) {
        if old.is_some_and(|old| old.endpoints == self.endpoints) {
            return;
        }
        let hostname = |endpoint: &Endpoint| endpoint.deprecated_topology.get(label::HOSTNAME).cloned();
        let known: Vec<String> =
            old.into_iter().flat_map(|old| old.endpoints.iter().filter_map(hostname)).collect();
        for endpoint in &mut self.endpoints {
            if endpoint.node_name.is_none() {
                endpoint.node_name = hostname(endpoint)
                    .filter(|name| known.contains(name) && names::dns1123_subdomain(name).is_empty());
            }
            endpoint.deprecated_topology.clear();
        }
    }
}
