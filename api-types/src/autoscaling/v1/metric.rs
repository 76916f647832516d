//! Metrics and conditions of autoscaling/v1, which travel as JSON in annotations and nowhere else.

use crate::autoscaling::v1::CrossVersionObjectReference;
use crate::meta::v1::{ConditionStatus, LabelSelector};
use crate::open_enum::open_enum;
use crate::value::{Quantity, Time};
use api_types_derive::Api;

/// A metric and what is aimed at; the field that the type names is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct MetricSpec {
    /// Where the metric comes from.
    #[api(1, required)]
    pub type_: MetricSourceType,
    /// A metric of one object.
    #[api(2)]
    pub object: Option<Box<ObjectMetricSource>>,
    /// A metric of each pod.
    #[api(3)]
    pub pods: Option<Box<PodsMetricSource>>,
    /// A resource of the pods, over all containers.
    #[api(4)]
    pub resource: Option<Box<ResourceMetricSource>>,
    /// A resource of one container of each pod.
    #[api(7)]
    pub container_resource: Option<Box<ContainerResourceMetricSource>>,
    /// A metric from outside the cluster.
    #[api(5)]
    pub external: Option<Box<ExternalMetricSource>>,
}

open_enum! {
    /// Where a metric comes from.
    pub enum MetricSourceType {
        Object = "Object",
        Pods = "Pods",
        Resource = "Resource",
        ContainerResource = "ContainerResource",
        External = "External",
    }
}

/// A metric of one object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ObjectMetricSource {
    /// What is aimed at.
    #[api(1, required)]
    pub target: CrossVersionObjectReference,
    /// Name of the metric.
    #[api(2, required)]
    pub metric_name: String,
    /// The value aimed at.
    #[api(3, required)]
    pub target_value: Quantity,
    /// Labels that narrow the metric down.
    #[api(4)]
    pub selector: Option<Box<LabelSelector>>,
    /// The value aimed at for each pod.
    #[api(5)]
    pub average_value: Option<Quantity>,
}

/// A metric of each pod, averaged.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct PodsMetricSource {
    /// Name of the metric.
    #[api(1, required)]
    pub metric_name: String,
    /// The value aimed at for each pod.
    #[api(2, required)]
    pub target_average_value: Quantity,
    /// Labels that narrow the metric down.
    #[api(3)]
    pub selector: Option<Box<LabelSelector>>,
}

/// A resource of the pods.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ResourceMetricSource {
    /// Name of the resource.
    #[api(1, required)]
    pub name: String,
    /// Percentage of what is requested that is aimed at.
    #[api(2)]
    pub target_average_utilization: Option<i32>,
    /// The value aimed at for each pod.
    #[api(3)]
    pub target_average_value: Option<Quantity>,
}

/// A resource of one container of each pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ContainerResourceMetricSource {
    /// Name of the resource.
    #[api(1, required)]
    pub name: String,
    /// Percentage of what is requested that is aimed at.
    #[api(2)]
    pub target_average_utilization: Option<i32>,
    /// The value aimed at for each pod.
    #[api(3)]
    pub target_average_value: Option<Quantity>,
    /// Name of the container.
    #[api(5, required)]
    pub container: String,
}

/// A metric from outside the cluster.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ExternalMetricSource {
    /// Name of the metric.
    #[api(1, required)]
    pub metric_name: String,
    /// Labels that narrow the metric down.
    #[api(2)]
    pub metric_selector: Option<Box<LabelSelector>>,
    /// The value aimed at.
    #[api(3)]
    pub target_value: Option<Quantity>,
    /// The value aimed at for each pod.
    #[api(4)]
    pub target_average_value: Option<Quantity>,
}

/// A metric as it was last read; the field that the type names is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct MetricStatus {
    /// Where the metric comes from.
    #[api(1, required)]
    pub type_: MetricSourceType,
    /// A metric of one object.
    #[api(2)]
    pub object: Option<Box<ObjectMetricStatus>>,
    /// A metric of each pod.
    #[api(3)]
    pub pods: Option<Box<PodsMetricStatus>>,
    /// A resource of the pods, over all containers.
    #[api(4)]
    pub resource: Option<Box<ResourceMetricStatus>>,
    /// A resource of one container of each pod.
    #[api(7)]
    pub container_resource: Option<Box<ContainerResourceMetricStatus>>,
    /// A metric from outside the cluster.
    #[api(5)]
    pub external: Option<Box<ExternalMetricStatus>>,
}

/// A metric of one object as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ObjectMetricStatus {
    /// The object.
    #[api(1, required)]
    pub target: CrossVersionObjectReference,
    /// Name of the metric.
    #[api(2, required)]
    pub metric_name: String,
    /// What was read.
    #[api(3, required)]
    pub current_value: Quantity,
    /// Labels that narrow the metric down.
    #[api(4)]
    pub selector: Option<Box<LabelSelector>>,
    /// What was read, for each pod.
    #[api(5)]
    pub average_value: Option<Quantity>,
}

/// A metric of each pod as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct PodsMetricStatus {
    /// Name of the metric.
    #[api(1, required)]
    pub metric_name: String,
    /// What was read, for each pod.
    #[api(2, required)]
    pub current_average_value: Quantity,
    /// Labels that narrow the metric down.
    #[api(3)]
    pub selector: Option<Box<LabelSelector>>,
}

/// A resource of the pods as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ResourceMetricStatus {
    /// Name of the resource.
    #[api(1, required)]
    pub name: String,
    /// Percentage of what is requested that was read.
    #[api(2)]
    pub current_average_utilization: Option<i32>,
    /// What was read, for each pod.
    #[api(3, required)]
    pub current_average_value: Quantity,
}

/// A resource of one container as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ContainerResourceMetricStatus {
    /// Name of the resource.
    #[api(1, required)]
    pub name: String,
    /// Percentage of what is requested that was read.
    #[api(2)]
    pub current_average_utilization: Option<i32>,
    /// What was read, for each pod.
    #[api(3, required)]
    pub current_average_value: Quantity,
    /// Name of the container.
    #[api(4, required)]
    pub container: String,
}

/// A metric from outside the cluster as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ExternalMetricStatus {
    /// Name of the metric.
    #[api(1, required)]
    pub metric_name: String,
    /// Labels that narrow the metric down.
    #[api(2)]
    pub metric_selector: Option<Box<LabelSelector>>,
    /// What was read.
    #[api(3, required)]
    pub current_value: Quantity,
    /// What was read, for each pod.
    #[api(4)]
    pub current_average_value: Option<Quantity>,
}

/// One observation about an autoscaler.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
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
