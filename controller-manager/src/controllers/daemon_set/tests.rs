//! Views in, actions out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{DaemonSet, DaemonSetStatus, RollingUpdateDaemonSet};
use api_types::core::v1::{Container, Pod, PodPhase, PodTemplateSpec, Taint, TaintEffect};
use api_types::meta::v1::LabelSelector;
use client::Key;
use client::controller::{Controller as _, Outcome, Step};
use jiff::Timestamp;

use super::backoff::Backoff;
use super::{DaemonSets, Own, View, history};
use crate::cached::{NodeFacts, Owner, PodFacts};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), "agent".into())])
}

fn template(image: &str) -> PodTemplateSpec {
    let mut template = PodTemplateSpec::default();
    template.metadata.labels = labels();
    template.spec.containers = vec![Container { image: image.into(), ..Container::default() }];
    template
}

fn set() -> DaemonSet {
    let mut set = DaemonSet::default();
    set.metadata.namespace = "ns".into();
    set.metadata.name = "agent".into();
    set.metadata.uid = "set-uid".into();
    set.spec.selector = Some(Box::new(LabelSelector { match_labels: labels(), ..Default::default() }));
    set.spec.template = template("new");
    set.spec.update_strategy.type_ = "RollingUpdate".into();
    set
}

fn node(name: &str) -> (Key, Arc<NodeFacts>) {
    (Key::cluster(name), Arc::new(NodeFacts::default()))
}

/// Nodes a, b, c; pods are `(node, old)`, named after both.
fn view(pods: &[(&str, bool)]) -> View {
    let set = set();
    let new = history::fresh(&set, 2, 0);
    let mut older = set.clone();
    older.spec.template = template("old");
    let old = history::fresh(&older, 1, 0);
    let hash =
        |is_old: bool| if is_old { &old } else { &new }.metadata.labels["controller-revision-hash"].clone();
    let pods = pods
        .iter()
        .map(|(node, is_old)| {
            let mut labels = labels();
            labels.insert("controller-revision-hash".into(), hash(*is_old));
            let name = format!("{node}-{}", if *is_old { "old" } else { "new" });
            let pod = PodFacts {
                uid: name.as_str().into(),
                labels,
                owner: Some(Owner { uid: "set-uid".into(), ..Owner::default() }),
                node: (*node).into(),
                phase: PodPhase::Running,
                ready: Some(Timestamp::from_second(now().as_second() - 900).unwrap()),
                ..PodFacts::default()
            };
            (Key::new("ns", name), Arc::new(pod))
        })
        .collect();
    View { set, pods, revisions: vec![old, new], nodes: ["a", "b", "c"].map(node).into(), ..View::default() }
}

fn change(view: &mut View, place: usize, change: impl FnOnce(&mut PodFacts)) {
    change(Arc::make_mut(&mut view.pods[place].1));
}

/// What is done; created pods are named by the node that they are for.
fn done(view: &View) -> Vec<String> {
    let plan = DaemonSets::plan(view, now());
    let describe = |action: &&client::controller::Action| match action.effect.object::<Pod>() {
        Some(pod) => format!("create for {}", aimed_at(pod)),
        None => action.effect.describe(),
    };
    plan.actions().iter().map(describe).collect()
}

fn aimed_at(pod: &Pod) -> String {
    let affinity = pod.spec.affinity.as_ref().unwrap().node_affinity.as_ref().unwrap();
    let terms = affinity.required_during_scheduling_ignored_during_execution.as_ref().unwrap();
    terms.node_selector_terms[0].match_fields[0].values.join(",")
}

fn status(view: &View) -> DaemonSetStatus {
    let plan = DaemonSets::conclude(view, &Outcome::default(), now());
    plan.actions().first().map(|a| a.effect.object::<DaemonSet>().unwrap().status.clone()).unwrap()
}

#[test]
fn every_node_gets_a_pod() {
    let given = View { revisions: vec![], ..view(&[]) };
    let name = history::fresh(&given.set, 1, 0).metadata.name;
    let created = [format!("create ControllerRevision ns/{name}"), "create for a".into()];
    assert_eq!(done(&given)[..2], created);
    assert_eq!(done(&given).len(), 4);
    let plan = DaemonSets::plan(&given, now());
    let pod: &Pod = plan.actions()[1].effect.object().unwrap();
    assert_eq!(pod.metadata.generate_name, "agent-");
    assert!(name.ends_with(&pod.metadata.labels["controller-revision-hash"]));
    assert_eq!(pod.spec.tolerations.len(), 6);
    assert_eq!(done(&view(&[("a", false), ("b", false)])), ["create for c"]);
}

#[test]
fn nodes_that_do_not_fit_get_none_and_lose_theirs() {
    let mut given = view(&[("a", false), ("b", false), ("c", false)]);
    let taint = |view: &mut View, place: usize, effect: TaintEffect| {
        let taint = Taint { key: "mine".into(), effect, ..Taint::default() };
        Arc::make_mut(&mut view.nodes[place].1).taints = vec![taint];
    };
    taint(&mut given, 0, TaintEffect::NoSchedule);
    assert!(done(&given).is_empty(), "what is there may stay");
    taint(&mut given, 0, TaintEffect::NoExecute);
    assert_eq!(done(&given), ["delete Pod ns/a-new"]);
    given.set.spec.template.spec.node_name = "c".into();
    let fits = super::fit::Fit::of(&given.set);
    assert!(!fits.verdict("b", &NodeFacts::default()).stay && fits.verdict("c", &NodeFacts::default()).run);
}

