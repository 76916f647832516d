//! Which pod goes first, what its status says, and pods that use more local storage than they may. Pure.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::{Pod, StorageMedium, Volume};
use api_types::value::Format;

use super::plan::Observations;
use super::thresholds::{Layout, Signal, Threshold};
use crate::resources::aggregate;

/// Bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes.
    pub bytes: i64,
    /// Inodes.
    pub inodes: i64,
}

impl std::ops::AddAssign for Disk {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// Bytes of its working set.
    pub memory: i64,
    /// Its own layer.
    pub rootfs: Disk,
    /// Its logs.
    pub logs: Disk,
}

/// What a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUsage {
    /// Bytes of its working set.
    pub memory: i64,
    /// Processes.
    pub processes: i64,
    /// Its containers.
    pub containers: Vec<ContainerUsage>,
    /// Its volumes on this node, by name.
    pub volumes: BTreeMap<String, Disk>,
}

/// A pod that may be evicted.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it uses; `None` when that could not be found out.
    pub usage: Option<PodUsage>,
}

/// The parts of a pod's storage that count for a signal.
#[derive(Clone, Copy)]
struct Parts {
    rootfs: bool,
    logs: bool,
    volumes: bool,
}

fn parts(signal: Signal, layout: Layout) -> Parts {
    let all = Parts { rootfs: true, logs: true, volumes: true };
    if !layout.image_fs {
        return all;
    }
    let image = matches!(signal, Signal::ImageFs | Signal::ImageFsInodes);
    let node = matches!(signal, Signal::NodeFs | Signal::NodeFsInodes);
    match (layout.split, image, node) {
        (true, true, _) => Parts { rootfs: false, logs: false, volumes: false },
        (true, false, _) => all,
        (false, _, true) => Parts { rootfs: false, logs: true, volumes: true },
        (false, _, false) => Parts { rootfs: true, logs: false, volumes: false },
    }
}

/// COMPAT: the volumes whose content is on the node's own disk.
fn is_local(volume: &Volume) -> bool {
    let source = &volume.source;
    source.host_path.is_some()
        || source.config_map.is_some()
        || source.empty_dir.as_ref().is_some_and(|own| own.medium == StorageMedium::Unset)
}

impl PodUsage {
    /// What the pod stores on the node, in its containers, logs and volumes.
    pub fn stored(&self, pod: &Pod) -> Disk {
        self.disk(pod, Parts { rootfs: true, logs: true, volumes: true })
    }

    fn disk(&self, pod: &Pod, parts: Parts) -> Disk {
        let mut sum = Disk::default();
        for container in &self.containers {
            if parts.rootfs {
                sum += container.rootfs;
            }
            if parts.logs {
                sum += container.logs;
            }
        }
        for volume in pod.spec.volumes.iter().filter(|volume| parts.volumes && is_local(volume)) {
            sum += self.volumes.get(&volume.name).copied().unwrap_or_default();
        }
        sum
    }
}

fn request(pod: &Pod, resource: &str) -> i64 {
    aggregate(&pod.spec, |resources| &resources.requests)
        .get(resource)
        .map(Quantity::value)
        .unwrap_or_default()
}

/// Orders the candidates: who goes first stands first.
pub fn rank(candidates: &mut [Candidate], signal: Signal, layout: Layout) {
    let priority = |one: &Candidate| one.pod.spec.priority.unwrap_or_default();
    // Those of which nothing is known go before the others.
    let unknown = |one: &Candidate| one.usage.is_some();
    if signal == Signal::Pids {
        candidates.sort_by_key(|one| {
            let used = one.usage.as_ref().map(|usage| usage.processes);
            (priority(one), unknown(one), Reverse(used))
        });
        return;
    }
    let (used, requested) = match signal.resource() {
        "memory" => (
            Box::new(|one: &Candidate| one.usage.as_ref().map_or(0, |usage| usage.memory))
                as Box<dyn Fn(&Candidate) -> i64>,
            "memory",
        ),
        resource => {
            let (parts, inodes) = (parts(signal, layout), resource == "inodes");
            let used = move |one: &Candidate| {
                let disk = one.usage.as_ref().map(|usage| usage.disk(&one.pod, parts)).unwrap_or_default();
                if inodes { disk.inodes } else { disk.bytes }
            };
            (Box::new(used) as Box<dyn Fn(&Candidate) -> i64>, if inodes { "" } else { "ephemeral-storage" })
        }
    };
    let above = |one: &Candidate| used(one) - request(&one.pod, requested);
    candidates.sort_by(|a, b| {
        unknown(a)
            .cmp(&unknown(b))
            .then_with(|| (above(b) > 0).cmp(&(above(a) > 0)))
            .then_with(|| priority(a).cmp(&priority(b)))
            .then_with(|| above(b).cmp(&above(a)))
            .then(Ordering::Equal)
    });
}

