//! The endpoints that a Service should have, by address family and set of ports.

use api_types::core::v1::{IPFamily, Service};
use api_types::discovery::v1::{AddressType, Endpoint, EndpointConditions, EndpointPort};
use client::Key;

use super::View;
use crate::cached::PodFacts;
use crate::service_pods;

/// Endpoints that share slices.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub address_type: AddressType,
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

/// The address families of a Service.
pub(super) fn address_types(service: &Service) -> Vec<AddressType> {
    let families = service.spec.ip_families.iter();
    let types: Vec<AddressType> = families
        .filter_map(|family| match family {
            IPFamily::IPv4 => Some(AddressType::IPv4),
            IPFamily::IPv6 => Some(AddressType::IPv6),
            _ => None,
        })
        .collect();
    match types.is_empty() {
        false => types,
        true if service_pods::is_ipv6(&service.spec.cluster_ip) => vec![AddressType::IPv6],
        true => vec![AddressType::IPv4],
    }
}

/// The groups of one address family, in the order of their first pods.
pub(super) fn groups(view: &View, service: &Service, address_type: &AddressType) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (key, pod) in &view.pods {
        // Those that are being deleted are listed as terminating, for those who can use them still.
        if !service_pods::has_endpoint(pod, true) {
            continue;
        }
        let ipv6 = *address_type == AddressType::IPv6;
        let Some(address) = service_pods::address(pod, ipv6) else { continue };
        let endpoint = endpoint(view, service, key, pod, address);
        let ports = ports(service, pod);
        match groups.iter_mut().find(|g| g.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => {
                groups.push(Group { address_type: address_type.clone(), ports, endpoints: vec![endpoint] })
            }
        }
    }
    groups
}

fn ports(service: &Service, pod: &PodFacts) -> Vec<EndpointPort> {
    let resolved = service.spec.ports.iter().filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone()),
            port: Some(service_pods::port(pod, port)?),
            protocol: Some(port.protocol.clone()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}

fn endpoint(view: &View, service: &Service, key: &Key, pod: &PodFacts, address: &str) -> Endpoint {
    let (serving, terminating) = (pod.ready.is_some(), pod.deleting.is_some());
    // COMPAT: what is terminating is never ready, unless the Service publishes what is not ready.
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        hostname: service_pods::has_hostname(pod, service).then(|| pod.hostname.to_string()),
        target_ref: Some(Box::new(service_pods::reference(key, pod))),
        node_name: Some(pod.node.to_string()).filter(|n| !n.is_empty()),
        zone: view.zones.get(&pod.node).cloned(),
        ..Endpoint::default()
    }
}
