//! Budgets in, status out.

use std::sync::Arc;
use std::time::Duration;

use api_types::IntOrString;
use api_types::meta::v1::ConditionStatus;
use api_types::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use api_types::value::Time;
use client::Key;
use client::controller::{Controller as _, Plan, Step};
use jiff::Timestamp;

use super::{Disruption, Scale, StaleDisruptions, View, stale::Marked};
use crate::cached::{Disruption as Mark, Owner, PodFacts};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

/// Four pods of a controller that wants four, the first `ready` of them ready.
fn view(ready: usize) -> View {
    let mut view = View::default();
    view.budget.metadata.namespace = "ns".into();
    view.budget.metadata.name = "budget".into();
    view.budget.metadata.generation = 1;
    for place in 0..4 {
        let pod = PodFacts {
            owner: Some(Owner { uid: "set".into(), ..Owner::default() }),
            ready: (place < ready).then(now),
            ..PodFacts::default()
        };
        view.pods.push((Key::new("ns", format!("pod-{place}")), Arc::new(pod)));
    }
    view.scales.insert("set".into(), Scale::Of("deployment".into(), 4));
    view
}

fn min(mut view: View, value: impl Into<IntOrString>) -> View {
    view.budget.spec.min_available = Some(value.into());
    view
}

fn max(mut view: View, value: impl Into<IntOrString>) -> View {
    view.budget.spec.max_unavailable = Some(value.into());
    view
}

fn told(plan: &Plan<View>) -> Vec<&'static str> {
    plan.steps
        .iter()
        .filter_map(|s| if let Step::Tell(told) = s { Some(told.reason) } else { None })
        .collect()
}

fn status(view: &View) -> PodDisruptionBudgetStatus {
    let plan = Disruption::plan(view, now());
    plan.actions()[0].effect.object::<PodDisruptionBudget>().unwrap().status.clone()
}

fn check(view: &View, (expected, desired, healthy, allowed): (i32, i32, i32, i32)) {
    let s = status(view);
    assert_eq!(
        (s.expected_pods, s.desired_healthy, s.current_healthy, s.disruptions_allowed),
        (expected, desired, healthy, allowed)
    );
}

#[test]
fn what_is_above_the_least_may_be_disrupted() {
    check(&min(view(4), 3), (4, 3, 4, 1));
    check(&min(view(3), 3), (4, 3, 3, 0));
    check(&min(view(4), "50%"), (4, 2, 4, 2));
    check(&min(view(4), "60%"), (4, 3, 4, 1));
    check(&max(view(4), 1), (4, 3, 4, 1));
    check(&max(view(2), 1), (4, 3, 2, 0));
    check(&max(view(4), "30%"), (4, 2, 4, 2));
    check(&max(view(4), 9), (4, 0, 4, 4));
}

#[test]
fn a_condition_says_whether_any_may() {
    let given = min(view(4), 3);
    let condition = &status(&given).conditions[0];
    assert_eq!((condition.type_.as_str(), &condition.status), ("DisruptionAllowed", &ConditionStatus::True));
    assert_eq!((condition.reason.as_str(), condition.observed_generation), ("SufficientPods", 1));
    assert_eq!(status(&min(view(3), 3)).conditions[0].reason, "InsufficientPods");
}

#[test]
fn an_unchanged_status_is_not_written() {
    let mut given = min(view(4), 3);
    given.budget.status = status(&given);
    assert!(Disruption::plan(&given, now()).is_nothing());
}

#[test]
fn evicted_pods_count_as_gone_until_they_should_be() {
    let mut given = min(view(4), 2);
    let mark = |view: &mut View, seconds| {
        view.budget.status.disrupted_pods.insert("pod-0".into(), Some(Time(ago(seconds))));
    };
    mark(&mut given, 20);
    check(&given, (4, 2, 3, 1));
    let plan = Disruption::plan(&given, now());
    assert_eq!(plan.again, Some(Duration::from_secs(101)));
    mark(&mut given, 200);
    check(&given, (4, 2, 4, 2));
    assert_eq!(told(&Disruption::plan(&given, now())), ["NotDeleted"]);
    assert!(status(&given).disrupted_pods.is_empty());
    mark(&mut given, 20);
    Arc::make_mut(&mut given.pods[0].1).deleting = Some(now());
    check(&given, (4, 2, 3, 1));
    assert!(status(&given).disrupted_pods.is_empty());
}

#[test]
fn pods_without_a_controller_are_told_of_and_unknown_ones_allow_nothing() {
    let mut given = max(view(4), 1);
    Arc::make_mut(&mut given.pods[0].1).owner = None;
    assert_eq!(told(&Disruption::plan(&given, now())), ["UnmanagedPods"]);
    let mut given = max(view(4), 1);
    given.scales.insert("set".into(), Scale::Unknown(None));
    assert_eq!(told(&Disruption::plan(&given, now())), ["CalculateExpectedPodCountFailed"]);
    let condition = &status(&given).conditions[0];
    assert_eq!(
        (condition.reason.as_str(), condition.message.as_str()),
        ("SyncFailed", "found no controllers for pod \"pod-0\"")
    );
    let given = View { pods: vec![], ..min(view(0), 1) };
    assert_eq!(told(&Disruption::plan(&given, now())), ["NoPods"]);
}

#[test]
fn foreign_controllers_are_asked_when_it_matters() {
    let mut given = min(view(4), "50%");
    given.scales.insert("set".into(), Scale::Foreign(Owner::default()));
    assert!(matches!(Disruption::plan(&given, now()).steps[..], [Step::Own(_)]));
    let mut given = min(view(4), 2);
    given.scales.insert("set".into(), Scale::Foreign(Owner::default()));
    check(&given, (4, 2, 4, 2));
}

#[test]
fn a_stale_mark_is_taken_back() {
    let marked = |seconds| {
        let mark = Mark { holds: true, reason: "EvictionByEvictionAPI".into(), since: Some(ago(seconds)) };
        let pod = PodFacts { disruption: Some(Box::new(mark)), ..PodFacts::default() };
        Marked { key: Key::new("ns", "pod"), pod: Arc::new(pod), since: ago(seconds) }
    };
    assert_eq!(StaleDisruptions::plan(&marked(20), now()).again, Some(Duration::from_secs(100)));
    let plan = StaleDisruptions::plan(&marked(130), now());
    assert_eq!(plan.actions()[0].effect.describe(), "patch/status Pod ns/pod");
}
