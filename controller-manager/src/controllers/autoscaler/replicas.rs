//! The number of pods that one metric of pods asks for, of a resource mostly.
//!
//! Pods that are going or have failed do not count. Those that are starting, or of which nothing is
//! known, damp the change: to scale up they count as using nothing, to scale down as using all
//! that they asked for.

use std::collections::BTreeMap;

use api_types::core::v1::{ConditionStatus, Pod, PodConditionType, PodPhase};
use jiff::{SignedDuration, Timestamp};

use super::Settings;
use super::metrics::Usage;

/// What is aimed at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// Percent of what pods ask for.
    Utilization(i32),
    /// Thousandths a pod.
    Average(i64),
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub replicas: i32,
    pub utilization: Option<i32>,
    /// Thousandths a pod.
    pub average: i64,
}

/// A metric of a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric<'a> {
    pub resource: &'a str,
    pub container: Option<&'a str>,
    pub aim: Aim,
}

/// How pods take part.
#[derive(Default)]
struct Groups<'a> {
    ready: usize,
    starting: Vec<&'a str>,
    unknown: Vec<&'a str>,
}

pub(super) fn propose(
    metric: Metric<'_>,
    current: i32,
    pods: &[Pod],
    usages: &[Usage],
    settings: &Settings,
    now: Timestamp,
) -> Result<Proposal, String> {
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".into());
    }
    let mut used: BTreeMap<&str, i64> = BTreeMap::new();
    let groups = group(metric, pods, usages, settings, now, &mut used);
    if used.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".into());
    }
    let requests = match metric.aim {
        Aim::Utilization(_) => requests(metric, pods)?,
        Aim::Average(_) => BTreeMap::new(),
    };
    let first = ratio(metric.aim, &used, &requests)?;
    let proposal = |replicas| Proposal { replicas, utilization: first.utilization, average: first.average };
    let close = |ratio: f64| settings.tolerance.holds(ratio);
    let up_with_starting = !groups.starting.is_empty() && first.ratio > 1.0;
    if !up_with_starting && groups.unknown.is_empty() {
        let replicas = if close(first.ratio) { current } else { ceil(first.ratio * groups.ready as f64) };
        return Ok(proposal(replicas));
    }
    for pod in &groups.unknown {
        let full = match metric.aim {
            Aim::Utilization(target) => {
                requests.get(pod).copied().unwrap_or(0) * i64::from(target.max(100)) / 100
            }
            Aim::Average(target) => target,
        };
        if first.ratio < 1.0 {
            used.insert(pod, full);
        } else if first.ratio > 1.0 {
            used.insert(pod, 0);
        }
    }
    if up_with_starting {
        used.extend(groups.starting.iter().map(|pod| (*pod, 0)));
    }
    let second = ratio(metric.aim, &used, &requests)?.ratio;
    let turned = (first.ratio < 1.0 && second > 1.0) || (first.ratio > 1.0 && second < 1.0);
    let replicas = ceil(second * used.len() as f64);
    let wrong_way = (second < 1.0 && replicas > current) || (second > 1.0 && replicas < current);
    Ok(proposal(if close(second) || turned || wrong_way { current } else { replicas }))
}

/// Whole pods.
pub(super) fn ceil(replicas: f64) -> i32 {
    // Far beyond any number of pods the conversion keeps to the largest number.
    replicas.ceil() as i32
}

fn group<'a>(
    metric: Metric<'_>,
    pods: &'a [Pod],
    usages: &[Usage],
    settings: &Settings,
    now: Timestamp,
    used: &mut BTreeMap<&'a str, i64>,
) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in pods {
        let name = pod.metadata.name.as_str();
        if pod.metadata.deletion_timestamp.is_some() || pod.status.phase == PodPhase::Failed {
            continue;
        }
        if pod.status.phase == PodPhase::Pending {
            groups.starting.push(name);
            continue;
        }
        let usage = usages.iter().find(|usage| usage.pod == name);
        let amount = usage.and_then(|usage| Some((usage, usage.of(metric.resource, metric.container)?)));
        let Some((usage, amount)) = amount else {
            groups.unknown.push(name);
            continue;
        };
        if metric.resource == "cpu" && is_starting(pod, usage, settings, now) {
            groups.starting.push(name);
            continue;
        }
        groups.ready += 1;
        used.insert(name, amount);
    }
    groups
}

/// Whether what a pod uses of the CPU is not yet what it will use.
fn is_starting(pod: &Pod, usage: &Usage, settings: &Settings, now: Timestamp) -> bool {
    let ready = pod.status.conditions.iter().find(|c| c.type_ == PodConditionType::Ready);
    let (Some(ready), Some(start)) = (ready, pod.status.start_time) else { return true };
    let since = ready.last_transition_time.map(|t| t.0).unwrap_or_default();
    let unready = ready.status == ConditionStatus::False;
    let within = |span: std::time::Duration, at: Timestamp| {
        SignedDuration::try_from(span).is_ok_and(|span| start.0 + span > at)
    };
    if within(settings.cpu_initialization, now) {
        unready || usage.at.is_none_or(|at| at < since + usage.window)
    } else {
        unready && within(settings.initial_readiness, since)
    }
}

/// What pods ask for, in thousandths.
fn requests<'a>(metric: Metric<'_>, pods: &'a [Pod]) -> Result<BTreeMap<&'a str, i64>, String> {
    let of_pod = |pod: &'a Pod| {
        let name = pod.metadata.name.as_str();
        let sidecar = |c: &&api_types::core::v1::Container| {
            c.restart_policy.as_ref().is_some_and(|policy| *policy == "Always")
        };
        let containers = pod.spec.containers.iter().chain(pod.spec.init_containers.iter().filter(sidecar));
        let mut wanted =
            containers.filter(|c| metric.container.is_none_or(|wanted| c.name == wanted)).peekable();
        if let (Some(container), None) = (metric.container, wanted.peek()) {
            return Err(format!("container {container} not found in Pod {name}"));
        }
        let mut sum = 0;
        for container in wanted {
            let Some(request) = container.resources.requests.get(metric.resource) else {
                let (resource, container) = (metric.resource, &container.name);
                return Err(format!("missing request for {resource} in container {container} of Pod {name}"));
            };
            sum += request.milli_value();
        }
        Ok((name, sum))
    };
    pods.iter().map(of_pod).collect()
}

struct Ratio {
    ratio: f64,
    utilization: Option<i32>,
    average: i64,
}

/// How what is used compares with what is aimed at.
fn ratio(aim: Aim, used: &BTreeMap<&str, i64>, requests: &BTreeMap<&str, i64>) -> Result<Ratio, String> {
    let count = i64::try_from(used.len()).unwrap_or(i64::MAX).max(1);
    match aim {
        Aim::Average(target) => {
            let average = used.values().sum::<i64>() / count;
            Ok(Ratio { ratio: average as f64 / target as f64, utilization: None, average })
        }
        Aim::Utilization(target) => {
            let known = || used.iter().filter_map(|(pod, amount)| Some((*amount, *requests.get(pod)?)));
            let (sum, requested) =
                known().fold((0, 0), |(a, b), (amount, request)| (a + amount, b + request));
            if requested == 0 {
                return Err("no metrics returned matched known pods".into());
            }
            let utilization = i32::try_from(sum * 100 / requested).unwrap_or(i32::MAX);
            let counted = i64::try_from(known().count()).unwrap_or(i64::MAX).max(1);
            let ratio = f64::from(utilization) / f64::from(target);
            Ok(Ratio { ratio, utilization: Some(utilization), average: sum / counted })
        }
    }
}
