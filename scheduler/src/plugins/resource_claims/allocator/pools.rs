//! Pools of devices as a node reaches them: slices of the newest generation, in the order in which devices are tried
//! (pools by driver and name, those whose devices have binding conditions last; slices by name).
//!
//! A pool of which slices are missing, or whose slices contradict each other, is kept but offers nothing. Slices of
//! other nodes matter where devices share counters (KEP-4815).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::NodeSelector;
use api_types::core::v1::node::selection::Terms;
use api_types::resource::v1::{Device, ResourceSlice};

use crate::devices::Slice;
use crate::devices::in_use::{InUse, Use};
use crate::node::NodeView;

/// All slices, by pool.
#[derive(Debug, Default)]
pub struct Offer {
    /// By driver and name.
    pools: Vec<Slices>,
    /// Pools with slices of one node.
    local: HashMap<String, BTreeSet<usize>>,
    /// Pools with other slices.
    anywhere: BTreeSet<usize>,
}

#[derive(Debug)]
struct Slices {
    driver: String,
    name: String,
    /// By name, of all generations.
    all: Vec<Arc<Slice>>,
}

/// Amounts of counters by their sets and names.
pub type Counters<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Quantity>>;

/// Why a pool offers nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Slices of its generation are missing.
    Incomplete,
    /// Names come twice, or counters are consumed that there are not.
    Invalid,
}

/// A pool as a node reaches it.
#[derive(Debug)]
pub struct Pool<'a> {
    pub driver: &'a str,
    pub name: &'a str,
    pub fault: Option<Fault>,
    /// Its devices among all of the node's.
    pub devices: Range<usize>,
    /// What its counters have left beside devices that are in use; below zero when they use too much.
    pub counters: Counters<'a>,
}

/// A device that a node may reach.
#[derive(Debug)]
pub struct Candidate<'a> {
    pub pool: usize,
    pub slice: &'a ResourceSlice,
    pub device: &'a Device,
    pub used: Option<&'a Use>,
}

/// What a node reaches.
#[derive(Debug)]
pub struct Reach<'a> {
    pub pools: Vec<Pool<'a>>,
    pub devices: Vec<Candidate<'a>>,
}

/// Whether a slice or device is there for the node, by what it says of nodes.
pub fn reaches(
    node: &NodeView,
    name: Option<&str>,
    all_nodes: Option<bool>,
    selector: Option<&NodeSelector>,
) -> bool {
    match name {
        Some(name) if !name.is_empty() => *node.name == *name,
        _ if all_nodes == Some(true) => true,
        _ => selector.is_some_and(|selector| Terms::of(selector).matches(&node.name, &node.labels)),
    }
}

/// Whether the node reaches the device, which says so itself.
pub fn device_reaches(node: &NodeView, device: &Device) -> bool {
    reaches(node, device.node_name.as_deref(), device.all_nodes, device.node_selector.as_deref())
}

/// Slices with counters count for every node: without them the devices of a pool cannot be judged.
fn is_relevant(slice: &ResourceSlice, node: &NodeView) -> bool {
    let spec = &slice.spec;
    !spec.shared_counters.is_empty()
        || reaches(node, spec.node_name.as_deref(), spec.all_nodes, spec.node_selector.as_deref())
        || spec.per_device_node_selection == Some(true)
            && spec.devices.iter().any(|device| device_reaches(node, device))
}

impl Offer {
    pub fn new<'s>(slices: impl Iterator<Item = &'s Arc<Slice>>) -> Self {
        let mut by_pool: BTreeMap<(&str, &str), Vec<&Arc<Slice>>> = BTreeMap::new();
        for slice in slices {
            by_pool.entry((&slice.spec.driver, &slice.spec.pool.name)).or_default().push(slice);
        }
        let mut offer = Self::default();
        for (at, ((driver, name), mut slices)) in by_pool.into_iter().enumerate() {
            slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
            for slice in &slices {
                match slice.spec.node_name.as_deref() {
                    Some(node) if !node.is_empty() && slice.spec.shared_counters.is_empty() => {
                        offer.local.entry(node.to_owned()).or_default().insert(at);
                    }
                    _ => drop(offer.anywhere.insert(at)),
                }
            }
            let all = slices.into_iter().cloned().collect();
            offer.pools.push(Slices { driver: driver.to_owned(), name: name.to_owned(), all });
        }
        offer
    }

    /// What a node reaches.
    pub fn on<'a>(&'a self, node: &NodeView, in_use: &'a InUse) -> Reach<'a> {
        let local = self.local.get(&*node.name).into_iter().flatten();
        let places: BTreeSet<usize> = local.chain(&self.anywhere).copied().collect();
        let mut built: Vec<Built<'a>> =
            places.into_iter().filter_map(|place| Built::new(&self.pools[place], node, in_use)).collect();
        // Devices that are ready at once go before those that have to be made ready (KEP-5007).
        built.sort_by_key(Built::has_binding_conditions);
        let mut reach = Reach { pools: Vec::new(), devices: Vec::new() };
        for built in built {
            let start = reach.devices.len();
            let used = in_use.pool(&built.pool.driver, &built.pool.name);
            for slice in &built.slices {
                reach.devices.extend(slice.spec.devices.iter().map(|device| Candidate {
                    pool: reach.pools.len(),
                    slice,
                    device,
                    used: used.and_then(|used| used.get(&device.name)),
                }));
            }
            reach.pools.push(Pool {
                driver: &built.pool.driver,
                name: &built.pool.name,
                fault: built.fault,
                devices: start..reach.devices.len(),
                counters: built.counters,
            });
        }
        reach
    }
}

