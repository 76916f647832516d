//! What the status says of resources: of containers and of the pod as a whole (KEP-1287, KEP-5419).
//!
//! The runtime's word counts before what it was last told, and that before what was promised.

use api_types::Quantity;
use api_types::core::v1::{
    Container, ContainerStatus, PodPhase, PodStatus, ResourceList, ResourceRequirements,
};
use api_types::value::Format;

use super::View;
use crate::cri::observed::{self, State};
use crate::cri::v1::LinuxContainerResources;
use crate::resources::{CPU_PERIOD, aggregate};

/// COMPAT: amounts at or below what the kernel can express are shown as they were asked for.
const LEAST_REQUEST: i64 = 2;
const LEAST_LIMIT: i64 = 10;

fn milli_of_shares(shares: i64) -> i64 {
    if shares < 2 { 0 } else { (shares * 1000 + 1023) / 1024 }
}

fn milli_of_quota(quota: i64, period: i64) -> i64 {
    if quota < 0 || period <= 0 { 0 } else { quota * 1000 / period }
}

/// What is really in force; absent where no one knows.
#[derive(Default)]
struct Actual {
    cpu_request: Option<Quantity>,
    cpu_limit: Option<Quantity>,
    memory_request: Option<Quantity>,
    memory_limit: Option<Quantity>,
}

impl Actual {
    fn of_runtime(said: &LinuxContainerResources) -> Self {
        let cpu = |milli: i64| (milli > 0).then(|| Quantity::from_milli(milli));
        let memory = said.memory_limit_in_bytes;
        Self {
            cpu_request: cpu(milli_of_shares(said.cpu_shares)),
            cpu_limit: cpu(milli_of_quota(said.cpu_quota, said.cpu_period)),
            memory_request: None,
            memory_limit: (memory > 0).then(|| Quantity::from_units(memory, Format::BinarySi)),
        }
    }

    fn is_empty(&self) -> bool {
        self.cpu_request.is_none() && self.cpu_limit.is_none() && self.memory_limit.is_none()
    }
}

/// The resources of a container that the runtime knows.
pub fn of_container(
    view: &View<'_>,
    container: &Container,
    seen: &observed::Container,
    old: Option<&ContainerStatus>,
) -> ResourceRequirements {
    let mut shown = container.resources.clone();
    if seen.state != State::Running {
        return shown;
    }
    let told = view.actuated.and_then(|told| told.containers.get(&container.name));
    let mut actual = seen.resources.as_ref().map(Actual::of_runtime).unwrap_or_default();
    if let Some(told) = told {
        let amount = |list: &ResourceList, name: &str| list.get(name).copied();
        if actual.is_empty() {
            actual = Actual {
                cpu_request: amount(&told.requests, "cpu"),
                cpu_limit: amount(&told.limits, "cpu"),
                memory_request: None,
                memory_limit: amount(&told.limits, "memory"),
            };
        }
        actual.memory_request = amount(&told.requests, "memory");
    }
    let same = old.filter(|old| {
        old.state.running.is_some() && old.container_id == format!("{}://{}", view.runtime_name, seen.id)
    });
    let before = same.and_then(|old| old.resources.as_deref());
    let show = |list: &mut ResourceList,
                name: &str,
                actual: Option<Quantity>,
                least: i64,
                old: Option<&ResourceList>| {
        if list.is_empty() {
            return;
        }
        let asked = list.get(name).map(Quantity::milli_value).unwrap_or_default();
        match actual {
            Some(actual) if actual.milli_value() > least || asked > least => {
                list.insert(name.into(), actual);
            }
            Some(_) => {}
            None => {
                if let Some(old) = old.and_then(|old| old.get(name)) {
                    list.insert(name.into(), *old);
                }
            }
        }
    };
    let limits = before.map(|before| &before.limits);
    let requests = before.map(|before| &before.requests);
    show(&mut shown.limits, "cpu", actual.cpu_limit, LEAST_LIMIT, limits);
    show(&mut shown.limits, "memory", actual.memory_limit, 0, limits);
    show(&mut shown.requests, "cpu", actual.cpu_request, LEAST_REQUEST, requests);
    show(&mut shown.requests, "memory", actual.memory_request, 0, requests);
    shown
}

/// Sets the pod's own resources.
pub fn of_pod(view: &View<'_>, status: &mut PodStatus) {
    let spec = &view.pod.spec;
    let requests = aggregate(spec, |resources| &resources.requests);
    status.allocated_resources.clone_from(&requests);
    let own = spec.resources.as_deref().cloned().unwrap_or_default();
    let Some(kernel) = view.limits.filter(|_| view.pod.status.phase == PodPhase::Running) else {
        let limits = aggregate(spec, |resources| &resources.limits);
        status.resources = Some(Box::new(ResourceRequirements { requests, limits, ..own }));
        return;
    };
    let mut shown = own;
    let milli = |list: &ResourceList| list.get("cpu").map(Quantity::milli_value).unwrap_or_default();
    let cpu = milli_of_shares(kernel.cpu_shares.unwrap_or_default());
    if cpu > LEAST_REQUEST || milli(&shown.requests) > LEAST_REQUEST {
        shown.requests.insert("cpu".into(), Quantity::from_milli(cpu));
    }
    if let Some(memory) = requests.get("memory") {
        shown.requests.entry("memory".into()).or_insert(*memory);
    }
    let cpu = milli_of_quota(kernel.cpu_quota.unwrap_or(-1), CPU_PERIOD);
    if cpu > LEAST_LIMIT || (cpu > 0 && milli(&shown.limits) > LEAST_LIMIT) {
        shown.limits.insert("cpu".into(), Quantity::from_milli(cpu));
    }
    if let Some(memory) = kernel.memory {
        shown.limits.insert("memory".into(), Quantity::from_units(memory, Format::BinarySi));
    }
    status.resources = Some(Box::new(shown));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_units_back_into_thousandths() {
        assert_eq!([0, 2, 102, 1024].map(milli_of_shares), [0, 2, 100, 1000]);
        assert_eq!(milli_of_quota(-1, CPU_PERIOD), 0);
        assert_eq!(milli_of_quota(150_000, CPU_PERIOD), 1500);
    }
}
