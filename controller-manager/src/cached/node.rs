//! Nodes and their heartbeats.

use std::collections::BTreeMap;

use api_types::coordination::v1::Lease;
use api_types::core::v1::well_known::namespace;
use api_types::core::v1::{Node, NodeCondition, Taint};
use client::informer::Projection;
use jiff::Timestamp;

/// A node's facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub labels: BTreeMap<String, String>,
    pub created: Timestamp,
    pub deleting: bool,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    pub conditions: Vec<NodeCondition>,
    pub pod_cidrs: Vec<Box<str>>,
    /// Names of the volumes that it uses, and of those that are reported to it as attached.
    pub volumes_in_use: Vec<Box<str>>,
    pub volumes_attached: Vec<Box<str>>,
    /// Whether volumes are attached by a controller and not by its kubelet.
    pub attach_managed: bool,
    /// Whether it keeps the volumes of pods that have ended.
    pub keeps_terminated: bool,
    /// How long its kubelet may keep secrets and such without asking, as it was told: in seconds.
    pub object_ttl: Option<i64>,
}

/// Annotations of nodes.
const ATTACH_MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
const KEEPS_TERMINATED: &str = "volumes.kubernetes.io/keep-terminated-pod-volumes";
pub const OBJECT_TTL: &str = "node.alpha.kubernetes.io/ttl";

impl Projection for NodeFacts {
    type Source = Node;

    fn project(node: Node) -> Option<Self> {
        let meta = &node.metadata;
        let annotated = |name: &str| meta.annotations.get(name).is_some_and(|value| value == "true");
        Some(Self {
            attach_managed: meta.annotations.contains_key(ATTACH_MANAGED),
            keeps_terminated: annotated(KEEPS_TERMINATED),
            object_ttl: meta.annotations.get(OBJECT_TTL).and_then(|ttl| ttl.parse().ok()),
            volumes_in_use: node.status.volumes_in_use.iter().map(|name| name.as_str().into()).collect(),
            volumes_attached: node.status.volumes_attached.iter().map(|v| v.name.as_str().into()).collect(),
            uid: meta.uid.as_str().into(),
            resource_version: meta.resource_version.as_str().into(),
            created: meta.creation_timestamp.map(|t| t.0).unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            unschedulable: node.spec.unschedulable,
            pod_cidrs: node.spec.pod_cidrs.iter().map(|c| c.as_str().into()).collect(),
            labels: node.metadata.labels,
            taints: node.spec.taints,
            conditions: node.status.conditions,
        })
    }
}

/// A node's heartbeat: the Lease of its name in kube-node-lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseFacts {
    pub renewed: Option<Timestamp>,
}

impl Projection for LeaseFacts {
    type Source = Lease;

    fn project(lease: Lease) -> Option<Self> {
        (lease.metadata.namespace == namespace::NODE_LEASE)
            .then(|| Self { renewed: lease.spec.renew_time.map(|t| t.0) })
    }
}
