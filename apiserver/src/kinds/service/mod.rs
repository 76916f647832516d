//! Service IPs and node ports: allocated in the same transaction as the Service itself, so that
//! none leaks and none is given twice, whoever writes at the same time and whoever dies meanwhile.
//!
//! ```text
//! /registry/ipaddresses/IP            one object for each cluster IP (networking.k8s.io/v1 IPAddress)
//! /registry/ranges/servicenodeports   a bitmap of all node ports (core/v1 RangeAllocation)
//! ```
//!
//! Both are upstream's, so that either server continues what the other began. A guard that does not
//! hold makes the write start over with what is free then. Addresses come out of the ServiceCIDR
//! objects that are open (KEP-1880); `cidr` keeps the first of them, `repair` looks after addresses
//! that somebody else has changed.

mod allocation;
mod cidr;
mod default;
mod families;
mod ports;
mod ranges;
mod repair;

use std::collections::HashSet;
use std::net::IpAddr;

use api_types::core::v1::{Service, ServiceSpec, ServiceType};
use api_types::kind::Object;

use crate::server::Server;
use crate::status::ApiError;
use crate::storage::kv::Op;

pub use cidr::ensure_default;
pub use default::{Own, reconcile};
pub use ranges::{IpRanges, PortRange};
pub use repair::repair;

/// The ranges of this cluster.
pub struct ServiceRanges {
    /// `--service-cluster-ip-range`
    pub ips: IpRanges,
    /// `--service-node-port-range`
    pub ports: PortRange,
}

const HEADLESS: &str = "None";

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
    let held: HashSet<IpAddr> = old.map(|s| addresses(&s.spec)).unwrap_or_default();
    let held_ports = old.map(|s| node_ports(&s.spec)).unwrap_or_default();
    let Some(service) = new else {
        let Some(old) = old else { return Ok(Vec::new()) };
        let mut ops = allocation::release(server, held.iter(), old).await?;
        ops.extend(ports::release(kv, &ranges.ports, &held_ports).await?);
        return Ok(ops);
    };
    families::settle(service, old, &ranges.ips)?;
    let mut ops = allocation::take(server, service, &held).await?;
    let wanted = addresses(&service.spec);
    ops.extend(allocation::release(server, held.difference(&wanted), service).await?);
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

/// The Service behind an object, if it is one.
pub fn of(object: &dyn Object) -> Option<&Service> {
    object.as_any().downcast_ref()
}