#[test]
fn conditions_of_nodes_keep_no_daemon_away() {
    let mut given = view(&[]);
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: TaintEffect::NoSchedule,
        ..Taint::default()
    };
    Arc::make_mut(&mut given.nodes[0].1).taints = vec![taint];
    assert_eq!(done(&given).len(), 3);
}

#[test]
fn failed_pods_are_replaced_after_a_back_off() {
    let mut given = view(&[("a", false), ("b", false), ("c", false)]);
    change(&mut given, 0, |p| p.phase = PodPhase::Failed);
    let plan = DaemonSets::plan(&given, now());
    let told =
        plan.steps.iter().find_map(|s| if let Step::Tell(t) = s { Some(t.message.clone()) } else { None });
    assert_eq!(told.unwrap(), "Found failed daemon pod ns/a-new on node a, will try to kill it");
    assert!(plan.steps.iter().any(|s| matches!(s, Step::Own(Own::Failed { node, .. }) if **node == *"a")));
    assert_eq!(done(&given), ["delete Pod ns/a-new"]);
    given.backoffs.insert("a".into(), Backoff { since: now(), delay: Duration::from_secs(4) });
    let plan = DaemonSets::plan(&given, now());
    assert!(plan.actions().is_empty());
    assert_eq!(plan.again, Some(Duration::from_secs(4)));
}

#[test]
fn doubled_pods_and_those_of_lost_nodes_go() {
    let mut given = view(&[("a", false), ("b", false), ("c", false), ("a", true), ("gone", false)]);
    change(&mut given, 3, |p| p.created = now());
    change(&mut given, 4, |p| (p.node, p.intended) = ("".into(), Some("gone".into())));
    assert_eq!(done(&given), ["delete Pod ns/a-old", "delete Pod ns/gone-new"]);
}

#[test]
fn an_update_takes_one_node_at_a_time() {
    let mut given = view(&[("a", true), ("b", true), ("c", true)]);
    assert_eq!(done(&given), ["delete Pod ns/a-old"]);
    change(&mut given, 1, |p| p.ready = None);
    assert_eq!(done(&given), ["delete Pod ns/b-old"], "one that is down already goes first");
    let update = RollingUpdateDaemonSet { max_unavailable: Some("100%".into()), ..Default::default() };
    given.set.spec.update_strategy.rolling_update = Some(Box::new(update));
    assert_eq!(done(&given).len(), 3);
    given.set.spec.update_strategy.type_ = "OnDelete".into();
    assert!(done(&given).is_empty());
}

#[test]
fn with_surge_the_new_pod_comes_before_the_old_one_goes() {
    let mut given = view(&[("a", true), ("b", true), ("c", true)]);
    let update = RollingUpdateDaemonSet { max_unavailable: Some(0.into()), max_surge: Some(1.into()) };
    given.set.spec.update_strategy.rolling_update = Some(Box::new(update));
    assert_eq!(done(&given), ["create for a"]);
    let new = view(&[("a", false)]).pods.remove(0);
    given.pods.push(new);
    change(&mut given, 3, |p| p.ready = None);
    assert!(done(&given).is_empty());
    change(&mut given, 3, |p| p.ready = Some(now()));
    assert_eq!(done(&given), ["delete Pod ns/a-old"]);
}

#[test]
fn an_older_template_wanted_again_becomes_the_newest() {
    let mut given = view(&[("a", true), ("b", true), ("c", true)]);
    given.set.spec.template = template("old");
    let name = given.revisions[0].metadata.name.clone();
    assert_eq!(done(&given), [format!("update ControllerRevision ns/{name}")]);
}

#[test]
fn history_is_kept_to_its_limit_and_to_what_pods_have() {
    let mut given = view(&[("a", false), ("b", false), ("c", false)]);
    given.set.spec.revision_history_limit = Some(0);
    let old = given.revisions[0].metadata.name.clone();
    assert_eq!(done(&given), [format!("delete ControllerRevision ns/{old}")]);
    let mut given = view(&[("a", true), ("b", false), ("c", false)]);
    given.set.spec.revision_history_limit = Some(0);
    assert_eq!(done(&given), ["delete Pod ns/a-old"]);
}

#[test]
fn status_counts_nodes() {
    let mut given = view(&[("a", true), ("b", false), ("c", false)]);
    change(&mut given, 1, |p| p.ready = None);
    let taint = Taint { key: "mine".into(), effect: TaintEffect::NoSchedule, ..Taint::default() };
    Arc::make_mut(&mut given.nodes[2].1).taints = vec![taint];
    let counted = status(&given);
    assert_eq!((counted.desired_number_scheduled, counted.current_number_scheduled), (2, 2));
    assert_eq!((counted.number_misscheduled, counted.number_ready, counted.number_available), (1, 1, 1));
    assert_eq!((counted.updated_number_scheduled, counted.number_unavailable), (1, 1));
    given.set.status = counted;
    assert!(DaemonSets::conclude(&given, &Outcome::default(), now()).is_nothing());
}
