//! What containers and pods ask for, in the kernel's terms: QoS class, shares, quota, OOM score. Pure.

use api_types::core::v1::{Container, Pod, PodQOSClass, PodSpec, ResourceList, ResourceRequirements};

use crate::cgroup::huge::HugePages;
use crate::cri::v1::LinuxContainerResources;
use crate::eviction::is_critical;
use crate::placement::cpu_set::CpuSet;
use crate::sync_pod::plan::is_sidecar;

/// Microseconds of a CFS period.
pub const CPU_PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const GUARANTEED_SCORE: i64 = -997;
const BEST_EFFORT_SCORE: i64 = 1_000;

/// Thousandths of a CPU; zero when absent.
pub fn cpu(list: &ResourceList) -> i64 {
    list.get("cpu").map(api_types::Quantity::milli_value).unwrap_or_default()
}

/// Bytes; zero when absent.
pub fn memory(list: &ResourceList) -> i64 {
    list.get("memory").map(api_types::Quantity::value).unwrap_or_default()
}

/// CFS shares of so many thousandths of a CPU.
pub fn shares(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 {
        return MIN_SHARES;
    }
    (milli_cpu * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// CFS quota per period, in microseconds; zero sets none.
pub fn quota(milli_cpu: i64, period: i64) -> i64 {
    if milli_cpu == 0 {
        return 0;
    }
    (milli_cpu * period / 1000).max(MIN_QUOTA)
}

/// The QoS class (KEP-2837 for resources on the pod itself).
pub fn qos_class(pod: &Pod) -> PodQOSClass {
    if !pod.status.qos_class.is_unset() {
        return pod.status.qos_class.clone();
    }
    let spec = &pod.spec;
    if let Some(own) = spec.resources.as_ref().filter(|own| names_compute(own)) {
        return if guaranteed(own) { PodQOSClass::Guaranteed } else { PodQOSClass::Burstable };
    }
    let all: Vec<&ResourceRequirements> =
        spec.containers.iter().chain(&spec.init_containers).map(|container| &container.resources).collect();
    if all.iter().all(|resources| !names_compute(resources)) {
        PodQOSClass::BestEffort
    } else if all.iter().all(|resources| guaranteed(resources)) {
        PodQOSClass::Guaranteed
    } else {
        PodQOSClass::Burstable
    }
}

fn names_compute(resources: &ResourceRequirements) -> bool {
    [&resources.limits, &resources.requests].iter().any(|list| cpu(list) > 0 || memory(list) > 0)
}

fn guaranteed(resources: &ResourceRequirements) -> bool {
    let (limits, requests) = (&resources.limits, &resources.requests);
    let same = |limit: i64, request: i64| limit > 0 && (request == limit || request == 0);
    same(cpu(limits), cpu(requests)) && same(memory(limits), memory(requests))
}

/// The kernel's adjustment of the container's OOM score.
pub fn oom_score_adjust(pod: &Pod, container: &Container, node_memory: i64) -> i64 {
    if is_critical(pod) && pod.spec.priority_class_name == "system-node-critical" {
        return GUARANTEED_SCORE;
    }
    match qos_class(pod) {
        PodQOSClass::Guaranteed => return GUARANTEED_SCORE,
        PodQOSClass::BestEffort => return BEST_EFFORT_SCORE,
        _ => {}
    }
    // What the pod asks for beyond its containers is shared by all of them.
    let more = unassigned_memory(&pod.spec);
    let score = |request: i64| 1000 - 1000 * (request + more) / node_memory.max(1);
    let mut adjust = score(memory(&container.resources.requests));
    if is_sidecar(container) {
        // A sidecar must not die before the containers that need it.
        let least = pod
            .spec
            .containers
            .iter()
            .map(|other| memory(&other.resources.requests))
            .min()
            .unwrap_or_default();
        adjust = adjust.min(score(least));
    }
    // Room below for guaranteed pods, above for best-effort ones.
    if adjust < 1000 + GUARANTEED_SCORE {
        1000 + GUARANTEED_SCORE
    } else if adjust == BEST_EFFORT_SCORE {
        adjust - 1
    } else {
        adjust
    }
}

/// The part of each container in the memory that the pod asks for and its containers do not (KEP-2837).
fn unassigned_memory(spec: &PodSpec) -> i64 {
    let own = spec.resources.as_ref().map_or(0, |own| memory(&own.requests));
    let count = (spec.containers.len() + spec.init_containers.len()) as i64;
    if own == 0 || count == 0 {
        return 0;
    }
    let containers = PodSpec { resources: None, overhead: ResourceList::new(), ..spec.clone() };
    (own - total(&containers, |resources| &resources.requests).memory) / count
}

/// A container's limits for the runtime. With `group_kill` all its processes end where one is out of memory: only
/// control groups v2 can do so.
pub fn container_resources(
    pod: &Pod,
    container: &Container,
    node_memory: i64,
    cfs_quota: bool,
    group_kill: bool,
) -> LinuxContainerResources {
    let resources = &container.resources;
    let pod_limits = pod.spec.resources.as_ref().map(|own| &own.limits);
    let or_pods = |own: i64, read: fn(&ResourceList) -> i64| {
        if own == 0 { pod_limits.map(read).unwrap_or_default() } else { own }
    };
    let cpu_limit = or_pods(cpu(&resources.limits), cpu);
    let memory_limit = or_pods(memory(&resources.limits), memory);
    let cpu_request = match resources.requests.get("cpu") {
        Some(request) => request.milli_value(),
        None => cpu_limit,
    };
    let mut limits = LinuxContainerResources {
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: memory_limit,
        oom_score_adj: oom_score_adjust(pod, container, node_memory),
        ..Default::default()
    };
    if cfs_quota {
        limits.cpu_quota = quota(cpu_limit, CPU_PERIOD);
        limits.cpu_period = CPU_PERIOD;
    }
    if group_kill {
        limits.unified.insert("memory.oom.group".into(), "1".into());
    }
    limits
}

/// What a pod's own cgroup is limited to; `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    /// Relative weight.
    pub cpu_shares: Option<i64>,
    /// Microseconds per [`CPU_PERIOD`]; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Bytes of huge pages.
    pub huge_pages: HugePages,
    /// The only CPUs that may be used.
    pub cpus: Option<CpuSet>,
}

/// The limits of the pod's cgroup.
pub fn pod_limits(pod: &Pod, cfs_quota: bool) -> PodLimits {
    let class = qos_class(pod);
    let requests = total(&pod.spec, |resources| &resources.requests);
    let limits = total(&pod.spec, |resources| &resources.limits);
    let quota = match quota(limits.cpu, CPU_PERIOD) {
        _ if !cfs_quota => -1,
        0 => -1,
        quota => quota,
    };
    let shares = Some(shares(requests.cpu));
    let huge_pages = HugePages::of(&aggregate(&pod.spec, |resources| &resources.requests));
    match class {
        PodQOSClass::BestEffort => {
            PodLimits { cpu_shares: Some(MIN_SHARES), huge_pages, ..Default::default() }
        }
        PodQOSClass::Guaranteed => {
            let (cpu_quota, memory) = (Some(quota), Some(limits.memory));
            PodLimits { cpu_shares: shares, cpu_quota, memory, huge_pages, cpus: None }
        }
        _ => PodLimits {
            cpu_shares: shares,
            cpu_quota: limits.every_cpu.then_some(quota),
            memory: limits.every_memory.then_some(limits.memory),
            huge_pages,
            cpus: None,
        },
    }
}

/// A pod's sum of one list of resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Every container names a CPU amount, or the pod does.
    pub every_cpu: bool,
    /// Every container names a memory amount, or the pod does.
    pub every_memory: bool,
}

