//! The search: one claim after the other, for each its requests in order, for each request the first alternative that
//! can be had, for each of these one device after the other. A device that fits is taken and the search goes on; when
//! it ends nowhere, the device is given back and the next one is tried. The first full solution is the answer.
//!
//! Devices of one request are picked in the order in which they stand, so that no set of them is tried twice.

use std::collections::HashMap;
use std::sync::Arc;

use api_types::resource::v1::{
    Device, DeviceTaint, DeviceTaintEffect, DeviceToleration, DeviceTolerationOperator, ResourceClaim,
};
use imbl::HashMap as Shared;

use super::Failure;
use super::capacity;
use super::constraint::Constraint;
use super::pools::{Counters, Pool, Reach, change, device_reaches};
use super::requests::{Ask, Demand, MOST_RESULTS, key};
use super::selectors::Selectors;
use crate::devices::Class;
use crate::devices::in_use::{Capacity, add, subtract};
use crate::node::NodeView;

/// How a part of the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Found,
    Nothing,
    /// Whatever devices are tried, there would be more than a claim can have.
    TooMany,
}

/// A device that was taken for a claim.
#[derive(Debug)]
pub struct Taken {
    pub device: usize,
    pub request: usize,
    pub option: usize,
    /// Of a device that is shared.
    pub consumed: Option<Capacity>,
    /// Whether counters of its pool were consumed.
    counted: bool,
}

/// The search on one node.
pub struct Search<'a, 's> {
    pub node: &'a NodeView,
    pub reach: &'a Reach<'a>,
    pub classes: &'s Shared<String, Arc<Class>>,
    pub selectors: &'s Selectors,
    /// Whether it has taken too long.
    pub stop: &'s dyn Fn() -> bool,
    pub claims: &'a [&'a ResourceClaim],
    pub demands: Vec<Vec<Demand<'a>>>,
    pub constraints: Vec<Vec<Constraint<'a>>>,
    pub taken: Vec<Vec<Taken>>,
    /// Claims that took a device in this search.
    holders: HashMap<usize, Vec<usize>>,
    /// What was taken in this search of devices that are shared, and how often.
    shares: HashMap<usize, (Capacity, usize)>,
    /// Counters consumed in this search, by pool.
    counters: Vec<Counters<'a>>,
    /// Whether a request picks a device.
    picked: HashMap<(usize, usize), bool>,
    ids: usize,
}

