//! HorizontalPodAutoscalers between versions 1 and 2. Version 2 is the stored one.
//!
//! Version 1 has a field for a CPU percentage. All else (other metrics, what was measured,
//! behavior, conditions) travels in annotations as JSON in version 1's own form, so that a client of
//! version 1 can write back what it read. Annotations that do not parse are passed over.

use super::*;
use crate::autoscaling::v2;
use crate::autoscaling::v2::horizontal_pod_autoscaler::strategy::cpu;
use crate::codec::json;
use crate::value::{Quantity, Typed, Value};
use serde_json::{Value as Json, json as object};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CARRIED: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];
/// Percentage of the CPU requested that is aimed at when nothing is said.
const DEFAULT_CPU: i32 = 80;

impl HorizontalPodAutoscaler {
    /// The same object in version 2.
    pub fn to_v2(&self) -> v2::HorizontalPodAutoscaler {
        let mut out = v2::HorizontalPodAutoscaler { metadata: self.metadata.clone(), ..Default::default() };
        let carried = &self.metadata.annotations;
        out.metadata.annotations.retain(|key, _| !CARRIED.contains(&key.as_str()));
        out.spec.scale_target_ref = reference_to_v2(&self.spec.scale_target_ref);
        out.spec.min_replicas = self.spec.min_replicas;
        out.spec.max_replicas = self.spec.max_replicas;
        let others: Vec<MetricSpec> = read(carried.get(METRICS));
        out.spec.metrics = others.iter().map(metric_to_v2).collect();
        out.spec.metrics.extend(self.spec.target_cpu_utilization_percentage.map(cpu));
        if out.spec.metrics.is_empty() {
            out.spec.metrics.push(cpu(DEFAULT_CPU));
        }
        out.spec.behavior = carried.get(BEHAVIOR).and_then(|text| behavior_to_v2(text)).map(Box::new);

        let status = &self.status;
        out.status.observed_generation = status.observed_generation;
        out.status.last_scale_time = status.last_scale_time;
        out.status.current_replicas = status.current_replicas;
        out.status.desired_replicas = status.desired_replicas;
        let current: Vec<MetricStatus> = read(carried.get(CURRENT_METRICS));
        out.status.current_metrics = match (current.is_empty(), status.current_cpu_utilization_percentage) {
            (true, Some(percent)) => vec![current_cpu(percent)],
            _ => current.iter().map(current_to_v2).collect(),
        };
        let conditions: Vec<HorizontalPodAutoscalerCondition> = read(carried.get(CONDITIONS));
        out.status.conditions = conditions
            .into_iter()
            .map(|c| v2::HorizontalPodAutoscalerCondition {
                type_: c.type_.as_str().into(),
                status: c.status,
                last_transition_time: c.last_transition_time,
                reason: c.reason,
                message: c.message,
            })
            .collect();
        out
    }

    /// An object of version 2 in version 1.
    pub fn from_v2(from: &v2::HorizontalPodAutoscaler) -> Self {
        let mut out = Self { metadata: from.metadata.clone(), ..Default::default() };
        let (spec, status) = (&from.spec, &from.status);
        out.spec.scale_target_ref = reference_from_v2(&spec.scale_target_ref);
        out.spec.min_replicas = spec.min_replicas;
        out.spec.max_replicas = spec.max_replicas;
        out.spec.target_cpu_utilization_percentage = spec.metrics.iter().find_map(cpu_percentage);
        out.status.observed_generation = status.observed_generation;
        out.status.last_scale_time = status.last_scale_time;
        out.status.current_replicas = status.current_replicas;
        out.status.desired_replicas = status.desired_replicas;
        out.status.current_cpu_utilization_percentage = status
            .current_metrics
            .iter()
            .filter(|m| m.type_ == v2::MetricSourceType::Resource)
            .filter_map(|m| m.resource.as_ref().filter(|r| r.name == "cpu"))
            .filter_map(|r| r.current.average_utilization)
            .next_back();

        let annotations = &mut out.metadata.annotations;
        annotations.retain(|key, _| !CARRIED.contains(&key.as_str()));
        let mut carry = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                annotations.insert(key.to_owned(), value);
            }
        };
        let others: Vec<MetricSpec> =
            spec.metrics.iter().filter(|m| cpu_percentage(m).is_none()).map(metric_from_v2).collect();
        carry(METRICS, write(&others));
        let current: Vec<MetricStatus> = status.current_metrics.iter().map(current_from_v2).collect();
        carry(CURRENT_METRICS, write(&current));
        carry(BEHAVIOR, spec.behavior.as_deref().map(behavior_from_v2));
        let conditions: Vec<HorizontalPodAutoscalerCondition> = status
            .conditions
            .iter()
            .map(|c| HorizontalPodAutoscalerCondition {
                type_: c.type_.as_str().into(),
                status: c.status.clone(),
                last_transition_time: c.last_transition_time,
                reason: c.reason.clone(),
                message: c.message.clone(),
            })
            .collect();
        carry(CONDITIONS, write(&conditions));
        out
    }
}

