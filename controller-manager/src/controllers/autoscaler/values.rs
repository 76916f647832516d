//! What metrics of pods, of an object and from outside the cluster ask for: the number of pods, the
//! metric's name for texts, and what the status says of it.

use api_types::autoscaling::v2::{
    ExternalMetricSource, ExternalMetricStatus, MetricSourceType, MetricStatus, MetricTargetType,
    MetricValueStatus, ObjectMetricSource, ObjectMetricStatus, PodsMetricSource, PodsMetricStatus,
};
use api_types::core::v1::{ConditionStatus, Pod, PodConditionType, PodPhase};
use api_types::value::Quantity;
use jiff::Timestamp;

use super::Settings;
use super::readings::Reading;
use super::replicas::{Aim, Metric, ceil, propose};
use super::target::Seen;
use crate::selector_text;

/// Why a metric gives no number.
#[derive(Debug)]
pub(super) struct Unavailable {
    /// Of the condition and the event.
    pub reason: &'static str,
    pub text: String,
    /// As the event of all metrics has it.
    pub whole: String,
}

impl Unavailable {
    pub(super) fn new(reason: &'static str, what: &str, text: String) -> Self {
        Self { reason, whole: format!("{what}: {text}"), text }
    }
}

/// The number, the metric's name, its status.
pub(super) type Measured = (i32, String, MetricStatus);

/// All that is known when a metric is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub seen: &'a Seen,
    pub reading: Option<&'a Result<Reading, String>>,
    pub namespace: &'a str,
    /// What the target's scale asks for.
    pub current: i32,
    pub settings: &'a Settings,
    pub now: Timestamp,
}

impl Look<'_> {
    fn value(&self) -> Result<i64, String> {
        match self.reading {
            Some(Ok(Reading::Value(value))) => Ok(*value),
            Some(Err(error)) => Err(error.clone()),
            _ => Err("nothing was asked for".into()),
        }
    }

    /// The number for a value that all pods share.
    fn shared(&self, value: i64, target: i64) -> Result<i32, String> {
        let ratio = value as f64 / target as f64;
        if self.settings.tolerance.holds(ratio) {
            return Ok(self.current);
        }
        let failed = |text: String| format!("unable to calculate ready pods: {text}");
        let pods = self.seen.pods.as_ref();
        let pods = pods.map_err(|error| {
            failed(format!("unable to get pods while calculating replica count: {error}"))
        })?;
        if pods.is_empty() {
            return Err(failed("no pods returned by selector while calculating replica count".into()));
        }
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Ok(ceil(ratio * ready as f64))
    }

    /// The number for a value of which each pod is to have so much, and what each has now.
    fn parted(&self, value: i64, target: i64) -> (i32, i64) {
        let there = self.seen.scale.as_ref().map_or(0, |scale| scale.status.replicas);
        let ratio = value as f64 / (target as f64 * f64::from(there));
        let replicas = match self.settings.tolerance.holds(ratio) {
            true => there,
            false => ceil(value as f64 / target as f64),
        };
        // Without pods the share is beyond any number, which the conversion keeps to the largest.
        (replicas, (value as f64 / f64::from(there)).ceil() as i64)
    }
}

fn is_ready(pod: &Pod) -> bool {
    let ready = pod.status.conditions.iter().find(|c| c.type_ == PodConditionType::Ready);
    pod.status.phase == PodPhase::Running && ready.is_some_and(|c| c.status == ConditionStatus::True)
}

fn total(value: i64) -> MetricValueStatus {
    MetricValueStatus { value: Some(Quantity::from_milli(value)), ..MetricValueStatus::default() }
}

fn average(value: i64) -> MetricValueStatus {
    MetricValueStatus { average_value: Some(Quantity::from_milli(value)), ..MetricValueStatus::default() }
}

