//! Service IPs and node ports: allocated in the same transaction as the Service itself, so that
//! none leaks and none is given twice, whoever writes at the same time and whoever dies meanwhile.
//!
//! ```text
//! /registry/ipaddresses/IP            one key for each cluster IP (networking.k8s.io/v1 IPAddress)
//! /registry/ranges/servicenodeports   a bitmap of all node ports (core/v1 RangeAllocation)
//! ```
//!
//! Both are upstream's, so that either server continues what the other began. A guard that does not
//! hold makes the write start over with what is free then.

mod default;
mod families;
mod ports;
mod ranges;

use std::collections::HashSet;
use std::net::IpAddr;

use api_types::core::v1::{Service, ServiceSpec, ServiceType};
use api_types::field::{Errors, Path};
use api_types::kind::{Object, Resource};
use serde_json::json;

use crate::server::Server;
use crate::status::ApiError;
use crate::storage::Kv;
use crate::storage::kv::{KvError, Op};

pub use default::{Own, reconcile};
pub use ranges::{IpRanges, PortRange};

/// The ranges of this cluster.
pub struct ServiceRanges {
    /// `--service-cluster-ip-range`
    pub ips: IpRanges,
    /// `--service-node-port-range`
    pub ports: PortRange,
}

const HEADLESS: &str = "None";
const IP_PREFIX: &str = "ipaddresses/";
/// Addresses read at once.
const PAGE: i64 = 10_000;

/// The writes that go with a Service's: `old` becomes `new`.
///
/// # Errors
/// 422 for what was asked for and cannot be had; 500 when nothing is left.
pub async fn companions(
    server: &Server,
    old: Option<&Service>,
    new: Option<&mut Service>,
) -> Result<Vec<Op>, ApiError> {
    let (kv, ranges) = (&server.storage.kv, &server.service_ranges);
    let mut ops = Vec::new();
    let held: HashSet<IpAddr> = old.map(|s| addresses(&s.spec)).unwrap_or_default();
    let held_ports = old.map(|s| node_ports(&s.spec)).unwrap_or_default();
    let Some(service) = new else {
        ops.extend(held.iter().map(|ip| Op::delete(&ip_key(kv, *ip), None)));
        ops.extend(ports::release(kv, &ranges.ports, &held_ports).await?);
        return Ok(ops);
    };
    families::settle(service, old, &ranges.ips)?;
    for ip in allocate_ips(kv, &ranges.ips, service, &held).await? {
        ops.push(Op::put(&ip_key(kv, ip), ip_value(ip, service), 0));
    }
    let wanted = addresses(&service.spec);
    ops.extend(held.difference(&wanted).map(|ip| Op::delete(&ip_key(kv, *ip), None)));
    ops.extend(ports::exchange(kv, &ranges.ports, service, &held_ports).await?);
    Ok(ops)
}

/// The cluster IPs of a Service.
fn addresses(spec: &ServiceSpec) -> HashSet<IpAddr> {
    if spec.type_ == ServiceType::ExternalName {
        return HashSet::new();
    }
    spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect()
}

/// The node ports of a Service, that of health checks included.
fn node_ports(spec: &ServiceSpec) -> HashSet<i32> {
    let ports = spec.ports.iter().map(|p| p.node_port);
    ports.chain([spec.health_check_node_port]).filter(|port| *port != 0).collect()
}

/// Fills in the Service's cluster IPs; gives those that are new to it.
async fn allocate_ips(
    kv: &Kv,
    ranges: &IpRanges,
    service: &mut Service,
    held: &HashSet<IpAddr>,
) -> Result<Vec<IpAddr>, ApiError> {
    let spec = &mut service.spec;
    if spec.type_ == ServiceType::ExternalName || spec.cluster_ips.first().is_some_and(|ip| ip == HEADLESS) {
        return Ok(Vec::new());
    }
    if spec.cluster_ip == HEADLESS {
        spec.cluster_ips = vec![HEADLESS.into()];
        return Ok(Vec::new());
    }
    let missing = spec.ip_families.len() > spec.cluster_ips.len();
    let asked: Vec<IpAddr> = addresses(spec).difference(held).copied().collect();
    if !missing && asked.is_empty() {
        return Ok(Vec::new());
    }
    let taken = taken(kv).await.map_err(ApiError::internal)?;
    let mut fresh = Vec::new();
    for ip in asked {
        let why = if !ranges.contain(ip) {
            format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}",
                ranges.text(ip)
            )
        } else if taken.contains(&ip) {
            "provided IP is already allocated".to_owned()
        } else {
            fresh.push(ip);
            continue;
        };
        let mut errors = Errors::default();
        let path = Path::new("spec").child("clusterIPs");
        let shown: &dyn api_types::value::Value = &spec.cluster_ips;
        errors.invalid(&path, shown, format!("failed to allocate IP {ip}: {why}"));
        return Err(ApiError::invalid(Service::facts(), &service.metadata.name, errors));
    }
    while spec.cluster_ips.len() < spec.ip_families.len() {
        let family = &spec.ip_families[spec.cluster_ips.len()];
        let free = ranges.pick(family, |ip| taken.contains(&ip) || fresh.contains(&ip), fastrand::u64);
        let ip = free.ok_or_else(|| ApiError::internal("failed to allocate a serviceIP: range is full"))?;
        fresh.push(ip);
        spec.cluster_ips.push(ip.to_string());
    }
    if let Some(first) = spec.cluster_ips.first() {
        spec.cluster_ip.clone_from(first);
    }
    Ok(fresh)
}

/// All cluster IPs in use.
async fn taken(kv: &Kv) -> Result<HashSet<IpAddr>, KvError> {
    let prefix = kv.key(IP_PREFIX);
    let (mut start, mut taken) = (prefix.clone().into_bytes(), HashSet::new());
    loop {
        let page = kv.page(&prefix, &start, PAGE, 0).await?;
        for stored in &page.items {
            let name = stored.key.strip_prefix(prefix.as_bytes()).unwrap_or_default();
            taken.extend(std::str::from_utf8(name).ok().and_then(|name| name.parse::<IpAddr>().ok()));
        }
        match page.items.last() {
            Some(last) if page.more => {
                start = last.key.to_vec();
                start.push(0);
            }
            _ => return Ok(taken),
        }
    }
}

fn ip_key(kv: &Kv, ip: IpAddr) -> String {
    kv.key(&format!("{IP_PREFIX}{ip}"))
}

fn ip_value(ip: IpAddr, service: &Service) -> bytes::Bytes {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let now = api_types::meta::Time::whole(jiff::Timestamp::now()).to_string();
    json!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": ip.to_string(),
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": now,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {
            "parentRef": {
                "resource": "services",
                "namespace": service.metadata.namespace,
                "name": service.metadata.name,
            },
        },
    })
    .to_string()
    .into()
}

/// The Service behind an object, if it is one.
pub fn of(object: &dyn Object) -> Option<&Service> {
    object.as_any().downcast_ref()
}
