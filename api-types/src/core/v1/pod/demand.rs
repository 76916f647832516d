//! What a pod as a whole asks for: sums over its containers, pod-level resources (KEP-2837), and
//! the quality-of-service class that follows.

use super::*;
use crate::core::v1::well_known::resource;
use crate::value::Quantity;
use std::borrow::Cow;
use std::collections::BTreeSet;

impl Container {
    /// Whether, as an init container, it is a sidecar: it runs beside the containers proper (KEP-753).
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(ContainerRestartPolicy::Always)
    }
}

fn add(sum: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += *amount;
    }
}

fn raise(most: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        let own = most.entry(name.clone()).or_insert(*amount);
        *own = (*own).max(*amount);
    }
}

/// The containers' requests or limits together: sums of what runs at the same time, and no less
/// than any init container needs beside the sidecars that started before it.
pub fn of_containers(spec: &PodSpec, part: fn(&ResourceRequirements) -> &ResourceList) -> ResourceList {
    together(spec, |container| Cow::Borrowed(part(&container.resources)))
}

fn together<'a>(spec: &'a PodSpec, own: impl Fn(&'a Container) -> Cow<'a, ResourceList>) -> ResourceList {
    let (mut running, mut sidecars, mut starting) =
        (ResourceList::new(), ResourceList::new(), ResourceList::new());
    for container in &spec.containers {
        add(&mut running, &own(container));
    }
    for container in &spec.init_containers {
        let own = own(container);
        if container.is_sidecar() {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut with_sidecars = sidecars.clone();
            add(&mut with_sidecars, &own);
            raise(&mut starting, &with_sidecars);
        }
    }
    raise(&mut running, &starting);
    running
}

/// Which side of a container's resources is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PodResources {
    Requests,
    Limits,
}

impl PodResources {
    fn of(self, resources: &ResourceRequirements) -> &ResourceList {
        match self {
            Self::Requests => &resources.requests,
            Self::Limits => &resources.limits,
        }
    }
}

/// What a pod as a whole asks for or may use: its containers together, or what is said of the pod
/// itself, and its overhead.
pub fn of_pod(spec: &PodSpec, side: PodResources) -> ResourceList {
    with_overhead(of_workload(spec, side), spec, side)
}

/// As `of_pod`, of a pod that may be in the midst of a resize (KEP-1287): each container takes what it is to have
/// or still holds, whichever is more; after a resize that cannot be done, what it holds.
pub fn of_running(pod: &Pod, side: PodResources) -> ResourceList {
    let (spec, status) = (&pod.spec, &pod.status);
    let pending = status.conditions.iter().find(|condition| condition.type_ == "PodResizePending");
    let given_up = pending.is_some_and(|condition| condition.reason == "Infeasible");
    let total = together(spec, |container| {
        let wanted = side.of(&container.resources);
        let all = status.container_statuses.iter().chain(&status.init_container_statuses);
        let told = all.rev().find(|told| told.name == container.name);
        let init = spec.init_containers.iter().any(|own| std::ptr::eq(own, container));
        // Of init containers only those that go on running are resized.
        let Some(told) = told.filter(|_| !init || container.is_sidecar()) else {
            return Cow::Borrowed(wanted);
        };
        let Some(held) = &told.resources else { return Cow::Borrowed(wanted) };
        let mut most = if given_up { ResourceList::new() } else { wanted.clone() };
        raise(&mut most, side.of(held));
        if side == PodResources::Requests {
            raise(&mut most, &told.allocated_resources);
        }
        Cow::Owned(most)
    });
    with_overhead(with_pod_level(total, spec, side), spec, side)
}

fn with_overhead(mut total: ResourceList, spec: &PodSpec, side: PodResources) -> ResourceList {
    for (name, amount) in &spec.overhead {
        match side {
            PodResources::Requests => *total.entry(name.clone()).or_default() += *amount,
            // Where nothing is limited, overhead limits nothing.
            PodResources::Limits => {
                if let Some(limit) = total.get_mut(name).filter(|limit| !limit.is_zero()) {
                    *limit += *amount;
                }
            }
        }
    }
    total
}

