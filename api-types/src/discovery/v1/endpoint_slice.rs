//! EndpointSlice: some of the addresses behind a Service.

use std::collections::BTreeMap;

use crate::core::v1::{ObjectReference, Protocol};
use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
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

impl Strategy for EndpointSlice {}