fn read<T: Typed + Default>(text: Option<&String>) -> Vec<T> {
    text.and_then(|text| json::from_slice(text.as_bytes()).ok()).unwrap_or_default()
}

fn write<T: Typed + Default>(items: &Vec<T>) -> Option<String> {
    (!items.is_empty())
        .then(|| String::from_utf8_lossy(&json::value_to_vec(items as &dyn Value)).into_owned())
}

fn reference_to_v2(from: &CrossVersionObjectReference) -> v2::CrossVersionObjectReference {
    v2::CrossVersionObjectReference {
        kind: from.kind.clone(),
        name: from.name.clone(),
        api_version: from.api_version.clone(),
    }
}

fn reference_from_v2(from: &v2::CrossVersionObjectReference) -> CrossVersionObjectReference {
    CrossVersionObjectReference {
        kind: from.kind.clone(),
        name: from.name.clone(),
        api_version: from.api_version.clone(),
    }
}

/// The percentage, if the metric is the one that version 1 has a field for.
fn cpu_percentage(metric: &v2::MetricSpec) -> Option<i32> {
    let resource = metric.resource.as_ref().filter(|_| metric.type_ == v2::MetricSourceType::Resource)?;
    resource.target.average_utilization.filter(|_| resource.name == "cpu")
}

fn current_cpu(percent: i32) -> v2::MetricStatus {
    let current = v2::MetricValueStatus { average_utilization: Some(percent), ..Default::default() };
    v2::MetricStatus {
        type_: v2::MetricSourceType::Resource,
        resource: Some(Box::new(v2::ResourceMetricStatus { name: "cpu".into(), current })),
        ..Default::default()
    }
}

fn identifier(name: &str, selector: &Option<Box<crate::meta::v1::LabelSelector>>) -> v2::MetricIdentifier {
    v2::MetricIdentifier { name: name.to_owned(), selector: selector.clone() }
}

fn target(value: Option<Quantity>, average: Option<Quantity>, utilization: Option<i32>) -> v2::MetricTarget {
    v2::MetricTarget {
        type_: v2::MetricTargetType::Unset,
        value,
        average_value: average,
        average_utilization: utilization,
    }
}

fn metric_to_v2(from: &MetricSpec) -> v2::MetricSpec {
    use v2::MetricTargetType::{AverageValue, Utilization, Value};
    let resource = |utilization: Option<i32>, average| v2::MetricTarget {
        type_: if utilization.is_some() { Utilization } else { AverageValue },
        ..target(None, average, utilization)
    };
    v2::MetricSpec {
        type_: from.type_.as_str().into(),
        object: from.object.as_ref().map(|own| {
            let average = own.average_value;
            // Version 1 always writes the value; beside an average, zero stands for none.
            let value = Some(own.target_value).filter(|v| average.is_none() || !v.is_zero());
            Box::new(v2::ObjectMetricSource {
                described_object: reference_to_v2(&own.target),
                metric: identifier(&own.metric_name, &own.selector),
                target: v2::MetricTarget {
                    type_: if average.is_some() { AverageValue } else { Value },
                    ..target(value, average, None)
                },
            })
        }),
        pods: from.pods.as_ref().map(|own| {
            Box::new(v2::PodsMetricSource {
                metric: identifier(&own.metric_name, &own.selector),
                target: v2::MetricTarget {
                    type_: AverageValue,
                    ..target(None, Some(own.target_average_value), None)
                },
            })
        }),
        resource: from.resource.as_ref().map(|own| {
            let target = resource(own.target_average_utilization, own.target_average_value);
            Box::new(v2::ResourceMetricSource { name: own.name.clone(), target })
        }),
        container_resource: from.container_resource.as_ref().map(|own| {
            let target = resource(own.target_average_utilization, own.target_average_value);
            let (name, container) = (own.name.clone(), own.container.clone());
            Box::new(v2::ContainerResourceMetricSource { name, target, container })
        }),
        external: from.external.as_ref().map(|own| {
            Box::new(v2::ExternalMetricSource {
                metric: identifier(&own.metric_name, &own.metric_selector),
                target: v2::MetricTarget {
                    type_: if own.target_value.is_some() { Value } else { AverageValue },
                    ..target(own.target_value, own.target_average_value, None)
                },
            })
        }),
    }
}

