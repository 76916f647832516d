//! What a resize means: which pods differ from what they were given, who is tried first, and in which
//! order runtime and control groups are told. Pure.
//!
//! Limits grow from the pod down to its containers and shrink the other way round, so that a container
//! never has more than its pod; memory and CPU are done one after the other.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use api_types::Quantity;
use api_types::core::v1::{
    Container, Pod, PodQOSClass, ResourceList, ResourceRequirements, ResourceResizeRestartPolicy,
};
use jiff::Timestamp;

use super::checkpoint::PodResources;
use crate::resources::{self, PodLimits, cpu, memory};
use crate::sync_pod::plan::is_sidecar;

/// What a pod's spec asks for.
pub fn resources_of(pod: &Pod) -> PodResources {
    let spec = &pod.spec;
    PodResources {
        containers: spec
            .init_containers
            .iter()
            .chain(&spec.containers)
            .map(|container| (container.name.clone(), container.resources.clone()))
            .collect(),
        pod: spec.resources.as_deref().cloned(),
    }
}

/// The pod with the resources that it was given; `None` when those are the ones that it asks for.
pub fn with(pod: &Pod, given: &PodResources) -> Option<Pod> {
    let wanted = resources_of(pod);
    let differs = |name: &str, wanted: &ResourceRequirements| {
        given.containers.get(name).is_some_and(|given| given != wanted)
    };
    let same = wanted.pod == given.pod && !wanted.containers.iter().any(|(name, own)| differs(name, own));
    if same {
        return None;
    }
    let mut changed = pod.clone();
    changed.spec.resources = given.pod.clone().map(Box::new);
    for container in changed.spec.init_containers.iter_mut().chain(&mut changed.spec.containers) {
        if let Some(given) = given.containers.get(&container.name) {
            container.resources.clone_from(given);
        }
    }
    Some(changed)
}

/// A pod whose resize waits for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The pod's uid.
    pub uid: String,
    /// It asks for more than it has.
    pub increases: bool,
    /// The pod's priority.
    pub priority: i32,
    /// Its QoS class is Guaranteed.
    pub guaranteed: bool,
    /// Since when it waits; `None` for one that was not tried yet.
    pub since: Option<Timestamp>,
}

/// Why a resize can never be: a Guaranteed pod keeps the CPUs and the memory that were chosen for it, where that is
/// done (`fixed`: CPUs, memory).
pub fn infeasible(wanted: &Pod, given: &Pod, fixed: (bool, bool)) -> Option<String> {
    if resources::qos_class(wanted) != PodQOSClass::Guaranteed {
        return None;
    }
    let of = |pod: &Pod, name: &str| -> Vec<Option<Quantity>> {
        let sidecars = pod.spec.init_containers.iter().filter(|container| is_sidecar(container));
        let all = sidecars.chain(&pod.spec.containers);
        all.map(|container| container.resources.requests.get(name).copied()).collect()
    };
    let differs = |name: &str| of(wanted, name) != of(given, name);
    let refuse = |manager: &str, policy: &str| {
        Some(format!(
            "Resize is infeasible for Guaranteed Pods alongside {manager} Manager policy {policy:?}"
        ))
    };
    match fixed {
        (true, _) if differs("cpu") => refuse("CPU", "static"),
        (_, true) if differs("memory") => refuse("Memory", "Static"),
        _ => None,
    }
}

/// Who is tried first: those that give back, then by priority, class and patience.
pub fn order(waiting: &mut [Waiting]) {
    waiting.sort_by_key(|one| {
        let since = one.since.unwrap_or(Timestamp::MAX);
        (one.increases, Reverse(one.priority), !one.guaranteed, since, one.uid.clone())
    });
}

/// CPU and memory of a container, in thousandths and bytes; zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU request.
    pub cpu_request: i64,
    /// CPU limit.
    pub cpu_limit: i64,
    /// Memory request.
    pub memory_request: i64,
    /// Memory limit.
    pub memory_limit: i64,
}

impl Amounts {
    /// Of what a container was told.
    pub fn of(resources: &ResourceRequirements) -> Self {
        Self {
            cpu_request: cpu(&resources.requests),
            cpu_limit: cpu(&resources.limits),
            memory_request: memory(&resources.requests),
            memory_limit: memory(&resources.limits),
        }
    }
}

/// What the container is to be told: where it has no limit, the pod's holds.
pub fn effective(pod: &Pod, container: &Container) -> ResourceRequirements {
    let mut own = container.resources.clone();
    for (name, limit) in pod.spec.resources.iter().flat_map(|pods| &pods.limits) {
        if matches!(name.as_str(), "cpu" | "memory") {
            own.limits.entry(name.clone()).or_insert(*limit);
        }
    }
    own
}

