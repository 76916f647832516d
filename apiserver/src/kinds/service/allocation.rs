//! Cluster IPs: an IPAddress object for each, written together with the Service that has it.
//!
//! What is free is looked up in the watch cache and then, for the address at hand, in the store; the
//! transaction's guard decides. An address is given back only by the Service it belongs to.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use api_types::core::v1::{Service, ServiceType};
use api_types::field::{Errors, Path};
use api_types::kind::Resource;
use api_types::networking::v1::{
    ALLOCATOR, FAMILY_LABEL, IPAddress, IPAddressSpec, MANAGED_BY_LABEL, ParentReference, ServiceCIDR,
};
use api_types::value::Time;
use ipnet::IpNet;

use super::ranges::{self, family_of};
use super::{HEADLESS, addresses};
use crate::registry::store_error;
use crate::server::Server;
use crate::status::ApiError;
use crate::storage::kv::{KvError, Op};
use crate::storage::{Collection, entry};

/// Fills in the Service's cluster IPs; gives the writes for those that are new to it.
///
/// # Errors
/// 422 for an address that cannot be had; 500 when nothing is left.
pub async fn take(
    server: &Server,
    service: &mut Service,
    held: &HashSet<IpAddr>,
) -> Result<Vec<Op>, ApiError> {
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
    let open = open_ranges(server);
    let known = server.storage.of::<IPAddress>();
    let mut fresh = Vec::new();
    for ip in asked {
        let why = if !open.iter().any(|range| ranges::gives(range, ip)) {
            "the provided network does not match the current range"
        } else if is_taken(known, ip).await? {
            "provided IP is already allocated"
        } else {
            fresh.push(ip);
            continue;
        };
        let mut errors = Errors::default();
        let shown: &dyn api_types::value::Value = &spec.cluster_ips;
        let path = Path::new("spec").child("clusterIPs");
        errors.invalid(&path, shown, format!("failed to allocate IP {ip}: {why}"));
        return Err(ApiError::invalid(Service::facts(), &service.metadata.name, errors));
    }
    while spec.cluster_ips.len() < spec.ip_families.len() {
        let ip = free(server, known, &open, &spec.ip_families[spec.cluster_ips.len()], &fresh).await?;
        fresh.push(ip);
        spec.cluster_ips.push(ip.to_string());
    }
    if let Some(first) = spec.cluster_ips.first() {
        spec.cluster_ip.clone_from(first);
    }
    Ok(fresh.into_iter().map(|ip| put(known, ip, service, 0)).collect())
}

/// Gives back those of the addresses that belong to the Service.
///
/// # Errors
/// When the store cannot be read.
pub async fn release(
    server: &Server,
    ips: impl Iterator<Item = &IpAddr>,
    service: &Service,
) -> Result<Vec<Op>, ApiError> {
    let known = server.storage.of::<IPAddress>();
    let mut ops = Vec::new();
    for ip in ips {
        let key = known.key("", &ip.to_string());
        let (found, _) = known.kv.get(&key).await.map_err(|e| failed(known, e))?;
        let Some(found) = found else { continue };
        let address: IPAddress =
            known.entry(&found).map_err(ApiError::internal)?.typed().map_err(ApiError::internal)?;
        if belongs(&address, &service.metadata.namespace, &service.metadata.name) {
            ops.push(Op::delete(&key, Some(found.revision)));
        }
    }
    Ok(ops)
}

/// The ranges that addresses are given out of: those of the open ServiceCIDRs. Before there is any,
/// those of the command line.
pub fn open_ranges(server: &Server) -> Vec<IpNet> {
    let (all, _) = server.storage.of::<ServiceCIDR>().snapshot();
    if all.len() == 0 {
        return server.service_ranges.ips.all().to_vec();
    }
    let open = all.iter().filter_map(|entry| entry.typed::<ServiceCIDR>().ok()).filter(ServiceCIDR::is_open);
    open.flat_map(|own| own.spec.cidrs).filter_map(|cidr| cidr.parse().ok()).collect()
}

/// Whether an address is a Service's.
pub fn belongs(address: &IPAddress, namespace: &str, name: &str) -> bool {
    address.spec.parent_ref.as_ref().is_some_and(|parent| {
        parent.group.is_empty()
            && parent.resource == "services"
            && parent.namespace == namespace
            && parent.name == name
    })
}

/// The write of a Service's address, over what was last written at `expected`.
pub fn put(known: &Collection, ip: IpAddr, service: &Service, expected: i64) -> Op {
    let mut object = address(ip, service);
    Op::put(&known.key("", &ip.to_string()), entry::encode(&mut object), expected)
}

fn address(ip: IpAddr, service: &Service) -> IPAddress {
    let parent = ParentReference {
        resource: "services".into(),
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
        ..ParentReference::default()
    };
    let mut address =
        IPAddress { spec: IPAddressSpec { parent_ref: Some(parent.into()) }, ..Default::default() };
    let meta = &mut address.metadata;
    meta.name = ip.to_string();
    meta.uid = uuid::Uuid::new_v4().to_string();
    meta.creation_timestamp = Some(Time::whole(jiff::Timestamp::now()));
    meta.labels.insert(FAMILY_LABEL.into(), family_of(ip).as_str().into());
    meta.labels.insert(MANAGED_BY_LABEL.into(), ALLOCATOR.into());
    address
}

async fn is_taken(known: &Collection, ip: IpAddr) -> Result<bool, ApiError> {
    let (found, _) = known.kv.get(&known.key("", &ip.to_string())).await.map_err(|e| failed(known, e))?;
    Ok(found.is_some())
}

/// A free address. The cache may be a moment behind: what it calls free is asked of the store, and
/// only a cache that has caught up may say that nothing is left.
async fn free(
    server: &Server,
    known: &Arc<Collection>,
    open: &[IpNet],
    family: &api_types::core::v1::IPFamily,
    fresh: &[IpAddr],
) -> Result<IpAddr, ApiError> {
    let mut caught_up = false;
    let mut taken: HashSet<IpAddr> = fresh.iter().copied().collect();
    loop {
        let (snapshot, _) = known.snapshot();
        let is_used = |ip: IpAddr| taken.contains(&ip) || snapshot.get(&ip.to_string()).is_some();
        match ranges::pick(open, family, is_used, fastrand::u64) {
            Some(ip) if is_taken(known, ip).await? => {
                taken.insert(ip);
            }
            Some(ip) => return Ok(ip),
            None if caught_up => {
                return Err(ApiError::internal("failed to allocate a serviceIP: range is full"));
            }
            None => {
                let revision = server.storage.kv.revision().await.map_err(|e| failed(known, e))?;
                // A cache that does not get there says what it knows.
                let _ = known.wait_for(revision).await;
                taken = fresh.iter().copied().collect();
                caught_up = true;
            }
        }
    }
}

fn failed(known: &Collection, error: KvError) -> ApiError {
    store_error(known.row, "get", error)
}
