//! Views in, actions out.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::apps::v1::{ReplicaSet, ReplicaSetConditionType};
use api_types::core::v1::{Pod, PodPhase, ReplicationController};
use api_types::meta::v1::{LabelSelector, Status};
use client::controller::{Controller as _, Effect, Failure, Outcome, Plan, Step};
use client::{Error, Key};
use jiff::Timestamp;

use super::{Replicas, Replicated as _, View};
use crate::adoption::Adoption;
use crate::cached::{Owner, PodFacts};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), "web".into())])
}

fn set(replicas: i32) -> ReplicaSet {
    let mut set = ReplicaSet::default();
    set.metadata.namespace = "ns".into();
    set.metadata.name = "web".into();
    set.metadata.uid = "set-uid".into();
    set.metadata.generation = 2;
    set.spec.replicas = Some(replicas);
    set.spec.selector = Some(Box::new(LabelSelector { match_labels: labels(), ..Default::default() }));
    set.spec.template.metadata.labels = labels();
    set
}

fn pod(name: &str, change: impl FnOnce(&mut PodFacts)) -> (Key, Arc<PodFacts>) {
    let mut pod = PodFacts {
        uid: format!("uid-{name}").into(),
        labels: labels(),
        created: ago(1000),
        owner: Some(Owner { uid: "set-uid".into(), ..Default::default() }),
        node: "n1".into(),
        phase: PodPhase::Running,
        ready: Some(ago(900)),
        ..Default::default()
    };
    change(&mut pod);
    (Key::new("ns", name), Arc::new(pod))
}

fn view(replicas: i32, pods: Vec<(Key, Arc<PodFacts>)>) -> View<ReplicaSet> {
    View { set: set(replicas), pods, ..Default::default() }
}

fn plan(view: &View<ReplicaSet>) -> Plan<Adoption> {
    Replicas::<ReplicaSet>::plan(view, now())
}

fn deleted(view: &View<ReplicaSet>) -> Vec<String> {
    plan(view)
        .actions()
        .iter()
        .filter_map(|a| match &a.effect {
            Effect::Delete { target, .. } => Some(target.key.name.to_string()),
            _ => None,
        })
        .collect()
}

fn status(view: &View<ReplicaSet>, outcome: &Outcome) -> Option<ReplicaSet> {
    let plan = Replicas::<ReplicaSet>::conclude(view, outcome, now());
    plan.actions().first().map(|a| a.effect.object::<ReplicaSet>().unwrap().clone())
}

#[test]
fn missing_pods_are_created_from_the_template() {
    let plan = plan(&view(3, vec![pod("a", |_| {})]));
    assert!(matches!(&plan.steps[..], [Step::SlowStart(actions)] if actions.len() == 2));
    let actions = plan.actions();
    let created: &Pod = actions[0].effect.object().unwrap();
    assert_eq!(created.metadata.generate_name, "web-");
    assert_eq!(created.metadata.labels, labels());
    assert_eq!(created.metadata.owner_references[0].uid, "set-uid");
    assert_eq!(actions[0].on_success.as_ref().unwrap().reason, "SuccessfulCreate");
}

#[test]
fn finished_and_going_pods_are_replaced() {
    let pods = vec![
        pod("a", |p| p.phase = PodPhase::Failed),
        pod("b", |p| p.deleting = Some(now())),
        pod("c", |_| {}),
    ];
    assert_eq!(plan(&view(3, pods)).actions().len(), 2);
}

#[test]
fn a_huge_count_is_reached_in_bursts() {
    assert_eq!(plan(&view(10_000, vec![])).actions().len(), 500);
}

#[test]
fn the_least_useful_pods_go_first() {
    let check = |worse: fn(&mut PodFacts)| {
        assert_eq!(deleted(&view(1, vec![pod("good", |_| {}), pod("worse", worse)])), ["worse"]);
        assert_eq!(deleted(&view(1, vec![pod("worse", worse), pod("good", |_| {})])), ["worse"]);
    };
    check(|p| p.node = "".into());
    check(|p| p.phase = PodPhase::Pending);
    check(|p| p.ready = None);
    check(|p| p.deletion_cost = -5);
    check(|p| p.ready = Some(ago(3)));
    check(|p| p.restarts = 4);
    check(|p| p.created = ago(10));
}

/// Upstream's comparison goes in circles among pods of about the same age, where sorting may panic.
#[test]
fn any_pods_go_in_one_order() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..50 {
        let mut pods: Vec<_> = (0..120)
            .map(|n| {
                let (ready, created) = (ago(random.i64(60..70)), ago(random.i64(70..80)));
                let (ready, restarts) = (random.bool().then_some(ready), random.i32(0..3));
                let uid = random.u32(..).to_string();
                pod(&n.to_string(), |pod| {
                    (pod.uid, pod.ready, pod.created, pod.restarts) = (uid.into(), ready, created, restarts);
                })
            })
            .collect();
        let order = deleted(&view(20, pods.clone()));
        assert_eq!(order.len(), 100);
        random.shuffle(&mut pods);
        assert_eq!(deleted(&view(20, pods)), order);
    }
}

