//! Upstream's metrics of the CPU, memory and topology managers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use api_types::core::v1::{Pod, PodQOSClass};
use daemon::metrics::{Histogram, IntCounter, global};

use super::cpu_set::CpuSet;
use super::cpus::{self, Static};
use super::hint::Policy;
use super::settings::Policies;
use super::topology::{Level, Topology};
use super::{Refusal, asks_as_a_whole};
use crate::resources;

/// Pods looked at.
pub static ADMISSIONS: LazyLock<IntCounter> = LazyLock::new(|| {
    global().counter(
        "kubelet_topology_manager_admission_requests_total",
        "The number of admission requests where resources have to be aligned.",
    )
});
/// Pods that could not be placed.
pub static ADMISSION_ERRORS: LazyLock<IntCounter> = LazyLock::new(|| {
    global().counter(
        "kubelet_topology_manager_admission_errors_total",
        "The number of admission request failures where resources could not be aligned.",
    )
});
/// Milliseconds.
pub static ADMISSION_TIME: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets: Vec<f64> = (0..15).map(|power| 0.05 * f64::from(1 << power)).collect();
    global().histogram(
        "kubelet_topology_manager_admission_duration_ms",
        "Duration in milliseconds to serve a pod admission request.",
        &buckets,
    )
});

fn count(name: &str, help: &str) {
    global().counter(name, help).inc();
}

fn cpu_requests() -> IntCounter {
    global().counter(
        "kubelet_cpu_manager_pinning_requests_total",
        "The number of cpu core allocations which required pinning.",
    )
}

fn cpu_errors() -> IntCounter {
    global().counter(
        "kubelet_cpu_manager_pinning_errors_total",
        "The number of cpu core allocations which required pinning failed.",
    )
}

fn memory_requests() -> IntCounter {
    global().counter(
        "kubelet_memory_manager_pinning_requests_total",
        "The number of memory pages allocations which required pinning.",
    )
}

const MEMORY_ERRORS: (&str, &str) = (
    "kubelet_memory_manager_pinning_errors_total",
    "The number of memory pages allocations which required pinning that failed.",
);

fn alignment(succeeded: bool) -> daemon::metrics::IntCounterVec {
    let (name, help) = if succeeded {
        (
            "kubelet_container_aligned_compute_resources_count",
            "Cumulative number of aligned compute resources allocated to containers by alignment type.",
        )
    } else {
        (
            "kubelet_container_aligned_compute_resources_failure_count",
            "Cumulative number of failures to allocate aligned compute resources to containers by alignment type.",
        )
    };
    global().counter_vec(name, help, &["scope", "boundary"])
}

/// Something that had to be aligned was, or was not.
pub fn aligned(succeeded: bool, scope: &str, boundary: &str) {
    alignment(succeeded).with_label_values(&[scope, boundary]).inc();
}

/// Shows what there is before anything happens.
pub fn start(policies: &Policies, topology: &Topology, state: &cpus::State) {
    LazyLock::force(&ADMISSIONS);
    LazyLock::force(&ADMISSION_ERRORS);
    cpu_requests();
    cpu_errors();
    memory_requests();
    global().counter(MEMORY_ERRORS.0, MEMORY_ERRORS.1);
    if let Some(policy) = &policies.cpus {
        for (succeeded, boundary) in [(true, "physical_cpu"), (false, "physical_cpu"), (true, "uncore_cache")]
        {
            alignment(succeeded).with_label_values(&["container", boundary]);
        }
        for node in topology.parts(Level::Node) {
            per_node().with_label_values(&[node.to_string().as_str()]);
        }
        cpus(policy, state);
    }
    if policies.merger.policy != Policy::None {
        for (succeeded, scope) in [(true, "container"), (true, "pod"), (false, "container"), (false, "pod")] {
            alignment(succeeded).with_label_values(&[scope, "numa_node"]);
        }
    }
}

fn per_node() -> daemon::metrics::IntGaugeVec {
    global().int_gauge_vec(
        "kubelet_cpu_manager_allocation_per_numa",
        "Number of CPUs allocated per NUMA node",
        &["numa_node"],
    )
}

/// How the CPUs are shared out now.
pub fn cpus(policy: &Static, state: &cpus::State) {
    let taken = state.taken();
    global()
        .int_gauge(
            "kubelet_cpu_manager_shared_pool_size_millicores",
            "The size of the shared CPU pool for non-guaranteed QoS pods, in millicores.",
        )
        .set(state.shared.without(&policy.reserved).len() as i64 * 1000);
    global()
        .int_gauge(
            "kubelet_cpu_manager_exclusive_cpu_allocation_count",
            "The total number of CPUs exclusively allocated to containers running on this node",
        )
        .set(taken.len() as i64);
    let mut counts: BTreeMap<usize, i64> =
        policy.topology.parts(Level::Node).into_iter().map(|node| (node, 0)).collect();
    for node in taken.iter().filter_map(|cpu| policy.topology.node_of(cpu)) {
        *counts.entry(node).or_default() += 1;
    }
    for (node, count) in counts {
        per_node().with_label_values(&[node.to_string().as_str()]).set(count);
    }
}

fn outcome(resource: &str, failed: bool) {
    let (name, help) = if failed {
        (
            "resource_manager_allocation_errors_total",
            "Number of errors encountered during exclusive resource allocation.",
        )
    } else {
        (
            "resource_manager_allocations_total",
            "Number of exclusive resource allocations performed by a resource manager.",
        )
    };
    global()
        .counter_vec(name, help, &["resource_name", "source"])
        .with_label_values(&[resource, "node"])
        .inc();
    if !failed {
        let help = "Number of containers with a specific type of resource assignment.";
        global()
            .counter_vec(
                "resource_manager_container_assignments",
                help,
                &["resource_name", "assignment_type"],
            )
            .with_label_values(&[resource, "node_exclusive"])
            .inc();
    }
}

/// A container was to have CPUs of its own.
pub fn cpus_asked(policy: &Static, given: &Result<Option<CpuSet>, Refusal>) {
    cpu_requests().inc();
    match given {
        Ok(Some(cpus)) => {
            outcome("cpu", false);
            let known =
                policy.topology.parts(Level::Cache).len() > policy.topology.parts(Level::Socket).len();
            if known && policy.topology.shares_cache(cpus) {
                aligned(true, "container", "uncore_cache");
            }
        }
        Ok(None) => {}
        Err(_) => {
            cpu_errors().inc();
            outcome("cpu", true);
        }
    }
    if policy.options.full_cores {
        aligned(given.is_ok(), "container", "physical_cpu");
    }
}

/// A container was to have memory of its own.
pub fn memory_asked(pod: &Pod, given: &Result<bool, String>) {
    if resources::qos_class(pod) != PodQOSClass::Guaranteed || asks_as_a_whole(pod) {
        return;
    }
    memory_requests().inc();
    match given {
        Ok(true) => outcome("memory", false),
        Ok(false) => {}
        Err(_) => {
            count(MEMORY_ERRORS.0, MEMORY_ERRORS.1);
            outcome("memory", true);
        }
    }
}
