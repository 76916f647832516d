//! DaemonSet: one pod of a template on every node that suits.

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

/// Runs one pod of a template on every node that suits.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DaemonSet {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The pods wanted.
    #[api(2)]
    pub spec: DaemonSetSpec,
    /// The pods seen.
    #[api(3)]
    pub status: DaemonSetStatus,
}

/// The pods that a DaemonSet wants.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DaemonSetSpec {
    /// Labels by which the DaemonSet knows its pods; must match the template.
    #[api(1, required)]
    pub selector: Option<Box<LabelSelector>>,
    /// What the pods look like, and which nodes suit.
    #[api(2, required)]
    pub template: PodTemplateSpec,
    /// How old pods give way to new ones.
    #[api(3)]
    pub update_strategy: DaemonSetUpdateStrategy,
    /// Seconds a new pod must stay ready before it counts as available.
    #[api(4)]
    pub min_ready_seconds: i32,
    /// Old revisions kept for rollbacks; 10 when not given.
    #[api(6)]
    pub revision_history_limit: Option<i32>,
}

/// How old pods of a DaemonSet are replaced.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DaemonSetUpdateStrategy {
    /// Rolling update, or only when somebody deletes a pod.
    #[api(1)]
    pub type_: DaemonSetUpdateStrategyType,
    /// Limits of a rolling update; only with that type.
    #[api(2)]
    pub rolling_update: Option<Box<RollingUpdateDaemonSet>>,
}

open_enum! {
    /// Kind of replacement that a DaemonSet uses.
    pub enum DaemonSetUpdateStrategyType {
        RollingUpdate = "RollingUpdate",
        OnDelete = "OnDelete",
    }
}

/// Limits within which a DaemonSet's update moves.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct RollingUpdateDaemonSet {
    /// Nodes whose pod may be missing during the update, as a number or a percentage rounded up.
    #[api(1)]
    pub max_unavailable: Option<IntOrString>,
    /// Nodes that may run an old and a new pod at once, as a number or a percentage rounded up.
    #[api(2)]
    pub max_surge: Option<IntOrString>,
}

/// What the controller last saw of a DaemonSet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DaemonSetStatus {
    /// Nodes that should run a pod and do.
    #[api(1, required)]
    pub current_number_scheduled: i32,
    /// Nodes that run a pod and should not.
    #[api(2, required)]
    pub number_misscheduled: i32,
    /// Nodes that should run a pod.
    #[api(3, required)]
    pub desired_number_scheduled: i32,
    /// Nodes that should run a pod and have a ready one.
    #[api(4, required)]
    pub number_ready: i32,
    /// Generation of the spec that this status speaks of.
    #[api(5)]
    pub observed_generation: i64,
    /// Nodes whose pod has the current template.
    #[api(6)]
    pub updated_number_scheduled: i32,
    /// Nodes whose pod has been ready for at least minReadySeconds.
    #[api(7)]
    pub number_available: i32,
    /// Nodes that should run a pod and have no available one.
    #[api(8)]
    pub number_unavailable: i32,
    /// Hash collisions met while naming revisions; mixed into the next hash.
    #[api(9)]
    pub collision_count: Option<i32>,
    /// Latest observations about the DaemonSet.
    #[api(10, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<DaemonSetCondition>,
}

/// One observation about a DaemonSet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct DaemonSetCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: DaemonSetConditionType,
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
    /// What a condition of a DaemonSet speaks of.
    pub enum DaemonSetConditionType {
    }
}

resource!(
    DaemonSet,
    Kind {
        short_names: &["ds"],
        categories: &["all"],
        subresources: &[Subresource::status("DaemonSet")],
        ..Kind::namespaced("apps/v1", "DaemonSet", "daemonsets", "daemonset")
    }
);