impl<'a, 's> Search<'a, 's> {
    pub fn new(
        node: &'a NodeView,
        reach: &'a Reach<'a>,
        claims: &'a [&'a ResourceClaim],
        classes: &'s Shared<String, Arc<Class>>,
        selectors: &'s Selectors,
        stop: &'s dyn Fn() -> bool,
    ) -> Self {
        Self {
            node,
            reach,
            classes,
            selectors,
            stop,
            claims,
            demands: Vec::new(),
            constraints: Vec::new(),
            taken: claims.iter().map(|_| Vec::new()).collect(),
            holders: HashMap::new(),
            shares: HashMap::new(),
            counters: vec![Counters::new(); reach.pools.len()],
            picked: HashMap::new(),
            ids: 0,
        }
    }

    pub fn next_id(&mut self) -> usize {
        self.ids += 1;
        self.ids
    }

    fn asked(&self, claim: usize, request: usize, option: usize) -> &Ask<'a> {
        &self.demands[claim][request].options[option]
    }

    /// Goes on with a request, or with the next claim after the last one.
    pub fn request(&mut self, claim: usize, request: usize) -> Result<End, Failure> {
        let Some(demands) = self.demands.get(claim) else { return Ok(End::Found) };
        let Some(demand) = demands.get(request) else {
            // Another choice for a claim before may leave fewer devices to be found for this one.
            return Ok(match self.request(claim + 1, 0)? {
                End::TooMany => End::Nothing,
                other => other,
            });
        };
        if !demand.is_list {
            return self.devices(claim, request, 0, 0, 0);
        }
        let mut all_too_many = true;
        for option in 0..demand.options.len() {
            match self.devices(claim, request, option, 0, 0)? {
                End::TooMany => {}
                End::Nothing => all_too_many = false,
                End::Found => {
                    self.demands[claim][request].chosen = option;
                    return Ok(End::Found);
                }
            }
        }
        Ok(if all_too_many { End::TooMany } else { End::Nothing })
    }

    /// Goes on with the `count`th device of a request, looking for it from `start` on.
    fn devices(
        &mut self,
        claim: usize,
        request: usize,
        option: usize,
        count: usize,
        start: usize,
    ) -> Result<End, Failure> {
        if (self.stop)() {
            return Err(Failure::TimedOut);
        }
        let ask = self.asked(claim, request, option);
        let (wanted, all) = (ask.wanted, ask.all.as_ref());
        if all.is_some_and(Vec::is_empty) {
            return Ok(End::Nothing);
        }
        if count >= wanted {
            return self.request(claim, request + 1);
        }
        if self.taken[claim].len() + (wanted - count) > MOST_RESULTS {
            return Ok(End::TooMany);
        }
        if let Some(device) = all.map(|all| all[count]) {
            // Without this one there are not all.
            if !self.take(claim, request, option, device, true)? {
                return Ok(End::Nothing);
            }
            let end = self.devices(claim, request, option, count + 1, 0);
            if end != Ok(End::Found) {
                self.give_back(claim);
            }
            return end;
        }
        for device in start..self.reach.devices.len() {
            if !self.is_candidate(claim, request, option, device)?
                || !self.take(claim, request, option, device, false)?
            {
                continue;
            }
            match self.devices(claim, request, option, count + 1, device + 1) {
                Ok(End::Found) => return Ok(End::Found),
                Ok(End::Nothing) => self.give_back(claim),
                end => {
                    self.give_back(claim);
                    return end;
                }
            }
        }
        Ok(End::Nothing)
    }

    fn is_candidate(
        &mut self,
        claim: usize,
        request: usize,
        option: usize,
        device: usize,
    ) -> Result<bool, Failure> {
        let ask = self.asked(claim, request, option);
        if !self.is_free(claim, ask.admin, device) {
            return Ok(false);
        }
        // Borrowed from the demands, which the search does not change while it looks.
        let demands = std::mem::take(&mut self.demands);
        let ask = &demands[claim][request].options[option];
        let whose = self.claims[claim];
        let picks = self.picks(whose, ask, device).map(|picks| picks && self.has_capacity(ask, device));
        self.demands = demands;
        picks
    }

    /// Whether the device is not in use, by others or in this search. Administrators share devices with others, but
    /// have each once in a claim.
    fn is_free(&self, claim: usize, admin: bool, device: usize) -> bool {
        let holders = self.holders.get(&device).map(Vec::as_slice).unwrap_or_default();
        if admin {
            return !holders.contains(&claim);
        }
        holders.is_empty() && !self.reach.devices[device].used.is_some_and(|used| used.is_dedicated())
    }

    /// Whether class and request pick the device, and the node reaches it.
    pub fn picks(&mut self, claim: &ResourceClaim, ask: &Ask<'_>, device: usize) -> Result<bool, Failure> {
        if let Some(known) = self.picked.get(&(ask.id, device)) {
            return Ok(*known);
        }
        let candidate = &self.reach.devices[device];
        let (driver, of) = (&candidate.slice.spec.driver, candidate.device);
        let class = || format!("class {}", ask.class.metadata.name);
        let own = || format!("claim {}", key(claim));
        let picks =
            self.selectors.all_match(class, &ask.class.spec.selectors, driver, of).map_err(Failure::claim)?
                && self.selectors.all_match(own, ask.selectors, driver, of).map_err(Failure::claim)?
                && (candidate.slice.spec.per_device_node_selection != Some(true)
                    || device_reaches(self.node, of));
        self.picked.insert((ask.id, device), picks);
        Ok(picks)
    }

    /// Whether the device has what the request consumes of it.
    pub fn has_capacity(&self, ask: &Ask<'_>, device: usize) -> bool {
        let candidate = &self.reach.devices[device];
        let others = candidate.used.and_then(|used| used.consumed());
        let own = self.shares.get(&device).map(|(consumed, _)| consumed);
        capacity::fits(candidate.device, ask.capacity, &[others, own])
    }

    /// Takes a device that the request picks, unless something is against it.
    fn take(
        &mut self,
        claim: usize,
        request: usize,
        option: usize,
        device: usize,
        must: bool,
    ) -> Result<bool, Failure> {
        let reach = self.reach;
        let candidate = &reach.devices[device];
        let of = candidate.device;
        let shared = of.allow_multiple_allocations == Some(true);
        let ask = self.asked(claim, request, option);
        let (admin, capacity) = (ask.admin, ask.capacity);
        let free = if shared && admin { true } else { self.is_free(claim, admin, device) };
        if !free || !self.has_capacity(ask, device) || !tolerated(&of.taints, ask.tolerations) {
            return Ok(false);
        }
        let in_part =
            self.shares.contains_key(&device) || candidate.used.is_some_and(|used| used.consumed().is_some());
        // A shared device consumes its counters once.
        let is_counted_already = shared && in_part;
        let counted = !of.consumes_counters.is_empty() && !is_counted_already;
        if counted && !self.count(candidate.pool, of) {
            return Ok(false);
        }
        if let Err(failure) = self.constrain(claim, request, option, device, must) {
            if counted {
                change(&mut self.counters[candidate.pool], of, |sum, amount| *sum -= amount);
            }
            return failure.map_or(Ok(false), Err);
        }
        let consumed = shared.then(|| capacity::consumed(of, capacity));
        match &consumed {
            Some(consumed) => {
                let (sum, count) = self.shares.entry(device).or_default();
                add(sum, consumed);
                *count += 1;
            }
            None => self.holders.entry(device).or_default().push(claim),
        }
        self.taken[claim].push(Taken { device, request, option, consumed, counted });
        Ok(true)
    }

    /// Adds the device to the claim's constraints.
    ///
    /// # Errors
    /// When one is against it; with a failure when there was no choice.
    fn constrain(
        &mut self,
        claim: usize,
        request: usize,
        option: usize,
        device: usize,
        must: bool,
    ) -> Result<(), Option<Failure>> {
        let candidate = &self.reach.devices[device];
        let driver = &candidate.slice.spec.driver;
        let ask = &self.demands[claim][request].options[option];
        let (base, alternative) = ask.names();
        let constraints = &mut self.constraints[claim];
        let refused =
            constraints.iter_mut().position(|own| !own.add(base, alternative, driver, candidate.device));
        let Some(place) = refused else { return Ok(()) };
        constraints[..place].iter_mut().for_each(|own| own.remove(base, alternative));
        Err(must.then(|| {
            let (pool, name) = (&candidate.slice.spec.pool.name, &candidate.device.name);
            Failure::claim(format!(
                "claim {}, request {}: cannot add device {driver}/{pool}/{name} because a claim constraint would not be satisfied",
                key(self.claims[claim]),
                ask.name
            ))
        }))
    }

    /// Consumes the device's counters, if the pool has enough of all its counters then.
    fn count(&mut self, pool: usize, device: &'a Device) -> bool {
        let counters = &mut self.counters[pool];
        change(counters, device, |sum, amount| *sum += amount);
        let there: &Pool<'_> = &self.reach.pools[pool];
        let enough = there.counters.iter().all(|(set, left)| {
            let own = counters.get(set);
            left.iter().all(|(name, left)| {
                let consumed = own.and_then(|own| own.get(name)).copied().unwrap_or_default();
                consumed <= *left
            })
        });
        if !enough {
            change(counters, device, |sum, amount| *sum -= amount);
        }
        enough
    }

    /// Gives back what the claim took last.
    fn give_back(&mut self, claim: usize) {
        let Some(taken) = self.taken[claim].pop() else { return };
        let candidate = &self.reach.devices[taken.device];
        let ask = &self.demands[claim][taken.request].options[taken.option];
        let (base, alternative) = ask.names();
        self.constraints[claim].iter_mut().for_each(|own| own.remove(base, alternative));
        if taken.counted {
            change(&mut self.counters[candidate.pool], candidate.device, |sum, amount| *sum -= amount);
        }
        match &taken.consumed {
            Some(consumed) => {
                if let Some((sum, count)) = self.shares.get_mut(&taken.device) {
                    subtract(sum, consumed);
                    *count -= 1;
                    if *count == 0 {
                        self.shares.remove(&taken.device);
                    }
                }
            }
            None => {
                if let Some(holders) = self.holders.get_mut(&taken.device) {
                    holders.pop();
                }
            }
        }
    }
}

/// Whether no taint keeps the request from the device (KEP-5055).
fn tolerated(taints: &[DeviceTaint], tolerations: &[DeviceToleration]) -> bool {
    let keeps = |taint: &&DeviceTaint| {
        matches!(taint.effect, DeviceTaintEffect::NoSchedule | DeviceTaintEffect::NoExecute)
    };
    let tolerates = |taint: &DeviceTaint, toleration: &DeviceToleration| {
        (toleration.effect.is_unset() || toleration.effect == taint.effect)
            && (toleration.key.is_empty() || toleration.key == taint.key)
            && match toleration.operator {
                DeviceTolerationOperator::Unset | DeviceTolerationOperator::Equal => {
                    toleration.value == taint.value
                }
                DeviceTolerationOperator::Exists => true,
                DeviceTolerationOperator::Other(_) => false,
            }
    };
    taints.iter().filter(keeps).all(|taint| tolerations.iter().any(|own| tolerates(taint, own)))
}
