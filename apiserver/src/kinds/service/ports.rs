//! Node ports: one bitmap in the store, written under its revision in the Service's transaction.
//!
//! The bitmap is Go's `big.Int` of upstream's allocator: bytes big-endian, bit N for port base + N.

use std::collections::{HashMap, HashSet};

use api_types::codec::{json, protobuf};
use api_types::core::v1::{RangeAllocation, Service};
use api_types::field::{Errors, Path};
use api_types::kind::Resource;

use super::PortRange;
use super::node_ports;
use crate::answer::typed_json;
use crate::status::ApiError;
use crate::storage::Kv;
use crate::storage::kv::Op;

const KEY: &str = "ranges/servicenodeports";

/// The ports in use, and the revision of their key.
struct Allocated {
    ports: HashSet<i32>,
    revision: i64,
}

async fn read(kv: &Kv, range: &PortRange) -> Result<Allocated, ApiError> {
    let (found, _) = kv.get(&kv.key(KEY)).await.map_err(ApiError::internal)?;
    let Some(found) = found else { return Ok(Allocated { ports: HashSet::new(), revision: 0 }) };
    let allocation: RangeAllocation = if found.value.starts_with(protobuf::MAGIC) {
        let envelope = protobuf::open_envelope(&found.value).map_err(ApiError::internal)?;
        protobuf::from_slice(envelope.raw).map_err(ApiError::internal)?
    } else {
        json::from_slice(&found.value).map_err(ApiError::internal)?
    };
    // A range that was moved by its flag keeps the ports that are still in it.
    let stored: PortRange = allocation.range.parse().unwrap_or(*range);
    let ports = bits(allocation.data.as_ref()).map(|bit| stored.base + bit).collect();
    Ok(Allocated { ports, revision: found.revision })
}

/// The places of the set bits of a big-endian number.
fn bits(bytes: &[u8]) -> impl Iterator<Item = i32> + '_ {
    bytes.iter().rev().enumerate().flat_map(|(at, byte)| {
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| (at * 8) as i32 + bit)
    })
}

fn bitmap(range: &PortRange, ports: &HashSet<i32>) -> Vec<u8> {
    let mut bytes = vec![0u8; range.size as usize / 8 + 1];
    for port in ports.iter().filter(|port| range.contains(**port)) {
        let bit = (port - range.base) as usize;
        let at = bytes.len() - 1 - bit / 8;
        bytes[at] |= 1 << (bit % 8);
    }
    // A big.Int has no leading zeros.
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.split_off(zeros)
}

fn write(kv: &Kv, range: &PortRange, allocated: &Allocated) -> Op {
    let allocation = RangeAllocation {
        range: range.to_string(),
        data: bitmap(range, &allocated.ports).into(),
        ..RangeAllocation::default()
    };
    let value = typed_json("RangeAllocation", "v1", &allocation);
    Op::put(&kv.key(KEY), value.into(), allocated.revision)
}

/// Gives ports back.
pub async fn release(kv: &Kv, range: &PortRange, held: &HashSet<i32>) -> Result<Option<Op>, ApiError> {
    if held.is_empty() {
        return Ok(None);
    }
    let mut allocated = read(kv, range).await?;
    allocated.ports.retain(|port| !held.contains(port));
    Ok(Some(write(kv, range, &allocated)))
}

/// Fills in the ports that a Service needs and does not name, takes those it names, and gives back
/// those it no longer has.
pub async fn exchange(
    kv: &Kv,
    range: &PortRange,
    service: &mut Service,
    held: &HashSet<i32>,
) -> Result<Option<Op>, ApiError> {
    let needs = service.spec.needs_node_ports() && service.spec.ports.iter().any(|p| p.node_port == 0)
        || service.spec.needs_health_check_node_port() && service.spec.health_check_node_port == 0;
    if !needs && node_ports(&service.spec) == *held {
        return Ok(None);
    }
    let mut allocated = read(kv, range).await?;
    let named = node_ports(&service.spec);
    check(service, range, held, &allocated)?;
    allocated.ports.retain(|port| !held.contains(port));
    allocated.ports.extend(&named);
    let full = || ApiError::internal("failed to allocate a nodePort: range is full");
    if service.spec.needs_node_ports() {
        // COMPAT: TCP and UDP of the same port number share a node port.
        let mut shared: HashMap<i32, i32> = HashMap::new();
        for port in service.spec.ports.iter_mut().filter(|port| port.node_port == 0) {
            port.node_port = match shared.get(&port.port) {
                Some(given) => *given,
                None => pick(range, &mut allocated.ports).ok_or_else(full)?,
            };
            shared.insert(port.port, port.node_port);
        }
    }
    if service.spec.needs_health_check_node_port() && service.spec.health_check_node_port == 0 {
        service.spec.health_check_node_port = pick(range, &mut allocated.ports).ok_or_else(full)?;
    }
    Ok(Some(write(kv, range, &allocated)))
}

/// Takes a free port. The lower part is left to those who ask for a port by number (KEP-3668).
fn pick(range: &PortRange, taken: &mut HashSet<i32>) -> Option<i32> {
    let reserved = if range.size < 16 { 0 } else { (range.size / 32).clamp(16, 128).min(range.size) };
    for (low, high) in [(reserved, range.size), (0, reserved)] {
        if low == high {
            continue;
        }
        let start = fastrand::i32(low..high);
        let found =
            (start..high).chain(low..start).map(|n| range.base + n).find(|port| !taken.contains(port));
        if let Some(port) = found {
            taken.insert(port);
            return Some(port);
        }
    }
    None
}

/// Whether the ports that a Service names can be had.
fn check(
    service: &Service,
    range: &PortRange,
    held: &HashSet<i32>,
    allocated: &Allocated,
) -> Result<(), ApiError> {
    let mut errors = Errors::default();
    let mut refuse = |path: &Path, port: i32| {
        if !range.contains(port) {
            errors.invalid(
                path,
                port,
                format!("provided port is not in the valid range. The range of valid ports is {range}"),
            );
        } else if allocated.ports.contains(&port) {
            errors.invalid(path, port, "provided port is already allocated");
        }
    };
    let spec = &service.spec;
    for (place, port) in spec.ports.iter().enumerate() {
        if port.node_port != 0 && !held.contains(&port.node_port) {
            refuse(&Path::new("spec").child("ports").index(place).child("nodePort"), port.node_port);
        }
    }
    let health = spec.health_check_node_port;
    if health != 0 && !held.contains(&health) {
        refuse(&Path::new("spec").child("healthCheckNodePort"), health);
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(Service::facts(), &service.metadata.name, errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bitmap_is_gos_big_int() {
        let range = PortRange { base: 30000, size: 2768 };
        let ports = HashSet::from([30000, 30009]);
        assert_eq!(bitmap(&range, &ports), [0b10, 0b1]);
        assert_eq!(bits(&[0b10, 0b1]).collect::<Vec<_>>(), [0, 9]);
        assert!(bitmap(&range, &HashSet::new()).is_empty());
    }

    #[test]
    fn ports_are_given_once() {
        let range = PortRange { base: 30000, size: 40 };
        let mut taken = HashSet::new();
        let given: HashSet<i32> = (0..40).filter_map(|_| pick(&range, &mut taken)).collect();
        assert_eq!(given.len(), 40);
        assert_eq!(pick(&range, &mut taken), None);
    }
}