fn metric_from_v2(from: &v2::MetricSpec) -> MetricSpec {
    MetricSpec {
        type_: from.type_.as_str().into(),
        object: from.object.as_ref().map(|own| {
            Box::new(ObjectMetricSource {
                target: reference_from_v2(&own.described_object),
                metric_name: own.metric.name.clone(),
                target_value: own.target.value.unwrap_or_default(),
                selector: own.metric.selector.clone(),
                average_value: own.target.average_value,
            })
        }),
        pods: from.pods.as_ref().map(|own| {
            Box::new(PodsMetricSource {
                metric_name: own.metric.name.clone(),
                target_average_value: own.target.average_value.unwrap_or_default(),
                selector: own.metric.selector.clone(),
            })
        }),
        resource: from.resource.as_ref().map(|own| {
            Box::new(ResourceMetricSource {
                name: own.name.clone(),
                target_average_utilization: own.target.average_utilization,
                target_average_value: own.target.average_value,
            })
        }),
        container_resource: from.container_resource.as_ref().map(|own| {
            Box::new(ContainerResourceMetricSource {
                name: own.name.clone(),
                target_average_utilization: own.target.average_utilization,
                target_average_value: own.target.average_value,
                container: own.container.clone(),
            })
        }),
        external: from.external.as_ref().map(|own| {
            Box::new(ExternalMetricSource {
                metric_name: own.metric.name.clone(),
                metric_selector: own.metric.selector.clone(),
                target_value: own.target.value,
                target_average_value: own.target.average_value,
            })
        }),
    }
}

fn current_to_v2(from: &MetricStatus) -> v2::MetricStatus {
    let current = |value, average_value, average_utilization| v2::MetricValueStatus {
        value,
        average_value,
        average_utilization,
    };
    v2::MetricStatus {
        type_: from.type_.as_str().into(),
        object: from.object.as_ref().map(|own| {
            Box::new(v2::ObjectMetricStatus {
                metric: identifier(&own.metric_name, &own.selector),
                current: current(Some(own.current_value), own.average_value, None),
                described_object: reference_to_v2(&own.target),
            })
        }),
        pods: from.pods.as_ref().map(|own| {
            Box::new(v2::PodsMetricStatus {
                metric: identifier(&own.metric_name, &own.selector),
                current: current(None, Some(own.current_average_value), None),
            })
        }),
        resource: from.resource.as_ref().map(|own| {
            Box::new(v2::ResourceMetricStatus {
                name: own.name.clone(),
                current: current(None, Some(own.current_average_value), own.current_average_utilization),
            })
        }),
        container_resource: from.container_resource.as_ref().map(|own| {
            Box::new(v2::ContainerResourceMetricStatus {
                name: own.name.clone(),
                current: current(None, Some(own.current_average_value), own.current_average_utilization),
                container: own.container.clone(),
            })
        }),
        external: from.external.as_ref().map(|own| {
            Box::new(v2::ExternalMetricStatus {
                metric: identifier(&own.metric_name, &own.metric_selector),
                current: current(Some(own.current_value), own.current_average_value, None),
            })
        }),
    }
}

fn current_from_v2(from: &v2::MetricStatus) -> MetricStatus {
    MetricStatus {
        type_: from.type_.as_str().into(),
        object: from.object.as_ref().map(|own| {
            Box::new(ObjectMetricStatus {
                target: reference_from_v2(&own.described_object),
                metric_name: own.metric.name.clone(),
                current_value: own.current.value.unwrap_or_default(),
                selector: own.metric.selector.clone(),
                average_value: own.current.average_value,
            })
        }),
        pods: from.pods.as_ref().map(|own| {
            Box::new(PodsMetricStatus {
                metric_name: own.metric.name.clone(),
                current_average_value: own.current.average_value.unwrap_or_default(),
                selector: own.metric.selector.clone(),
            })
        }),
        resource: from.resource.as_ref().map(|own| {
            Box::new(ResourceMetricStatus {
                name: own.name.clone(),
                current_average_utilization: own.current.average_utilization,
                current_average_value: own.current.average_value.unwrap_or_default(),
            })
        }),
        container_resource: from.container_resource.as_ref().map(|own| {
            Box::new(ContainerResourceMetricStatus {
                name: own.name.clone(),
                current_average_utilization: own.current.average_utilization,
                current_average_value: own.current.average_value.unwrap_or_default(),
                container: own.container.clone(),
            })
        }),
        external: from.external.as_ref().map(|own| {
            Box::new(ExternalMetricStatus {
                metric_name: own.metric.name.clone(),
                metric_selector: own.metric.selector.clone(),
                current_value: own.current.value.unwrap_or_default(),
                current_average_value: own.current.average_value,
            })
        }),
    }
}

