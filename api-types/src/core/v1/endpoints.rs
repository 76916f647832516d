//! Endpoints: the addresses behind a Service, in one object.

use crate::addresses;
use crate::columns::first_of;
use crate::core::v1::{ObjectReference, Protocol};
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::names;
use api_types_derive::Api;

/// Addresses that answer for a Service; EndpointSlice has taken its place.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Endpoints {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Addresses and the ports that they have in common.
    #[api(2, list = atomic)]
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses that all offer the same ports.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EndpointSubset {
    /// Addresses that are ready for traffic.
    #[api(1, list = atomic)]
    pub addresses: Vec<EndpointAddress>,
    /// Addresses that are not ready: starting, or failing their probes.
    #[api(2, list = atomic)]
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Ports that every address offers.
    #[api(3, list = atomic)]
    pub ports: Vec<EndpointPort>,
}

/// One address behind a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct EndpointAddress {
    /// The address; not loopback, link-local or multicast.
    #[api(1, required)]
    pub ip: String,
    /// Host name of this address in DNS.
    #[api(3)]
    pub hostname: String,
    /// Node that the address is on.
    #[api(4)]
    pub node_name: Option<String>,
    /// The object that has this address, mostly a pod.
    #[api(2)]
    pub target_ref: Option<Box<ObjectReference>>,
}

/// One port of an Endpoints subset.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct EndpointPort {
    /// Name as in the Service's port; needed with several ports.
    #[api(1)]
    pub name: String,
    /// The port number.
    #[api(2, required)]
    pub port: i32,
    /// Transport protocol; TCP when not given.
    #[api(3)]
    pub protocol: Protocol,
    /// Protocol spoken over it, as a hint to proxies.
    #[api(4)]
    pub app_protocol: Option<String>,
}

resource!(
    Endpoints,
    Kind { short_names: &["ep"], ..Kind::namespaced("v1", "Endpoints", "endpoints", "endpoints") }
);

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

impl EndpointSubset {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        if self.addresses.is_empty() && self.not_ready_addresses.is_empty() {
            errors.required(path, "must specify `addresses` or `notReadyAddresses`");
        }
        for (name, list) in [("addresses", &self.addresses), ("notReadyAddresses", &self.not_ready_addresses)]
        {
            for (place, address) in list.iter().enumerate() {
                address.validate(&path.child(name).index(place), errors);
            }
        }
        for (place, port) in self.ports.iter().enumerate() {
            port.validate(self.ports.len() > 1, &path.child("ports").index(place), errors);
        }
    }
}

impl EndpointAddress {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        let ip = path.child("ip");
        addresses::legacy_ip(&self.ip, &ip, errors);
        if !self.hostname.is_empty() {
            errors.wrong(&path.child("hostname"), &self.hostname, names::dns1123_label(&self.hostname));
        }
        if let Some(node) = &self.node_name {
            errors.wrong(&path.child("nodeName"), node, names::dns1123_subdomain(node));
        }
        addresses::endpoint_ip(&self.ip, &ip, errors);
    }
}

impl EndpointPort {
    fn validate(&self, needs_name: bool, path: &Path, errors: &mut Errors) {
        if !self.name.is_empty() {
            errors.wrong(&path.child("name"), &self.name, names::dns1123_label(&self.name));
        } else if needs_name {
            errors.required(&path.child("name"), "");
        }
        for wrong in names::port_number(self.port) {
            errors.invalid(&path.child("port"), self.port, wrong);
        }
        errors.required_choice(&path.child("protocol"), self.protocol.as_str(), &["SCTP", "TCP", "UDP"]);
        if let Some(protocol) = &self.app_protocol {
            errors.wrong(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

impl Strategy for Endpoints {
    const CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&mut self) {
        for port in self.subsets.iter_mut().flat_map(|subset| &mut subset.ports) {
            if port.protocol.is_unset() {
                port.protocol = Protocol::Tcp;
            }
        }
    }

    fn validate(&self, errors: &mut Errors) {
        for (place, subset) in self.subsets.iter().enumerate() {
            subset.validate(&Path::new("subsets").index(place), errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        if self.metadata.labels.get(MANAGED_BY).is_some_and(|by| by == "endpoint-controller") {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (place, subset) in self.subsets.iter().enumerate() {
            let path = Path::new("subsets").index(place);
            for (name, list) in
                [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)]
            {
                for (i, address) in list.iter().enumerate() {
                    let path = path.child(name).index(i).child("ip");
                    warnings.extend(addresses::ip_warning(&address.ip, &path));
                }
            }
        }
        warnings
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Endpoints", "Addresses that answer for the Service.", |endpoints, _| {
                    addresses(endpoints).into()
                }),
                Column::age(),
            ]
        }
    }
}

/// Ready addresses with their ports; the addresses alone where there are none.
fn addresses(endpoints: &Endpoints) -> String {
    if endpoints.subsets.is_empty() {
        return "<none>".to_owned();
    }
    let of_subset = |subset: &EndpointSubset| -> Vec<String> {
        let ips = || subset.addresses.iter().map(|address| &address.ip);
        if subset.ports.is_empty() {
            return ips().cloned().collect();
        }
        let with_port = |port: i32| ips().map(move |ip| host_port(ip, port));
        subset.ports.iter().flat_map(|port| with_port(port.port)).collect()
    };
    first_of(&endpoints.subsets.iter().flat_map(of_subset).collect::<Vec<_>>(), "")
}

fn host_port(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::refused;

    fn endpoints(ips: &[&str], ports: &[(&str, i32)]) -> Endpoints {
        let address = |ip: &&str| EndpointAddress { ip: (*ip).to_owned(), ..Default::default() };
        let port = |(name, port): &(&str, i32)| EndpointPort {
            name: (*name).to_owned(),
            port: *port,
            ..Default::default()
        };
        let subset = EndpointSubset {
            addresses: ips.iter().map(address).collect(),
            ports: ports.iter().map(port).collect(),
            ..Default::default()
        };
        Endpoints { subsets: vec![subset], ..Endpoints::default() }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(endpoints(&["10.0.0.1"], &[("", 80)])).is_empty());
        assert_eq!(
            refused(endpoints(&[], &[])),
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]
        );
        assert_eq!(
            refused(endpoints(&["127.0.0.1"], &[("a", 0), ("", 80)])),
            [
                r#"subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
                "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "subsets[0].ports[1].name: Required value",
            ]
        );
    }

    #[test]
    fn addresses_are_shown_with_their_ports() {
        assert_eq!(addresses(&Endpoints::default()), "<none>");
        assert_eq!(addresses(&endpoints(&["10.0.0.1", "fd00::1"], &[("", 80)])), "10.0.0.1:80,[fd00::1]:80");
        assert_eq!(
            addresses(&endpoints(&["10.0.0.1", "10.0.0.2"], &[("a", 80), ("b", 81)])),
            "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more..."
        );
    }
}
