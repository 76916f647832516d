//! What is to be forwarded: Services and their endpoints in one IP family, as the backends read them.
//! Pure functions from API objects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api_types::core::v1::{
    LoadBalancerIPMode, Service, ServiceAffinity, ServiceExternalTrafficPolicy, ServiceInternalTrafficPolicy,
    ServiceType,
};
use api_types::discovery::v1::{AddressType, EndpointSlice};
use ipnet::IpNet;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As metrics and the API name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortName {
    pub namespace: Arc<str>,
    pub service: Arc<str>,
    /// Empty when the Service's only port has no name.
    pub port: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

impl std::fmt::Display for PortName {
    /// `namespace/service:port`, as logs and comments name it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// Where a Service's port is reached and how its traffic is spread.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    pub cluster_ip: IpAddr,
    pub port: i32,
    /// 0: none.
    pub node_port: i32,
    pub external_ips: Vec<IpAddr>,
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer; empty: everybody.
    pub source_ranges: Vec<IpNet>,
    /// Seconds for which a client stays with its endpoint.
    pub affinity_seconds: Option<i32>,
    pub internal_local: bool,
    pub external_local: bool,
    /// 0: none.
    pub health_check_node_port: i32,
}

impl ServicePort {
    pub fn is_external(&self) -> bool {
        self.node_port != 0 || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }

    /// Whether endpoints of all nodes matter. They do also with the external policy Local: pods and
    /// the node itself reach external addresses by the cluster's endpoints.
    pub fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_local || self.is_external()
    }

    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_local || (self.external_local && self.is_external())
    }
}

/// One address behind a port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: i32,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub is_local: bool,
    pub zone_hints: BTreeSet<String>,
    pub node_hints: BTreeSet<String>,
}

impl Endpoint {
    pub fn socket(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::new(self.address, u16::try_from(self.port).unwrap_or(0))
    }

    fn is_last_resort(&self) -> bool {
        self.serving && self.terminating
    }
}

pub type Services = BTreeMap<PortName, ServicePort>;
pub type Endpoints = BTreeMap<PortName, Vec<Endpoint>>;

fn protocol(text: &str) -> Option<&'static str> {
    match text {
        "" | "TCP" => Some("tcp"),
        "UDP" => Some("udp"),
        "SCTP" => Some("sctp"),
        _ => None,
    }
}

fn of_family<'a>(addresses: impl Iterator<Item = &'a String>, family: Family) -> Vec<IpAddr> {
    let mut own: Vec<IpAddr> =
        addresses.filter_map(|a| a.parse().ok()).filter(|a| Family::of(*a) == family).collect();
    own.sort();
    own.dedup();
    own
}

/// The ports of a Service in one family; none for Services that nobody forwards.
pub fn service_ports(service: &Service, family: Family) -> Vec<(PortName, ServicePort)> {
    let spec = &service.spec;
    let cluster_ips = std::iter::once(&spec.cluster_ip).chain(&spec.cluster_ips);
    let Some(cluster_ip) = of_family(cluster_ips, family).first().copied() else { return Vec::new() };
    if spec.type_ == ServiceType::ExternalName || spec.cluster_ip == "None" {
        return Vec::new();
    }
    let affinity_seconds = (spec.session_affinity == ServiceAffinity::ClientIP).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        config.and_then(|c| c.timeout_seconds).unwrap_or(10800)
    });
    let exposed = matches!(spec.type_, ServiceType::NodePort | ServiceType::LoadBalancer)
        || !spec.external_ips.is_empty();
    let external_local = exposed && spec.external_traffic_policy == ServiceExternalTrafficPolicy::Local;
    let ingress = service.status.load_balancer.ingress.iter();
    let vips = ingress.filter(|i| i.ip_mode != Some(LoadBalancerIPMode::Proxy)).map(|i| &i.ip);
    let load_balancer_ips = of_family(vips, family);
    let is_load_balancer = spec.type_ == ServiceType::LoadBalancer;
    let port = |port: &api_types::core::v1::ServicePort| {
        let name = PortName {
            namespace: service.metadata.namespace.as_str().into(),
            service: service.metadata.name.as_str().into(),
            port: port.name.clone(),
            protocol: protocol(port.protocol.as_str())?,
        };
        let info = ServicePort {
            cluster_ip,
            port: port.port,
            node_port: port.node_port,
            external_ips: of_family(spec.external_ips.iter(), family),
            load_balancer_ips: load_balancer_ips.clone(),
            source_ranges: source_ranges(&spec.load_balancer_source_ranges, family),
            affinity_seconds,
            internal_local: spec.internal_traffic_policy == Some(ServiceInternalTrafficPolicy::Local),
            external_local,
            health_check_node_port: if is_load_balancer && external_local {
                spec.health_check_node_port
            } else {
                0
            },
        };
        Some((name, info))
    };
    spec.ports.iter().filter_map(port).collect()
}

/// The ranges of the family; a range that holds everything is no restriction.
fn source_ranges(ranges: &[String], family: Family) -> Vec<IpNet> {
    // COMPAT: the API allows blanks around a range.
    let mut own: Vec<IpNet> = ranges
        .iter()
        .filter_map(|r| r.trim().parse::<IpNet>().ok())
        .filter(|n| Family::of(n.addr()) == family)
        .map(|n| n.trunc())
        .collect();
    if own.iter().any(|n| n.prefix_len() == 0) {
        own.clear();
    }
    own.sort();
    own.dedup();
    own
}

