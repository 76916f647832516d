//! The node's status, computed from what is known, and written at upstream's rhythm: looked at every
//! `nodeStatusUpdateFrequency`, written when it changed or `nodeStatusReportFrequency` passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_types::core::v1::{
    ConditionStatus, ContainerImage, DaemonEndpoint, Node, NodeCondition, NodeConditionType,
    NodeDaemonEndpoints, NodeFeatures, NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus,
    NodeSwapStatus, NodeSystemInfo, ResourceList,
};
use api_types::meta::Time;
use daemon::flags::GoDuration;
use jiff::Timestamp;
use tokio::time::Instant;

use super::allocatable;
use crate::cri::v1;
use crate::eviction::thresholds::Pressure;
use crate::kubelet::Kubelet;

/// The runtime must have answered a listing that lately.
const PULSE: Duration = Duration::from_secs(180);
/// COMPAT: a runtime that has not told its status for so long is down.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the status waits for the runtime's images; those of before stand otherwise.
const IMAGES_PATIENCE: Duration = Duration::from_secs(5);
/// Names of one image that are published.
const NAMES_PER_IMAGE: usize = 5;
const IMAGES: i32 = 50;
/// COMPAT: what schedulers and API servers ask of a node before they give it a pod, or a change of one, that needs it
/// (KEP-5328), in the order of the alphabet.
const DECLARED: [&str; 2] =
    ["InPlacePodLevelResourcesVerticalScaling", "RestartAllContainersOnContainerExits"];

/// What the conditions are computed from.
pub struct Health<'a> {
    /// Reasons for not being ready, in upstream's order; empty when ready.
    pub problems: &'a [String],
    /// What the node is short of.
    pub pressures: &'a [Pressure],
    /// Now.
    pub now: Timestamp,
}

/// The reasons for not being ready.
pub fn problems(kubelet: &Kubelet) -> Vec<String> {
    let facts = kubelet.runtime_facts.read();
    let mut problems = Vec::new();
    // One that hangs answers neither well nor badly.
    if facts.runtime_error.is_empty() && facts.seen.is_none_or(|seen| seen.elapsed() > SILENCE) {
        problems.push("container runtime is down".into());
    }
    if !facts.runtime_error.is_empty() {
        problems.push(facts.runtime_error.clone());
    }
    match kubelet.pulse.last() {
        None => problems.push("PLEG is not healthy: pleg has yet to be successful".into()),
        Some(last) if last.elapsed() > PULSE => problems.push(format!(
            "PLEG is not healthy: pleg was last seen active {} ago; threshold is 3m0s",
            GoDuration(last.elapsed())
        )),
        Some(_) => {}
    }
    if !facts.network_error.is_empty() {
        problems.push(facts.network_error.clone());
    }
    if kubelet.shutdown.now() {
        problems.push("node is shutting down".into());
    }
    problems
}

