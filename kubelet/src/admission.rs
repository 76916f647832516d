//! Whether the node takes a pod that was bound to it. A refused pod fails; nothing of it is started.
//!
//! The scheduler has said yes already; this catches what it could not know: two pods bound at once,
//! another kubelet's settings, a host port taken. [`check`] is pure.

use std::collections::HashSet;
use std::sync::Arc;

use api_types::core::v1::{Pod, ResourceList, SupplementalGroupsPolicy};

use crate::eviction;
use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;
use crate::resources;
use crate::status::Eviction;
use crate::sysctls;

/// Admits a pod or says why not.
pub fn admit(kubelet: &Kubelet, pod: &Arc<Pod>) -> Result<(), Eviction> {
    let others: Vec<Arc<Pod>> = kubelet
        .workers
        .all()
        .into_iter()
        .filter(|(other, stage)| *stage <= Stage::Terminating && other.metadata.uid != pod.metadata.uid)
        // Pods that came later do not count against this one.
        .filter(|(other, _)| older(other, pod))
        .map(|(other, _)| kubelet.resizes.given(&other))
        .collect();
    // What an earlier kubelet promised is what counts.
    let given = kubelet.resizes.given(pod);
    let pressure = |message| Eviction { reason: eviction::REASON.into(), message, disrupts: false };
    let result = kubelet.pressures.admit(&given).map_err(pressure);
    let result = result.and_then(|()| match kubelet.shutdown.now() {
        true => refuse("NodeShutdown", "Pod was rejected as the node is shutting down.".into()),
        false => Ok(()),
    });
    let result = result.and_then(|()| {
        let forbidden = sysctls::forbidden(&given, &kubelet.config.allowed_unsafe_sysctls);
        forbidden.map_or(Ok(()), |message| refuse("SysctlForbidden", message))
    });
    let strict = kubelet.strict_groups();
    let result = result.and_then(|()| fits_node(&given, strict));
    let result = result.and_then(|()| check(&given, &others, &kubelet.allocatable, kubelet.most_pods()));
    result.map_err(|refusal| {
        kubelet.recorder.pod(pod, "Warning", &refusal.reason, &refusal.message);
        Eviction { message: format!("Pod was rejected: {}", refusal.message), ..refusal }
    })
}

fn older(a: &Pod, b: &Pod) -> bool {
    let key = |pod: &Pod| (pod.metadata.creation_timestamp, pod.metadata.uid.clone());
    key(a) < key(b)
}

fn refuse(reason: &str, message: String) -> Result<(), Eviction> {
    Err(Eviction { reason: reason.into(), message, disrupts: false })
}

/// Whether the node is of the kind that the pod needs.
fn fits_node(pod: &Pod, strict_groups: bool) -> Result<(), Eviction> {
    let spec = &pod.spec;
    let label = spec.node_selector.get("kubernetes.io/os");
    if label.is_some_and(|os| os != "linux") {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return refuse("PodOSSelectorNodeLabelDoesNotMatch", message.into());
    }
    if spec.os.as_ref().is_some_and(|os| os.name.as_str() != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return refuse("PodOSNotSupported", message.into());
    }
    let policy =
        spec.security_context.as_ref().and_then(|context| context.supplemental_groups_policy.as_ref());
    if policy == Some(&SupplementalGroupsPolicy::Strict) && !strict_groups {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node";
        return refuse("SupplementalGroupsPolicyNotSupported", message.into());
    }
    Ok(())
}

/// The decision.
pub fn check(
    pod: &Pod,
    others: &[Arc<Pod>],
    allocatable: &ResourceList,
    max_pods: i32,
) -> Result<(), Eviction> {
    let insufficient = |name: &str, requested: i64, used: i64, capacity: i64| {
        refuse(
            &format!("OutOf{name}"),
            format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
        )
    };
    let count = others.len() as i64;
    if count + 1 > i64::from(max_pods) {
        return insufficient("pods", 1, count, i64::from(max_pods));
    }
    let requests = |pod: &Pod| resources::total(&pod.spec, |resources| &resources.requests);
    let own = requests(pod);
    let (mut cpu, mut memory) = (0, 0);
    for other in others {
        let total = requests(other);
        cpu += total.cpu;
        memory += total.memory;
    }
    let capacity = resources::cpu(allocatable);
    if own.cpu > 0 && cpu + own.cpu > capacity {
        return insufficient("cpu", own.cpu, cpu, capacity);
    }
    let capacity = resources::memory(allocatable);
    if own.memory > 0 && memory + own.memory > capacity {
        return insufficient("memory", own.memory, memory, capacity);
    }
    let taken: HashSet<_> = others.iter().flat_map(|other| host_ports(other)).collect();
    if host_ports(pod).any(|port| taken.contains(&port)) {
        return refuse(
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".into(),
        );
    }
    Ok(())
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = (i32, String, String)> + '_ {
    pod.spec
        .containers
        .iter()
        .flat_map(|container| &container.ports)
        .filter(|port| port.host_port > 0)
        .map(|port| (port.host_port, port.protocol.as_str().to_owned(), port.host_ip.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Quantity;
    use api_types::core::v1::{Container, ContainerPort, PodOS, PodSecurityContext};

    fn pod(cpu: &str, port: i32) -> Arc<Pod> {
        let mut pod = Pod::default();
        let mut container = Container::default();
        container.resources.requests.insert("cpu".into(), Quantity::parse(cpu).unwrap());
        container.ports.push(ContainerPort { host_port: port, ..Default::default() });
        pod.spec.containers.push(container);
        Arc::new(pod)
    }

    fn check_refusal(pod: &Pod, others: &[Arc<Pod>], expected: Option<(&str, &str)>) {
        let allocatable: ResourceList = [("cpu".to_owned(), Quantity::parse("2").unwrap())].into();
        let refusal = check(pod, others, &allocatable, 2).err();
        let shown = refusal.as_ref().map(|refusal| (refusal.reason.as_str(), refusal.message.as_str()));
        assert_eq!(shown, expected);
    }

    #[test]
    fn pods_of_another_system_are_refused() {
        let mut pod = Pod::default();
        assert_eq!(fits_node(&pod, false), Ok(()));
        pod.spec.os = Some(Box::new(PodOS { name: "windows".into() }));
        assert_eq!(fits_node(&pod, false).unwrap_err().reason, "PodOSNotSupported");
        let mut pod = Pod::default();
        pod.spec.security_context = Some(Box::new(PodSecurityContext {
            supplemental_groups_policy: Some(SupplementalGroupsPolicy::Strict),
            ..Default::default()
        }));
        assert_eq!(fits_node(&pod, false).unwrap_err().reason, "SupplementalGroupsPolicyNotSupported");
        assert_eq!(fits_node(&pod, true), Ok(()));
    }

    #[test]
    fn resources_pods_and_ports() {
        check_refusal(&pod("1", 0), &[pod("1", 0)], None);
        let message = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
        check_refusal(&pod("1500m", 0), &[pod("1", 0)], Some(("OutOfcpu", message)));
        let message = "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2";
        check_refusal(&pod("0", 0), &[pod("0", 0), pod("0", 0)], Some(("OutOfpods", message)));
        let message =
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        check_refusal(&pod("0", 80), &[pod("0", 80)], Some(("NodePorts", message)));
    }
}