/// As `of_pod`, without overhead.
pub fn of_workload(spec: &PodSpec, side: PodResources) -> ResourceList {
    with_pod_level(together(spec, |container| Cow::Borrowed(side.of(&container.resources))), spec, side)
}

fn with_pod_level(mut total: ResourceList, spec: &PodSpec, side: PodResources) -> ResourceList {
    if let Some(own) = &spec.resources {
        total
            .extend(side.of(own).iter().filter(|(name, _)| is_pod_level(name)).map(|(n, a)| (n.clone(), *a)));
    }
    total
}

/// Whether a pod neither asks for nor limits anything that counts.
pub fn is_best_effort(spec: &PodSpec) -> bool {
    qos_class(spec) == PodQOSClass::BestEffort
}

pub(super) fn is_huge_page(name: &str) -> bool {
    name.starts_with(resource::HUGE_PAGES_PREFIX)
}

/// Whether a resource can be asked for by the pod as a whole.
pub(super) fn is_pod_level(name: &str) -> bool {
    matches!(name, resource::CPU | resource::MEMORY) || is_huge_page(name)
}

/// Fills in pod-level limits of huge pages and pod-level requests, where the user has begun to use
/// pod-level resources.
pub(super) fn default_pod_level(spec: &mut PodSpec) {
    let Some(own) = &spec.resources else { return };
    if own.limits.is_empty() && own.requests.is_empty() {
        return;
    }
    let limits = of_containers(spec, |r| &r.limits);
    let requests = of_containers(spec, |r| &r.requests);
    let own = spec.resources.as_mut().expect("looked at above");
    for (name, amount) in limits.into_iter().filter(|(name, _)| is_huge_page(name)) {
        if !own.requests.contains_key(&name) {
            own.limits.entry(name).or_insert(amount);
        }
    }
    if own.limits.is_empty() {
        return;
    }
    for (name, amount) in requests {
        if is_pod_level(&name) && !is_huge_page(&name) {
            own.requests.entry(name).or_insert(amount);
        }
    }
    for (name, limit) in own.limits.iter().filter(|(name, _)| is_pod_level(name)) {
        own.requests.entry(name.clone()).or_insert(*limit);
    }
}

/// CPU and memory that are more than zero.
fn counted(list: &ResourceList) -> ResourceList {
    list.iter()
        .filter(|(name, amount)| {
            matches!(name.as_str(), resource::CPU | resource::MEMORY) && **amount > Quantity::default()
        })
        .map(|(name, amount)| (name.clone(), *amount))
        .collect()
}

/// The class by which the kubelet chooses whom to evict: Guaranteed when every container limits CPU
/// and memory to what it asks for, BestEffort when none asks or limits, else Burstable.
pub fn qos_class(spec: &PodSpec) -> PodQOSClass {
    let (mut requests, mut limits) = (ResourceList::new(), ResourceList::new());
    let mut all_limited = true;
    let containers = || spec.containers.iter().chain(&spec.init_containers).map(|c| &c.resources);
    let sources: Vec<&ResourceRequirements> = match &spec.resources {
        Some(own) => vec![own],
        None => containers().collect(),
    };
    for resources in sources {
        add(&mut requests, &counted(&resources.requests));
        let limited = counted(&resources.limits);
        let pod_level_without_limits = spec.resources.is_some() && resources.limits.is_empty();
        all_limited &= limited.len() == 2 || pod_level_without_limits;
        add(&mut limits, &limited);
    }
    let names = |list: &ResourceList| list.keys().cloned().collect::<BTreeSet<_>>();
    if requests.is_empty() && limits.is_empty() {
        PodQOSClass::BestEffort
    } else if all_limited
        && names(&requests) == names(&limits)
        && requests.iter().all(|(name, amount)| limits.get(name) == Some(amount))
    {
        PodQOSClass::Guaranteed
    } else {
        PodQOSClass::Burstable
    }
}
