//! Builders of pods, nodes and clusters for tests.

use std::sync::Arc;

use api_types::core::v1::*;
use api_types::meta::v1::LabelSelector;
use api_types::storage::v1::StorageClass;
use client::informer::Projection as _;

use crate::cache::{Cache, NodeInfo, Snapshot};
use crate::framework::{CycleState, Filter, Score};
use crate::node::NodeView;
use crate::pod::PodView;
use crate::storage::{ClaimView, ClassView, Part as _, VolumeView};

pub fn container(cpu: &str, memory: &str) -> Container {
    let mut container = Container::default();
    let requests = &mut container.resources.requests;
    requests.insert("cpu".into(), cpu.parse().unwrap());
    requests.insert("memory".into(), memory.parse().unwrap());
    container
}

/// A pod in the making.
#[derive(Clone)]
pub struct PodBuilder(Pod);

/// A pod in `default` with one container and its name as its uid.
pub fn pod(name: &str) -> PodBuilder {
    let mut pod = Pod::default();
    pod.metadata.name = name.into();
    pod.metadata.namespace = "default".into();
    pod.metadata.uid = name.into();
    pod.spec.scheduler_name = "default-scheduler".into();
    pod.spec.containers.push(Container::default());
    PodBuilder(pod)
}

impl PodBuilder {
    pub fn edit(mut self, change: impl FnOnce(&mut Pod)) -> Self {
        change(&mut self.0);
        self
    }
    pub fn view(&self) -> PodView {
        PodView::of(&self.0)
    }
    pub fn shared(&self) -> Arc<PodView> {
        Arc::new(self.view())
    }
    pub fn namespace(self, name: &str) -> Self {
        self.edit(|p| p.metadata.namespace = name.into())
    }
    pub fn on(self, node: &str) -> Self {
        self.edit(|p| p.spec.node_name = node.into())
    }
    pub fn priority(self, priority: i32) -> Self {
        self.edit(|p| p.spec.priority = Some(priority))
    }
    pub fn image(self, image: &str) -> Self {
        self.edit(|p| p.spec.containers[0].image = image.into())
    }
    pub fn pod_label(self, key: &str, value: &str) -> Self {
        self.edit(|p| drop(p.metadata.labels.insert(key.into(), value.into())))
    }
    pub fn requests(self, name: &str, amount: &str) -> Self {
        self.edit(|p| {
            p.spec.containers[0].resources.requests.insert(name.into(), amount.parse().unwrap());
        })
    }
    pub fn host_port(self, port: i32, protocol: &str) -> Self {
        self.edit(|p| {
            p.spec.containers[0].ports.push(ContainerPort {
                host_port: port,
                protocol: protocol.into(),
                ..ContainerPort::default()
            });
        })
    }
    pub fn toleration(self, key: &str, operator: &str, value: &str, effect: &str) -> Self {
        self.edit(|p| {
            p.spec.tolerations.push(Toleration {
                key: key.into(),
                operator: operator.into(),
                value: value.into(),
                effect: effect.into(),
                ..Toleration::default()
            });
        })
    }
    pub fn node_selector(self, key: &str, value: &str) -> Self {
        self.edit(|p| drop(p.spec.node_selector.insert(key.into(), value.into())))
    }
    /// One more alternative of required node affinity.
    pub fn node_affinity(self, key: &str, operator: &str, values: &[&str]) -> Self {
        let term = NodeSelectorTerm {
            match_expressions: vec![requirement(key, operator, values)],
            ..Default::default()
        };
        self.node_term(term)
    }
    /// As `node_affinity`, of the node's name.
    pub fn node_field(self, names: &[&str]) -> Self {
        let fields = vec![requirement("metadata.name", "In", names)];
        self.node_term(NodeSelectorTerm { match_fields: fields, ..Default::default() })
    }
    /// Also asks for one of `names` in the last alternative.
    pub fn node_field_and(self, names: &[&str]) -> Self {
        self.edit(|p| {
            let affinity = p.spec.affinity.as_mut().and_then(|a| a.node_affinity.as_mut()).unwrap();
            let selector = affinity.required_during_scheduling_ignored_during_execution.as_mut().unwrap();
            let term = selector.node_selector_terms.last_mut().unwrap();
            term.match_fields.push(requirement("metadata.name", "In", names));
        })
    }
    fn node_term(self, term: NodeSelectorTerm) -> Self {
        self.edit(|p| {
            let affinity = p.spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
            let selector =
                affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
            selector.node_selector_terms.push(term);
        })
    }
    pub fn claim(self, name: &str) -> Self {
        self.edit(|p| {
            let mut volume = Volume { name: format!("v-{name}"), ..Volume::default() };
            let claim = PersistentVolumeClaimVolumeSource { claim_name: name.into(), ..Default::default() };
            volume.source.persistent_volume_claim = Some(Box::new(claim));
            p.spec.volumes.push(volume);
        })
    }
    pub fn affinity(self, key: &str, value: &str, topology_key: &str) -> Self {
        let term = pod_term(key, value, topology_key);
        self.edit(|p| {
            let affinity = p.spec.affinity.get_or_insert_default().pod_affinity.get_or_insert_default();
            affinity.required_during_scheduling_ignored_during_execution.push(term);
        })
    }
    pub fn anti_affinity(self, key: &str, value: &str, topology_key: &str) -> Self {
        let term = pod_term(key, value, topology_key);
        self.edit(|p| {
            let affinity = p.spec.affinity.get_or_insert_default().pod_anti_affinity.get_or_insert_default();
            affinity.required_during_scheduling_ignored_during_execution.push(term);
        })
    }
    pub fn spread(self, topology_key: &str, max_skew: i32, otherwise: &str, key: &str, value: &str) -> Self {
        self.edit(|p| {
            p.spec.topology_spread_constraints.push(TopologySpreadConstraint {
                max_skew,
                topology_key: topology_key.into(),
                when_unsatisfiable: otherwise.into(),
                label_selector: Some(Box::new(selector(key, value))),
                ..Default::default()
            });
        })
    }
}

