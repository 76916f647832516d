//! What the configuration says of CPUs, memory and NUMA nodes, and whether it can be: the fields' values alone
//! ([`Settings::check`], with upstream's words), and on this machine ([`Settings::policies`]). Pure.

use std::collections::{BTreeMap, BTreeSet};

use api_types::Quantity;
use api_types::core::v1::ResourceList;
use serde::{Deserialize, Deserializer};

use super::cpu_set::CpuSet;
use super::hint::{Merger, Policy};
use super::topology::Topology;
use super::{cpus, memory};

/// COMPAT: `max-allowable-numa-nodes` without the option, and the least that it may be.
const NODES: usize = 8;
/// More are not looked at in all their combinations.
const MOST_NODES: usize = 16;

/// Memory of a NUMA node that is kept from pods (`reservedMemory`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReservedMemory {
    /// The node.
    pub numa_node: i32,
    /// How much, by kind.
    #[serde(deserialize_with = "amounts")]
    pub limits: BTreeMap<String, String>,
}

/// Quantities are text or numbers.
fn amounts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let all = BTreeMap::<String, serde_json::Value>::deserialize(from)?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(all.into_iter().map(|(kind, value)| (kind, text(value))).collect())
}

/// What a hint is sought for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Each container.
    #[default]
    Container,
    /// The pod as a whole.
    Pod,
}

/// The fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `cpuManagerPolicy`
    pub cpu_policy: String,
    /// `cpuManagerPolicyOptions`
    pub cpu_options: BTreeMap<String, String>,
    /// `memoryManagerPolicy`
    pub memory_policy: String,
    /// `reservedMemory`
    pub reserved_memory: Vec<ReservedMemory>,
    /// `reservedSystemCPUs`
    pub reserved_cpus: String,
    /// `topologyManagerPolicy`
    pub topology_policy: String,
    /// `topologyManagerPolicyOptions`
    pub topology_options: BTreeMap<String, String>,
    /// `topologyManagerScope`
    pub topology_scope: String,
}

/// The policies on one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// CPUs; `None`: no one has their own.
    pub cpus: Option<cpus::Static>,
    /// Memory; `None`: it comes from anywhere.
    pub memory: Option<memory::Static>,
    /// NUMA nodes.
    pub merger: Merger,
    /// What they are sought for.
    pub scope: Scope,
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// As Go's strconv.ParseBool.
fn boolean(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "bad value for option {name:?}: strconv.ParseBool: parsing {value:?}: invalid syntax"
        )),
    }
}

/// The static policy's options.
fn cpu_options(given: &BTreeMap<String, String>) -> Result<cpus::Options, String> {
    let mut options = cpus::Options::default();
    for (name, value) in given {
        let option = match name.as_str() {
            "full-pcpus-only" => &mut options.full_cores,
            "distribute-cpus-across-numa" => &mut options.across_nodes,
            "strict-cpu-reservation" => &mut options.strict_reservation,
            "prefer-align-cpus-by-uncorecache" => &mut options.by_cache,
            // Upstream has them behind a gate that is off.
            "align-by-socket" | "distribute-cpus-across-cores" => {
                return Err(format!(
                    "CPU Manager Policy Alpha-level Options not enabled, but option {name:?} provided"
                ));
            }
            _ => return Err(format!("unknown CPU Manager Policy option: {name:?}")),
        };
        *option = boolean(name, value)?;
    }
    if options.by_cache && options.across_nodes {
        return Err("static policy options prefer-align-cpus-by-uncorecache and distribute-cpus-across-numa can not be used at the same time".into());
    }
    Ok(options)
}

/// Whether near nodes are preferred, and how many nodes there may be.
fn topology_options(given: &BTreeMap<String, String>) -> Result<(bool, usize), String> {
    let (mut closest, mut most) = (false, NODES);
    for (name, value) in given {
        match name.as_str() {
            "prefer-closest-numa-nodes" => closest = boolean(name, value)?,
            "max-allowable-numa-nodes" => {
                most = value.parse().map_err(|_| {
                    format!("unable to convert policy option to integer {name:?}: strconv.Atoi: parsing {value:?}: invalid syntax")
                })?;
                if most < NODES {
                    return Err(format!("the minimum value of {name:?} should not be less than {NODES}"));
                }
            }
            _ => return Err(format!("unknown Topology Manager Policy option: {name:?}")),
        }
    }
    Ok((closest, most))
}