/// Adds a slice's endpoints of one family to those of its Service.
pub fn add_endpoints(all: &mut Endpoints, slice: &EndpointSlice, family: Family, node: &str) {
    let of_family = match family {
        Family::V4 => AddressType::IPv4,
        Family::V6 => AddressType::IPv6,
    };
    let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") else { return };
    if slice.address_type != of_family {
        return;
    }
    for port in &slice.ports {
        let (Some(number), Some(protocol)) =
            (port.port, protocol(port.protocol.as_ref().map_or("", |p| p.as_str())))
        else {
            continue;
        };
        let name = PortName {
            namespace: slice.metadata.namespace.as_str().into(),
            service: service.as_str().into(),
            port: port.name.clone().unwrap_or_default(),
            protocol,
        };
        let own = all.entry(name).or_default();
        for endpoint in &slice.endpoints {
            // COMPAT: only the first address counts; the others are not defined.
            let Some(address) = endpoint.addresses.first().and_then(|a| a.parse().ok()) else { continue };
            let new = endpoint_of(endpoint, address, number, node);
            match own.iter_mut().find(|e| e.address == address && e.port == number) {
                // While an endpoint moves from slice to slice it is in both: the better one counts.
                Some(known) if new.ready && !known.ready => *known = new,
                Some(_) => {}
                None => own.push(new),
            }
        }
        own.sort_by_key(|e| (e.address, e.port));
    }
}

fn endpoint_of(
    endpoint: &api_types::discovery::v1::Endpoint,
    address: IpAddr,
    port: i32,
    node: &str,
) -> Endpoint {
    let conditions = &endpoint.conditions;
    let ready = conditions.ready.unwrap_or(true);
    let hints = endpoint.hints.as_deref();
    Endpoint {
        address,
        port,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        is_local: endpoint.node_name.as_deref() == Some(node),
        zone_hints: hints.iter().flat_map(|h| &h.for_zones).map(|z| z.name.clone()).collect(),
        node_hints: hints.iter().flat_map(|h| &h.for_nodes).map(|n| n.name.clone()).collect(),
    }
}

/// Endpoints by the traffic that may go to them.
#[derive(Debug, Default, PartialEq)]
pub struct Reachable<'a> {
    /// For traffic with the policy Cluster.
    pub cluster: Vec<&'a Endpoint>,
    /// For traffic with the policy Local.
    pub local: Vec<&'a Endpoint>,
    /// Whether any node has a usable endpoint.
    pub anywhere: bool,
}

impl<'a> Reachable<'a> {
    /// Sorts out the endpoints of a port. When nothing is ready, endpoints that are on their way out
    /// but still serve are used (KEP-1669); hints keep traffic on the node or in the zone if every
    /// ready endpoint has them and one is hinted for here (KEP-2433, KEP-3015).
    pub fn of(port: &ServicePort, endpoints: &'a [Endpoint], node: &str, zone: &str) -> Self {
        let mut all = Self::default();
        let of = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<&'a Endpoint> {
            endpoints.iter().filter(|e| wanted(e)).collect()
        };
        if port.uses_cluster_endpoints() {
            let near = nearness(endpoints, node, zone);
            all.cluster = of(&|e| e.ready && near.admits(e, node, zone));
            if all.cluster.is_empty() {
                all.cluster = of(&Endpoint::is_last_resort);
            }
            all.anywhere = !all.cluster.is_empty();
        }
        if port.uses_local_endpoints() {
            all.anywhere |= endpoints.iter().any(|e| e.ready || e.is_last_resort());
            all.local = of(&|e| e.is_local && e.ready);
            if all.local.is_empty() {
                all.local = of(&|e| e.is_local && e.is_last_resort());
            }
        }
        all
    }

    /// All that traffic may go to from here, each once.
    pub fn all(&self) -> Vec<&'a Endpoint> {
        let mut all = self.cluster.clone();
        all.extend(self.local.iter().filter(|e| !self.cluster.contains(e)));
        all.sort_by_key(|e| (e.address, e.port));
        all
    }
}

/// How near traffic is kept.
#[derive(Clone, Copy, PartialEq)]
enum Near {
    Anywhere,
    SameZone,
    SameNode,
}

impl Near {
    fn admits(self, endpoint: &Endpoint, node: &str, zone: &str) -> bool {
        match self {
            Self::Anywhere => true,
            Self::SameZone => endpoint.zone_hints.contains(zone),
            Self::SameNode => endpoint.node_hints.contains(node),
        }
    }
}

fn nearness(endpoints: &[Endpoint], node: &str, zone: &str) -> Near {
    let hinted = |hints: fn(&Endpoint) -> &BTreeSet<String>, here: &str| {
        let mut ready = endpoints.iter().filter(|e| e.ready).peekable();
        let some = ready.peek().is_some();
        let mut for_here = false;
        some && ready.all(|e| {
            for_here |= hints(e).contains(here);
            !hints(e).is_empty()
        }) && for_here
    };
    if hinted(|e| &e.node_hints, node) {
        Near::SameNode
    } else if hinted(|e| &e.zone_hints, zone) {
        Near::SameZone
    } else {
        Near::Anywhere
    }
}

#[cfg(test)]
mod tests;
