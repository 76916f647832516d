//! Deployment: a number of equal pods, replaced step by step when the template changes.

mod strategy;
#[cfg(test)]
mod tests;
mod validate;

use crate::core::v1::PodTemplateSpec;
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{ConditionStatus, LabelSelector, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::{IntOrString, Time};
use api_types_derive::Api;

/// Keeps pods of one template running and replaces them step by step on change.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct Deployment {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The pods wanted, and how to replace old ones.
    #[api(2)]
    pub spec: DeploymentSpec,
    /// How far the rollout has come.
    #[api(3)]
    pub status: DeploymentStatus,
}

/// The pods that a Deployment wants and its way of rolling out.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DeploymentSpec {
    /// Number of pods wanted; 1 when not given.
    #[api(1)]
    pub replicas: Option<i32>,
    /// Labels by which the Deployment knows its pods; must match the template.
    #[api(2, required)]
    pub selector: Option<Box<LabelSelector>>,
    /// What the pods look like.
    #[api(3, required)]
    pub template: PodTemplateSpec,
    /// How old pods give way to new ones.
    #[api(4, patch = retain_keys)]
    pub strategy: DeploymentStrategy,
    /// Seconds a new pod must stay ready before it counts as available.
    #[api(5)]
    pub min_ready_seconds: i32,
    /// Old ReplicaSets kept for rollbacks; 10 when not given.
    #[api(6)]
    pub revision_history_limit: Option<i32>,
    /// Whether changes of the template wait instead of being rolled out.
    #[api(7)]
    pub paused: bool,
    /// Seconds without progress after which the rollout counts as failed; 600 when not given.
    #[api(9)]
    pub progress_deadline_seconds: Option<i32>,
}

/// How old pods are replaced.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DeploymentStrategy {
    /// Rolling update or recreation.
    #[api(1)]
    pub type_: DeploymentStrategyType,
    /// Limits of a rolling update; only with that type.
    #[api(2)]
    pub rolling_update: Option<Box<RollingUpdateDeployment>>,
}

open_enum! {
    /// Kind of replacement that a Deployment uses.
    pub enum DeploymentStrategyType {
        Recreate = "Recreate",
        RollingUpdate = "RollingUpdate",
    }
}

/// Limits within which a rolling update moves.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct RollingUpdateDeployment {
    /// Pods that may be missing during the update, as a number or a percentage rounded down.
    #[api(1)]
    pub max_unavailable: Option<IntOrString>,
    /// Pods that may exist beyond the wanted number, as a number or a percentage rounded up.
    #[api(2)]
    pub max_surge: Option<IntOrString>,
}

/// What the controller last saw of a Deployment.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DeploymentStatus {
    /// Generation of the spec that this status speaks of.
    #[api(1)]
    pub observed_generation: i64,
    /// Pods of all revisions that are not terminating.
    #[api(2)]
    pub replicas: i32,
    /// Pods that already have the current template.
    #[api(3)]
    pub updated_replicas: i32,
    /// Pods that pass their readiness probe.
    #[api(7)]
    pub ready_replicas: i32,
    /// Pods that have been ready for at least minReadySeconds.
    #[api(4)]
    pub available_replicas: i32,
    /// Pods still missing to full availability.
    #[api(5)]
    pub unavailable_replicas: i32,
    /// Pods that are being deleted and not yet gone.
    #[api(9)]
    pub terminating_replicas: Option<i32>,
    /// Latest observations: availability, progress, failure to create pods.
    #[api(6, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<DeploymentCondition>,
    /// Hash collisions met while naming ReplicaSets; mixed into the next hash.
    #[api(8)]
    pub collision_count: Option<i32>,
}

/// One observation about a Deployment.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DeploymentCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: DeploymentConditionType,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When the condition was last written.
    #[api(6, always)]
    pub last_update_time: Option<Time>,
    /// When the status last changed.
    #[api(7, always)]
    pub last_transition_time: Option<Time>,
    /// Cause of the last change in one CamelCase word.
    #[api(4)]
    pub reason: String,
    /// The same for people.
    #[api(5)]
    pub message: String,
}

open_enum! {
    /// What a condition of a Deployment speaks of.
    pub enum DeploymentConditionType {
        Available = "Available",
        Progressing = "Progressing",
        ReplicaFailure = "ReplicaFailure",
    }
}

resource!(
    Deployment,
    Kind {
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[Subresource::scale(), Subresource::status("Deployment")],
        ..Kind::namespaced("apps/v1", "Deployment", "deployments", "deployment")
    }
);