#[test]
fn doubled_up_pods_go_before_lonely_ones() {
    let pods = vec![pod("lonely", |_| {}), pod("doubled", |p| p.node = "n2".into())];
    let related = BTreeMap::from([("n1".into(), 1), ("n2".into(), 2)]);
    assert_eq!(deleted(&View { related, ..view(1, pods) }), ["doubled"]);
}

#[test]
fn orphans_are_adopted_and_counted() {
    let plan = plan(&view(1, vec![pod("stray", |p| p.owner = None)]));
    assert!(matches!(&plan.steps[..], [Step::Own(adoption)] if adoption.adopt.len() == 1));
}

#[test]
fn a_set_that_goes_neither_creates_nor_deletes() {
    let mut view = view(3, vec![]);
    view.set.metadata.deletion_timestamp = Some(Default::default());
    assert!(plan(&view).is_nothing());
}

#[test]
fn status_counts_what_is_there() {
    let mut given = view(
        3,
        vec![
            pod("ready", |_| {}),
            pod("fresh", |p| p.ready = Some(ago(5))),
            pod("starting", |p| p.ready = None),
            pod("going", |p| p.deleting = Some(now())),
        ],
    );
    given.set.spec.min_ready_seconds = 10;
    given.set.spec.template.metadata.labels.insert("more".into(), "x".into());
    let status = status(&given, &Outcome::default()).unwrap().status;
    assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (3, 2, 1));
    assert_eq!((status.fully_labeled_replicas, status.terminating_replicas), (0, Some(1)));
    assert_eq!(status.observed_generation, 2);
    let again = Replicas::<ReplicaSet>::conclude(&given, &Outcome::default(), now()).again;
    assert_eq!(again.unwrap().as_secs(), 5, "when the fresh pod becomes available");
}

#[test]
fn an_unchanged_status_is_not_written() {
    let mut given = view(1, vec![pod("a", |_| {})]);
    given.set.status = status(&given, &Outcome::default()).unwrap().status;
    assert_eq!(status(&given, &Outcome::default()), None);
}

#[test]
fn failures_show_as_a_condition_until_they_pass() {
    let mut given = view(1, vec![]);
    let refusal =
        Status { message: "pods \"web-\" is forbidden: exceeded quota".into(), ..Default::default() };
    let failure = Failure::new("create Pod ns/web-", Error::Status(Box::new(refusal)));
    let outcome = Outcome { failures: vec![failure], ..Default::default() };
    let failed = status(&given, &outcome).unwrap().status;
    let condition = &failed.conditions[0];
    assert_eq!(condition.type_, ReplicaSetConditionType::ReplicaFailure);
    assert_eq!(condition.reason, "FailedCreate");
    assert_eq!(condition.message, "pods \"web-\" is forbidden: exceeded quota");
    given.set.status = failed;
    assert!(status(&given, &Outcome::default()).unwrap().status.conditions.is_empty());
}

#[test]
fn a_replication_controller_is_told_as_a_set_and_back() {
    let mut controller = ReplicationController::from_set(set(2));
    controller.metadata.name = "rc".into();
    controller.metadata.uid = "rc-uid".into();
    assert_eq!(ReplicationController::from_set(controller.to_set()), controller);
    let mut given: View<ReplicationController> = View { set: controller.to_set(), ..Default::default() };
    given.pods = vec![pod("a", |p| p.owner = Some(Owner { uid: "rc-uid".into(), ..Default::default() }))];
    let plan = Replicas::<ReplicationController>::plan(&given, now());
    let pod: &Pod = plan.actions()[0].effect.object().unwrap();
    let owner = &pod.metadata.owner_references[0];
    assert_eq!((owner.kind.as_str(), owner.api_version.as_str()), ("ReplicationController", "v1"));
    let told = plan.actions()[0].on_success.as_ref().unwrap();
    assert_eq!(told.regarding.kind, "ReplicationController");
    let conclude = Replicas::<ReplicationController>::conclude(&given, &Outcome::default(), now());
    let written: &ReplicationController = conclude.actions()[0].effect.object().unwrap();
    assert_eq!((written.status.replicas, written.status.ready_replicas), (1, 1));
    given.set = written.to_set();
    assert!(Replicas::<ReplicationController>::conclude(&given, &Outcome::default(), now()).is_nothing());
}
