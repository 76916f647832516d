//! ReplicaSet: keeps a number of pods of one template.

mod strategy;

use crate::core::v1::PodTemplateSpec;
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{ConditionStatus, LabelSelector, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// Keeps a number of equal pods running.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct ReplicaSet {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The pods wanted.
    #[api(2)]
    pub spec: ReplicaSetSpec,
    /// The pods seen.
    #[api(3)]
    pub status: ReplicaSetStatus,
}

/// The pods that a ReplicaSet wants.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct ReplicaSetSpec {
    /// Number of pods wanted; 1 when not given.
    #[api(1)]
    pub replicas: Option<i32>,
    /// Seconds a pod must stay ready before it counts as available.
    #[api(4)]
    pub min_ready_seconds: i32,
    /// Labels by which the ReplicaSet knows its pods.
    #[api(2, required)]
    pub selector: Option<Box<LabelSelector>>,
    /// What new pods look like.
    #[api(3)]
    pub template: PodTemplateSpec,
}

/// What the controller last saw of a ReplicaSet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct ReplicaSetStatus {
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
    /// Pods that are being deleted and not yet gone.
    #[api(7)]
    pub terminating_replicas: Option<i32>,
    /// Generation of the spec that this status speaks of.
    #[api(3)]
    pub observed_generation: i64,
    /// Latest observations about the set.
    #[api(6, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<ReplicaSetCondition>,
}

/// One observation about a ReplicaSet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct ReplicaSetCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: ReplicaSetConditionType,
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
    /// What a condition of a ReplicaSet speaks of.
    pub enum ReplicaSetConditionType {
        ReplicaFailure = "ReplicaFailure",
    }
}

resource!(
    ReplicaSet,
    Kind {
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[Subresource::scale(), Subresource::status("ReplicaSet")],
        ..Kind::namespaced("apps/v1", "ReplicaSet", "replicasets", "replicaset")
    }
);
