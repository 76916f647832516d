//! The names of a cluster (Kubernetes DNS-Based Service Discovery 1.1.0): which records a name has.
//! Pure: reads the stores, does no I/O.
//!
//! ```text
//! SERVICE.NAMESPACE.svc.DOMAIN                    A, AAAA: its addresses, or those of its endpoints;
//!                                                 CNAME of an ExternalName; SRV: all ports
//! ENDPOINT.SERVICE.NAMESPACE.svc.DOMAIN           A, AAAA: one endpoint, by hostname or dashed address
//! _PORT._PROTOCOL.SERVICE.NAMESPACE.svc.DOMAIN    SRV
//! A-B-C-D.NAMESPACE.pod.DOMAIN                    A: the address that the name says
//! dns-version.DOMAIN                              TXT: the version of the specification
//! D.C.B.A.in-addr.arpa, ….ip6.arpa                PTR of Services, and of endpoints of headless ones
//! ```

use std::net::IpAddr;

use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use crate::cluster::{Cluster, Place, Port, ServiceView, dashed};

const SPECIFICATION: &str = "1.1.0";

/// What the zone says to a query.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Records {
        answers: Vec<Record>,
        additionals: Vec<Record>,
    },
    /// The name stands for another one outside of the zone, which is to be looked up too.
    Alias(Box<Record>, Name),
    /// The name exists and has no such record; also under empty labels between names.
    NoData,
    NoName,
    /// Not a name of this cluster.
    Foreign,
}

impl Answer {
    fn records(answers: Vec<Record>) -> Self {
        if answers.is_empty() { Self::NoData } else { Self::Records { answers, additionals: Vec::new() } }
    }
}

/// The cluster's domain.
#[derive(Debug)]
pub struct Zone {
    domain: Name,
    /// Seconds.
    ttl: u32,
    cluster: Cluster,
}

impl Zone {
    pub fn new(domain: Name, ttl: u32, cluster: Cluster) -> Self {
        Self { domain, ttl, cluster }
    }

    pub fn domain(&self) -> &Name {
        &self.domain
    }

    /// Whether a name is the zone's to answer, before the cluster is known as well.
    pub fn holds(&self, name: &Name) -> bool {
        self.domain.zone_of(name)
    }

    /// Whether the zone's content is known by now.
    pub fn is_known(&self) -> bool {
        self.cluster.is_known()
    }

    /// The record that says for how long a "no" may be kept.
    pub fn authority(&self) -> Record {
        let below = |label: &str| self.domain.prepend_label(label).unwrap_or_else(|_| self.domain.clone());
        let soa = SOA::new(below("ns.dns"), below("hostmaster"), 1, 7200, 1800, 86400, self.ttl);
        Record::from_rdata(self.domain.clone(), self.ttl, RData::SOA(soa))
    }

