//! The status of an autoscaler, and whether its target is rescaled.

use api_types::autoscaling::v2::{
    ContainerResourceMetricStatus, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition as Condition,
    HorizontalPodAutoscalerConditionType as Type, HorizontalPodAutoscalerStatus, MetricSourceType,
    MetricSpec, MetricStatus, MetricTarget, MetricValueStatus, ResourceMetricStatus,
};
use api_types::core::v1::ObjectReference;
use api_types::meta::v1::ConditionStatus;
use api_types::value::{Format, Quantity, Time};
use client::Error;
use client::controller::Told;
use jiff::Timestamp;

use super::Settings;
use super::limits::{self, Memory};
use super::replicas::{Aim, Metric, Proposal, propose};
use super::target::Seen;

/// What comes of a look.
#[derive(Debug)]
pub(super) struct Decision {
    pub status: HorizontalPodAutoscalerStatus,
    /// The new number, and why.
    pub rescale: Option<(i32, String)>,
    pub told: Vec<Told>,
}

/// Why a metric gives no number: the reason of the condition and event, and the text.
struct Unavailable(&'static str, String);

impl Decision {
    fn condition(
        &mut self,
        type_: Type,
        holds: bool,
        reason: &str,
        message: impl Into<String>,
        now: Timestamp,
    ) {
        let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
        let conditions = &mut self.status.conditions;
        let place = conditions.iter().position(|c| c.type_ == type_);
        let since = place.map(|place| &conditions[place]).filter(|c| c.status == status);
        let condition = Condition {
            last_transition_time: since.and_then(|c| c.last_transition_time).or(Some(Time::whole(now))),
            type_,
            status,
            reason: reason.into(),
            message: message.into(),
        };
        match place {
            Some(place) => conditions[place] = condition,
            None => conditions.push(condition),
        }
    }
}

fn reference(hpa: &HorizontalPodAutoscaler) -> ObjectReference {
    client::events::reference(hpa)
}

pub(super) fn decide(
    hpa: &HorizontalPodAutoscaler,
    seen: &Seen,
    memory: &mut Memory,
    settings: &Settings,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision { status: hpa.status.clone(), rescale: None, told: Vec::new() };
    let scale = match &seen.scale {
        Ok(scale) => scale,
        Err(error) => {
            decision.told.push(Told::warning(reference(hpa), "FailedGetScale", error.as_str()));
            let text = format!("the HPA controller was unable to get the target's current scale: {error}");
            decision.condition(Type::AbleToScale, false, "FailedGetScale", text, now);
            return decision;
        }
    };
    decision.status.observed_generation = Some(hpa.metadata.generation);
    let text = "the HPA controller was able to get the target's current scale";
    decision.condition(Type::AbleToScale, true, "SucceededGetScale", text, now);
    let current = scale.spec.replicas;
    memory.begin(current, now);
    let (least, most) = (hpa.spec.min_replicas.unwrap_or(1), hpa.spec.max_replicas);
    decision.status.current_replicas = current;
    decision.status.desired_replicas = current;
    if current == 0 && least != 0 {
        let text = "scaling is disabled since the replica count of the target is zero";
        decision.condition(Type::ScalingActive, false, "ScalingDisabled", text, now);
        decision.status.desired_replicas = 0;
        decision.status.current_metrics.clear();
        return decision;
    }
    if current > most {
        decision.rescale = Some((most, "Current number of replicas above Spec.MaxReplicas".into()));
        return decision;
    }
    if current < least {
        decision.rescale = Some((least, "Current number of replicas below Spec.MinReplicas".into()));
        return decision;
    }
    let Some((proposed, name)) = proposals(hpa, seen, current, settings, now, &mut decision) else {
        decision.status.desired_replicas = hpa.status.desired_replicas;
        return decision;
    };
    let limited = limits::limit(&hpa.spec, memory, settings, (current, proposed), now);
    let ((able, able_text), (is_limited, why, why_text)) = (limited.able, limited.limited);
    decision.condition(Type::AbleToScale, true, able, able_text, now);
    decision.condition(Type::ScalingLimited, is_limited, why, why_text, now);
    if limited.replicas != current {
        let reason = match proposed > current {
            true => format!("{name} above target"),
            false => "All metrics below target".into(),
        };
        decision.rescale = Some((limited.replicas, reason));
    }
    decision
}

/// The largest number that a metric asks for, and its name. With metrics that cannot be had, nothing
/// is scaled down.
fn proposals(
    hpa: &HorizontalPodAutoscaler,
    seen: &Seen,
    current: i32,
    settings: &Settings,
    now: Timestamp,
    decision: &mut Decision,
) -> Option<(i32, String)> {
    let selector = seen.scale.as_ref().map(|s| s.status.selector.as_str()).unwrap_or_default();
    if selector.is_empty() {
        let text = "selector is required";
        decision.told.push(Told::warning(reference(hpa), "SelectorRequired", ""));
        let why = "the HPA target's scale is missing a selector";
        decision.condition(Type::ScalingActive, false, "InvalidSelector", why, now);
        decision.told.push(Told::warning(reference(hpa), "FailedComputeMetricsReplicas", text));
        return None;
    }
    let mut best: Option<(i32, String)> = None;
    let mut failures = Vec::new();
    let mut statuses = Vec::new();
    for metric in &hpa.spec.metrics {
        match measure(metric, seen, current, settings, now) {
            Ok((proposal, name, status)) => {
                statuses.push(status);
                if best.as_ref().is_none_or(|(most, _)| proposal.replicas > *most) {
                    best = Some((proposal.replicas, name));
                }
            }
            Err(unavailable) => {
                statuses.push(MetricStatus::default());
                failures.push(unavailable);
            }
        }
    }
    decision.status.current_metrics = statuses;
    for Unavailable(reason, text) in &failures {
        decision.told.push(Told::warning(reference(hpa), reason, text.as_str()));
    }
    if let Some(Unavailable(reason, text)) = failures.first()
        && best.as_ref().is_none_or(|(replicas, _)| *replicas < current)
    {
        let why = format!("the HPA was unable to compute the replica count: {text}");
        decision.condition(Type::ScalingActive, false, reason, why, now);
        let (bad, all) = (failures.len(), hpa.spec.metrics.len());
        let kind = described(&hpa.spec.metrics, reason);
        let text = format!("invalid metrics ({bad} invalid out of {all}), first error is: {kind}: {text}");
        decision.told.push(Told::warning(reference(hpa), "FailedComputeMetricsReplicas", text));
        return None;
    }
    let (replicas, name) = best?;
    let why = format!("the HPA was able to successfully calculate a replica count from {name}");
    decision.condition(Type::ScalingActive, true, "ValidMetricFound", why, now);
    Some((replicas, name))
}

/// What could not be had, as the event spells it.
fn described(metrics: &[MetricSpec], reason: &str) -> String {
    let of = |type_: MetricSourceType| metrics.iter().find(|m| m.type_ == type_);
    match reason {
        "FailedGetResourceMetric" => {
            let metric = of(MetricSourceType::Resource).and_then(|m| m.resource.as_ref());
            format!("failed to get {} resource metric value", metric.map_or("", |m| m.name.as_str()))
        }
        "FailedGetContainerResourceMetric" => {
            let metric = of(MetricSourceType::ContainerResource).and_then(|m| m.container_resource.as_ref());
            format!("failed to get {} container metric value", metric.map_or("", |m| m.container.as_str()))
        }
        "FailedGetPodsMetric" => "failed to get pods metric value".into(),
        "FailedGetObjectMetric" => "failed to get object metric value".into(),
        _ => {
            let metric = of(MetricSourceType::External).and_then(|m| m.external.as_ref());
            format!("failed to get {} external metric value", metric.map_or("", |m| m.metric.name.as_str()))
        }
    }
}

fn measure(
    metric: &MetricSpec,
    seen: &Seen,
    current: i32,
    settings: &Settings,
    now: Timestamp,
) -> Result<(Proposal, String, MetricStatus), Unavailable> {
    let custom = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    match (&metric.resource, &metric.container_resource) {
        (Some(source), _) if metric.type_ == MetricSourceType::Resource => {
            let failed = |text| Unavailable("FailedGetResourceMetric", text);
            let (proposal, name, current) =
                resource(&source.name, None, &source.target, seen, current, settings, now).map_err(failed)?;
            let status = ResourceMetricStatus { name: source.name.clone(), current };
            let type_ = metric.type_.clone();
            Ok((
                proposal,
                name,
                MetricStatus { type_, resource: Some(Box::new(status)), ..Default::default() },
            ))
        }
        (_, Some(source)) if metric.type_ == MetricSourceType::ContainerResource => {
            let failed = |text| Unavailable("FailedGetContainerResourceMetric", text);
            let container = Some(source.container.as_str());
            let (proposal, name, current) =
                resource(&source.name, container, &source.target, seen, current, settings, now)
                    .map_err(failed)?;
            let (name_, container) = (source.name.clone(), source.container.clone());
            let status = ContainerResourceMetricStatus { name: name_, container, current };
            let (type_, status) = (metric.type_.clone(), Some(Box::new(status)));
            Ok((proposal, name, MetricStatus { type_, container_resource: status, ..Default::default() }))
        }
        _ => Err(match (&metric.pods, &metric.object, &metric.external) {
            (Some(source), ..) => {
                let text = format!("unable to get metric {}: {custom}", source.metric.name);
                Unavailable("FailedGetPodsMetric", text)
            }
            (_, Some(source), _) => {
                let (metric, object) = (&source.metric.name, &source.described_object);
                let text =
                    format!("unable to get metric {metric}: {} on {}: {custom}", object.kind, object.name);
                Unavailable("FailedGetObjectMetric", text)
            }
            (.., Some(source)) => {
                let name = &source.metric.name;
                let text = format!(
                    "unable to get external metric {name}: unable to fetch metrics from external metrics API: the \
                     server could not find the requested resource (get {name}.external.metrics.k8s.io)"
                );
                Unavailable("FailedGetExternalMetric", text)
            }
            _ => {
                let text = format!("unknown metric source type {:?}", metric.type_.as_str());
                Unavailable("InvalidMetricSourceType", text)
            }
        }),
    }
}

fn resource(
    name: &str,
    container: Option<&str>,
    target: &MetricTarget,
    seen: &Seen,
    current: i32,
    settings: &Settings,
    now: Timestamp,
) -> Result<(Proposal, String, MetricValueStatus), String> {
    let (aim, what) = match (&target.average_value, target.average_utilization) {
        (Some(value), _) => (Aim::Average(value.milli_value()), "usage"),
        (None, Some(percent)) => (Aim::Utilization(percent), "utilization"),
        (None, None) => {
            return Err(
                "invalid resource metric source: neither an average utilization target nor an average value \
                        (usage) target was set"
                    .into(),
            );
        }
    };
    let failed = |text: String| format!("failed to get {name} {what}: {text}");
    let usage = seen.usage.as_ref();
    let usage =
        usage.map_err(|error| failed(format!("unable to get metrics for resource {name}: {error}")))?;
    let pods = seen.pods.as_ref();
    let pods =
        pods.map_err(|error| failed(format!("unable to get pods while calculating replica count: {error}")))?;
    let metric = Metric { resource: name, container, aim };
    let proposal = propose(metric, current, pods, usage, settings, now).map_err(failed)?;
    let title = match (aim, container) {
        (Aim::Average(_), _) => format!("{name} resource"),
        (_, None) => format!("{name} resource utilization (percentage of request)"),
        (_, Some(_)) => format!("{name} container resource utilization (percentage of request)"),
    };
    let average_value = match (name, proposal.average % 1000) {
        ("memory", 0) => Quantity::from_units(proposal.average / 1000, Format::BinarySi),
        _ => Quantity::from_milli(proposal.average),
    };
    let status = MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(average_value),
        ..MetricValueStatus::default()
    };
    Ok((proposal, title, status))
}

/// Writes down what became of rescaling.
pub(super) fn rescaled(
    hpa: &HorizontalPodAutoscaler,
    decision: &mut Decision,
    (replicas, reason): (i32, &str),
    outcome: Result<(), Error>,
    memory: &mut Memory,
    now: Timestamp,
) {
    match outcome {
        Ok(()) => {
            let text = format!("the HPA controller was able to update the target scale to {replicas}");
            decision.condition(Type::AbleToScale, true, "SucceededRescale", text, now);
            let text = format!("New size: {replicas}; reason: {reason}");
            decision.told.push(Told::normal(reference(hpa), "SuccessfulRescale", text));
            memory.rescaled(replicas - decision.status.current_replicas, now);
            decision.status.desired_replicas = replicas;
            decision.status.last_scale_time = Some(Time::whole(now));
        }
        Err(error) => {
            let text = format!("New size: {replicas}; reason: {reason}; error: {error}");
            decision.told.push(Told::warning(reference(hpa), "FailedRescale", text));
            let text = format!("the HPA controller was unable to update the target scale: {error}");
            decision.condition(Type::AbleToScale, false, "FailedUpdateScale", text, now);
        }
    }
}
