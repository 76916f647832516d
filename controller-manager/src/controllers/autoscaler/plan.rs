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
use super::replicas::{Aim, Metric, propose};
use super::target::Seen;
use super::values::{self, Look, Measured, Unavailable};

/// What comes of a look.
#[derive(Debug)]
pub(super) struct Decision {
    pub status: HorizontalPodAutoscalerStatus,
    /// The new number, and why.
    pub rescale: Option<(i32, String)>,
    pub told: Vec<Told>,
}

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
    let settings = &settings.of(hpa);
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
        decision.told.push(Told::warning(reference(hpa), "SelectorRequired", text));
        let why = "the HPA target's scale is missing a selector";
        decision.condition(Type::ScalingActive, false, "InvalidSelector", why, now);
        decision.told.push(Told::warning(reference(hpa), "FailedComputeMetricsReplicas", text));
        return None;
    }
    if seen.claimants.len() > 1 {
        // COMPAT: printed as Go prints a list of structs.
        let keys: Vec<String> =
            seen.claimants.iter().map(|key| format!("{{{} {}}}", key.name, key.namespace)).collect();
        let text =
            format!("pods by selector {selector} are controlled by multiple HPAs: [{}]", keys.join(" "));
        decision.told.push(Told::warning(reference(hpa), "AmbiguousSelector", text.as_str()));
        decision.condition(Type::ScalingActive, false, "AmbiguousSelector", text.as_str(), now);
        decision.told.push(Told::warning(reference(hpa), "FailedComputeMetricsReplicas", text));
        return None;
    }
    let mut best: Option<(i32, String)> = None;
    let mut failures = Vec::new();
    let mut statuses = Vec::new();
    let namespace = hpa.metadata.namespace.as_str();
    for (place, metric) in hpa.spec.metrics.iter().enumerate() {
        let reading = seen.readings.get(&place);
        match measure(metric, Look { seen, reading, namespace, current, settings, now }) {
            Ok((replicas, name, status)) => {
                statuses.push(status);
                if best.as_ref().is_none_or(|(most, _)| replicas > *most) {
                    best = Some((replicas, name));
                }
            }
            Err(unavailable) => {
                statuses.push(MetricStatus::default());
                failures.push(unavailable);
            }
        }
    }
    decision.status.current_metrics = statuses;
    for Unavailable { reason, text, .. } in &failures {
        decision.told.push(Told::warning(reference(hpa), reason, text.as_str()));
    }
    if let Some(Unavailable { reason, text, whole }) = failures.first()
        && best.as_ref().is_none_or(|(replicas, _)| *replicas < current)
    {
        let why = format!("the HPA was unable to compute the replica count: {text}");
        decision.condition(Type::ScalingActive, false, reason, why, now);
        let (bad, all) = (failures.len(), hpa.spec.metrics.len());
        let text = format!("invalid metrics ({bad} invalid out of {all}), first error is: {whole}");
        decision.told.push(Told::warning(reference(hpa), "FailedComputeMetricsReplicas", text));
        return None;
    }
    let (replicas, name) = best?;
    let why = format!("the HPA was able to successfully calculate a replica count from {name}");
    decision.condition(Type::ScalingActive, true, "ValidMetricFound", why, now);
    Some((replicas, name))
}

/// What one metric asks for, by its type.
fn measure(metric: &MetricSpec, look: Look<'_>) -> Result<Measured, Unavailable> {
    let type_ = metric.type_.clone();
    match (&type_, &metric.resource, &metric.container_resource) {
        (MetricSourceType::Resource, Some(source), _) => {
            let what = format!("failed to get {} resource metric value", source.name);
            let failed = |text| Unavailable::new("FailedGetResourceMetric", &what, text);
            let (replicas, name, current) =
                resource(&source.name, None, &source.target, look).map_err(failed)?;
            let resource = Some(Box::new(ResourceMetricStatus { name: source.name.clone(), current }));
            return Ok((replicas, name, MetricStatus { type_, resource, ..MetricStatus::default() }));
        }
        (MetricSourceType::ContainerResource, _, Some(source)) => {
            let what = format!("failed to get {} container metric value", source.container);
            let failed = |text| Unavailable::new("FailedGetContainerResourceMetric", &what, text);
            let container = Some(source.container.as_str());
            let (replicas, name, current) =
                resource(&source.name, container, &source.target, look).map_err(failed)?;
            let (of, container) = (source.name.clone(), source.container.clone());
            let status = Some(Box::new(ContainerResourceMetricStatus { name: of, container, current }));
            let status = MetricStatus { type_, container_resource: status, ..MetricStatus::default() };
            return Ok((replicas, name, status));
        }
        _ => {}
    }
    match (&type_, &metric.pods, &metric.object, &metric.external) {
        (MetricSourceType::Pods, Some(source), ..) => values::of_pods(source, look),
        (MetricSourceType::Object, _, Some(source), _) => values::of_object(source, look),
        (MetricSourceType::External, .., Some(source)) => values::of_external(source, look),
        _ => {
            let whole = format!("unknown metric source type {:?}", type_.as_str());
            Err(Unavailable { reason: "InvalidMetricSourceType", text: whole.clone(), whole })
        }
    }
}

fn resource(
    name: &str,
    container: Option<&str>,
    target: &MetricTarget,
    look: Look<'_>,
) -> Result<(i32, String, MetricValueStatus), String> {
    let seen = look.seen;
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
    let proposal = propose(metric, look.current, pods, usage, look.settings, look.now).map_err(failed)?;
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
    Ok((proposal.replicas, title, status))
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