fn selector(key: &str, value: &str) -> LabelSelector {
    LabelSelector { match_labels: [(key.into(), value.into())].into(), ..Default::default() }
}

fn pod_term(key: &str, value: &str, topology_key: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: Some(Box::new(selector(key, value))),
        topology_key: topology_key.into(),
        ..Default::default()
    }
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: values.iter().map(|v| (*v).into()).collect(),
    }
}

/// A node in the making.
#[derive(Clone)]
pub struct NodeBuilder(Node);

/// A node that offers nothing but room for 110 pods.
pub fn node(name: &str) -> NodeBuilder {
    let mut node = Node::default();
    node.metadata.name = name.into();
    NodeBuilder(node).allocatable("pods", "110")
}

impl NodeBuilder {
    pub fn edit(mut self, change: impl FnOnce(&mut Node)) -> Self {
        change(&mut self.0);
        self
    }
    pub fn view(&self) -> NodeView {
        NodeView::of(&self.0)
    }
    pub fn label(self, key: &str, value: &str) -> Self {
        self.edit(|n| drop(n.metadata.labels.insert(key.into(), value.into())))
    }
    pub fn taint(self, key: &str, value: &str, effect: &str) -> Self {
        self.edit(|n| {
            n.spec.taints.push(Taint {
                key: key.into(),
                value: value.into(),
                effect: effect.into(),
                ..Taint::default()
            });
        })
    }
    pub fn allocatable(self, name: &str, amount: &str) -> Self {
        self.edit(|n| _ = n.status.allocatable.insert(name.into(), amount.parse().unwrap()))
    }
    pub fn image(self, name: &str, size_bytes: i64) -> Self {
        self.edit(|n| n.status.images.push(ContainerImage { names: vec![name.into()], size_bytes }))
    }
}

/// A claim in the making.
#[derive(Clone)]
pub struct ClaimBuilder(PersistentVolumeClaim);

/// A claim in `default` for a volume that one node can write to, with its name as its uid.
pub fn claim(name: &str, size: &str) -> ClaimBuilder {
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.name = name.into();
    claim.metadata.namespace = "default".into();
    claim.metadata.uid = name.into();
    claim.metadata.resource_version = "1".into();
    claim.spec.access_modes = vec!["ReadWriteOnce".into()];
    claim.spec.resources.requests.insert("storage".into(), size.parse().unwrap());
    ClaimBuilder(claim)
}

impl ClaimBuilder {
    pub fn edit(mut self, change: impl FnOnce(&mut PersistentVolumeClaim)) -> Self {
        change(&mut self.0);
        self
    }
    pub fn shared(&self) -> Arc<ClaimView> {
        Arc::new(ClaimView::project(self.0.clone()).unwrap())
    }
    pub fn class(self, name: &str) -> Self {
        self.edit(|c| c.spec.storage_class_name = Some(name.into()))
    }
    pub fn annotation(self, name: &str, value: &str) -> Self {
        self.edit(|c| drop(c.metadata.annotations.insert(name.into(), value.into())))
    }
    /// Bound to a volume.
    pub fn bound(self, volume: &str) -> Self {
        self.annotation("pv.kubernetes.io/bind-completed", "yes").edit(|c| c.spec.volume_name = volume.into())
    }
    pub fn revision(self, revision: u64) -> Self {
        self.edit(|c| c.metadata.resource_version = revision.to_string())
    }
}

