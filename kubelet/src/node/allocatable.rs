//! What the node has, and what of it pods may use. Pure but for asking the filesystem for its size.

use std::collections::BTreeMap;
use std::path::Path;

use api_types::Quantity;
use api_types::core::v1::ResourceList;
use api_types::value::Format;

use crate::machine::Machine;

/// COMPAT: memory that upstream's default eviction threshold keeps free.
const EVICTION_MEMORY: i64 = 100 << 20;

/// Everything that the node has.
pub fn capacity(machine: &Machine, root: &Path, max_pods: i32) -> ResourceList {
    let binary = |bytes: i64| Quantity::from_units(bytes, Format::BinarySi);
    let mut list = ResourceList::new();
    list.insert("cpu".into(), Quantity::from_units(machine.cpus, Format::DecimalSi));
    list.insert("memory".into(), kibibytes(machine.memory));
    list.insert("pods".into(), Quantity::from_units(max_pods.into(), Format::DecimalSi));
    if let Ok(stat) = rustix::fs::statvfs(root) {
        let bytes = (stat.f_blocks * stat.f_frsize) as i64;
        list.insert("ephemeral-storage".into(), kibibytes(bytes));
    }
    for (size, bytes, count) in &machine.huge_pages {
        list.insert(format!("hugepages-{size}"), binary(bytes * count));
    }
    list
}

fn kibibytes(bytes: i64) -> Quantity {
    Quantity::from_units(bytes / 1024 * 1024, Format::BinarySi)
}

/// What is left for pods after the reservations.
///
/// `eviction` keeps the memory and disk free that upstream's default thresholds keep.
pub fn allocatable(
    capacity: &ResourceList,
    reserved: &[&BTreeMap<String, String>],
    eviction: bool,
) -> Result<ResourceList, String> {
    let mut list = capacity.clone();
    for (name, amount) in reserved.iter().flat_map(|list| list.iter()) {
        let amount =
            Quantity::parse(amount).map_err(|error| format!("invalid reservation of {name}: {error}"))?;
        subtract(&mut list, name, amount.milli_value());
    }
    if eviction {
        subtract(&mut list, "memory", EVICTION_MEMORY * 1000);
        if let Some(disk) = capacity.get("ephemeral-storage").map(Quantity::value) {
            // Ten percent, in bytes; COMPAT: published as plain bytes from here on.
            let left = disk - (disk as f64 * 0.1) as i64;
            list.insert("ephemeral-storage".into(), Quantity::from_units(left, Format::DecimalSi));
        }
    }
    Ok(list)
}

fn subtract(list: &mut ResourceList, name: &str, milli: i64) {
    let Some(have) = list.get(name).copied() else { return };
    let left = (have.milli_value() - milli).max(0);
    let amount = if name == "cpu" {
        Quantity::from_milli(left)
    } else {
        Quantity::from_units(left / 1000, have.format())
    };
    list.insert(name.to_owned(), amount);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_and_thresholds_are_subtracted() {
        let quantity = |text: &str| Quantity::parse(text).unwrap();
        let capacity: ResourceList = [("cpu", "2"), ("memory", "1Gi"), ("ephemeral-storage", "1000")]
            .map(|(name, amount)| (name.to_owned(), quantity(amount)))
            .into();
        let reserved: BTreeMap<String, String> =
            [("cpu".to_owned(), "500m".to_owned()), ("memory".to_owned(), "24Mi".to_owned())].into();
        let left = allocatable(&capacity, &[&reserved], true).unwrap();
        let shown: Vec<String> = left.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(shown, ["cpu=1500m", "ephemeral-storage=900", "memory=900Mi"]);
        assert_eq!(allocatable(&capacity, &[], false).unwrap(), capacity);
    }
}
