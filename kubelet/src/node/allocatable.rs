//! What the node has, and what of it pods may use. Pure but for asking the filesystem for its size.

use std::collections::BTreeMap;
use std::path::Path;

use api_types::Quantity;
use api_types::core::v1::ResourceList;
use api_types::value::Format;

use crate::eviction::thresholds::{Signal, Threshold};
use crate::machine::Machine;

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

/// What is left for pods after the reservations, and what the hard thresholds keep free.
pub fn allocatable(
    capacity: &ResourceList,
    reserved: &[&BTreeMap<String, String>],
    thresholds: &[Threshold],
) -> Result<ResourceList, String> {
    let mut list = capacity.clone();
    for (name, amount) in reserved.iter().flat_map(|list| list.iter()) {
        let amount =
            Quantity::parse(amount).map_err(|error| format!("invalid reservation of {name}: {error}"))?;
        subtract(&mut list, name, amount.milli_value());
    }
    for threshold in thresholds.iter().filter(|threshold| threshold.is_hard()) {
        let of = |name: &str| capacity.get(name).map(Quantity::value).unwrap_or_default();
        match threshold.signal {
            Signal::Memory => {
                let kept = threshold.quantity(of("memory"), false).value();
                subtract(&mut list, "memory", kept * 1000);
            }
            Signal::NodeFs if capacity.contains_key("ephemeral-storage") => {
                let disk = of("ephemeral-storage");
                let left = (disk - threshold.quantity(disk, false).value()).max(0);
                // COMPAT: published as plain bytes from here on.
                list.insert("ephemeral-storage".into(), Quantity::from_units(left, Format::DecimalSi));
            }
            _ => {}
        }
    }
    Ok(list)
}

/// Takes huge pages off the memory: who has them has memory less.
pub fn without_huge_pages(mut allocatable: ResourceList, capacity: &ResourceList) -> ResourceList {
    for (_, pages) in capacity.iter().filter(|(name, _)| name.starts_with("hugepages-")) {
        subtract(&mut allocatable, "memory", pages.milli_value());
    }
    allocatable
}

/// What is kept from pods: the reservations, and the memory that the hard thresholds keep free.
pub fn reserved(
    capacity: &ResourceList,
    reserved: &[&BTreeMap<String, String>],
    thresholds: &[Threshold],
) -> Result<ResourceList, String> {
    let mut list = ResourceList::new();
    let mut add = |name: &str, amount: Quantity| match list.get_mut(name) {
        Some(sum) => *sum += amount,
        None => {
            list.insert(name.to_owned(), amount);
        }
    };
    for (name, amount) in reserved.iter().flat_map(|list| list.iter()) {
        add(
            name,
            Quantity::parse(amount).map_err(|error| format!("invalid reservation of {name}: {error}"))?,
        );
    }
    let memory = capacity.get("memory").map(Quantity::value).unwrap_or_default();
    for threshold in thresholds.iter().filter(|one| one.is_hard() && one.signal == Signal::Memory) {
        add("memory", threshold.quantity(memory, false));
    }
    Ok(list)
}

/// Refuses reservations of more than there is; worded as upstream's.
pub fn check(capacity: &ResourceList, reserved: &ResourceList) -> Result<(), String> {
    let problems: Vec<String> = reserved
        .iter()
        .filter_map(|(name, amount)| {
            let have = capacity.get(name)?;
            (amount.milli_value() > have.milli_value()).then(|| {
                format!(
                    "Resource {name:?} has a reservation of {amount} but capacity of {have}. Expected capacity >= \
                     reservation."
                )
            })
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("invalid Node Allocatable configuration. {}", problems.join(" ")))
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
    use crate::eviction::thresholds::{Settings, parse};

    #[test]
    fn reservations_and_thresholds_are_subtracted() {
        let quantity = |text: &str| Quantity::parse(text).unwrap();
        let capacity: ResourceList = [("cpu", "2"), ("memory", "1Gi"), ("ephemeral-storage", "1000")]
            .map(|(name, amount)| (name.to_owned(), quantity(amount)))
            .into();
        let reserved: BTreeMap<String, String> =
            [("cpu".to_owned(), "500m".to_owned()), ("memory".to_owned(), "24Mi".to_owned())].into();
        let thresholds = parse(&Settings::default()).unwrap();
        let left = allocatable(&capacity, &[&reserved], &thresholds).unwrap();
        let shown: Vec<String> = left.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(shown, ["cpu=1500m", "ephemeral-storage=900", "memory=900Mi"]);
        assert_eq!(allocatable(&capacity, &[], &[]).unwrap(), capacity);
        let pages: ResourceList = [("hugepages-2Mi".to_owned(), quantity("128Mi"))].into();
        assert_eq!(without_huge_pages(left.clone(), &pages)["memory"], quantity("772Mi"));
        let kept = super::reserved(&capacity, &[&reserved], &thresholds).unwrap();
        let shown: Vec<String> = kept.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(shown, ["cpu=500m", "memory=124Mi"]);
        assert_eq!(check(&capacity, &kept), Ok(()));
        let refused = check(&kept, &capacity).unwrap_err();
        assert_eq!(
            refused,
            "invalid Node Allocatable configuration. Resource \"cpu\" has a reservation of 2 but capacity of 500m. \
             Expected capacity >= reservation. Resource \"memory\" has a reservation of 1Gi but capacity of 124Mi. \
             Expected capacity >= reservation."
        );
    }
}
