//! What is refused in a HorizontalPodAutoscaler.

use super::*;
use crate::core::v1::pod::validate::container_resource;
use crate::field::{Errors, Path};
use crate::meta::v1::validate::{NEGATIVE, not_negative};
use crate::names;

/// What is checked of references to other objects.
#[derive(Clone, Copy)]
enum Version {
    /// It names a group.
    WithGroup,
    /// It parses.
    Any,
    /// It was wrong before.
    Unchecked,
}

pub(super) fn autoscaler(
    new: &HorizontalPodAutoscaler,
    old: Option<&HorizontalPodAutoscaler>,
    errors: &mut Errors,
) {
    let path = Path::new("spec");
    let spec = &new.spec;
    // Zero is off in 1.36 (HPAScaleToZero), but stays where it is.
    let least = i32::from(old.is_none_or(|old| old.spec.min_replicas != Some(0)));
    if let Some(min) = spec.min_replicas.filter(|min| *min < least) {
        let text = format!("must be greater than or equal to {least}");
        errors.invalid(&path.child("minReplicas"), min, text);
    }
    let max = path.child("maxReplicas");
    match spec.max_replicas {
        0 => errors.required(&max, "must be set and greater than 0"),
        ..0 => errors.invalid(&max, spec.max_replicas, "must be greater than or equal to 1"),
        _ => {}
    }
    if spec.min_replicas.is_some_and(|min| spec.max_replicas < min) {
        errors.invalid(&max, spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    let target = &spec.scale_target_ref;
    let version = match old.map(|old| &old.spec.scale_target_ref) {
        Some(old) if (&old.api_version, &old.kind) == (&target.api_version, &target.kind) => {
            Version::Unchecked
        }
        _ if target.kind == "ReplicationController" => Version::Any,
        _ => Version::WithGroup,
    };
    reference(target, version, &path.child("scaleTargetRef"), errors);
    let was_wrong = |metric: &MetricSpec| {
        metric.object.as_ref().is_some_and(|own| group_of(&own.described_object.api_version).is_err())
    };
    let version = match old.is_some_and(|old| old.spec.metrics.iter().any(was_wrong)) {
        true => Version::Unchecked,
        false => Version::Any,
    };
    metrics(spec, version, &path.child("metrics"), errors);
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        for (name, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                scaling_rules(rules, &path.child(name), errors);
            }
        }
    }
}

/// The group of an API version.
fn group_of(version: &str) -> Result<&str, String> {
    match version.split('/').collect::<Vec<_>>().as_slice() {
        [_] => Ok(""),
        [group, _] => Ok(group),
        _ => Err(format!("unexpected GroupVersion string: {version}")),
    }
}

fn reference(own: &CrossVersionObjectReference, version: Version, path: &Path, errors: &mut Errors) {
    for (name, value) in [("kind", &own.kind), ("name", &own.name)] {
        errors.need(path, name, value);
        errors.wrong(&path.child(name), value, names::path_segment(value));
    }
    let wrong = match (version, group_of(&own.api_version)) {
        (Version::Unchecked, _) => None,
        (_, Err(text)) => Some(text),
        (Version::WithGroup, Ok("")) => Some("apiVersion must specify API group".to_owned()),
        _ => None,
    };
    if let Some(text) = wrong {
        errors.invalid(&path.child("apiVersion"), &own.api_version, text);
    }
}

fn metrics(spec: &HorizontalPodAutoscalerSpec, version: Version, path: &Path, errors: &mut Errors) {
    for (place, own) in spec.metrics.iter().enumerate() {
        metric(own, version, &path.index(place), errors);
    }
    let from_outside =
        |m: &MetricSpec| matches!(m.type_, MetricSourceType::Object | MetricSourceType::External);
    if spec.min_replicas == Some(0) && !spec.metrics.iter().any(from_outside) {
        let text = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(path, text);
    }
}