// COMPAT: behavior travels under the names of Go's fields, in upper case, with nulls; names are read
// in any case.
fn behavior_from_v2(from: &v2::HorizontalPodAutoscalerBehavior) -> String {
    let rules = |rules: Option<&v2::HPAScalingRules>| {
        let Some(rules) = rules else { return Json::Null };
        let policies: Vec<Json> = rules
            .policies
            .iter()
            .map(|p| object!({"Type": p.type_.as_str(), "Value": p.value, "PeriodSeconds": p.period_seconds}))
            .collect();
        object!({
            "StabilizationWindowSeconds": rules.stabilization_window_seconds,
            "SelectPolicy": rules.select_policy.as_ref().map(|p| p.as_str()),
            "Policies": if policies.is_empty() { Json::Null } else { policies.into() },
            "Tolerance": rules.tolerance.map(|t| t.to_string()),
        })
    };
    object!({"ScaleUp": rules(from.scale_up.as_deref()), "ScaleDown": rules(from.scale_down.as_deref())})
        .to_string()
}

fn behavior_to_v2(text: &str) -> Option<v2::HorizontalPodAutoscalerBehavior> {
    let behavior: Json = serde_json::from_str(text).ok()?;
    let rules = |name: &str| {
        let rules = part(&behavior, name)?;
        Some(Box::new(v2::HPAScalingRules {
            stabilization_window_seconds: part(rules, "StabilizationWindowSeconds").and_then(number),
            select_policy: part(rules, "SelectPolicy").and_then(Json::as_str).map(Into::into),
            policies: part(rules, "Policies")
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .map(|policy| v2::HPAScalingPolicy {
                    type_: part(policy, "Type").and_then(Json::as_str).unwrap_or_default().into(),
                    value: part(policy, "Value").and_then(number).unwrap_or_default(),
                    period_seconds: part(policy, "PeriodSeconds").and_then(number).unwrap_or_default(),
                })
                .collect(),
            tolerance: part(rules, "Tolerance")
                .and_then(Json::as_str)
                .and_then(|text| Quantity::parse(text).ok()),
        }))
    };
    let out =
        v2::HorizontalPodAutoscalerBehavior { scale_up: rules("ScaleUp"), scale_down: rules("ScaleDown") };
    (out != v2::HorizontalPodAutoscalerBehavior::default()).then_some(out)
}

fn part<'a>(object: &'a Json, name: &str) -> Option<&'a Json> {
    let found = object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
    (!found.is_null()).then_some(found)
}

fn number(value: &Json) -> Option<i32> {
    value.as_i64().and_then(|n| i32::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_version_1_has_no_field_for_travels_in_annotations() {
        let mut new = v2::HorizontalPodAutoscaler::default();
        new.metadata.annotations.insert("own".into(), "kept".into());
        new.spec.max_replicas = 3;
        new.spec.metrics = vec![
            v2::MetricSpec {
                type_: "Pods".into(),
                pods: Some(Box::new(v2::PodsMetricSource {
                    metric: v2::MetricIdentifier { name: "requests".into(), selector: None },
                    target: v2::MetricTarget {
                        type_: "AverageValue".into(),
                        ..target(None, Quantity::parse("100m").ok(), None)
                    },
                })),
                ..Default::default()
            },
            cpu(50),
        ];
        new.spec.behavior = Some(Box::new(v2::HorizontalPodAutoscalerBehavior {
            scale_down: Some(Box::new(v2::HPAScalingRules {
                stabilization_window_seconds: Some(60),
                policies: vec![v2::HPAScalingPolicy {
                    type_: "Percent".into(),
                    value: 10,
                    period_seconds: 15,
                }],
                ..Default::default()
            })),
            scale_up: None,
        }));
        let old = HorizontalPodAutoscaler::from_v2(&new);
        assert_eq!(old.spec.target_cpu_utilization_percentage, Some(50));
        assert_eq!(
            old.metadata.annotations[METRICS],
            r#"[{"type":"Pods","pods":{"metricName":"requests","targetAverageValue":"100m"}}]"#
        );
        assert_eq!(
            old.metadata.annotations[BEHAVIOR],
            r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":60,"SelectPolicy":null,"Policies":[{"Type":"Percent","Value":10,"PeriodSeconds":15}],"Tolerance":null}}"#
        );
        assert_eq!(old.to_v2(), new);
    }

    #[test]
    fn without_metrics_there_is_the_default_one() {
        let v2 = HorizontalPodAutoscaler::default().to_v2();
        assert_eq!(v2.spec.metrics, [cpu(80)]);
        let mut measured = HorizontalPodAutoscaler::default();
        measured.status.current_cpu_utilization_percentage = Some(7);
        assert_eq!(measured.to_v2().status.current_metrics, [current_cpu(7)]);
    }
}
