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
}

impl Projection for NodeFacts {
    type Source = Node;

    fn project(node: Node) -> Option<Self> {
        let meta = &node.metadata;
        Some(Self {
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
