//! Tells the runtime and the control groups about a resize, in the order that [`super::plan`] says.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::{Container, Pod, ResourceList};
use api_types::value::Format;

use super::plan::{self, Amounts, Step, Update};
use crate::kubelet::Kubelet;
use crate::resources;
use crate::server::stats;

/// Resizes what runs of a pod; `given` is the pod as allocated. An error is in the pod's condition too.
pub async fn resize(kubelet: &Arc<Kubelet>, given: &Arc<Pod>, updates: &[Update]) -> Result<(), String> {
    let result = perform(kubelet, given, updates).await;
    if let Err(error) = &result {
        kubelet.resizes.failed(kubelet, given, error);
    }
    result
}

async fn perform(kubelet: &Arc<Kubelet>, given: &Arc<Pod>, updates: &[Update]) -> Result<(), String> {
    let uid = &given.metadata.uid;
    let path = kubelet.cgroups.pod(given);
    let now = kubelet.tree.limits(&path);
    let next = resources::pod_limits(given, kubelet.pod_quota(given));
    let used = usage(kubelet, uid).await?;
    let whole = stats::of_cgroup(kubelet, &path).map_or(0, |usage| usage.memory);
    let whole = i64::try_from(whole).unwrap_or(i64::MAX);
    if let Some(problem) = plan::memory_in_use(&now, &next, updates, whole, &used) {
        return Err(problem);
    }
    for step in plan::steps(&now, &next, updates) {
        match step {
            Step::Pod(limits) => kubelet
                .tree
                .limit(&path, &limits)
                .map_err(|error| format!("failed to set the limits of the pod's cgroup: {error}"))?,
            Step::Container { id, name, amounts, resource } => {
                let Some(container) = find(given, &name) else { continue };
                let resized = with(container, amounts);
                let limits = kubelet.container_resources(given, &resized);
                kubelet.runtime.update_container(&id, limits).await.map_err(|error| error.to_string())?;
                let wanted = plan::effective(given, container);
                kubelet.resizes.record(uid, |told| {
                    plan::copy(&wanted, told.containers.entry(name).or_default(), resource);
                });
            }
            Step::Done(resource) => {
                if let Some(wanted) = &given.spec.resources {
                    kubelet.resizes.record(uid, |told| {
                        plan::copy(wanted, told.pod.get_or_insert_default(), resource);
                    });
                }
            }
        }
    }
    Ok(())
}

fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.spec.containers.iter().chain(&pod.spec.init_containers).find(|container| container.name == name)
}

/// The container with exactly these amounts of what can be resized; what else it has stays.
fn with(container: &Container, amounts: Amounts) -> Container {
    let set = |list: &mut ResourceList, cpu: i64, memory: i64| {
        let of_memory = Quantity::from_units(memory, Format::BinarySi);
        for (name, amount, some) in
            [("cpu", Quantity::from_milli(cpu), cpu > 0), ("memory", of_memory, memory > 0)]
        {
            list.remove(name);
            if some {
                list.insert(name.into(), amount);
            }
        }
    };
    let mut container = container.clone();
    set(&mut container.resources.requests, amounts.cpu_request, amounts.memory_request);
    set(&mut container.resources.limits, amounts.cpu_limit, amounts.memory_limit);
    container
}

/// Bytes of memory that the pod's containers use.
async fn usage(kubelet: &Arc<Kubelet>, uid: &str) -> Result<BTreeMap<String, i64>, String> {
    let all = stats::containers(kubelet).await.map_err(|error| error.to_string())?;
    let own = all.into_iter().filter(|one| one.identity.uid == uid);
    Ok(own.map(|one| (one.name, i64::try_from(one.usage.memory).unwrap_or(i64::MAX))).collect())
}
