//! Silence, taints and the pods of a node that is lost.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::well_known::taint;
use api_types::core::v1::{ConditionStatus, NodeCondition, NodeConditionType, Taint, TaintEffect};
use api_types::value::Time;
use client::Key;
use client::controller::{Controller as _, Effect, Plan, Step};
use jiff::Timestamp;

use super::health::Heartbeats;
use super::zone::Zones;
use super::*;

const LIMITS: Limits = Limits {
    grace: Duration::from_secs(50),
    startup_grace: Duration::from_secs(60),
    period: Duration::from_secs(5),
    rate: 0.1,
    secondary_rate: 0.01,
    large_cluster: 50,
    unhealthy_zone: 0.55,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn node(ready: Option<ConditionStatus>) -> NodeFacts {
    let conditions = ready.map(|status| NodeCondition {
        type_: NodeConditionType::Ready,
        status,
        last_heartbeat_time: Some(Time(at(100))),
        ..NodeCondition::default()
    });
    NodeFacts { uid: "u".into(), conditions: conditions.into_iter().collect(), ..NodeFacts::default() }
}

fn view(node: NodeFacts) -> View {
    View {
        key: Key::cluster("n"),
        gone: false,
        heard_of: !node.conditions.is_empty(),
        node: Arc::new(node),
        seen: at(100),
        is_new: false,
        limits: LIMITS,
        zone: String::new(),
        evicting: Some(Duration::from_secs(10)),
        all_dark: false,
        slot: Timestamp::MIN,
        ready_pods: Vec::new(),
    }
}

/// The bodies of the patches of a plan.
fn patches(plan: &Plan<Own>) -> Vec<serde_json::Value> {
    let body = |effect: &Effect| match effect {
        Effect::Patch { patch: client::Patch::Strategic(body) | client::Patch::Merge(body), .. } => {
            Some(body.clone())
        }
        _ => None,
    };
    plan.actions().iter().filter_map(|a| body(&a.effect)).collect()
}

fn taints(plan: &Plan<Own>) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let bodies = patches(plan);
    let list = bodies.iter().filter_map(|p| p["spec"]["taints"].as_array()).flatten();
    list.map(|t| (text(&t["key"]), text(&t["effect"]))).collect()
}

#[test]
fn silence_makes_conditions_unknown_and_taints_the_node() {
    let view = view(node(Some(ConditionStatus::True)));
    assert!(NodeLifecycle::plan(&view, at(150)).actions().is_empty());
    let plan = NodeLifecycle::plan(&view, at(151));
    let conditions = patches(&plan)[0]["status"]["conditions"].as_array().unwrap().clone();
    assert_eq!(conditions.len(), 4);
    assert_eq!(conditions[0]["reason"], "NodeStatusUnknown");
    assert_eq!(conditions[1]["message"], "Kubelet never posted node status.");
    let expected = [(taint::UNREACHABLE, "NoSchedule"), (taint::UNREACHABLE, "NoExecute")];
    assert_eq!(taints(&plan), expected.map(|(k, e)| (k.to_owned(), e.to_owned())));
    assert!(plan.steps.iter().any(|s| matches!(s, Step::Own(Own::TakeSlot { .. }))));
}

#[test]
fn a_node_that_is_back_loses_its_taints() {
    let mut back = node(Some(ConditionStatus::True));
    for effect in [TaintEffect::NoSchedule, TaintEffect::NoExecute] {
        back.taints.push(Taint { key: taint::UNREACHABLE.into(), effect, ..Taint::default() });
    }
    back.taints.push(Taint { key: "mine".into(), effect: TaintEffect::NoSchedule, ..Taint::default() });
    let plan = NodeLifecycle::plan(&view(back), at(101));
    assert_eq!(taints(&plan), [("mine".to_owned(), "NoSchedule".to_owned())]);
}

#[test]
fn evictions_wait_for_the_zone_and_stop_when_all_is_dark() {
    let mut waiting = view(node(Some(ConditionStatus::False)));
    waiting.slot = at(110);
    let plan = NodeLifecycle::plan(&waiting, at(101));
    assert_eq!(taints(&plan), [(taint::NOT_READY.to_owned(), "NoSchedule".to_owned())]);
    assert_eq!(plan.again, Some(Duration::from_secs(9)));
    let mut dark = view(node(Some(ConditionStatus::False)));
    dark.all_dark = true;
    assert_eq!(taints(&NodeLifecycle::plan(&dark, at(101))).len(), 1);
}

#[test]
fn a_node_that_goes_is_told_of() {
    let plan = NodeLifecycle::plan(&View::gone(Key::cluster("n"), LIMITS), at(101));
    assert!(plan.actions().is_empty());
    let [Step::Tell(told)] = plan.steps.as_slice() else { panic!("{:?}", plan.steps.len()) };
    assert_eq!(told.message, "Node n event: Removing Node n from Controller");
}

#[test]
fn a_cordoned_node_is_tainted() {
    let mut cordoned = node(Some(ConditionStatus::True));
    cordoned.unschedulable = true;
    let plan = NodeLifecycle::plan(&view(cordoned), at(101));
    assert_eq!(taints(&plan), [(taint::UNSCHEDULABLE.to_owned(), "NoSchedule".to_owned())]);
}

#[test]
fn pods_of_a_lost_node_are_not_ready() {
    let mut lost = view(node(Some(ConditionStatus::Unknown)));
    lost.ready_pods =
        vec![(Key::new("ns", "p"), Arc::new(PodFacts { uid: "p".into(), ..PodFacts::default() }))];
    let plan = NodeLifecycle::plan(&lost, at(101));
    let last = patches(&plan).pop().unwrap();
    assert_eq!(last["status"]["conditions"][0]["status"], "False");
}

#[test]
fn heartbeats_are_dated_by_our_clock() {
    let mut heartbeats = Heartbeats::default();
    let spoke = node(Some(ConditionStatus::True));
    assert_eq!(heartbeats.look("n", &spoke, Some(at(1)), at(1000)).at, at(1000));
    assert_eq!(heartbeats.look("n", &spoke, Some(at(1)), at(1020)).at, at(1000));
    assert_eq!(heartbeats.look("n", &spoke, Some(at(2)), at(1030)).at, at(1030));
    let mute = NodeFacts { created: at(900), ..NodeFacts::default() };
    assert_eq!(heartbeats.look("m", &mute, None, at(1000)).at, at(900));
}

#[test]
fn a_zone_partly_dark_evicts_slowly_or_not_at_all() {
    let nodes = |ready: usize, dark: usize| -> Vec<NodeFacts> {
        let ready = (0..ready).map(|_| node(Some(ConditionStatus::True)));
        ready.chain((0..dark).map(|_| node(Some(ConditionStatus::Unknown)))).collect()
    };
    let every = |ready, dark| Zones::of(nodes(ready, dark).iter(), &LIMITS).evicting("").map(|d| d.as_secs());
    assert_eq!(every(3, 1), Some(10));
    assert_eq!(every(2, 3), None);
    assert_eq!(every(20, 40), Some(100));
    assert!(Zones::of(nodes(0, 2).iter(), &LIMITS).all_dark());
    assert!(!Zones::of(nodes(1, 2).iter(), &LIMITS).all_dark());
}