    /// Answers a query. Records carry `name` as it was written.
    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        if self.holds(name) {
            let own = usize::from(name.num_labels() - self.domain.num_labels());
            let labels: Vec<String> =
                name.iter().take(own).map(|l| String::from_utf8_lossy(l).to_lowercase()).collect();
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            return self.forward(name, &labels, kind);
        }
        match name.parse_arpa_name() {
            Ok(net) if net.prefix_len() == net.max_prefix_len() => self.reverse(name, net.addr(), kind),
            _ => Answer::Foreign,
        }
    }

    fn forward(&self, name: &Name, labels: &[&str], kind: RecordType) -> Answer {
        match labels {
            [] if kind == RecordType::SOA => Answer::records(vec![self.authority()]),
            [] | ["svc" | "pod"] => Answer::NoData,
            ["dns-version"] if kind == RecordType::TXT => {
                Answer::records(vec![self.record(name, RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()])))])
            }
            ["dns-version"] => Answer::NoData,
            [namespace, "svc" | "pod"] if self.cluster.namespace_exists(namespace) => Answer::NoData,
            [address, namespace, "pod"] if self.cluster.namespace_exists(namespace) => {
                let Some(address) = undashed(address) else { return Answer::NoName };
                Answer::records(self.address(name, address, kind).into_iter().collect())
            }
            [rest @ .., service, namespace, "svc"] => match self.cluster.services.find(namespace, service) {
                Some(view) => self.service(name, (namespace, service), &view, rest, kind),
                None => Answer::NoName,
            },
            _ => Answer::NoName,
        }
    }

    /// A Service's own name, or one below it.
    fn service(
        &self,
        name: &Name,
        (namespace, service): (&str, &str),
        view: &ServiceView,
        below: &[&str],
        kind: RecordType,
    ) -> Answer {
        if let Place::External(target) = &view.place {
            return match Name::from_ascii(format!("{}.", target.trim_end_matches('.'))) {
                Ok(target) if below.is_empty() => {
                    Answer::Alias(Box::new(self.record(name, RData::CNAME(CNAME(target.clone())))), target)
                }
                _ => Answer::NoName,
            };
        }
        match below {
            [] if kind == RecordType::SRV => self.ports(name, namespace, service, view, |_| true),
            [] => {
                let addresses = match &view.place {
                    Place::Addresses(addresses) => addresses.clone(),
                    _ => self.endpoints(namespace, service).into_iter().map(|(_, address)| address).collect(),
                };
                if addresses.is_empty() {
                    // COMPAT: a headless Service without a ready endpoint has no name.
                    return Answer::NoName;
                }
                Answer::records(addresses.into_iter().filter_map(|a| self.address(name, a, kind)).collect())
            }
            [endpoint] => {
                let endpoints = self.endpoints(namespace, service);
                let mut own = endpoints.iter().filter(|(name, _)| **name == **endpoint).peekable();
                if own.peek().is_none() {
                    return Answer::NoName;
                }
                Answer::records(own.filter_map(|(_, a)| self.address(name, *a, kind)).collect())
            }
            [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
                let wanted = |p: &Port| *p.name == port[1..] && *p.protocol == protocol[1..];
                match self.ports(name, namespace, service, view, wanted) {
                    Answer::NoData => Answer::NoName,
                    found if kind == RecordType::SRV => found,
                    _ => Answer::NoData,
                }
            }
            _ => Answer::NoName,
        }
    }

    /// The ports of a Service, with the addresses of their targets beside them.
    fn ports(
        &self,
        name: &Name,
        namespace: &str,
        service: &str,
        view: &ServiceView,
        wanted: impl Fn(&Port) -> bool,
    ) -> Answer {
        let (mut answers, mut additionals) = (Vec::new(), Vec::new());
        let mut add = |port: &Port, target: &Name, addresses: &[IpAddr]| {
            answers.push(self.record(name, RData::SRV(SRV::new(0, 100, port.number, target.clone()))));
            for address in addresses {
                let record = self.record(target, data(*address));
                if !additionals.contains(&record) {
                    additionals.push(record);
                }
            }
        };
        let Some(own) = self.name_of(&[service, namespace, "svc"]) else { return Answer::NoName };
        if let Place::Addresses(addresses) = &view.place {
            view.ports.iter().filter(|p| wanted(p)).for_each(|port| add(port, &own, addresses));
        } else {
            for slice in self.cluster.slices_of(namespace, service) {
                for port in slice.ports.iter().filter(|p| wanted(p)) {
                    for endpoint in &slice.endpoints {
                        if let Ok(target) = own.prepend_label(endpoint.name.as_bytes()) {
                            add(port, &target, &[endpoint.address]);
                        }
                    }
                }
            }
        }
        if answers.is_empty() { Answer::NoData } else { Answer::Records { answers, additionals } }
    }

    fn reverse(&self, name: &Name, address: IpAddr, kind: RecordType) -> Answer {
        let services = self.cluster.services_at(address);
        let mut targets: Vec<Name> =
            services.iter().filter_map(|key| self.name_of(&[&*key.name, &*key.namespace, "svc"])).collect();
        for (namespace, service, endpoint) in self.cluster.endpoints_at(address) {
            targets.extend(self.name_of(&[&*endpoint, &*service, &*namespace, "svc"]));
        }
        match (targets.is_empty(), kind) {
            (true, _) => Answer::Foreign,
            (false, RecordType::PTR) => Answer::records(
                targets.into_iter().map(|target| self.record(name, RData::PTR(PTR(target)))).collect(),
            ),
            _ => Answer::NoData,
        }
    }

    fn endpoints(&self, namespace: &str, service: &str) -> Vec<(Box<str>, IpAddr)> {
        let slices = self.cluster.slices_of(namespace, service);
        let mut endpoints: Vec<_> =
            slices.iter().flat_map(|s| s.endpoints.iter()).map(|e| (e.name.clone(), e.address)).collect();
        // Two slices may name the same endpoint while one replaces the other.
        endpoints.sort();
        endpoints.dedup();
        endpoints
    }

    fn name_of(&self, labels: &[&str]) -> Option<Name> {
        Name::from_labels(labels.iter().map(|l| l.as_bytes())).ok()?.append_domain(&self.domain).ok()
    }

    fn record(&self, name: &Name, data: RData) -> Record {
        Record::from_rdata(name.clone(), self.ttl, data)
    }

    fn address(&self, name: &Name, address: IpAddr, kind: RecordType) -> Option<Record> {
        let asked = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        (kind == asked).then(|| self.record(name, data(address)))
    }
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// The address that a label says, if it is written as [`dashed`] writes it.
fn undashed(label: &str) -> Option<IpAddr> {
    let address: IpAddr =
        label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()?;
    (dashed(address) == label).then_some(address)
}