/// Sums over a pod as upstream does: sidecars add up, other init containers count by their peak.
pub fn total(spec: &PodSpec, list: fn(&ResourceRequirements) -> &ResourceList) -> Total {
    let amounts =
        |container: &Container| (cpu(list(&container.resources)), memory(list(&container.resources)));
    let mut sum = Total { every_cpu: true, every_memory: true, ..Default::default() };
    let mut note = |(cpu, memory): (i64, i64)| {
        sum.every_cpu &= cpu > 0;
        sum.every_memory &= memory > 0;
        (cpu, memory)
    };
    let (mut cpu_sum, mut memory_sum) = (0, 0);
    for container in &spec.containers {
        let (cpu, memory) = note(amounts(container));
        cpu_sum += cpu;
        memory_sum += memory;
    }
    let (mut sidecar_cpu, mut sidecar_memory, mut peak_cpu, mut peak_memory) = (0, 0, 0, 0);
    for container in &spec.init_containers {
        let (cpu, memory) = note(amounts(container));
        if is_sidecar(container) {
            sidecar_cpu += cpu;
            sidecar_memory += memory;
            peak_cpu = peak_cpu.max(sidecar_cpu);
            peak_memory = peak_memory.max(sidecar_memory);
        } else {
            peak_cpu = peak_cpu.max(sidecar_cpu + cpu);
            peak_memory = peak_memory.max(sidecar_memory + memory);
        }
    }
    sum.cpu = (cpu_sum + sidecar_cpu).max(peak_cpu);
    sum.memory = (memory_sum + sidecar_memory).max(peak_memory);
    if let Some(own) = &spec.resources {
        if cpu(list(own)) > 0 {
            (sum.cpu, sum.every_cpu) = (cpu(list(own)), true);
        }
        if memory(list(own)) > 0 {
            (sum.memory, sum.every_memory) = (memory(list(own)), true);
        }
    }
    sum.cpu += cpu(&spec.overhead);
    sum.memory += memory(&spec.overhead);
    sum
}