/// How a running container gets its new resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are what it has.
    None,
    /// Its policy says that it must be started anew.
    Restart,
    /// As it runs.
    InPlace,
}

/// Compares what a container is given with what it was told.
pub fn change(container: &Container, wanted: Amounts, told: Amounts) -> Change {
    if wanted == told {
        return Change::None;
    }
    let restarts = |resource: &str| {
        container
            .resize_policy
            .iter()
            .find(|policy| policy.resource_name == resource)
            .is_some_and(|policy| policy.restart_policy == ResourceResizeRestartPolicy::RestartContainer)
    };
    let cpu = (wanted.cpu_request, wanted.cpu_limit) != (told.cpu_request, told.cpu_limit);
    let memory = (wanted.memory_request, wanted.memory_limit) != (told.memory_request, told.memory_limit);
    if (cpu && restarts("cpu")) || (memory && restarts("memory")) { Change::Restart } else { Change::InPlace }
}

/// A running container that is to be told new resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The runtime's id.
    pub id: String,
    /// Its name in the spec.
    pub name: String,
    /// What it was told before.
    pub told: Amounts,
    /// What it is given now.
    pub wanted: Amounts,
}

/// The resource that a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory.
    Memory,
    /// CPU.
    Cpu,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Set these limits of the pod's control group.
    Pod(PodLimits),
    /// Tell the runtime about a container.
    Container {
        /// The runtime's id.
        id: String,
        /// Its name in the spec.
        name: String,
        /// Everything that it has from then on.
        amounts: Amounts,
        /// What is new in it.
        resource: Resource,
    },
    /// The pod's own amounts of this resource are in force.
    Done(Resource),
}

/// The order of the steps. `now` are the limits of the pod's control group as they are, `next` as they
/// should be; what `next` does not name stays.
pub fn steps(now: &PodLimits, next: &PodLimits, updates: &[Update]) -> Vec<Step> {
    let mut steps = Vec::new();
    let memory = |update: &Update| {
        let limits = (update.wanted.memory_limit, update.told.memory_limit);
        let requests = (update.wanted.memory_request, update.told.memory_request);
        if limits.0 == limits.1 { requests } else { limits }
    };
    let amounts = |update: &Update| Amounts {
        memory_request: update.wanted.memory_request,
        memory_limit: update.wanted.memory_limit,
        ..update.told
    };
    let limit = |value: i64| Some(PodLimits { memory: Some(value), ..PodLimits::default() });
    let grows = next.memory.is_some_and(|next| next > now.memory.unwrap_or(i64::MAX));
    let shrinks = next.memory.is_some_and(|next| next < now.memory.unwrap_or(i64::MAX));
    let pods = next.memory.filter(|memory| *memory > 0).and_then(limit);
    steps.extend(pods.clone().filter(|_| grows).map(Step::Pod));
    steps.extend(containers(updates, memory, amounts, Resource::Memory));
    steps.extend(pods.filter(|_| shrinks).map(Step::Pod));
    steps.push(Step::Done(Resource::Memory));

    let cpu = |update: &Update| {
        let limits = (update.wanted.cpu_limit, update.told.cpu_limit);
        let requests = (update.wanted.cpu_request, update.told.cpu_request);
        if limits.0 == limits.1 { requests } else { limits }
    };
    // -1 is no limit, which is more than any.
    let height = |quota: Option<i64>| quota.filter(|quota| *quota >= 0).unwrap_or(i64::MAX);
    let quota = |new: bool| {
        let (next, now) = (next.cpu_quota?, now.cpu_quota);
        let moves = height(Some(next)).cmp(&height(now));
        (moves == if new { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less })
            .then_some(PodLimits { cpu_quota: Some(next), ..PodLimits::default() })
    };
    let shares = |new: bool| {
        let (next, now) = (next.cpu_shares?, now.cpu_shares.unwrap_or_default());
        (if new { next > now } else { next < now })
            .then_some(PodLimits { cpu_shares: Some(next), ..PodLimits::default() })
    };
    steps.extend(quota(true).map(Step::Pod));
    steps.extend(shares(true).map(Step::Pod));
    steps.extend(containers(updates, cpu, |update| update.wanted, Resource::Cpu));
    steps.extend(shares(false).map(Step::Pod));
    steps.extend(quota(false).map(Step::Pod));
    steps.push(Step::Done(Resource::Cpu));
    steps
}

/// The containers whose amount of a resource changes: those that give back first.
fn containers(
    updates: &[Update],
    height: impl Fn(&Update) -> (i64, i64),
    amounts: impl Fn(&Update) -> Amounts,
    resource: Resource,
) -> Vec<Step> {
    let mut changing: Vec<&Update> = updates
        .iter()
        .filter(|update| {
            let (wanted, told) = height(update);
            wanted != told
        })
        .collect();
    changing.sort_by_key(|update| {
        let (wanted, told) = height(update);
        wanted > told
    });
    changing
        .into_iter()
        .map(|update| Step::Container {
            id: update.id.clone(),
            name: update.name.clone(),
            amounts: amounts(update),
            resource,
        })
        .collect()
}

