//! HorizontalPodAutoscaler: fits a replica count to metrics. Metrics are in `metric`.

pub(crate) mod columns;
mod metric;
pub(crate) mod strategy;
#[cfg(test)]
mod tests;
mod validate;

pub use metric::*;

use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::open_enum::open_enum;
use crate::value::{Quantity, Time};
use api_types_derive::Api;

/// Fits the replica count of a workload to metrics.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct HorizontalPodAutoscaler {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The workload, the bounds and the aims.
    #[api(2, required, omitempty)]
    pub spec: HorizontalPodAutoscalerSpec,
    /// What was last measured and decided.
    #[api(3)]
    pub status: HorizontalPodAutoscalerStatus,
}

/// The workload that is scaled, and by what.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct HorizontalPodAutoscalerSpec {
    /// The workload.
    #[api(1, required)]
    pub scale_target_ref: CrossVersionObjectReference,
    /// The fewest replicas; 1 when not given.
    #[api(2)]
    pub min_replicas: Option<i32>,
    /// The most replicas.
    #[api(3, required)]
    pub max_replicas: i32,
    /// What is aimed at; the metric that asks for the most replicas decides.
    #[api(4, list = atomic)]
    pub metrics: Vec<MetricSpec>,
    /// How fast to scale in each direction.
    #[api(5)]
    pub behavior: Option<Box<HorizontalPodAutoscalerBehavior>>,
}

/// Points to an object of any kind in the same namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct CrossVersionObjectReference {
    /// Kind of the object.
    #[api(1, required)]
    pub kind: String,
    /// Name of the object.
    #[api(2, required)]
    pub name: String,
    /// API version of the object.
    #[api(3)]
    pub api_version: String,
}

/// How fast to scale in each direction.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct HorizontalPodAutoscalerBehavior {
    /// Rules for more replicas.
    #[api(1)]
    pub scale_up: Option<Box<HPAScalingRules>>,
    /// Rules for fewer replicas.
    #[api(2)]
    pub scale_down: Option<Box<HPAScalingRules>>,
}

/// How fast to scale in one direction.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct HPAScalingRules {
    /// Seconds of earlier decisions that are taken into account.
    #[api(3)]
    pub stabilization_window_seconds: Option<i32>,
    /// Which policy counts when several apply.
    #[api(1)]
    pub select_policy: Option<ScalingPolicySelect>,
    /// The policies, of which there must be one.
    #[api(2, list = atomic)]
    pub policies: Vec<HPAScalingPolicy>,
    /// Deviation from the aim that leads to no change.
    #[api(4)]
    pub tolerance: Option<Quantity>,
}

open_enum! {
    /// Which of several policies counts.
    pub enum ScalingPolicySelect {
        Max = "Max",
        Min = "Min",
        Disabled = "Disabled",
    }
}

/// How many replicas may change within a time.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct HPAScalingPolicy {
    /// Whether value counts pods or percent.
    #[api(1, required)]
    pub type_: HPAScalingPolicyType,
    /// The number or the percentage.
    #[api(2, required)]
    pub value: i32,
    /// The time, in seconds.
    #[api(3, required)]
    pub period_seconds: i32,
}

open_enum! {
    /// What a policy's value counts.
    pub enum HPAScalingPolicyType {
        Pods = "Pods",
        Percent = "Percent",
    }
}

/// What the autoscaler last measured and decided.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct HorizontalPodAutoscalerStatus {
    /// Generation of the spec that this status speaks of.
    #[api(1)]
    pub observed_generation: Option<i64>,
    /// When the replica count was last changed.
    #[api(2)]
    pub last_scale_time: Option<Time>,
    /// Replicas last seen.
    #[api(3)]
    pub current_replicas: i32,
    /// Replicas last decided on.
    #[api(4, required)]
    pub desired_replicas: i32,
    /// Metrics last read.
    #[api(5, always, list = atomic)]
    pub current_metrics: Vec<MetricStatus>,
    /// Latest observations: able to scale, active, limited.
    #[api(6, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<HorizontalPodAutoscalerCondition>,
}

/// One observation about an autoscaler.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct HorizontalPodAutoscalerCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: HorizontalPodAutoscalerConditionType,
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
    /// What a condition of an autoscaler speaks of.
    pub enum HorizontalPodAutoscalerConditionType {
        ScalingActive = "ScalingActive",
        AbleToScale = "AbleToScale",
        ScalingLimited = "ScalingLimited",
        ScaledToZero = "ScaledToZero",
    }
}

resource!(
    HorizontalPodAutoscaler,
    Kind {
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[Subresource::status("HorizontalPodAutoscaler")],
        ..Kind::namespaced(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler"
        )
    }
);