/// A message, and the annotations of its event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// For status and event.
    pub message: String,
    /// For the event.
    pub annotations: Vec<(&'static str, String)>,
}

/// What is said about an evicted pod.
pub fn words(candidate: &Candidate, resource: &str, met: &[Threshold], observations: &Observations) -> Words {
    let mut message = format!("The node was low on resource: {resource}. ");
    let threshold = met
        .iter()
        .filter(|threshold| threshold.signal.resource() == resource)
        .find_map(|threshold| Some((threshold, observations.get(&threshold.signal)?)));
    if let Some((threshold, seen)) = threshold {
        message += &format!(
            "Threshold quantity: {}, available: {}. ",
            threshold.quantity(seen.capacity, false),
            threshold.signal.quantity(seen.available)
        );
    }
    let Some(usage) = &candidate.usage else { return Words { message, annotations: Vec::new() } };
    let mut annotations = Vec::new();
    let bytes = |amount: i64| Quantity::from_units(amount, Format::BinarySi);
    let spec = &candidate.pod.spec;
    let own = spec.resources.as_ref().and_then(|own| own.requests.get(resource));
    if let Some(request) = own.filter(|_| resource == "memory") {
        let name = &candidate.pod.metadata.name;
        let used = bytes(usage.memory);
        message += &format!(
            "Pod {name} was using {used}, request is {request}, has larger consumption of {resource}. "
        );
        annotations.push(("offending_pod", name.clone()));
        annotations.push(("offending_pod_usage", used.to_string()));
    }
    let (mut names, mut amounts) = (Vec::new(), Vec::new());
    for used in &usage.containers {
        let container =
            spec.containers.iter().chain(&spec.init_containers).find(|container| container.name == used.name);
        let Some(container) = container else { continue };
        let amount = match resource {
            "memory" => used.memory,
            "ephemeral-storage" => used.rootfs.bytes + used.logs.bytes,
            _ => continue,
        };
        let none = Quantity::default();
        let request = container.resources.requests.get(resource).unwrap_or(&none);
        if amount > request.value() {
            let amount = bytes(amount);
            message += &format!(
                "Container {} was using {amount}, request is {request}, has larger consumption of {resource}. ",
                used.name
            );
            names.push(used.name.clone());
            amounts.push(amount.to_string());
        }
    }
    annotations.push(("offending_containers", names.join(",")));
    annotations.push(("offending_containers_usage", amounts.join(",")));
    annotations.push(("starved_resource", resource.to_owned()));
    Words { message, annotations }
}

/// The pod has a limit on what it may store on the node.
pub fn is_limited(pod: &Pod) -> bool {
    let sized = |volume: &Volume| {
        volume.source.empty_dir.as_ref().is_some_and(|own| own.size_limit.is_some_and(|size| !size.is_zero()))
    };
    pod.spec.volumes.iter().any(sized)
        || aggregate(&pod.spec, |resources| &resources.limits).contains_key("ephemeral-storage")
}

