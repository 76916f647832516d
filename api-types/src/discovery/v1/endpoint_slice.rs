//! EndpointSlice: some of the addresses behind a Service.

use std::collections::{BTreeMap, BTreeSet};

use crate::addresses;
use crate::columns::first_of;
use crate::core::v1::well_known::label;
use crate::core::v1::{ObjectReference, Protocol};
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource, set_generation};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
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

    fn validate(&self, errors: &mut Errors) {
        self.validate_all(errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.address_type, &old.address_type, &Path::new("addressType"), errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && self.address_type == AddressType::Fqdn {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        let by = self.metadata.labels.get(label::ENDPOINT_SLICE_MANAGED_BY).map_or("", String::as_str);
        if matches!(by, "endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io") {
            return warnings;
        }
        for (place, endpoint) in self.endpoints.iter().enumerate() {
            let path = Path::new("endpoints").index(place).child("addresses");
            for (i, address) in endpoint.addresses.iter().enumerate() {
                warnings.extend(addresses::ip_warning(address, &path.index(i)));
            }
        }
        warnings
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

const MAX_PORTS: usize = 20_000;
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_HINTS: usize = 8;

impl EndpointSlice {
    fn validate_all(&self, errors: &mut Errors) {
        let known = ["FQDN", "IPv4", "IPv6"];
        errors.required_choice(&Path::new("addressType"), self.address_type.as_str(), &known);
        self.validate_ports(&Path::new("ports"), errors);
        let path = Path::new("endpoints");
        if self.endpoints.len() > MAX_ENDPOINTS {
            return errors.too_many(&path, self.endpoints.len(), MAX_ENDPOINTS);
        }
        for (place, endpoint) in self.endpoints.iter().enumerate() {
            endpoint.validate(&self.address_type, &path.index(place), errors);
        }
    }

    fn validate_ports(&self, path: &Path, errors: &mut Errors) {
        if self.ports.len() > MAX_PORTS {
            return errors.too_many(path, self.ports.len(), MAX_PORTS);
        }
        let mut seen = BTreeSet::new();
        for (place, port) in self.ports.iter().enumerate() {
            let path = path.index(place);
            let name = port.name.as_deref().unwrap_or_default();
            if !name.is_empty() {
                errors.wrong(&path.child("name"), name, names::dns1123_label(name));
            }
            if !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            let protocol = port.protocol.as_ref().map_or("", Protocol::as_str);
            errors.required_choice(&path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
            if let Some(protocol) = &port.app_protocol {
                errors.wrong(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
            }
        }
    }

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

impl Endpoint {
    fn validate(&self, type_: &AddressType, path: &Path, errors: &mut Errors) {
        let list = path.child("addresses");
        if self.addresses.is_empty() {
            errors.required(&list, "must contain at least 1 address");
        } else if self.addresses.len() > MAX_ADDRESSES {
            errors.too_many(&list, self.addresses.len(), MAX_ADDRESSES);
        }
        for (place, address) in self.addresses.iter().enumerate() {
            validate_address(address, type_, &list, place, errors);
        }
        if let Some(node) = &self.node_name {
            errors.wrong(&path.child("nodeName"), node, names::dns1123_subdomain(node));
        }
        if let Some(hostname) = &self.hostname {
            errors.wrong(&path.child("hostname"), hostname, names::dns1123_label(hostname));
        }
        let Some(hints) = &self.hints else { return };
        let path = path.child("hints");
        let zones: Vec<&str> = hints.for_zones.iter().map(|zone| zone.name.as_str()).collect();
        let nodes: Vec<&str> = hints.for_nodes.iter().map(|node| node.name.as_str()).collect();
        validate_hints(&zones, names::label_value, &path.child("forZones"), errors);
        validate_hints(&nodes, names::dns1123_subdomain, &path.child("forNodes"), errors);
    }
}

/// `list` is the path of the addresses.
fn validate_address(address: &str, type_: &AddressType, list: &Path, place: usize, errors: &mut Errors) {
    let (path, before) = (list.index(place), errors.0.len());
    let (found, wanted) = match type_ {
        AddressType::IPv4 => (addresses::legacy_ip(address, &path, errors), "IPv4"),
        AddressType::IPv6 => (addresses::ip(address, &path, errors), "IPv6"),
        AddressType::Fqdn => return validate_fqdn(address, &path, errors),
        _ => return,
    };
    let Some(found) = found.filter(|_| errors.0.len() == before) else { return };
    if found.is_ipv4() != (wanted == "IPv4") {
        // COMPAT: the path lacks the place in the list.
        errors.invalid(list, address, format!("must be an {wanted} address"));
    }
    addresses::endpoint_ip(address, &path, errors);
}

fn validate_fqdn(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        return errors.wrong(path, name, wrong);
    }
    if !name.contains('.') {
        errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
    }
    if name.split('.').any(|label| label.len() > 63) {
        errors.invalid(path, name, "must be no more than 63 characters");
    }
}

fn validate_hints(hints: &[&str], check: fn(&str) -> Vec<String>, path: &Path, errors: &mut Errors) {
    if hints.len() > MAX_HINTS {
        return errors.too_many(path, hints.len(), MAX_HINTS);
    }
    let mut seen = BTreeSet::new();
    for (place, hint) in hints.iter().enumerate() {
        let path = path.index(place).child("name");
        if !seen.insert(hint) {
            errors.duplicate(&path, hint);
        }
        errors.wrong(&path, hint, check(hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn slice(type_: &str, addresses: &[&str]) -> EndpointSlice {
        let endpoint = Endpoint {
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            ..Default::default()
        };
        EndpointSlice { address_type: type_.into(), endpoints: vec![endpoint], ..EndpointSlice::default() }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(slice("IPv4", &["10.0.0.1"])).is_empty());
        assert!(refused(slice("FQDN", &["a.example.com"])).is_empty());
        assert_eq!(
            refused(slice("IPv4", &[])),
            ["endpoints[0].addresses: Required value: must contain at least 1 address"]
        );
        assert_eq!(
            refused(slice("IPv4", &["fd00::1"])),
            [r#"endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address"#]
        );
        assert_eq!(
            refused(slice("IPv6", &["FD00::1"])),
            [r#"endpoints[0].addresses[0]: Invalid value: "FD00::1": must be in canonical form ("fd00::1")"#]
        );
        let mut own = slice("Smoke", &["x"]);
        own.ports = vec![EndpointPort::default(), EndpointPort::default()];
        assert_eq!(
            refused(own),
            [
                r#"addressType: Unsupported value: "Smoke": supported values: "FQDN", "IPv4", "IPv6""#,
                r#"ports[1].name: Duplicate value: """#,
            ]
        );
    }

    #[test]
    fn updates() {
        assert_eq!(
            refused_update(slice("IPv6", &[]), slice("IPv4", &[])),
            [r#"addressType: Invalid value: "IPv6": field is immutable"#]
        );
        let old = slice("IPv4", &["10.0.0.1"]);
        let mut new = old.clone();
        new.prepare_for_update(&old);
        assert_eq!(new.metadata.generation, 0);
        new.endpoints.clear();
        new.prepare_for_update(&old);
        assert_eq!(new.metadata.generation, 1);
    }
}
