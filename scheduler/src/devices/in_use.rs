//! Devices that claims have already, and what they consume of those that are shared (KEP-5075).
//!
//! Kept up to date by each allocation that comes and goes; a snapshot shares it.

use std::collections::BTreeMap;

use api_types::Quantity;
use api_types::resource::v1::{AllocationResult, DeviceRequestAllocationResult};
use imbl::HashMap;

/// Amounts by the names of capacities.
pub type Capacity = BTreeMap<String, Quantity>;

/// How a device is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Use {
    /// Allocations that have it alone.
    alone: usize,
    /// Allocations that have a share of it.
    shares: usize,
    /// Shares that consume something of it.
    consumers: usize,
    /// What these consume together.
    consumed: Capacity,
}

impl Use {
    /// By one claim alone.
    pub fn is_dedicated(&self) -> bool {
        self.alone > 0
    }

    /// What the shares consume together; none when no share consumes anything.
    pub fn consumed(&self) -> Option<&Capacity> {
        (self.consumers > 0).then_some(&self.consumed)
    }

    fn enter(&mut self, result: &DeviceRequestAllocationResult) {
        if result.share_id.is_none() {
            self.alone += 1;
            return;
        }
        self.shares += 1;
        if !result.consumed_capacity.is_empty() {
            self.consumers += 1;
            add(&mut self.consumed, &result.consumed_capacity);
        }
    }

    fn leave(&mut self, result: &DeviceRequestAllocationResult) {
        if result.share_id.is_none() {
            self.alone = self.alone.saturating_sub(1);
            return;
        }
        self.shares = self.shares.saturating_sub(1);
        if !result.consumed_capacity.is_empty() {
            self.consumers = self.consumers.saturating_sub(1);
            subtract(&mut self.consumed, &result.consumed_capacity);
            if self.consumers == 0 {
                self.consumed.clear();
            }
        }
    }

    fn is_over(&self) -> bool {
        self.alone == 0 && self.shares == 0
    }
}

/// Used devices of a pool by their names.
pub type Used = HashMap<String, Use>;

/// Used devices by driver, pool and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InUse(HashMap<String, HashMap<String, Used>>);

/// Access for administrators uses nothing.
fn using(allocation: &AllocationResult) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    allocation.devices.results.iter().filter(|result| result.admin_access != Some(true))
}

impl InUse {
    /// An allocation was made.
    pub fn enter(&mut self, allocation: &AllocationResult) {
        for result in using(allocation) {
            let pools = self.0.entry(result.driver.clone()).or_default();
            let devices = pools.entry(result.pool.clone()).or_default();
            devices.entry(result.device.clone()).or_default().enter(result);
        }
    }

    /// An allocation that was entered is no more.
    pub fn leave(&mut self, allocation: &AllocationResult) {
        for result in using(allocation) {
            let Some(pools) = self.0.get_mut(&result.driver) else { continue };
            let Some(devices) = pools.get_mut(&result.pool) else { continue };
            let Some(of) = devices.get_mut(&result.device) else { continue };
            of.leave(result);
            if of.is_over() {
                devices.remove(&result.device);
            }
            if devices.is_empty() {
                pools.remove(&result.pool);
            }
            if pools.is_empty() {
                self.0.remove(&result.driver);
            }
        }
    }

    /// The used devices of a pool.
    pub fn pool(&self, driver: &str, pool: &str) -> Option<&Used> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn allocation(device: &str, share: Option<&str>, amount: &str) -> AllocationResult {
        let mut result = DeviceRequestAllocationResult {
            driver: "d".into(),
            pool: "p".into(),
            device: device.into(),
            ..Default::default()
        };
        result.share_id = share.map(Into::into);
        if !amount.is_empty() {
            result.consumed_capacity.insert("memory".into(), amount.parse().unwrap());
        }
        let mut allocation = AllocationResult::default();
        allocation.devices.results.push(result);
        allocation
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing() {
        let (alone, one, two) =
            (allocation("a", None, ""), allocation("b", Some("1"), "1G"), allocation("b", Some("2"), "2G"));
        let mut all = InUse::default();
        for allocation in [&alone, &one, &two] {
            all.enter(allocation);
        }
        let before = all.clone();
        let of = |all: &InUse, name: &str| all.pool("d", "p").and_then(|used| used.get(name)).cloned();
        assert!(of(&all, "a").unwrap().is_dedicated());
        assert!(!of(&all, "b").unwrap().is_dedicated());
        assert_eq!(of(&all, "b").unwrap().consumed().unwrap()["memory"], "3G".parse().unwrap());
        all.leave(&one);
        assert_eq!(of(&all, "b").unwrap().consumed().unwrap()["memory"], "2G".parse().unwrap());
        assert_eq!(of(&before, "b").unwrap().consumed().unwrap()["memory"], "3G".parse().unwrap());
        all.leave(&two);
        all.leave(&alone);
        all.leave(&alone);
        assert_eq!(all, InUse::default());
    }

    #[test]
    fn administrators_use_nothing() {
        let mut allocation = allocation("a", None, "");
        allocation.devices.results[0].admin_access = Some(true);
        let mut all = InUse::default();
        all.enter(&allocation);
        assert_eq!(all, InUse::default());
    }
}