/// Why memory limits cannot shrink that far now: what is in use cannot be taken away. `usage` is by
/// container.
pub fn memory_in_use(
    now: &PodLimits,
    next: &PodLimits,
    updates: &[Update],
    pod_usage: i64,
    usage: &BTreeMap<String, i64>,
) -> Option<String> {
    let mut problems = Vec::new();
    if let Some(limit) = next.memory.filter(|next| *next > 0 && *next < now.memory.unwrap_or(i64::MAX))
        && pod_usage >= limit
    {
        problems
            .push(format!("attempting to set pod memory limit ({limit}) below current usage ({pod_usage})"));
    }
    for update in updates {
        let (wanted, told) = (update.wanted.memory_limit, update.told.memory_limit);
        let shrinks = wanted != 0 && (told == 0 || wanted < told);
        let used = usage.get(&update.name).copied().unwrap_or_default();
        if shrinks && used >= wanted {
            // COMPAT: what is told is the usage of the whole pod.
            problems.push(format!(
                "attempting to set container {:?} memory limit ({wanted}) below current usage ({pod_usage})",
                update.name
            ));
        }
    }
    let shown = match problems.as_slice() {
        [] => return None,
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    Some(format!("cannot decrease memory limits: {shown}"))
}

/// Copies one resource from what a container is given to what it was told.
pub fn copy(from: &ResourceRequirements, to: &mut ResourceRequirements, resource: Resource) {
    let name = match resource {
        Resource::Memory => "memory",
        Resource::Cpu => "cpu",
    };
    let one = |from: &ResourceList, to: &mut ResourceList| match from.get(name) {
        Some(amount) => {
            to.insert(name.into(), *amount);
        }
        None => {
            to.remove(name);
        }
    };
    one(&from.requests, &mut to.requests);
    one(&from.limits, &mut to.limits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::ContainerResizePolicy;

    fn amounts(cpu: (i64, i64), memory: (i64, i64)) -> Amounts {
        Amounts { cpu_request: cpu.0, cpu_limit: cpu.1, memory_request: memory.0, memory_limit: memory.1 }
    }

    fn update(name: &str, told: Amounts, wanted: Amounts) -> Update {
        Update { id: format!("id-{name}"), name: name.into(), told, wanted }
    }

    #[test]
    fn what_was_chosen_for_a_guaranteed_pod_stays() {
        let pod = |cpu: &str, memory: &str| {
            let mut container = Container::default();
            for (name, amount) in [("cpu", cpu), ("memory", memory)] {
                container.resources.requests.insert(name.into(), amount.parse().unwrap());
            }
            container.resources.limits = container.resources.requests.clone();
            let mut pod = Pod::default();
            pod.spec.containers.push(container);
            pod
        };
        let given = pod("1", "1Gi");
        let check = |wanted: &Pod, fixed, expected: Option<&str>| {
            assert_eq!(infeasible(wanted, &given, fixed).as_deref(), expected);
        };
        let message = "Resize is infeasible for Guaranteed Pods alongside CPU Manager policy \"static\"";
        check(&pod("2", "1Gi"), (true, true), Some(message));
        check(&pod("2", "1Gi"), (false, true), None);
        let message = "Resize is infeasible for Guaranteed Pods alongside Memory Manager policy \"Static\"";
        check(&pod("1", "2Gi"), (true, true), Some(message));
        check(&pod("1", "1Gi"), (true, true), None);
        let mut burstable = pod("2", "1Gi");
        burstable.spec.containers[0].resources.limits.clear();
        check(&burstable, (true, true), None);
    }

    fn shown(steps: &[Step]) -> Vec<String> {
        let amount = |limits: &PodLimits| match limits {
            PodLimits { memory: Some(memory), .. } => format!("pod memory {memory}"),
            PodLimits { cpu_quota: Some(quota), .. } => format!("pod quota {quota}"),
            PodLimits { cpu_shares: Some(shares), .. } => format!("pod shares {shares}"),
            PodLimits { .. } => "pod".into(),
        };
        steps
            .iter()
            .filter_map(|step| match step {
                Step::Pod(limits) => Some(amount(limits)),
                Step::Container { name, amounts: a, .. } => Some(format!(
                    "{name} {}/{} {}/{}",
                    a.cpu_request, a.cpu_limit, a.memory_request, a.memory_limit
                )),
                Step::Done(_) => None,
            })
            .collect()
    }

    #[test]
    fn limits_grow_from_the_pod_down_and_shrink_up() {
        let (small, large) = (amounts((100, 100), (10, 10)), amounts((200, 200), (20, 20)));
        let limits = |memory, quota, shares| PodLimits {
            memory: Some(memory),
            cpu_quota: Some(quota),
            cpu_shares: Some(shares),
            ..Default::default()
        };
        let (low, high) = (limits(10, 10_000, 102), limits(20, 20_000, 204));
        assert_eq!(
            shown(&steps(&low, &high, &[update("a", small, large)])),
            ["pod memory 20", "a 100/100 20/20", "pod quota 20000", "pod shares 204", "a 200/200 20/20"]
        );
        assert_eq!(
            shown(&steps(&high, &low, &[update("a", large, small)])),
            ["a 200/200 10/10", "pod memory 10", "a 100/100 10/10", "pod shares 102", "pod quota 10000"]
        );
    }

    #[test]
    fn containers_that_give_back_come_first_and_what_is_the_same_is_not_told() {
        let (small, large) = (amounts((100, 100), (10, 10)), amounts((200, 200), (10, 10)));
        let same = PodLimits { cpu_quota: Some(30_000), ..Default::default() };
        let made = steps(&same, &same, &[update("up", small, large), update("down", large, small)]);
        assert_eq!(shown(&made), ["down 100/100 10/10", "up 200/200 10/10"]);
    }

    #[test]
    fn no_quota_is_more_than_any() {
        let none = PodLimits { cpu_quota: Some(-1), ..Default::default() };
        let some = PodLimits { cpu_quota: Some(5), ..Default::default() };
        let one = [update("a", amounts((1, 0), (0, 0)), amounts((1, 5), (0, 0)))];
        assert_eq!(shown(&steps(&none, &some, &one)), ["a 1/5 0/0", "pod quota 5"]);
    }

    #[test]
    fn memory_that_is_used_cannot_be_taken() {
        let now = PodLimits { memory: Some(100), ..Default::default() };
        let next = PodLimits { memory: Some(50), ..Default::default() };
        let one = [update("a", amounts((0, 0), (100, 100)), amounts((0, 0), (50, 50)))];
        let check = |pod: i64, container: i64| {
            memory_in_use(&now, &next, &one, pod, &[("a".to_owned(), container)].into())
        };
        assert_eq!(check(49, 49), None);
        assert_eq!(
            check(60, 10).as_deref(),
            Some(
                "cannot decrease memory limits: attempting to set pod memory limit (50) below current usage (60)"
            )
        );
        assert!(
            check(60, 55).is_some_and(
                |text| text.contains("[attempting to set pod") && text.contains("container \"a\"")
            )
        );
    }

    #[test]
    fn the_policy_says_whether_a_container_restarts() {
        let mut container = Container::default();
        container.resize_policy.push(ContainerResizePolicy {
            resource_name: "memory".into(),
            restart_policy: ResourceResizeRestartPolicy::RestartContainer,
        });
        let told = amounts((100, 0), (10, 10));
        assert_eq!(change(&container, told, told), Change::None);
        assert_eq!(change(&container, amounts((200, 0), (10, 10)), told), Change::InPlace);
        assert_eq!(change(&container, amounts((100, 0), (20, 20)), told), Change::Restart);
    }

    #[test]
    fn a_pod_shows_what_it_was_given() {
        let mut pod = Pod::default();
        let mut container = Container { name: "a".into(), ..Default::default() };
        container.resources.requests.insert("cpu".into(), Quantity::parse("200m").unwrap());
        pod.spec.containers.push(container);
        let mut given = resources_of(&pod);
        assert_eq!(with(&pod, &given), None);
        let less = Quantity::parse("100m").unwrap();
        given.containers.get_mut("a").unwrap().requests.insert("cpu".into(), less);
        let shown = with(&pod, &given).unwrap();
        assert_eq!(shown.spec.containers[0].resources.requests["cpu"], less);
    }

    #[test]
    fn who_gives_back_is_tried_first_then_the_important() {
        let one = |uid: &str, increases, priority, guaranteed, since| Waiting {
            uid: uid.into(),
            increases,
            priority,
            guaranteed,
            since: Some(Timestamp::from_second(since).unwrap()),
        };
        let mut all = vec![
            one("late", true, 0, false, 9),
            one("early", true, 0, false, 1),
            one("guaranteed", true, 0, true, 9),
            one("important", true, 7, false, 9),
            one("less", false, 0, false, 9),
        ];
        order(&mut all);
        let uids: Vec<&str> = all.iter().map(|one| one.uid.as_str()).collect();
        assert_eq!(uids, ["less", "important", "guaranteed", "early", "late"]);
    }
}
