//! Builders of Services and EndpointSlices for tests.

use api_types::core::v1::{Service, ServicePort};
use api_types::discovery::v1::{
    AddressType, Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForZone,
};

/// A Service in the making.
#[derive(Clone)]
pub struct ServiceBuilder(Service);

/// A ClusterIP Service in `default`.
pub fn service(name: &str, cluster_ip: &str) -> ServiceBuilder {
    let mut service = Service::default();
    service.metadata.name = name.into();
    service.metadata.namespace = "default".into();
    service.spec.type_ = "ClusterIP".into();
    service.spec.cluster_ip = cluster_ip.into();
    ServiceBuilder(service)
}

impl ServiceBuilder {
    pub fn edit(mut self, change: impl FnOnce(&mut Service)) -> Self {
        change(&mut self.0);
        self
    }
    /// A TCP port; with a node port it becomes a NodePort Service.
    pub fn port(self, name: &str, port: i32, node_port: i32) -> Self {
        self.edit(|s| {
            let protocol = "TCP".into();
            s.spec.ports.push(ServicePort {
                name: name.into(),
                protocol,
                port,
                node_port,
                ..Default::default()
            });
            if node_port != 0 {
                s.spec.type_ = "NodePort".into();
            }
        })
    }
    pub fn build(&self) -> Service {
        self.0.clone()
    }
}

/// An endpoint in the making.
#[derive(Clone)]
pub struct Ep(Endpoint);

impl Ep {
    /// A ready endpoint.
    pub fn at(address: &str) -> Self {
        Self(Endpoint { addresses: vec![address.into()], ..Default::default() })
    }
    pub fn on(mut self, node: &str) -> Self {
        self.0.node_name = Some(node.into());
        self
    }
    pub fn not_ready(mut self) -> Self {
        self.0.conditions.ready = Some(false);
        self
    }
    /// Terminating and still serving.
    pub fn leaving(mut self) -> Self {
        self.0.conditions =
            EndpointConditions { ready: Some(false), serving: Some(true), terminating: Some(true) };
        self
    }
    pub fn zone(mut self, name: &str) -> Self {
        let for_zones = vec![ForZone { name: name.into() }];
        self.0.hints = Some(Box::new(EndpointHints { for_zones, ..Default::default() }));
        self
    }
}

/// A slice of the Service's only, nameless TCP port.
pub fn slice(service: &str, port: i32, endpoints: &[Ep]) -> EndpointSlice {
    let mut slice = EndpointSlice { address_type: AddressType::IPv4, ..Default::default() };
    slice.metadata.name = format!("{service}-1");
    slice.metadata.namespace = "default".into();
    slice.metadata.labels.insert("kubernetes.io/service-name".into(), service.into());
    slice.ports.push(EndpointPort {
        name: Some(String::new()),
        protocol: Some("TCP".into()),
        port: Some(port),
        ..Default::default()
    });
    slice.endpoints = endpoints.iter().map(|e| e.0.clone()).collect();
    slice
}
