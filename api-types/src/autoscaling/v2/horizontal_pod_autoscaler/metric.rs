//! The metrics of a HorizontalPodAutoscaler: what is aimed at, and what was measured.

use crate::autoscaling::v2::CrossVersionObjectReference;
use crate::meta::v1::LabelSelector;
use crate::open_enum::open_enum;
use crate::value::Quantity;
use api_types_derive::Api;

/// A metric and what is aimed at; the field that the type names is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
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
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct ObjectMetricSource {
    /// The object.
    #[api(1, required)]
    pub described_object: CrossVersionObjectReference,
    /// What is aimed at.
    #[api(2, required)]
    pub target: MetricTarget,
    /// The metric.
    #[api(3, required)]
    pub metric: MetricIdentifier,
}

/// A metric of each pod, averaged.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct PodsMetricSource {
    /// The metric.
    #[api(1, required)]
    pub metric: MetricIdentifier,
    /// What is aimed at.
    #[api(2, required)]
    pub target: MetricTarget,
}

/// A resource of the pods.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct ResourceMetricSource {
    /// Name of the resource.
    #[api(1, required)]
    pub name: String,
    /// What is aimed at.
    #[api(2, required)]
    pub target: MetricTarget,
}

/// A resource of one container of each pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct ContainerResourceMetricSource {
    /// Name of the resource.
    #[api(1, required)]
    pub name: String,
    /// What is aimed at.
    #[api(2, required)]
    pub target: MetricTarget,
    /// Name of the container.
    #[api(3, required)]
    pub container: String,
}

/// A metric from outside the cluster.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct ExternalMetricSource {
    /// The metric.
    #[api(1, required)]
    pub metric: MetricIdentifier,
    /// What is aimed at.
    #[api(2, required)]
    pub target: MetricTarget,
}

/// Names a metric.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct MetricIdentifier {
    /// Name of the metric.
    #[api(1, required)]
    pub name: String,
    /// Labels that narrow it down further.
    #[api(2)]
    pub selector: Option<Box<LabelSelector>>,
}

/// What is aimed at, as a value, an average or a percentage.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct MetricTarget {
    /// Which of the values is set.
    #[api(1, required)]
    pub type_: MetricTargetType,
    /// The metric's value.
    #[api(2)]
    pub value: Option<Quantity>,
    /// The metric's value divided by the number of pods.
    #[api(3)]
    pub average_value: Option<Quantity>,
    /// Percentage of what is requested, on average.
    #[api(4)]
    pub average_utilization: Option<i32>,
}

open_enum! {
    /// How an aim is expressed.
    pub enum MetricTargetType {
        Utilization = "Utilization",
        Value = "Value",
        AverageValue = "AverageValue",
    }
}

/// A metric as it was last read; the field that the type names is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
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
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct ObjectMetricStatus {
    /// The metric.
    #[api(1, required)]
    pub metric: MetricIdentifier,
    /// What was read.
    #[api(2, required)]
    pub current: MetricValueStatus,
    /// The object.
    #[api(3, required)]
    pub described_object: CrossVersionObjectReference,
}

/// A metric of each pod as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct PodsMetricStatus {
    /// The metric.
    #[api(1, required)]
    pub metric: MetricIdentifier,
    /// What was read.
    #[api(2, required)]
    pub current: MetricValueStatus,
}

/// A resource of the pods as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct ResourceMetricStatus {
    /// Name of the resource.
    #[api(1, required)]
    pub name: String,
    /// What was read.
    #[api(2, required)]
    pub current: MetricValueStatus,
}

/// A resource of one container as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct ContainerResourceMetricStatus {
    /// Name of the resource.
    #[api(1, required)]
    pub name: String,
    /// What was read.
    #[api(2, required)]
    pub current: MetricValueStatus,
    /// Name of the container.
    #[api(3, required)]
    pub container: String,
}

/// A metric from outside the cluster as it was last read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct ExternalMetricStatus {
    /// The metric.
    #[api(1, required)]
    pub metric: MetricIdentifier,
    /// What was read.
    #[api(2, required)]
    pub current: MetricValueStatus,
}

/// What was read of a metric.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v2")]
pub struct MetricValueStatus {
    /// The metric's value.
    #[api(1)]
    pub value: Option<Quantity>,
    /// The metric's value divided by the number of pods.
    #[api(2)]
    pub average_value: Option<Quantity>,
    /// Percentage of what is requested, on average.
    #[api(3)]
    pub average_utilization: Option<i32>,
}
