//! ReplicationController: the first way to keep a number of pods running.

mod strategy;

use std::collections::BTreeMap;

use crate::core::v1::PodTemplateSpec;
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// Keeps a number of equal pods running; ReplicaSets have taken its place.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ReplicationController {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The pods wanted.
    #[api(2)]
    pub spec: ReplicationControllerSpec,
    /// The pods seen.
    #[api(3)]
    pub status: ReplicationControllerStatus,
}

/// The pods that a ReplicationController wants.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ReplicationControllerSpec {
    /// Number of pods wanted; 1 when not given.
    #[api(1, default = 1)]
    pub replicas: Option<i32>,
    /// Seconds a pod must stay ready before it counts as available.
    #[api(4, default = 0)]
    pub min_ready_seconds: i32,
    /// Labels by which the controller knows its pods; those of the template when empty.
    #[api(2, map = atomic)]
    pub selector: BTreeMap<String, String>,
    /// What new pods look like.
    #[api(3)]
    pub template: Option<Box<PodTemplateSpec>>,
}

/// What was last seen of the pods of a ReplicationController.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ReplicationControllerStatus {
    /// Pods that are not terminating.
    #[api(1, required)]
    pub replicas: i32,
    /// Pods that carry every label of the template.
    #[api(2)]
    pub fully_labeled_replicas: i32,
    /// Pods that pass their readiness probe.
    #[api(4)]
    pub ready_replicas: i32,
    /// Pods that have been ready for at least minReadySeconds.
    #[api(5)]
    pub available_replicas: i32,
    /// Generation of the spec that this status speaks of.
    #[api(3)]
    pub observed_generation: i64,
    /// Latest observations about the controller.
    #[api(6, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<ReplicationControllerCondition>,
}

/// One observation about a ReplicationController.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ReplicationControllerCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: ReplicationControllerConditionType,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When the status last changed.
    #[api(3, always)]
    pub last_transition_time: Option<Time>,
    /// Cause of the last change in one CamelCase word.
    #[api(4)]
    pub reason: String,
    /// The same for people.
    #[api(5)]
    pub message: String,
}

open_enum! {
    /// What a condition of a ReplicationController speaks of.
    pub enum ReplicationControllerConditionType {
        ReplicaFailure = "ReplicaFailure",
    }
}

resource!(
    ReplicationController,
    Kind {
        short_names: &["rc"],
        categories: &["all"],
        subresources: &[Subresource::scale(), Subresource::status("ReplicationController")],
        ..Kind::namespaced("v1", "ReplicationController", "replicationcontrollers", "replicationcontroller")
    }
);
