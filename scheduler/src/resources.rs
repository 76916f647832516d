//! Amounts of resources as the scheduler adds and compares them: cpu in millicores, all else in
//! whole units, rounded up. Also the arithmetic from a pod's containers to what the pod needs
//! (KEP-753 for sidecars, KEP-2837 for pod-level resources). Pure.

use std::collections::BTreeMap;

use api_types::core::v1::{Container, ContainerRestartPolicy, PodSpec, ResourceList};

/// What a container without a cpu request counts as when nodes are scored, in millicores.
pub const DEFAULT_MILLI_CPU: i64 = 100;
/// What a container without a memory request counts as when nodes are scored, in bytes.
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of each resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Extended resources, huge pages and all others, by name.
    pub scalar: BTreeMap<String, i64>,
}

impl Resources {
    pub fn of(list: &ResourceList) -> Self {
        let mut all = Self::default();
        for (name, quantity) in list {
            let amount = if name == "cpu" { quantity.milli_value() } else { quantity.value() };
            *all.slot(name) = amount;
        }
        all.scalar.remove("pods");
        all
    }

    /// The amount of one resource; 0 when it is not there.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            _ => self.scalar.get(name).copied().unwrap_or(0),
        }
    }

    fn slot(&mut self, name: &str) -> &mut i64 {
        match name {
            "cpu" => &mut self.milli_cpu,
            "memory" => &mut self.memory,
            "ephemeral-storage" => &mut self.ephemeral_storage,
            _ => self.scalar.entry(name.to_owned()).or_default(),
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    pub fn sub(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Raises each amount to the other's.
    pub fn raise(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, f: fn(i64, i64) -> i64) {
        self.milli_cpu = f(self.milli_cpu, other.milli_cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let slot = self.scalar.entry(name.clone()).or_default();
            *slot = f(*slot, *amount);
        }
    }

    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalar.values().all(|a| *a == 0)
    }
}

/// Whether scoring leaves the resource out for pods that do not ask for it.
pub fn is_scalar(name: &str) -> bool {
    !matches!(name, "cpu" | "memory" | "ephemeral-storage" | "pods")
}

/// Whether the name is an extended resource: outside of kubernetes.io and with a domain.
pub fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// What a pod needs, and what it counts as when nodes are scored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRequests {
    pub needed: Resources,
    /// As `needed`, with the defaults for containers that ask for no cpu or memory.
    pub non_zero: Resources,
}

impl PodRequests {
    pub fn of(spec: &PodSpec) -> Self {
        Self { needed: total(spec, false), non_zero: total(spec, true) }
    }
}

fn total(spec: &PodSpec, with_defaults: bool) -> Resources {
    let of = |container: &Container| {
        let requests = &container.resources.requests;
        let mut needed = Resources::of(requests);
        if with_defaults {
            if !requests.contains_key("cpu") {
                needed.milli_cpu = DEFAULT_MILLI_CPU;
            }
            if !requests.contains_key("memory") {
                needed.memory = DEFAULT_MEMORY;
            }
        }
        needed
    };
    let mut all = Resources::default();
    for container in &spec.containers {
        all.add(&of(container));
    }
    // While the i-th init container runs, so do the sidecars before it.
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let own = of(container);
        if container.restart_policy == Some(ContainerRestartPolicy::Always) {
            all.add(&own);
            sidecars.add(&own);
            starting.raise(&sidecars);
        } else {
            let mut running = sidecars.clone();
            running.add(&own);
            starting.raise(&running);
        }
    }
    all.raise(&starting);
    if let Some(pod_level) = &spec.resources {
        let requests = Resources::of(&pod_level.requests);
        for name in pod_level.requests.keys() {
            if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
                *all.slot(name) = requests.get(name);
            }
        }
    }
    all.add(&Resources::of(&spec.overhead));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::container;

    fn check(spec: PodSpec, milli_cpu: i64, memory: i64) {
        let needed = PodRequests::of(&spec).needed;
        assert_eq!((needed.milli_cpu, needed.memory), (milli_cpu, memory), "{spec:?}");
    }

    #[test]
    fn containers_add_up_and_init_containers_are_a_floor() {
        check(
            PodSpec { containers: vec![container("100m", "1"), container("1", "2")], ..Default::default() },
            1100,
            3,
        );
        let spec = PodSpec {
            containers: vec![container("1", "10")],
            init_containers: vec![container("2", "5"), container("500m", "20")],
            ..Default::default()
        };
        check(spec, 2000, 20);
    }

    #[test]
    fn sidecars_run_beside_what_follows_them() {
        let sidecar =
            Container { restart_policy: Some(ContainerRestartPolicy::Always), ..container("1", "1") };
        let spec = PodSpec {
            containers: vec![container("1", "1")],
            init_containers: vec![container("3", "1"), sidecar.clone(), container("3", "1"), sidecar],
            ..Default::default()
        };
        // The second plain init container runs with one sidecar: 4; all containers: 1 + 2 sidecars.
        check(spec, 4000, 3);
    }

    #[test]
    fn pod_level_requests_replace_and_overhead_adds() {
        let mut spec = PodSpec { containers: vec![container("1", "10")], ..Default::default() };
        spec.resources = Some(Default::default());
        if let Some(resources) = &mut spec.resources {
            resources.requests.insert("cpu".into(), "4".parse().unwrap());
            resources.requests.insert("ephemeral-storage".into(), "4".parse().unwrap());
        }
        spec.overhead.insert("memory".into(), "5".parse().unwrap());
        assert_eq!(PodRequests::of(&spec).needed.ephemeral_storage, 0);
        check(spec, 4000, 15);
    }

    #[test]
    fn scoring_counts_containers_that_ask_for_nothing() {
        let spec =
            PodSpec { containers: vec![Container::default(), Container::default()], ..Default::default() };
        let non_zero = PodRequests::of(&spec).non_zero;
        assert_eq!((non_zero.milli_cpu, non_zero.memory), (200, 2 * DEFAULT_MEMORY));
    }
}
