//! StatefulSet: numbered pods that keep their names and storage.

mod strategy;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;

use crate::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{ConditionStatus, LabelSelector, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::{Embedded, IntOrString, Time};
use api_types_derive::Api;

/// Runs numbered pods that keep their names and storage.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct StatefulSet {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The pods wanted.
    #[api(2)]
    pub spec: StatefulSetSpec,
    /// The pods seen.
    #[api(3)]
    pub status: StatefulSetStatus,
}

/// The pods and claims that a StatefulSet wants.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct StatefulSetSpec {
    /// Number of pods wanted; 1 when not given.
    #[api(1)]
    pub replicas: Option<i32>,
    /// Labels by which the StatefulSet knows its pods; must match the template.
    #[api(2, required)]
    pub selector: Option<Box<LabelSelector>>,
    /// What the pods look like; each is named SET-NUMBER.
    #[api(3, required)]
    pub template: PodTemplateSpec,
    /// Claims that each pod gets of its own.
    #[api(4, list = atomic)]
    pub volume_claim_templates: Vec<Embedded<PersistentVolumeClaim>>,
    /// Headless Service that gives the pods their DNS names.
    #[api(5, always)]
    pub service_name: String,
    /// Whether pods come and go in order or all at once.
    #[api(6)]
    pub pod_management_policy: PodManagementPolicyType,
    /// How old pods give way to new ones.
    #[api(7)]
    pub update_strategy: StatefulSetUpdateStrategy,
    /// Old revisions kept for rollbacks; 10 when not given.
    #[api(8)]
    pub revision_history_limit: Option<i32>,
    /// Seconds a new pod must stay ready before it counts as available.
    #[api(9)]
    pub min_ready_seconds: i32,
    /// What becomes of the pods' claims.
    #[api(10)]
    pub persistent_volume_claim_retention_policy:
        Option<Box<StatefulSetPersistentVolumeClaimRetentionPolicy>>,
    /// How the pods are numbered.
    #[api(11)]
    pub ordinals: Option<Box<StatefulSetOrdinals>>,
}

open_enum! {
    /// Whether pods of a set come and go in order.
    pub enum PodManagementPolicyType {
        OrderedReady = "OrderedReady",
        Parallel = "Parallel",
    }
}

/// How old pods of a StatefulSet are replaced.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct StatefulSetUpdateStrategy {
    /// Rolling update, or only when somebody deletes a pod.
    #[api(1)]
    pub type_: StatefulSetUpdateStrategyType,
    /// Limits of a rolling update; only with that type.
    #[api(2)]
    pub rolling_update: Option<Box<RollingUpdateStatefulSetStrategy>>,
}

open_enum! {
    /// Kind of replacement that a StatefulSet uses.
    pub enum StatefulSetUpdateStrategyType {
        RollingUpdate = "RollingUpdate",
        OnDelete = "OnDelete",
    }
}

/// Limits within which a StatefulSet's update moves.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct RollingUpdateStatefulSetStrategy {
    /// Number of the first pod that is updated; those below keep their revision.
    #[api(1)]
    pub partition: Option<i32>,
    /// Pods that may be missing during the update, as a number or a percentage rounded up.
    #[api(2)]
    pub max_unavailable: Option<IntOrString>,
}

/// What becomes of claims made from templates.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct StatefulSetPersistentVolumeClaimRetentionPolicy {
    /// When the StatefulSet is deleted.
    #[api(1)]
    pub when_deleted: PersistentVolumeClaimRetentionPolicyType,
    /// When it is scaled down, for the pods that go.
    #[api(2)]
    pub when_scaled: PersistentVolumeClaimRetentionPolicyType,
}

open_enum! {
    /// Whether claims are kept or deleted.
    pub enum PersistentVolumeClaimRetentionPolicyType {
        Retain = "Retain",
        Delete = "Delete",
    }
}

/// How the pods of a StatefulSet are numbered.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct StatefulSetOrdinals {
    /// Number of the first pod; 0 when not given.
    #[api(1, always)]
    pub start: i32,
}

/// What the controller last saw of a StatefulSet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct StatefulSetStatus {
    /// Generation of the spec that this status speaks of.
    #[api(1)]
    pub observed_generation: i64,
    /// Pods that exist.
    #[api(2, required)]
    pub replicas: i32,
    /// Pods that are ready.
    #[api(3)]
    pub ready_replicas: i32,
    /// Pods of the current revision.
    #[api(4)]
    pub current_replicas: i32,
    /// Pods of the update's revision.
    #[api(5)]
    pub updated_replicas: i32,
    /// Revision that pods were made from before the update.
    #[api(6)]
    pub current_revision: String,
    /// Revision that the update leads to.
    #[api(7)]
    pub update_revision: String,
    /// Hash collisions met while naming revisions; mixed into the next hash.
    #[api(9)]
    pub collision_count: Option<i32>,
    /// Latest observations about the StatefulSet.
    #[api(10, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<StatefulSetCondition>,
    /// Pods that have been ready for at least minReadySeconds.
    #[api(11, always)]
    pub available_replicas: i32,
}

/// One observation about a StatefulSet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct StatefulSetCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: StatefulSetConditionType,
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
    /// What a condition of a StatefulSet speaks of.
    pub enum StatefulSetConditionType {
    }
}

resource!(
    StatefulSet,
    Kind {
        short_names: &["sts"],
        categories: &["all"],
        subresources: &[Subresource::scale(), Subresource::status("StatefulSet")],
        ..Kind::namespaced("apps/v1", "StatefulSet", "statefulsets", "statefulset")
    }
);