/// Why a pod that stores more than it may is evicted, and the metric's name for it.
pub fn over_limit(candidate: &Candidate, layout: Layout) -> Option<(String, &'static str)> {
    let usage = candidate.usage.as_ref()?;
    let spec = &candidate.pod.spec;
    for volume in &spec.volumes {
        let Some(limit) = volume.source.empty_dir.as_ref().and_then(|own| own.size_limit) else { continue };
        let used = usage.volumes.get(&volume.name).map_or(0, |disk| disk.bytes);
        if limit.value() > 0 && used > limit.value() {
            let message =
                format!("Usage of EmptyDir volume {:?} exceeds the limit \"{limit}\". ", volume.name);
            return Some((message, "emptydirfs.limit"));
        }
    }
    let name = "ephemeral-storage";
    if let Some(limit) = aggregate(spec, |resources| &resources.limits).get(name) {
        let used = usage.disk(&candidate.pod, Parts { rootfs: true, logs: true, volumes: true });
        if used.bytes > limit.value() {
            let message =
                format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. ");
            return Some((message, "ephemeralpodfs.limit"));
        }
    }
    for container in &spec.containers {
        let Some(limit) = container.resources.limits.get(name).filter(|limit| !limit.is_zero()) else {
            continue;
        };
        let Some(used) = usage.containers.iter().find(|used| used.name == container.name) else { continue };
        let bytes = used.logs.bytes + if layout.image_fs { 0 } else { used.rootfs.bytes };
        if bytes > limit.value() {
            let message = format!(
                "Container {} exceeded its local ephemeral storage limit \"{limit}\". ",
                container.name
            );
            return Some((message, "ephemeralcontainerfs.limit"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::plan::Observation;
    use super::super::thresholds::{Settings, parse};
    use super::*;
    use api_types::core::v1::{Container, EmptyDirVolumeSource};

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    /// A pod with one container that requests and uses this much memory.
    fn pod(name: &str, priority: i32, request: i64, used: i64) -> Candidate {
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.spec.priority = Some(priority);
        let mut container = Container { name: "c".into(), ..Default::default() };
        if request > 0 {
            container.resources.requests.insert("memory".into(), quantity(&request.to_string()));
        }
        pod.spec.containers.push(container);
        let usage = PodUsage {
            memory: used,
            processes: used,
            containers: vec![ContainerUsage { name: "c".into(), memory: used, ..Default::default() }],
            ..Default::default()
        };
        Candidate { pod: Arc::new(pod), usage: Some(usage) }
    }

    fn names(candidates: &[Candidate]) -> Vec<&str> {
        candidates.iter().map(|one| one.pod.metadata.name.as_str()).collect()
    }

    #[test]
    fn who_uses_more_than_was_asked_for_goes_first_then_by_priority() {
        let mut all = vec![
            pod("within", 0, 100, 90),
            pod("important", 9, 10, 100),
            pod("little", 0, 10, 20),
            pod("much", 0, 10, 90),
            Candidate { usage: None, ..pod("unknown", 5, 0, 0) },
        ];
        rank(&mut all, Signal::Memory, Layout::default());
        assert_eq!(names(&all), ["unknown", "much", "little", "important", "within"]);
        let mut all = vec![pod("few", 0, 0, 3), pod("high", 5, 0, 99), pod("many", 0, 0, 9)];
        rank(&mut all, Signal::Pids, Layout::default());
        assert_eq!(names(&all), ["many", "few", "high"]);
    }

    #[test]
    fn storage_counts_where_it_is() {
        let with = |name: &str, rootfs: i64, logs: i64| {
            let mut one = pod(name, 0, 0, 0);
            let usage = &mut one.usage.as_mut().unwrap().containers[0];
            usage.rootfs.bytes = rootfs;
            usage.logs.bytes = logs;
            one
        };
        let ranked = |signal, layout| {
            let mut all = vec![with("layer", 90, 10), with("logs", 10, 80)];
            rank(&mut all, signal, layout);
            all[0].pod.metadata.name.clone()
        };
        let apart = Layout { image_fs: true, split: false };
        assert_eq!(ranked(Signal::NodeFs, Layout::default()), "layer");
        assert_eq!(ranked(Signal::NodeFs, apart), "logs");
        assert_eq!(ranked(Signal::ImageFs, apart), "layer");
    }

    /// COMPAT: the words that people search for.
    #[test]
    fn words_are_upstreams() {
        let met = parse(&Settings::default()).unwrap();
        let seen = [(Signal::Memory, Observation { available: 50 << 20, capacity: 1 << 30 })].into();
        let mut one = pod("p", 0, 0, 0);
        one.usage.as_mut().unwrap().containers[0].memory = 200 << 20;
        let words = words(&one, "memory", &met, &seen);
        assert_eq!(
            words.message,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was \
             using 200Mi, request is 0, has larger consumption of memory. "
        );
        assert_eq!(words.annotations[0], ("offending_containers", "c".into()));
    }

    #[test]
    fn limits_on_local_storage() {
        let mut one = pod("p", 0, 0, 0);
        let pod = Arc::make_mut(&mut one.pod);
        let mut volume = Volume { name: "v".into(), ..Default::default() };
        let empty = EmptyDirVolumeSource { size_limit: Some(quantity("10Ki")), ..Default::default() };
        volume.source.empty_dir = Some(Box::new(empty));
        assert!(!is_limited(pod));
        pod.spec.volumes.push(volume);
        assert!(is_limited(pod));
        let mut check = |bytes: i64, rootfs: i64| {
            let usage = one.usage.as_mut().unwrap();
            usage.volumes.insert("v".into(), Disk { bytes, inodes: 1 });
            usage.containers[0].rootfs.bytes = rootfs;
            over_limit(&one, Layout::default()).map(|(message, _)| message)
        };
        assert_eq!(check(10 << 10, 0), None);
        assert_eq!(
            check(11 << 10, 0).as_deref(),
            Some("Usage of EmptyDir volume \"v\" exceeds the limit \"10Ki\". ")
        );
        let limits = &mut Arc::make_mut(&mut one.pod).spec.containers[0].resources.limits;
        limits.insert("ephemeral-storage".into(), quantity("5Ki"));
        let usage = one.usage.as_mut().unwrap();
        usage.volumes.clear();
        usage.containers[0].rootfs.bytes = 6 << 10;
        assert_eq!(
            over_limit(&one, Layout::default()).unwrap().0,
            "Pod ephemeral local storage usage exceeds the total limit of containers 5Ki. "
        );
    }
}