/// COMPAT: as Go joins errors: one alone, several in brackets.
fn join(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// The conditions, `Ready` last.
pub fn conditions(old: &[NodeCondition], health: &Health<'_>) -> Vec<NodeCondition> {
    let now = Some(Time::whole(health.now));
    let mut conditions: Vec<NodeCondition> = Vec::new();
    let pressed = |pressure: Pressure| {
        let (reason, message) = match (pressure, health.pressures.contains(&pressure)) {
            (Pressure::Memory, false) => {
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available")
            }
            (Pressure::Memory, true) => {
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
            }
            (Pressure::Disk, false) => ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            (Pressure::Disk, true) => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            (Pressure::Pid, false) => ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            (Pressure::Pid, true) => ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        };
        (pressure.condition(), health.pressures.contains(&pressure), reason, message.to_owned())
    };
    let own = [
        pressed(Pressure::Memory),
        pressed(Pressure::Disk),
        pressed(Pressure::Pid),
        if health.problems.is_empty() {
            (NodeConditionType::Ready, true, "KubeletReady", "kubelet is posting ready status".to_owned())
        } else {
            (NodeConditionType::Ready, false, "KubeletNotReady", join(health.problems))
        },
    ];
    conditions.extend(old.iter().filter(|old| own.iter().all(|(type_, ..)| old.type_ != *type_)).cloned());
    for (type_, status, reason, message) in own {
        let status = if status { ConditionStatus::True } else { ConditionStatus::False };
        let kept = old.iter().find(|old| old.type_ == type_ && old.status == status);
        conditions.push(NodeCondition {
            last_transition_time: kept.and_then(|old| old.last_transition_time).or(now),
            last_heartbeat_time: now,
            type_,
            status,
            reason: reason.into(),
            message: daemon::go_words::worded(&message).into_owned(),
        });
    }
    conditions
}

/// The images, largest first, as far as they are published.
pub fn images(mut all: Vec<v1::Image>, max: i32) -> Vec<ContainerImage> {
    all.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    if let Ok(max) = usize::try_from(max) {
        all.truncate(max);
    }
    all.into_iter()
        .map(|image| {
            let names = image.repo_digests.into_iter().chain(image.repo_tags);
            ContainerImage { names: names.take(NAMES_PER_IMAGE).collect(), size_bytes: image.size as i64 }
        })
        .collect()
}

/// COMPAT: extended resources that somebody else put into the capacity, by writing the status, stay
/// there, and pods can have all of them.
fn with_extended(mut own: ResourceList, capacity: &ResourceList) -> ResourceList {
    let extended = |name: &str| name.contains('/') && !name.contains("kubernetes.io/");
    for (name, amount) in capacity.iter().filter(|(name, _)| extended(name)) {
        own.entry(name.clone()).or_insert(*amount);
    }
    own
}

/// The whole status, over the one before.
pub async fn status(kubelet: &Kubelet, old: &NodeStatus) -> NodeStatus {
    let machine = &kubelet.machine;
    let listed = tokio::time::timeout(IMAGES_PATIENCE, kubelet.runtime.image_list()).await;
    let images = match listed {
        Ok(Ok(all)) => images(all, kubelet.config.node_status_max_images.unwrap_or(IMAGES)),
        _ => old.images.clone(),
    };
    let facts = kubelet.runtime_facts.read().clone();
    let handlers = facts.status.runtime_handlers.iter().map(|handler| NodeRuntimeHandler {
        name: handler.name.clone(),
        features: handler.features.as_ref().map(|features| {
            Box::new(NodeRuntimeHandlerFeatures {
                recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
                user_namespaces: Some(features.user_namespaces),
            })
        }),
    });
    let addresses = kubelet.addresses.published(&old.addresses).await;
    let (plugins, free) = kubelet.devices.amounts();
    let mut capacity = allocatable::capacity(machine, &kubelet.root, kubelet.most_pods());
    capacity.extend(plugins);
    let mut allocatable = kubelet.allocatable.clone();
    allocatable.extend(free);
    NodeStatus {
        capacity: with_extended(capacity, &old.capacity),
        allocatable: with_extended(allocatable, &old.capacity),
        conditions: conditions(
            &old.conditions,
            &Health {
                problems: &problems(kubelet),
                pressures: &kubelet.pressures.all(),
                now: Timestamp::now(),
            },
        ),
        addresses,
        daemon_endpoints: NodeDaemonEndpoints {
            kubelet_endpoint: DaemonEndpoint { port: kubelet.config.port.into() },
        },
        node_info: NodeSystemInfo {
            machine_id: machine.machine_id.clone(),
            system_uuid: machine.system_uuid.clone(),
            boot_id: machine.boot_id.clone(),
            kernel_version: machine.kernel.clone(),
            os_image: machine.os_image.clone(),
            container_runtime_version: format!("{}://{}", facts.name, facts.version),
            kubelet_version: daemon::version::GIT_VERSION.into(),
            kube_proxy_version: String::new(),
            operating_system: "linux".into(),
            architecture: daemon::version::ARCH.into(),
            swap: (machine.swap > 0).then(|| Box::new(NodeSwapStatus { capacity: Some(machine.swap) })),
        },
        images,
        runtime_handlers: handlers.collect(),
        declared_features: DECLARED.map(str::to_owned).into(),
        volumes_in_use: volumes_in_use(kubelet, &old.volumes_in_use).await,
        features: facts.status.features.as_ref().map(|features| {
            Box::new(NodeFeatures { supplemental_groups_policy: Some(features.supplemental_groups_policy) })
        }),
        ..old.clone()
    }
}

async fn volumes_in_use(kubelet: &Kubelet, known: &[String]) -> Vec<String> {
    let (csi, known) = (Arc::clone(&kubelet.csi), known.to_vec());
    tokio::task::spawn_blocking(move || csi.volumes_in_use(&known)).await.expect("reading does not panic")
}

/// Equal but for the heartbeats.
pub fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in &mut status.conditions {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(a) == still(b)
}

/// Keeps the status current; never ends.
pub async fn run(kubelet: Arc<Kubelet>) {
    let every = kubelet.config.node_status_update_frequency.unwrap_or(Duration::from_secs(10));
    let report = kubelet.config.node_status_report_frequency.unwrap_or(
        match kubelet.config.node_status_update_frequency {
            Some(every) => every,
            None => Duration::from_secs(300),
        },
    );
    let mut written: Option<Instant> = None;
    let shown = || {
        let changes = (kubelet.csi.in_use.changes(), kubelet.devices.changes());
        (problems(&kubelet).is_empty(), kubelet.pressures.all(), changes)
    };
    loop {
        let now = shown();
        match update(&kubelet, written.is_none_or(|at| at.elapsed() >= report)).await {
            Ok(true) => written = Some(Instant::now()),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, node = kubelet.node_name, "cannot update the node's status"),
        }
        // A change of readiness, or a volume that a pod waits for, is not kept for the next round.
        let until = Instant::now() + every.mul_f64(0.96 + fastrand::f64() * 0.08);
        while Instant::now() < until && shown() == now {
            tokio::time::sleep(Duration::from_millis(500).min(until - Instant::now())).await;
        }
    }
}