pub(super) fn of_pods(source: &PodsMetricSource, look: Look<'_>) -> Result<Measured, Unavailable> {
    let failed = |text| Unavailable::new("FailedGetPodsMetric", "failed to get pods metric value", text);
    let name = &source.metric.name;
    let usages = match look.reading {
        Some(Ok(Reading::Pods(usages))) => usages.as_slice(),
        Some(Err(error)) => return Err(failed(format!("unable to get metric {name}: {error}"))),
        _ => &[],
    };
    let pods = look.seen.pods.as_ref();
    let pods =
        pods.map_err(|error| failed(format!("unable to get pods while calculating replica count: {error}")))?;
    let target = source.target.average_value.as_ref().map_or(0, Quantity::milli_value);
    let metric = Metric { resource: "", container: None, aim: Aim::Average(target) };
    let proposal = propose(metric, look.current, pods, usages, look.settings, look.now).map_err(failed)?;
    let status = PodsMetricStatus { metric: source.metric.clone(), current: average(proposal.average) };
    let status = MetricStatus {
        type_: MetricSourceType::Pods,
        pods: Some(Box::new(status)),
        ..MetricStatus::default()
    };
    Ok((proposal.replicas, format!("pods metric {name}"), status))
}

pub(super) fn of_object(source: &ObjectMetricSource, look: Look<'_>) -> Result<Measured, Unavailable> {
    const REASON: &str = "FailedGetObjectMetric";
    let what = "failed to get object metric value";
    let (name, object) = (&source.metric.name, &source.described_object);
    // COMPAT: the slash before the cause is upstream's.
    let unread = |error| {
        format!("unable to get metric {name}: {} on {} {}/{error}", object.kind, look.namespace, object.name)
    };
    let measured = |replicas, title, current| {
        let (metric, described_object) = (source.metric.clone(), object.clone());
        let object = Some(Box::new(ObjectMetricStatus { metric, current, described_object }));
        (replicas, title, MetricStatus { type_: MetricSourceType::Object, object, ..MetricStatus::default() })
    };
    let target = &source.target;
    match (&target.type_, &target.value, &target.average_value) {
        (MetricTargetType::Value, Some(aim), _) => {
            let failed = |text| Unavailable::new(REASON, what, text);
            let value = look.value().map_err(|error| failed(unread(error)))?;
            let replicas = look.shared(value, aim.milli_value()).map_err(failed)?;
            Ok(measured(replicas, format!("{} metric {name}", object.kind), total(value)))
        }
        (MetricTargetType::AverageValue, _, Some(aim)) => {
            let what = format!("{what}: failed to get {name} object metric");
            let failed = |error| Unavailable::new(REASON, &what, unread(error));
            let (replicas, share) = look.parted(look.value().map_err(failed)?, aim.milli_value());
            // COMPAT: upstream calls it external.
            let title =
                format!("external metric {name}({})", selector_text::of(source.metric.selector.as_deref()));
            Ok(measured(replicas, title, average(share)))
        }
        _ => {
            let text =
                "invalid object metric source: neither a value target nor an average value target was set";
            Err(Unavailable::new(REASON, what, text.into()))
        }
    }
}

pub(super) fn of_external(source: &ExternalMetricSource, look: Look<'_>) -> Result<Measured, Unavailable> {
    const REASON: &str = "FailedGetExternalMetric";
    let name = &source.metric.name;
    let what = format!("failed to get {name} external metric value");
    let selector = selector_text::of(source.metric.selector.as_deref());
    let unread =
        |error| format!("unable to get external metric {}/{name}/{selector}: {error}", look.namespace);
    let measured = |replicas, current| {
        let external = Some(Box::new(ExternalMetricStatus { metric: source.metric.clone(), current }));
        let status = MetricStatus { type_: MetricSourceType::External, external, ..MetricStatus::default() };
        (replicas, format!("external metric {name}({selector})"), status)
    };
    match (&source.target.average_value, &source.target.value) {
        (Some(aim), _) => {
            let what = format!("{what}: failed to get {name} external metric");
            let failed = |error| Unavailable::new(REASON, &what, unread(error));
            let (replicas, share) = look.parted(look.value().map_err(failed)?, aim.milli_value());
            Ok(measured(replicas, average(share)))
        }
        (None, Some(aim)) => {
            let what = format!("{what}: failed to get external metric {name}");
            let failed = |text| Unavailable::new(REASON, &what, text);
            let value = look.value().map_err(|error| failed(unread(error)))?;
            let replicas = look.shared(value, aim.milli_value()).map_err(failed)?;
            Ok(measured(replicas, total(value)))
        }
        (None, None) => {
            let text =
                "invalid external metric source: neither a value target nor an average value target was set";
            Err(Unavailable::new(REASON, &what, text.into()))
        }
    }
}