fn metric(spec: &MetricSpec, version: Version, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    let type_path = path.child("type");
    if spec.type_.is_unset() {
        errors.required(&type_path, "must specify a metric source type");
    }
    let known = TYPES.contains(&spec.type_.as_str());
    if !known {
        errors.not_supported(&type_path, spec.type_.as_str(), &TYPES);
    }
    let given: Vec<&str> = [
        (spec.object.is_some(), "object"),
        (spec.external.is_some(), "external"),
        (spec.pods.is_some(), "pods"),
        (spec.resource.is_some(), "resource"),
        (spec.container_resource.is_some(), "containerResource"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect();
    // Only the first is looked into.
    match given.first().copied() {
        Some("object") => object(spec.object.as_deref(), version, &path.child("object"), errors),
        Some("external") => external(spec.external.as_deref(), &path.child("external"), errors),
        Some("pods") => pods(spec.pods.as_deref(), &path.child("pods"), errors),
        Some("resource") => {
            if let Some(own) = &spec.resource {
                let path = path.child("resource");
                if own.name.is_empty() {
                    errors.required(&path.child("name"), "must specify a resource name");
                }
                resource_target(&own.target, &path.child("target"), errors);
            }
        }
        Some(_) => {
            container(spec.container_resource.as_deref(), &path.child("containerResource"), errors);
        }
        None => {}
    }
    let expected = match spec.type_ {
        MetricSourceType::Object => "object",
        MetricSourceType::Pods => "pods",
        MetricSourceType::Resource => "resource",
        MetricSourceType::External => "external",
        MetricSourceType::ContainerResource => "containerResource",
        _ => "",
    };
    if !known {
        errors.not_supported(&type_path, spec.type_.as_str(), &TYPES);
    } else if !given.contains(&expected) {
        errors.required(&path.child(expected), "must populate information for the given metric source");
    }
    if given.len() != 1 {
        for name in given.iter().filter(|name| **name != expected) {
            errors.forbidden(&path.child(name), "must populate the given metric source only");
        }
    }
}

fn object(own: Option<&ObjectMetricSource>, version: Version, path: &Path, errors: &mut Errors) {
    let Some(own) = own else { return };
    reference(&own.described_object, version, &path.child("describedObject"), errors);
    identifier(&own.metric, &path.child("metric"), errors);
    let path = path.child("target");
    target(&own.target, &path, errors);
    if own.target.value.is_none() && own.target.average_value.is_none() {
        let text = "must set either a target value or averageValue";
        errors.required(&path.child("averageValue"), text);
    }
}

fn external(own: Option<&ExternalMetricSource>, path: &Path, errors: &mut Errors) {
    let Some(own) = own else { return };
    identifier(&own.metric, &path.child("metric"), errors);
    let path = path.child("target");
    target(&own.target, &path, errors);
    match (&own.target.value, &own.target.average_value) {
        (None, None) => {
            let text = "must set either a target value for metric or a per-pod target";
            errors.required(&path.child("averageValue"), text);
        }
        (Some(_), Some(_)) => {
            let text = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&path.child("value"), text);
        }
        _ => {}
    }
}

fn pods(own: Option<&PodsMetricSource>, path: &Path, errors: &mut Errors) {
    let Some(own) = own else { return };
    identifier(&own.metric, &path.child("metric"), errors);
    let path = path.child("target");
    target(&own.target, &path, errors);
    if own.target.average_value.is_none() {
        errors.required(&path.child("averageValue"), "must specify a positive target averageValue");
    }
}

fn container(own: Option<&ContainerResourceMetricSource>, path: &Path, errors: &mut Errors) {
    let Some(own) = own else { return };
    if own.name.is_empty() {
        errors.required(&path.child("name"), "must specify a resource name");
    } else {
        container_resource(&own.name, &path.child("name"), errors);
    }
    if own.container.is_empty() {
        errors.required(&path.child("container"), "must specify a container");
    } else {
        errors.wrong(&path.child("container"), &own.container, names::dns1123_label(&own.container));
    }
    resource_target(&own.target, &path.child("target"), errors);
}

fn resource_target(own: &MetricTarget, path: &Path, errors: &mut Errors) {
    target(own, path, errors);
    match (&own.average_utilization, &own.average_value) {
        (None, None) => {
            let text = "must set either a target raw value or a target utilization";
            errors.required(&path.child("averageUtilization"), text);
        }
        (Some(_), Some(_)) => {
            let text = "may not set both a target raw value and a target utilization";
            errors.forbidden(&path.child("averageValue"), text);
        }
        _ => {}
    }
}

fn target(own: &MetricTarget, path: &Path, errors: &mut Errors) {
    let type_ = path.child("type");
    if own.type_.is_unset() {
        errors.required(&type_, "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&own.type_.as_str()) {
        let text = "must be either Utilization, Value, or AverageValue";
        errors.invalid(&type_, own.type_.as_str(), text);
    }
    for (name, value) in [("value", &own.value), ("averageValue", &own.average_value)] {
        if let Some(value) = value.filter(|value| *value <= Quantity::default()) {
            errors.invalid(&path.child(name), value, "must be positive");
        }
    }
    if let Some(percent) = own.average_utilization.filter(|percent| *percent < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn identifier(own: &MetricIdentifier, path: &Path, errors: &mut Errors) {
    let path = path.child("name");
    if own.name.is_empty() {
        errors.required(&path, "must specify a metric name");
    }
    errors.wrong(&path, &own.name, names::path_segment(&own.name));
}

fn scaling_rules(rules: &HPAScalingRules, path: &Path, errors: &mut Errors) {
    /// Seconds.
    const LONGEST_WINDOW: i32 = 3600;
    const LONGEST_PERIOD: i32 = 1800;
    let window = path.child("stabilizationWindowSeconds");
    match rules.stabilization_window_seconds {
        Some(seconds) if seconds < 0 => {
            errors.invalid(&window, seconds, "must be greater than or equal to zero");
        }
        Some(seconds) if seconds > LONGEST_WINDOW => {
            errors.invalid(&window, seconds, format!("must be less than or equal to {LONGEST_WINDOW}"));
        }
        _ => {}
    }
    if let Some(policy) = &rules.select_policy {
        errors.choice(&path.child("selectPolicy"), policy.as_str(), &["Disabled", "Max", "Min"]);
    }
    let policies = path.child("policies");
    if rules.policies.is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for (place, policy) in rules.policies.iter().enumerate() {
        let path = policies.index(place);
        errors.choice(&path.child("type"), policy.type_.as_str(), &["Percent", "Pods"]);
        for (name, number) in [("value", policy.value), ("periodSeconds", policy.period_seconds)] {
            if number <= 0 {
                errors.invalid(&path.child(name), number, "must be greater than zero");
            }
        }
        if policy.period_seconds > LONGEST_PERIOD {
            let text = format!("must be less than or equal to {LONGEST_PERIOD}");
            errors.invalid(&path.child("periodSeconds"), policy.period_seconds, text);
        }
    }
    if let Some(tolerance) = rules.tolerance.filter(Quantity::is_negative) {
        errors.invalid(&path.child("tolerance"), tolerance, NEGATIVE);
    }
}

pub(super) fn status_update(status: &HorizontalPodAutoscalerStatus, errors: &mut Errors) {
    let path = Path::new("status");
    not_negative(status.current_replicas, &path.child("currentReplicas"), errors);
    not_negative(status.desired_replicas, &path.child("desiredReplicas"), errors);
}