/// Whether the status was written.
async fn update(kubelet: &Arc<Kubelet>, due: bool) -> Result<bool, client::Error> {
    let api = kubelet.heartbeat.api::<Node>();
    // Each time anew: others add resources and conditions, and delete the node.
    let mut node = match api.find(&kubelet.node_name).await? {
        Some(node) => node,
        // Deleted by someone: a kubelet that registers does so again.
        None if kubelet.config.register_node != Some(false) => super::register::register(kubelet).await?,
        None => api.get(&kubelet.node_name).await?,
    };
    for _ in 0..5 {
        kubelet.addresses.saw(&node);
        tell_of_pods_welcome(kubelet, &node);
        let mut changed = node.clone();
        changed.status = status(kubelet, &node.status).await;
        let labelled = super::register::label_anew(&mut changed);
        if same(&changed.status, &node.status) && !labelled && !due {
            kubelet.csi.in_use.told(&node.status.volumes_in_use);
            return Ok(false);
        }
        tell_of_readiness(kubelet, &node.status, &changed.status);
        kubelet.addresses.annotate(&mut changed);
        match api.update_status(&changed).await {
            Ok(stored) => {
                kubelet.addresses.saw(&stored);
                kubelet.csi.in_use.told(&stored.status.volumes_in_use);
                follow_pod_cidr(kubelet, &stored).await;
                return Ok(true);
            }
            Err(error) if error.is_conflict() => node = api.get(&kubelet.node_name).await?,
            Err(error) if error.is_not_found() => {
                node = super::register::register(kubelet).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Says when the node begins to be closed to new pods, and when it is open again.
fn tell_of_pods_welcome(kubelet: &Kubelet, node: &Node) {
    static CLOSED: AtomicBool = AtomicBool::new(false);
    let closed = node.spec.unschedulable;
    if CLOSED.swap(closed, Ordering::Relaxed) != closed {
        let event = if closed { "NodeNotSchedulable" } else { "NodeSchedulable" };
        let message = format!("Node {} status is now: {event}", kubelet.node_name);
        kubelet.recorder.node(&kubelet.node_name, "Normal", event, &message);
    }
}

fn tell_of_readiness(kubelet: &Kubelet, old: &NodeStatus, new: &NodeStatus) {
    let ready = |status: &NodeStatus| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == NodeConditionType::Ready)
            .map(|condition| condition.status.clone())
    };
    let (before, after) = (ready(old), ready(new));
    if before.is_some() && before != after {
        let event = if after == Some(ConditionStatus::True) { "NodeReady" } else { "NodeNotReady" };
        let message = format!("Node {} status is now: {event}", kubelet.node_name);
        kubelet.recorder.node(&kubelet.node_name, "Normal", event, &message);
    }
    for (pressure, begins, ends) in [
        (Pressure::Memory, "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
        (Pressure::Disk, "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
        (Pressure::Pid, "NodeHasInsufficientPID", "NodeHasSufficientPID"),
    ] {
        let is = |status: &NodeStatus| {
            let type_ = pressure.condition();
            let condition = status.conditions.iter().find(|condition| condition.type_ == type_)?;
            Some(condition.status == ConditionStatus::True)
        };
        let (before, after) = (is(old), is(new) == Some(true));
        if before != Some(after) {
            let event = if after { begins } else { ends };
            let message = format!("Node {} status is now: {event}", kubelet.node_name);
            kubelet.recorder.node(&kubelet.node_name, "Normal", event, &message);
        }
    }
}

/// The runtime is told once which addresses are the node's to give.
async fn follow_pod_cidr(kubelet: &Kubelet, node: &Node) {
    static TOLD: parking_lot::Mutex<String> = parking_lot::Mutex::new(String::new());
    let given = if node.spec.pod_cidrs.is_empty() {
        vec![node.spec.pod_cidr.clone()]
    } else {
        node.spec.pod_cidrs.clone()
    };
    let mut cidr = given.join(",");
    if cidr.is_empty() {
        cidr.clone_from(&kubelet.config.pod_cidr);
    }
    if cidr.is_empty() || *TOLD.lock() == cidr {
        return;
    }
    match kubelet.runtime.set_pod_cidr(&cidr).await {
        Ok(()) => *TOLD.lock() = cidr,
        Err(error) => tracing::warn!(%error, cidr, "cannot tell the runtime the pod network"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_keeps_its_transition_time_until_it_changes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = conditions(&[], &Health { problems: &[], pressures: &[], now: at(1) });
        assert_eq!(first.last().unwrap().reason, "KubeletReady");
        let second = conditions(&first, &Health { problems: &[], pressures: &[], now: at(2) });
        assert_eq!(second.last().unwrap().last_transition_time, Some(Time(at(1))));
        let problems = ["a".to_owned(), "b".to_owned()];
        let third =
            conditions(&second, &Health { problems: &problems, pressures: &[Pressure::Disk], now: at(3) });
        let ready = third.last().unwrap();
        assert_eq!((ready.message.as_str(), ready.last_transition_time), ("[a, b]", Some(Time(at(3)))));
        let disk = third.iter().find(|one| one.type_ == NodeConditionType::DiskPressure).unwrap();
        assert_eq!((disk.status.as_str(), disk.reason.as_str()), ("True", "KubeletHasDiskPressure"));
    }

    #[test]
    fn extended_resources_of_others_are_kept() {
        let list = |names: &[(&str, &str)]| -> ResourceList {
            names.iter().map(|(name, amount)| ((*name).into(), amount.parse().unwrap())).collect()
        };
        let own = list(&[("cpu", "2"), ("pods", "110")]);
        let old = list(&[("cpu", "4"), ("example.com/dongle", "3"), ("hugepages-2Mi", "1Gi")]);
        let expected = list(&[("cpu", "2"), ("example.com/dongle", "3"), ("pods", "110")]);
        assert_eq!(with_extended(own, &old), expected);
    }

    #[test]
    fn conditions_of_others_are_kept() {
        let foreign = NodeCondition { type_: NodeConditionType::NetworkUnavailable, ..Default::default() };
        let made = conditions(
            std::slice::from_ref(&foreign),
            &Health { problems: &[], pressures: &[], now: Timestamp::UNIX_EPOCH },
        );
        assert_eq!(made[0], foreign);
        assert_eq!(made.len(), 5);
    }
}