struct Built<'a> {
    pool: &'a Slices,
    fault: Option<Fault>,
    /// Those with devices for the node.
    slices: Vec<&'a ResourceSlice>,
    counters: Counters<'a>,
}

impl<'a> Built<'a> {
    /// `None` for a pool that the node does not reach, or of which it only reaches what is out of date.
    fn new(pool: &'a Slices, node: &NodeView, in_use: &InUse) -> Option<Self> {
        let relevant: Vec<&ResourceSlice> =
            pool.all.iter().map(|slice| &slice.0).filter(|slice| is_relevant(slice, node)).collect();
        let generation = relevant.iter().map(|slice| slice.spec.pool.generation).max()?;
        let newest = |slices: Vec<&'a ResourceSlice>| -> Vec<&'a ResourceSlice> {
            slices.into_iter().filter(|slice| slice.spec.pool.generation == generation).collect()
        };
        let own = newest(relevant);
        let wanted = own.first()?.spec.pool.resource_slice_count;
        let is_all = |slices: &[&ResourceSlice]| i64::try_from(slices.len()) == Ok(wanted);
        let mut elsewhere = Vec::new();
        if !is_all(&own) {
            if pool.all.iter().any(|slice| slice.spec.pool.generation > generation) {
                return None;
            }
            let all = newest(pool.all.iter().map(|slice| &slice.0).collect());
            if !is_all(&all) {
                return Some(Self::faulty(pool, Fault::Incomplete));
            }
            elsewhere = all.into_iter().filter(|s| !own.iter().any(|own| std::ptr::eq(*own, *s))).collect();
        }
        let (with_counters, slices): (Vec<_>, Vec<_>) =
            own.iter().copied().partition(|slice| !slice.spec.shared_counters.is_empty());
        let Some(mut counters) = counters(&with_counters) else {
            return Some(Self::faulty(pool, Fault::Invalid));
        };
        let devices = |slices: &[&'a ResourceSlice]| -> Vec<&'a Device> {
            slices.iter().flat_map(|slice| &slice.spec.devices).collect()
        };
        let (here, there) = (devices(&slices), devices(&elsewhere));
        let mut names = HashSet::new();
        let sound = here.iter().all(|device| names.insert(&device.name))
            && here.iter().chain(&there).all(|device| consumes_what_there_is(device, &counters));
        if !sound {
            return Some(Self::faulty(pool, Fault::Invalid));
        }
        if let Some(used) = in_use.pool(&pool.driver, &pool.name)
            && !counters.is_empty()
        {
            let taken = here.iter().chain(&there).filter(|device| used.contains_key(&device.name));
            taken.for_each(|device| change(&mut counters, device, |left, amount| *left -= amount));
        }
        Some(Self { pool, fault: None, slices, counters })
    }

    fn faulty(pool: &'a Slices, fault: Fault) -> Self {
        Self { pool, fault: Some(fault), slices: Vec::new(), counters: Counters::new() }
    }

    fn has_binding_conditions(&self) -> bool {
        self.slices.iter().any(|slice| slice.spec.devices.iter().any(|d| !d.binding_conditions.is_empty()))
    }
}

/// The counters of a pool; `None` when a set comes twice.
fn counters<'a>(slices: &[&'a ResourceSlice]) -> Option<Counters<'a>> {
    let mut all = Counters::new();
    for set in slices.iter().flat_map(|slice| &slice.spec.shared_counters) {
        let own = set.counters.iter().map(|(name, counter)| (name.as_str(), counter.value)).collect();
        if all.insert(&set.name, own).is_some() {
            return None;
        }
    }
    Some(all)
}

fn consumes_what_there_is(device: &Device, counters: &Counters<'_>) -> bool {
    device.consumes_counters.iter().all(|consumed| {
        let set = counters.get(consumed.counter_set.as_str());
        set.is_some_and(|set| consumed.counters.keys().all(|name| set.contains_key(name.as_str())))
    })
}

/// Changes each counter that the device consumes, by how much it does.
pub fn change<'a>(counters: &mut Counters<'a>, device: &'a Device, how: impl Fn(&mut Quantity, Quantity)) {
    for consumed in &device.consumes_counters {
        let set = counters.entry(&consumed.counter_set).or_default();
        for (name, counter) in &consumed.counters {
            how(set.entry(name).or_default(), counter.value);
        }
    }
}