/// All amounts of one list over a pod, of every resource: as [`total`] does for CPU and memory.
pub fn aggregate(spec: &PodSpec, list: fn(&ResourceRequirements) -> &ResourceList) -> ResourceList {
    let add = |into: &mut ResourceList, from: &ResourceList| {
        for (name, amount) in from {
            match into.get_mut(name) {
                Some(sum) => *sum += *amount,
                None => {
                    into.insert(name.clone(), *amount);
                }
            }
        }
    };
    let mut sum = ResourceList::new();
    for container in &spec.containers {
        add(&mut sum, list(&container.resources));
    }
    let (mut sidecars, mut peaks) = (ResourceList::new(), Vec::new());
    for container in &spec.init_containers {
        if is_sidecar(container) {
            add(&mut sum, list(&container.resources));
            add(&mut sidecars, list(&container.resources));
            peaks.push(sidecars.clone());
        } else {
            let mut peak = sidecars.clone();
            add(&mut peak, list(&container.resources));
            peaks.push(peak);
        }
    }
    for (name, amount) in peaks.iter().flatten() {
        let most = sum.entry(name.clone()).or_insert(*amount);
        *most = (*most).max(*amount);
    }
    for (name, amount) in spec.resources.iter().flat_map(|own| list(own)) {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            sum.insert(name.clone(), *amount);
        }
    }
    // COMPAT: overhead is asked for in any case; a limit that no one set does not come from it.
    let asked = ResourceRequirements { requests: spec.overhead.clone(), ..Default::default() };
    let overhead_alone = !list(&asked).is_empty();
    for (name, amount) in &spec.overhead {
        match sum.get_mut(name) {
            Some(all) => *all += *amount,
            None if overhead_alone => {
                sum.insert(name.clone(), *amount);
            }
            None => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Quantity;
    use std::collections::BTreeMap;

    fn list(cpu: &str, memory: &str) -> ResourceList {
        [("cpu", cpu), ("memory", memory)]
            .into_iter()
            .filter(|(_, amount)| !amount.is_empty())
            .map(|(name, amount)| (name.to_owned(), Quantity::parse(amount).unwrap()))
            .collect()
    }

    fn pod(containers: &[(ResourceList, ResourceList)]) -> Pod {
        let mut pod = Pod::default();
        for (index, (requests, limits)) in containers.iter().enumerate() {
            let mut container = Container { name: format!("c{index}"), ..Default::default() };
            container.resources.requests = requests.clone();
            container.resources.limits = limits.clone();
            pod.spec.containers.push(container);
        }
        pod
    }

    #[test]
    fn classes() {
        let check = |containers: &[(ResourceList, ResourceList)], expected: PodQOSClass| {
            assert_eq!(qos_class(&pod(containers)), expected);
        };
        check(&[(list("", ""), list("", ""))], PodQOSClass::BestEffort);
        check(&[(list("1", "1Gi"), list("1", "1Gi"))], PodQOSClass::Guaranteed);
        check(&[(list("1", "1Gi"), list("1", "1Gi")), (list("", ""), list("", ""))], PodQOSClass::Burstable);
        check(&[(list("1", ""), list("", ""))], PodQOSClass::Burstable);
        check(&[(list("1", "1Gi"), list("2", "1Gi"))], PodQOSClass::Burstable);
    }

    #[test]
    fn kernel_units() {
        assert_eq!([shares(0), shares(1), shares(250), shares(1000)], [2, 2, 256, 1024]);
        assert_eq!([quota(0, CPU_PERIOD), quota(1, CPU_PERIOD), quota(1500, CPU_PERIOD)], [0, 1000, 150_000]);
        let burstable = pod(&[(list("100m", "100Mi"), list("", ""))]);
        let score = oom_score_adjust(&burstable, &burstable.spec.containers[0], 1000 << 20);
        assert_eq!(score, 900);
        let resources = container_resources(&burstable, &burstable.spec.containers[0], 1 << 30, true, false);
        assert_eq!((resources.cpu_shares, resources.cpu_quota, resources.memory_limit_in_bytes), (102, 0, 0));
    }

    /// COMPAT: an example of KEP-2837: what the pod asks for beyond its containers is divided among them.
    #[test]
    fn containers_share_what_their_pod_asks_for() {
        let mut whole = pod(&[(list("", "100Mi"), list("", "")), (list("", ""), list("", ""))]);
        whole.spec.resources.get_or_insert_default().requests = list("", "300Mi");
        let scores: Vec<i64> =
            whole.spec.containers.iter().map(|one| oom_score_adjust(&whole, one, 1000 << 20)).collect();
        assert_eq!(scores, [800, 900]);
    }

    #[test]
    fn pod_limits_need_every_container_to_have_one() {
        let both = pod(&[(list("1", "1Gi"), list("1", "2Gi")), (list("", ""), list("1", "1Gi"))]);
        let limits = pod_limits(&both, true);
        assert_eq!((limits.cpu_quota, limits.memory), (Some(200_000), Some(3 << 30)));
        let one = pod(&[(list("1", "1Gi"), list("1", "2Gi")), (list("", ""), list("", ""))]);
        assert_eq!(
            pod_limits(&one, true),
            PodLimits {
                cpu_shares: Some(1024),
                huge_pages: HugePages::Only(BTreeMap::new()),
                ..Default::default()
            }
        );
    }
}
