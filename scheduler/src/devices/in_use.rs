//! Devices that claims have already, and what they consume of those that are shared (KEP-5075).

use std::collections::{BTreeMap, HashMap};

use api_types::Quantity;
use api_types::resource::v1::AllocationResult;

/// Amounts by the names of capacities.
pub type Capacity = BTreeMap<String, Quantity>;

/// How a device is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Use {
    /// By one claim alone.
    pub dedicated: bool,
    /// By claims that have a share of it.
    pub shared: bool,
    /// What the shares consume together.
    pub capacity: Option<Capacity>,
}

/// Used devices by driver, pool and name.
#[derive(Debug, Default)]
pub struct InUse(HashMap<String, HashMap<String, HashMap<String, Use>>>);

impl InUse {
    /// What the allocations use. Access for administrators uses nothing.
    pub fn of<'a>(allocations: impl Iterator<Item = &'a AllocationResult>) -> Self {
        let mut all = Self::default();
        let results = allocations.flat_map(|allocation| &allocation.devices.results);
        for result in results.filter(|result| result.admin_access != Some(true)) {
            let pools = all.0.entry(result.driver.clone()).or_default();
            let devices = pools.entry(result.pool.clone()).or_default();
            let of = devices.entry(result.device.clone()).or_default();
            if result.share_id.is_none() {
                of.dedicated = true;
                continue;
            }
            of.shared = true;
            if !result.consumed_capacity.is_empty() {
                add(of.capacity.get_or_insert_default(), &result.consumed_capacity);
            }
        }
        all
    }

    /// The used devices of a pool.
    pub fn pool(&self, driver: &str, pool: &str) -> Option<&HashMap<String, Use>> {
        self.0.get(driver)?.get(pool)
    }
}

/// Adds amounts to others.
pub fn add(to: &mut Capacity, more: &Capacity) {
    for (name, amount) in more {
        *to.entry(name.clone()).or_default() += *amount;
    }
}

/// Takes amounts away again.
pub fn subtract(from: &mut Capacity, less: &Capacity) {
    for (name, amount) in less {
        if let Some(own) = from.get_mut(name) {
            *own -= *amount;
        }
    }
}
