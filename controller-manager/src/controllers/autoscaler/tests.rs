//! Looks in, numbers and conditions out.

use std::time::Duration;

use api_types::autoscaling::v1::Scale;
use api_types::autoscaling::v2::{
    CrossVersionObjectReference, ExternalMetricSource, HPAScalingPolicy, HPAScalingRules,
    HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerConditionType as Type,
    MetricIdentifier, MetricSpec, MetricTarget, ObjectMetricSource, PodsMetricSource, ResourceMetricSource,
};
use api_types::core::v1::{Container, Pod, PodCondition, PodPhase};
use api_types::meta::v1::{ConditionStatus, LabelSelector};
use api_types::value::{Quantity, Time};
use jiff::Timestamp;

use super::metrics::Usage;
use super::plan::{Decision, decide};
use super::readings::{Reading, Readings};
use super::target::Seen;
use super::{Autoscaler, Memory, Settings, Tolerance};
use client::Key;

const SETTINGS: Settings = Settings {
    period: Duration::from_secs(15),
    downscale_stabilization: Duration::from_secs(300),
    tolerance: Tolerance { up: 0.1, down: 0.1 },
    cpu_initialization: Duration::from_secs(300),
    initial_readiness: Duration::from_secs(30),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

/// From 1 to 10, aiming at 50 % of the CPU.
fn hpa() -> HorizontalPodAutoscaler {
    let mut hpa = HorizontalPodAutoscaler::default();
    hpa.spec.min_replicas = Some(1);
    hpa.spec.max_replicas = 10;
    let target = MetricTarget { average_utilization: Some(50), ..MetricTarget::default() };
    let resource = Some(Box::new(ResourceMetricSource { name: "cpu".into(), target }));
    hpa.spec.metrics = vec![MetricSpec { type_: "Resource".into(), resource, ..MetricSpec::default() }];
    hpa
}

/// Ready pods that ask for a whole CPU and use these thousandths; `None` is unknown.
fn seen(usage: &[Option<i64>]) -> Seen {
    let mut scale = Scale::default();
    scale.spec.replicas = i32::try_from(usage.len()).unwrap();
    scale.status.selector = "app=web".into();
    let (mut pods, mut usages) = (Vec::new(), Vec::new());
    for (place, amount) in usage.iter().enumerate() {
        let mut pod = Pod::default();
        pod.metadata.name = format!("web-{place}");
        let mut container = Container { name: "c".into(), ..Container::default() };
        container.resources.requests.insert("cpu".into(), "1".parse().unwrap());
        pod.spec.containers = vec![container];
        pod.status.phase = PodPhase::Running;
        pod.status.start_time = Some(Time(at(-5000)));
        pod.status.conditions = vec![PodCondition {
            type_: "Ready".into(),
            status: ConditionStatus::True,
            last_transition_time: Some(Time(at(-4900))),
            ..PodCondition::default()
        }];
        if let Some(amount) = amount {
            usages.push(Usage {
                pod: pod.metadata.name.clone(),
                at: Some(at(0)),
                containers: vec![("c".into(), "cpu".into(), *amount)],
                ..Usage::default()
            });
        }
        pods.push(pod);
    }
    Seen {
        scale: Ok(scale),
        path: String::new(),
        pods: Ok(pods),
        usage: Ok(usages),
        readings: Readings::new(),
        claimants: Vec::new(),
    }
}

fn look(hpa: &HorizontalPodAutoscaler, seen: &Seen) -> Decision {
    decide(hpa, seen, &mut Memory::default(), &SETTINGS, at(0))
}

fn rescale(usage: &[Option<i64>]) -> Option<i32> {
    look(&hpa(), &seen(usage)).rescale.map(|(replicas, _)| replicas)
}

fn condition(decision: &Decision, type_: Type) -> (bool, String) {
    let condition = decision.status.conditions.iter().find(|c| c.type_ == type_).unwrap();
    (condition.status == ConditionStatus::True, condition.reason.clone())
}

#[test]
fn the_number_follows_what_is_used() {
    assert_eq!(rescale(&[Some(900), Some(900)]), Some(4));
    assert_eq!(rescale(&[Some(520), Some(520)]), None, "close enough");
    let decision = look(&hpa(), &seen(&[Some(900), Some(900)]));
    let (_, reason) = decision.rescale.as_ref().unwrap();
    assert_eq!(reason, "cpu resource utilization (percentage of request) above target");
    assert_eq!(condition(&decision, Type::ScalingActive), (true, "ValidMetricFound".into()));
    let current = &decision.status.current_metrics[0].resource.as_ref().unwrap().current;
    assert_eq!(
        (current.average_utilization, current.average_value.unwrap().to_string()),
        (Some(90), "900m".into())
    );
}

#[test]
fn scaling_up_is_limited_and_so_are_the_bounds() {
    let decision = look(&hpa(), &seen(&[Some(5000)]));
    assert_eq!(decision.rescale.as_ref().unwrap().0, 4);
    assert_eq!(condition(&decision, Type::ScalingLimited), (true, "ScaleUpLimit".into()));
    let mut small = hpa();
    small.spec.max_replicas = 3;
    let decision = look(&small, &seen(&[Some(5000), Some(5000)]));
    assert_eq!(decision.rescale.as_ref().unwrap().0, 3);
    assert_eq!(condition(&decision, Type::ScalingLimited), (true, "TooManyReplicas".into()));
    let decision = look(&small, &seen(&[Some(1); 5]));
    assert_eq!(decision.rescale.unwrap(), (3, "Current number of replicas above Spec.MaxReplicas".into()));
}

#[test]
fn scaling_down_waits_for_higher_proposals_to_age() {
    let (hpa, quiet) = (hpa(), seen(&[Some(100), Some(100), Some(100), Some(100)]));
    let mut memory = Memory::default();
    let decision = decide(&hpa, &quiet, &mut memory, &SETTINGS, at(0));
    assert!(decision.rescale.is_none());
    assert_eq!(condition(&decision, Type::AbleToScale), (true, "ScaleDownStabilized".into()));
    assert!(decide(&hpa, &quiet, &mut memory, &SETTINGS, at(290)).rescale.is_none());
    let decision = decide(&hpa, &quiet, &mut memory, &SETTINGS, at(310));
    assert_eq!(decision.rescale.unwrap(), (1, "All metrics below target".into()));
}

#[test]
fn a_behavior_sets_windows_and_rates() {
    let mut hpa = hpa();
    let policies =
        |type_: &str, value| vec![HPAScalingPolicy { type_: type_.into(), value, period_seconds: 60 }];
    let rules = |policies| {
        Some(Box::new(HPAScalingRules {
            stabilization_window_seconds: Some(0),
            policies,
            ..Default::default()
        }))
    };
    hpa.spec.behavior = Some(Box::new(HorizontalPodAutoscalerBehavior {
        scale_up: rules(policies("Pods", 1)),
        scale_down: rules(policies("Percent", 25)),
    }));
    let mut memory = Memory::default();
    let busy = seen(&[Some(900), Some(900)]);
    assert_eq!(decide(&hpa, &busy, &mut memory, &SETTINGS, at(0)).rescale.unwrap().0, 3);
    memory.rescaled(1, at(0));
    let busier = seen(&[Some(900); 3]);
    let decision = decide(&hpa, &busier, &mut memory, &SETTINGS, at(15));
    assert!(decision.rescale.is_none(), "one a minute");
    assert_eq!(condition(&decision, Type::ScalingLimited), (true, "ScaleUpLimit".into()));
    let decision = decide(&hpa, &seen(&[Some(1); 8]), &mut Memory::default(), &SETTINGS, at(0));
    assert_eq!(decision.rescale.unwrap().0, 6);
}

#[test]
fn pods_that_are_not_known_damp_the_change() {
    assert_eq!(rescale(&[Some(900), None]), None, "they may use nothing");
    assert_eq!(rescale(&[Some(2000), None]), Some(4));
    let mut given = seen(&[Some(900), Some(900)]);
    given.pods.as_mut().unwrap()[1].status.phase = PodPhase::Pending;
    assert!(look(&hpa(), &given).rescale.is_none());
}

#[test]
fn without_metrics_nothing_happens_and_conditions_say_so() {
    let mut given = seen(&[Some(900)]);
    given.usage = Err(
        "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)".into(),
    );
    let decision = look(&hpa(), &given);
    assert!(decision.rescale.is_none());
    assert_eq!(condition(&decision, Type::ScalingActive), (false, "FailedGetResourceMetric".into()));
    let told: Vec<_> = decision.told.iter().map(|t| (t.reason, t.message.as_str())).collect();
    let text = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
    assert_eq!(told[0], ("FailedGetResourceMetric", text));
    let all = format!(
        "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {text}"
    );
    assert_eq!(told[1], ("FailedComputeMetricsReplicas", all.as_str()));
}

#[test]
fn a_metric_that_fails_does_not_keep_others_from_scaling_up() {
    let mut both = hpa();
    let pods = Some(Box::new(PodsMetricSource::default()));
    both.spec.metrics.push(MetricSpec { type_: "Pods".into(), pods, ..MetricSpec::default() });
    assert_eq!(look(&both, &seen(&[Some(900), Some(900)])).rescale.unwrap().0, 4);
    let decision = look(&both, &seen(&[Some(100), Some(100)]));
    assert_eq!(condition(&decision, Type::ScalingActive), (false, "FailedGetPodsMetric".into()));
}

#[test]
fn a_target_without_a_scale_and_one_at_zero() {
    let given = Seen { scale: Err("no matches for kind \"Web\" in group \"\"".into()), ..seen(&[]) };
    let decision = look(&hpa(), &given);
    assert_eq!(condition(&decision, Type::AbleToScale), (false, "FailedGetScale".into()));
    let decision = look(&hpa(), &seen(&[]));
    assert_eq!(condition(&decision, Type::ScalingActive), (false, "ScalingDisabled".into()));
}

#[test]
fn requests_must_be_there() {
    let mut given = seen(&[Some(900)]);
    given.pods.as_mut().unwrap()[0].spec.containers[0].resources.requests.clear();
    let decision = look(&hpa(), &given);
    assert!(decision.told[0].message.ends_with("missing request for cpu in container c of Pod web-0"));
}

/// An autoscaler of one metric beside the resources, and what was told of it.
fn with(metric: MetricSpec, reading: Result<Reading, &str>, pods: usize) -> (HorizontalPodAutoscaler, Seen) {
    let mut hpa = hpa();
    hpa.metadata.namespace = "shop".into();
    hpa.spec.metrics = vec![metric];
    let mut seen = seen(&vec![None; pods]);
    seen.scale.as_mut().unwrap().status.replicas = i32::try_from(pods).unwrap();
    seen.readings.insert(0, reading.map_err(str::to_owned));
    (hpa, seen)
}

fn external(target: MetricTarget) -> MetricSpec {
    let selector =
        LabelSelector { match_labels: [("queue".into(), "work".into())].into(), ..Default::default() };
    let metric = MetricIdentifier { name: "length".into(), selector: Some(Box::new(selector)) };
    let external = Some(Box::new(ExternalMetricSource { metric, target }));
    MetricSpec { type_: "External".into(), external, ..MetricSpec::default() }
}

fn quantity(text: &str) -> Option<Quantity> {
    Some(text.parse().unwrap())
}

#[test]
fn a_metric_from_outside_is_parted_among_the_pods() {
    let target =
        MetricTarget { type_: "AverageValue".into(), average_value: quantity("30"), ..Default::default() };
    let (hpa, seen) = with(external(target.clone()), Ok(Reading::Value(170_000)), 3);
    let decision = look(&hpa, &seen);
    let selector = "&LabelSelector{MatchLabels:map[string]string{queue: work,},MatchExpressions:[]LabelSelectorRequirement{},}";
    assert_eq!(decision.rescale, Some((6, format!("external metric length({selector}) above target"))));
    let status = decision.status.current_metrics[0].external.as_ref().unwrap();
    assert_eq!(status.current.average_value, quantity("56667m"));
    let (hpa, seen) = with(external(target), Ok(Reading::Value(95_000)), 3);
    assert_eq!(look(&hpa, &seen).rescale, None, "within the tolerance");
}

#[test]
fn a_metric_from_outside_as_a_whole_counts_ready_pods() {
    let target = MetricTarget { type_: "Value".into(), value: quantity("100"), ..Default::default() };
    let (hpa, mut given) = with(external(target), Ok(Reading::Value(200_000)), 2);
    assert_eq!(look(&hpa, &given).rescale.unwrap().0, 4);
    given.pods.as_mut().unwrap()[0].status.phase = PodPhase::Pending;
    assert_eq!(look(&hpa, &given).rescale, None, "one ready pod, twice");
    given.readings.insert(0, Err("no metrics returned from external metrics API".into()));
    let decision = look(&hpa, &given);
    assert_eq!(condition(&decision, Type::ScalingActive), (false, "FailedGetExternalMetric".into()));
    let told = decision.told.last().unwrap();
    assert_eq!(
        told.message,
        "invalid metrics (1 invalid out of 1), first error is: failed to get length external metric value: failed to \
         get external metric length: unable to get external metric shop/length/&LabelSelector{MatchLabels:map[string]\
         string{queue: work,},MatchExpressions:[]LabelSelectorRequirement{},}: no metrics returned from external \
         metrics API"
    );
}

#[test]
fn autoscalers_of_the_same_pods_stand_still() {
    let key = |name: &str| Key { namespace: "shop".into(), name: name.into() };
    let mut labeled = seen(&[Some(900), Some(900)]);
    for pod in labeled.pods.as_mut().unwrap() {
        pod.metadata.labels.insert("app".into(), "web".into());
    }
    let autoscaler = Autoscaler::new(SETTINGS);
    assert_eq!(autoscaler.claimants(&key("a"), &labeled), [key("a")]);
    let elsewhere = Key { namespace: "other".into(), name: "a".into() };
    assert_eq!(autoscaler.claimants(&elsewhere, &labeled), [elsewhere]);
    labeled.claimants = autoscaler.claimants(&key("b"), &labeled);
    assert_eq!(labeled.claimants, [key("a"), key("b")]);
    let decision = look(&hpa(), &labeled);
    assert_eq!(decision.rescale, None);
    assert_eq!(condition(&decision, Type::ScalingActive), (false, "AmbiguousSelector".into()));
    assert_eq!(
        decision.told[0].message,
        "pods by selector app=web are controlled by multiple HPAs: [{a shop} {b shop}]"
    );
}

#[test]
fn a_metric_of_an_object_is_told_by_its_kind() {
    let described_object =
        CrossVersionObjectReference { kind: "Service".into(), name: "web".into(), api_version: "v1".into() };
    let target = MetricTarget { type_: "Value".into(), value: quantity("10"), ..Default::default() };
    let metric = MetricIdentifier { name: "requests".into(), selector: None };
    let object = Some(Box::new(ObjectMetricSource { described_object, target, metric }));
    let metric = MetricSpec { type_: "Object".into(), object, ..MetricSpec::default() };
    let (hpa, mut given) = with(metric, Ok(Reading::Value(15_000)), 2);
    let decision = look(&hpa, &given);
    assert_eq!(decision.rescale, Some((3, "Service metric requests above target".into())));
    let status = decision.status.current_metrics[0].object.as_ref().unwrap();
    assert_eq!((&status.current.value, status.described_object.name.as_str()), (&quantity("15"), "web"));
    given.readings.insert(0, Err("gone".into()));
    assert_eq!(look(&hpa, &given).told[0].message, "unable to get metric requests: Service on shop web/gone");
}

#[test]
fn a_metric_of_pods_is_averaged() {
    let target =
        MetricTarget { type_: "AverageValue".into(), average_value: quantity("10"), ..Default::default() };
    let metric = MetricIdentifier { name: "rate".into(), selector: None };
    let pods = Some(Box::new(PodsMetricSource { metric, target }));
    let metric = MetricSpec { type_: "Pods".into(), pods, ..MetricSpec::default() };
    let told = |place: usize| Usage {
        pod: format!("web-{place}"),
        containers: vec![(String::new(), String::new(), 20_000)],
        ..Usage::default()
    };
    let (hpa, seen) = with(metric, Ok(Reading::Pods((0..2).map(told).collect())), 2);
    let decision = look(&hpa, &seen);
    assert_eq!(decision.rescale, Some((4, "pods metric rate above target".into())));
    let status = decision.status.current_metrics[0].pods.as_ref().unwrap();
    assert_eq!(status.current.average_value, quantity("20"));
}

#[test]
fn an_autoscalers_own_tolerance_counts_in_its_direction() {
    let plain = hpa();
    let mut hpa = hpa();
    let rules = HPAScalingRules { tolerance: quantity("0"), ..Default::default() };
    hpa.spec.behavior = Some(Box::new(HorizontalPodAutoscalerBehavior {
        scale_up: Some(Box::new(rules)),
        ..HorizontalPodAutoscalerBehavior::default()
    }));
    let usage = seen(&[Some(520), Some(520)]);
    assert!(look(&plain, &usage).rescale.is_none(), "4 % is within 10");
    hpa.spec.behavior.as_mut().unwrap().scale_up.as_mut().unwrap().policies =
        vec![HPAScalingPolicy { type_: "Pods".into(), value: 4, period_seconds: 60 }];
    assert_eq!(look(&hpa, &usage).rescale.unwrap().0, 3);
    let less = seen(&[Some(480); 30]);
    hpa.spec.max_replicas = 40;
    assert!(look(&hpa, &less).rescale.is_none(), "downwards the common tolerance holds");
}