impl Settings {
    /// Looks at the values.
    ///
    /// # Errors
    /// What is wrong, worded as upstream's.
    pub fn check(&self) -> Result<(), String> {
        self.hint_policy()?;
        self.hint_scope()?;
        if !self.reserved_cpus.is_empty() {
            self.reserved_cpus.parse::<CpuSet>().map_err(|error| {
                format!(
                    "unable to parse reservedSystemCPUs (--reserved-cpus) {}, error: {error}",
                    self.reserved_cpus
                )
            })?;
        }
        let mut seen = BTreeSet::new();
        for reservation in &self.reserved_memory {
            let node = reservation.numa_node;
            for (kind, amount) in &reservation.limits {
                if kind != "memory" && !kind.starts_with("hugepages-") {
                    return Err(format!(
                        "the limit type {kind:?} for NUMA node {node} is not supported, only [memory hugepages-<HugePageSize>] is accepted"
                    ));
                }
                let amount =
                    Quantity::parse(amount).map_err(|error| format!("reservedMemory: {kind}: {error}"))?;
                if amount.value() == 0 {
                    return Err(format!(
                        "reserved memory may not be zero for NUMA node {node} and resource {kind:?}"
                    ));
                }
                if !seen.insert((node, kind)) {
                    return Err(format!(
                        "the reserved memory has a duplicate value for NUMA node {node} and resource {kind:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn hint_policy(&self) -> Result<Policy, String> {
        match or(&self.topology_policy, "none") {
            "none" => Ok(Policy::None),
            "best-effort" => Ok(Policy::BestEffort),
            "restricted" => Ok(Policy::Restricted),
            "single-numa-node" => Ok(Policy::SingleNode),
            other => Err(format!(
                "topologyManagerPolicy (--topology-manager-policy) {other:?} must be one of: [\"none\" \"best-effort\" \"restricted\" \"single-numa-node\"]"
            )),
        }
    }

    fn hint_scope(&self) -> Result<Scope, String> {
        match or(&self.topology_scope, "container") {
            "container" => Ok(Scope::Container),
            "pod" => Ok(Scope::Pod),
            other => Err(format!(
                "topologyManagerScope (--topology-manager-scope) {other:?} must be one of: \"container\", or \"pod\""
            )),
        }
    }

    /// The CPUs that are reserved by number.
    ///
    /// # Errors
    /// When the machine does not have them.
    pub fn named_cpus(&self, topology: &Topology) -> Result<CpuSet, String> {
        let named: CpuSet = self
            .reserved_cpus
            .parse()
            .map_err(|error| format!("unable to parse reserved-cpus list: {error}"))?;
        let all = topology.all();
        if !named.is_within(&all) {
            return Err(format!(
                "reserved-cpus: {} is not a subset of online-cpus: {all}",
                self.reserved_cpus
            ));
        }
        Ok(named)
    }

    /// The policies on this machine; `reserved` is what the node keeps from pods, thresholds of eviction included.
    ///
    /// # Errors
    /// What does not fit, worded as upstream's.
    pub fn policies(&self, topology: &Topology, reserved: &ResourceList) -> Result<Policies, String> {
        let policy = self.hint_policy()?;
        let mut merger = Merger { policy, ..Default::default() };
        if policy != Policy::None {
            let (closest, most) = topology_options(&self.topology_options)?;
            let most = most.min(MOST_NODES);
            if topology.nodes.len() > most {
                return Err(format!("unsupported on machines with more than {most} NUMA Nodes"));
            }
            merger.nodes = topology.nodes.keys().copied().collect();
            merger.distances =
                closest.then(|| topology.nodes.values().map(|node| node.distances.clone()).collect());
        }
        Ok(Policies {
            cpus: self.cpus(topology, reserved)?,
            memory: self.memory(topology, reserved)?,
            merger,
            scope: self.hint_scope()?,
        })
    }

    /// The policy's name, as the file of CPUs has it.
    pub fn cpu_name(&self) -> &str {
        or(&self.cpu_policy, "none")
    }

    /// The policy's name, as the file of memory has it.
    pub fn memory_name(&self) -> &str {
        or(&self.memory_policy, "None")
    }

    fn cpus(&self, topology: &Topology, reserved: &ResourceList) -> Result<Option<cpus::Static>, String> {
        match self.cpu_name() {
            "none" if self.cpu_options.is_empty() => Ok(None),
            "none" => {
                let options: Vec<String> =
                    self.cpu_options.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                Err(format!(
                    "new none policy error: None policy: received unsupported options=map[{}]",
                    options.join(" ")
                ))
            }
            "static" => {
                let milli = reserved.get("cpu").map(Quantity::milli_value).unwrap_or_default();
                if milli == 0 {
                    return Err("[cpumanager] the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero".into());
                }
                let options = cpu_options(&self.cpu_options)
                    .map_err(|error| format!("new static policy error: {error}"))?;
                let count = usize::try_from(milli).unwrap_or_default().div_ceil(1000);
                let named = self.named_cpus(topology)?;
                cpus::Static::new(topology.clone(), count, named, options).map(Some)
            }
            other => Err(format!("unknown policy: {other:?}")),
        }
    }

    fn memory(&self, topology: &Topology, reserved: &ResourceList) -> Result<Option<memory::Static>, String> {
        match self.memory_name() {
            "None" => return Ok(None),
            "Static" => {}
            other => return Err(format!("unknown policy: {other:?}")),
        }
        let mut by_node: BTreeMap<usize, BTreeMap<String, u64>> = BTreeMap::new();
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        for reservation in &self.reserved_memory {
            let number =
                usize::try_from(reservation.numa_node).ok().filter(|one| topology.nodes.contains_key(one));
            let Some(number) = number else {
                return Err(format!(
                    "the reserved memory configuration references a NUMA node {} that does not exist on this machine",
                    reservation.numa_node
                ));
            };
            for (kind, amount) in &reservation.limits {
                let amount = Quantity::parse(amount).map_err(|error| error.to_string())?.value();
                let amount = u64::try_from(amount).unwrap_or_default();
                *totals.entry(kind).or_default() += amount;
                by_node.entry(number).or_default().insert(kind.clone(), amount);
            }
        }
        let of_node = |kind: &str| reserved.get(kind).map(Quantity::value).unwrap_or_default();
        let kinds: BTreeSet<&str> = reserved
            .keys()
            .map(String::as_str)
            .filter(|kind| *kind == "memory" || kind.starts_with("hugepages-"))
            .chain(totals.keys().copied())
            .collect();
        for kind in kinds {
            let total = totals.get(kind).copied().unwrap_or_default();
            let wanted = of_node(kind);
            if u64::try_from(wanted).unwrap_or_default() != total {
                let print =
                    |value: i64| Quantity::from_units(value, api_types::value::Format::BinarySi).to_string();
                return Err(format!(
                    "the total amount {:?} of type {kind:?} is not equal to the value {:?} determined by Node Allocatable feature",
                    print(i64::try_from(total).unwrap_or(i64::MAX)),
                    print(wanted)
                ));
            }
        }
        memory::Static::new(topology, &by_node).map(Some)
    }
}
