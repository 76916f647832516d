//! The kinds that ask for a number of pods: ReplicaSet, and the older ReplicationController.

use std::ops::Deref;

use api_types::apps::v1::{
    ReplicaSet, ReplicaSetCondition, ReplicaSetConditionType, ReplicaSetSpec, ReplicaSetStatus,
};
use api_types::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerSpec,
    ReplicationControllerStatus,
};
use api_types::meta::v1::LabelSelector;
use client::informer::Projection;

use crate::adoption::Selecting;
use crate::cached::{ControllerObject, ReplicaSetObject};

/// A kind that can be told as a ReplicaSet, and back.
pub trait Replicated: Selecting + Clone {
    /// What the caches hold of it.
    type Cached: Projection<Source = Self> + Deref<Target = Self>;
    const NAME: &'static str;
    const QUEUE: &'static str;
    /// Whether the status tells how many pods are being deleted.
    const COUNTS_TERMINATING: bool;

    fn to_set(&self) -> ReplicaSet;
    fn from_set(set: ReplicaSet) -> Self;
}

impl Replicated for ReplicaSet {
    type Cached = ReplicaSetObject;
    const NAME: &'static str = "replicaset-controller";
    const QUEUE: &'static str = "replicaset";
    const COUNTS_TERMINATING: bool = true;

    fn to_set(&self) -> ReplicaSet {
        self.clone()
    }

    fn from_set(set: ReplicaSet) -> Self {
        set
    }
}

impl Replicated for ReplicationController {
    type Cached = ControllerObject;
    const NAME: &'static str = "replicationcontroller-controller";
    const QUEUE: &'static str = "replicationmanager";
    const COUNTS_TERMINATING: bool = false;

    fn to_set(&self) -> ReplicaSet {
        let (spec, status) = (self.spec.clone(), self.status.clone());
        let selector = (!spec.selector.is_empty())
            .then(|| Box::new(LabelSelector { match_labels: spec.selector, ..LabelSelector::default() }));
        let condition = |c: ReplicationControllerCondition| ReplicaSetCondition {
            type_: ReplicaSetConditionType::from(c.type_.as_str()),
            status: c.status,
            last_transition_time: c.last_transition_time,
            reason: c.reason,
            message: c.message,
        };
        ReplicaSet {
            metadata: self.metadata.clone(),
            spec: ReplicaSetSpec {
                replicas: spec.replicas,
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: spec.template.map(|t| *t).unwrap_or_default(),
            },
            status: ReplicaSetStatus {
                replicas: status.replicas,
                fully_labeled_replicas: status.fully_labeled_replicas,
                ready_replicas: status.ready_replicas,
                available_replicas: status.available_replicas,
                terminating_replicas: None,
                observed_generation: status.observed_generation,
                conditions: status.conditions.into_iter().map(condition).collect(),
            },
        }
    }

    fn from_set(set: ReplicaSet) -> Self {
        let condition = |c: ReplicaSetCondition| ReplicationControllerCondition {
            type_: c.type_.as_str().into(),
            status: c.status,
            last_transition_time: c.last_transition_time,
            reason: c.reason,
            message: c.message,
        };
        Self {
            metadata: set.metadata,
            spec: ReplicationControllerSpec {
                replicas: set.spec.replicas,
                min_ready_seconds: set.spec.min_ready_seconds,
                selector: set.spec.selector.map(|s| s.match_labels).unwrap_or_default(),
                template: Some(Box::new(set.spec.template)),
            },
            status: ReplicationControllerStatus {
                replicas: set.status.replicas,
                fully_labeled_replicas: set.status.fully_labeled_replicas,
                ready_replicas: set.status.ready_replicas,
                available_replicas: set.status.available_replicas,
                observed_generation: set.status.observed_generation,
                conditions: set.status.conditions.into_iter().map(condition).collect(),
            },
        }
    }
}