/// A volume in the making.
#[derive(Clone)]
pub struct VolumeBuilder(PersistentVolume);

/// A free volume.
pub fn volume(name: &str, size: &str) -> VolumeBuilder {
    let mut volume = PersistentVolume::default();
    volume.metadata.name = name.into();
    volume.metadata.resource_version = "1".into();
    volume.spec.access_modes = vec!["ReadWriteOnce".into()];
    volume.spec.capacity.insert("storage".into(), size.parse().unwrap());
    volume.status.phase = "Available".into();
    VolumeBuilder(volume)
}

impl VolumeBuilder {
    pub fn edit(mut self, change: impl FnOnce(&mut PersistentVolume)) -> Self {
        change(&mut self.0);
        self
    }
    pub fn shared(&self) -> Arc<VolumeView> {
        Arc::new(VolumeView::project(self.0.clone()).unwrap())
    }
    pub fn class(self, name: &str) -> Self {
        self.edit(|v| v.spec.storage_class_name = name.into())
    }
    /// Reached by nodes with this label only.
    pub fn reached_by(self, key: &str, value: &str) -> Self {
        self.edit(|v| {
            let selector = v.spec.node_affinity.get_or_insert_default().required.get_or_insert_default();
            selector.node_selector_terms.push(NodeSelectorTerm {
                match_expressions: vec![requirement(key, "In", &[value])],
                ..Default::default()
            });
        })
    }
    pub fn revision(self, revision: u64) -> Self {
        self.edit(|v| v.metadata.resource_version = revision.to_string())
    }
}

/// A class whose claims wait for their pod, or do not.
pub fn class(name: &str, provisioner: &str, waits: bool) -> StorageClass {
    let mut class = StorageClass { provisioner: provisioner.into(), ..StorageClass::default() };
    class.metadata.name = name.into();
    class.volume_binding_mode = Some(if waits { "WaitForFirstConsumer" } else { "Immediate" }.into());
    class
}

/// Puts storage into a snapshot.
pub fn stored(
    snapshot: &mut Snapshot,
    volumes: &[VolumeBuilder],
    claims: &[ClaimBuilder],
    classes: &[StorageClass],
) {
    let storage = &mut snapshot.storage;
    for view in volumes.iter().map(VolumeBuilder::shared) {
        VolumeView::put(storage, &view.name.clone(), Some(view));
    }
    for view in claims.iter().map(ClaimBuilder::shared) {
        ClaimView::put(storage, &view.key(), Some(view));
    }
    for class in classes {
        ClassView::put(storage, &class.metadata.name, ClassView::project(class.clone()).map(Arc::new));
    }
}

/// A node with pods.
pub fn info(node: &NodeBuilder, pods: &[PodBuilder]) -> NodeInfo {
    let mut info = NodeInfo::new(Arc::new(node.view()));
    pods.iter().for_each(|p| info.add(p.shared()));
    info
}

/// A snapshot of nodes and the pods on them.
pub fn cluster(nodes: &[NodeBuilder], pods: &[PodBuilder]) -> Snapshot {
    let mut cache = Cache::default();
    nodes.iter().for_each(|n| cache.set_node(Arc::new(n.view())));
    pods.iter().for_each(|p| cache.set_pod(p.shared()));
    let mut snapshot = Snapshot::default();
    cache.update(&mut snapshot);
    snapshot
}

/// Asserts what a filter that needs no PreFilter says of a pod on an empty node.
pub fn check_filter(plugin: &dyn Filter, pod: &PodBuilder, node: &NodeBuilder, expected: Option<&str>) {
    check_filter_with(plugin, pod, node, &[], expected);
}

/// As [`check_filter`], on a node with pods.
pub fn check_filter_with(
    plugin: &dyn Filter,
    pod: &PodBuilder,
    node: &NodeBuilder,
    others: &[PodBuilder],
    expected: Option<&str>,
) {
    let verdict = plugin.filter(&CycleState::default(), &pod.view(), &info(node, others));
    assert_eq!(verdict.err().map(|r| r.message()).as_deref(), expected);
}

/// The score of a plugin that needs no PreScore.
pub fn score(plugin: &dyn Score, pod: &PodBuilder, node: &NodeBuilder, others: &[PodBuilder]) -> i64 {
    plugin.score(&CycleState::default(), &pod.view(), &info(node, others), &Snapshot::default())
}
