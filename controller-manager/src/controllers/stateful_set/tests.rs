//! Views in, actions out.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::apps::v1::{
    PersistentVolumeClaimRetentionPolicyType as Retention, RollingUpdateStatefulSetStrategy, StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetStatus,
};
use api_types::core::v1::{Container, PersistentVolumeClaim, Pod, PodPhase, PodTemplateSpec};
use api_types::meta::v1::LabelSelector;
use client::Key;
use client::controller::{Controller as _, Outcome};
use jiff::Timestamp;

use super::{StatefulSets, View, revision};
use crate::cached::{Claim, ClaimObject, Owner, PodFacts};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), "web".into())])
}

fn template(image: &str) -> PodTemplateSpec {
    let mut template = PodTemplateSpec::default();
    template.metadata.labels = labels();
    template.spec.containers = vec![Container { image: image.into(), ..Container::default() }];
    template
}

fn set(replicas: i32) -> StatefulSet {
    let mut set = StatefulSet::default();
    set.metadata.namespace = "ns".into();
    set.metadata.name = "web".into();
    set.metadata.uid = "set-uid".into();
    set.spec.replicas = Some(replicas);
    set.spec.selector = Some(Box::new(LabelSelector { match_labels: labels(), ..Default::default() }));
    set.spec.template = template("new");
    set.spec.update_strategy.type_ = "RollingUpdate".into();
    set.spec.service_name = "headless".into();
    set
}

/// A StatefulSet whose current template is saved, with an older one beside it; pods are `(number, old)`.
fn view(replicas: i32, pods: &[(i32, bool)]) -> View {
    let mut set = set(replicas);
    let new = revision::fresh(&set, 2, 0);
    let old = revision::fresh(&StatefulSet { spec: old_spec(&set), ..set.clone() }, 1, 0);
    set.status.current_revision = old.metadata.name.clone();
    let revision = |is_old: bool| if is_old { &old } else { &new }.metadata.name.clone();
    let pods = pods.iter().map(|(number, is_old)| pod(*number, &revision(*is_old), |_| {})).collect();
    View { set, pods, revisions: vec![old, new], ..View::default() }
}

fn old_spec(set: &StatefulSet) -> api_types::apps::v1::StatefulSetSpec {
    api_types::apps::v1::StatefulSetSpec { template: template("old"), ..set.spec.clone() }
}

fn pod(number: i32, revision: &str, change: impl FnOnce(&mut PodFacts)) -> (Key, Arc<PodFacts>) {
    let name = format!("web-{number}");
    let mut labels = labels();
    labels.insert("controller-revision-hash".into(), revision.into());
    labels.insert("statefulset.kubernetes.io/pod-name".into(), name.clone());
    let mut pod = PodFacts {
        uid: format!("uid-{number}").into(),
        labels,
        owner: Some(Owner { uid: "set-uid".into(), ..Owner::default() }),
        node: "n1".into(),
        phase: PodPhase::Running,
        ready: Some(Timestamp::from_second(now().as_second() - 900).unwrap()),
        ..PodFacts::default()
    };
    change(&mut pod);
    (Key::new("ns", name), Arc::new(pod))
}

fn change(view: &mut View, place: usize, change: impl FnOnce(&mut PodFacts)) {
    change(Arc::make_mut(&mut view.pods[place].1));
}

fn done(view: &View) -> Vec<String> {
    StatefulSets::plan(view, now()).actions().iter().map(|a| a.effect.describe()).collect()
}

fn status(view: &View) -> StatefulSetStatus {
    let plan = StatefulSets::conclude(view, &Outcome::default(), now());
    plan.actions()
        .first()
        .map(|a| a.effect.object::<StatefulSet>().unwrap().status.clone())
        .unwrap_or_default()
}

#[test]
fn the_template_is_saved_before_its_first_pod() {
    let view = View { set: set(2), ..View::default() };
    let name = revision::fresh(&view.set, 1, 0).metadata.name;
    assert_eq!(done(&view), [format!("create ControllerRevision ns/{name}"), "create Pod ns/web-0".into()]);
    let plan = StatefulSets::plan(&view, now());
    let pod: &Pod = plan.actions()[1].effect.object().unwrap();
    assert_eq!((pod.spec.hostname.as_str(), pod.spec.subdomain.as_str()), ("web-0", "headless"));
    assert_eq!(pod.metadata.labels["apps.kubernetes.io/pod-index"], "0");
    assert_eq!(pod.metadata.labels["controller-revision-hash"], name);
    let told = plan.actions()[1].on_success.as_ref().unwrap();
    assert_eq!(told.message, "Create Pod web-0 in StatefulSet web successful");
}

#[test]
fn in_order_a_pod_waits_for_those_before_it() {
    let mut given = view(3, &[(0, false)]);
    assert_eq!(done(&given), ["create Pod ns/web-1"]);
    change(&mut given, 0, |p| p.ready = None);
    assert!(done(&given).is_empty());
    given.set.spec.pod_management_policy = "Parallel".into();
    assert_eq!(done(&given), ["create Pod ns/web-1", "create Pod ns/web-2"]);
}

#[test]
fn numbers_begin_where_they_should() {
    let mut given = view(2, &[(0, false), (5, false)]);
    given.set.spec.ordinals = Some(Box::new(api_types::apps::v1::StatefulSetOrdinals { start: 5 }));
    assert_eq!(done(&given), ["create Pod ns/web-6"]);
    given.pods.push(pod(6, &given.revisions[1].metadata.name.clone(), |_| {}));
    assert_eq!(done(&given), ["delete Pod ns/web-0"]);
}

#[test]
fn ended_pods_are_replaced() {
    let mut given = view(1, &[(0, false)]);
    change(&mut given, 0, |p| p.phase = PodPhase::Failed);
    assert_eq!(done(&given), ["delete Pod ns/web-0"]);
    change(&mut given, 0, |p| p.deleting = Some(now()));
    assert!(done(&given).is_empty());
}

#[test]
fn surplus_pods_go_from_the_highest_number_one_at_a_time() {
    let mut given = view(1, &[(0, false), (1, false), (2, false)]);
    assert_eq!(done(&given), ["delete Pod ns/web-2"]);
    change(&mut given, 2, |p| p.deleting = Some(now()));
    assert!(done(&given).is_empty());
    given.set.spec.pod_management_policy = "Parallel".into();
    assert_eq!(done(&given), ["delete Pod ns/web-1"]);
}

#[test]
fn an_unwell_pod_stops_scaling_down_unless_it_is_the_one_to_go() {
    let mut given = view(1, &[(0, false), (1, false), (2, false)]);
    change(&mut given, 2, |p| p.ready = None);
    assert_eq!(done(&given), ["delete Pod ns/web-2"]);
    change(&mut given, 1, |p| p.ready = None);
    assert!(done(&given).is_empty());
}

#[test]
fn an_update_goes_from_the_highest_number_and_waits() {
    let mut given = view(3, &[(0, true), (1, true), (2, true)]);
    assert_eq!(done(&given), ["delete Pod ns/web-2"]);
    let new = given.revisions[1].metadata.name.clone();
    given.pods[2] = pod(2, &new, |_| {});
    assert_eq!(done(&given), ["delete Pod ns/web-1"]);
    change(&mut given, 2, |p| p.ready = None);
    assert!(done(&given).is_empty());
}

#[test]
fn a_partition_keeps_lower_numbers_as_they_were() {
    let mut given = view(3, &[(1, true), (2, false)]);
    let update = RollingUpdateStatefulSetStrategy { partition: Some(2), ..Default::default() };
    given.set.spec.update_strategy.rolling_update = Some(Box::new(update));
    let plan = StatefulSets::plan(&given, now());
    let pod: &Pod = plan.actions()[0].effect.object().unwrap();
    assert_eq!(pod.spec.containers[0].image, "old", "web-0 comes back as it was");
    given.pods.push(self::pod(0, &given.revisions[0].metadata.name.clone(), |_| {}));
    assert!(done(&given).is_empty());
}

#[test]
fn several_may_be_down_and_on_delete_updates_nothing() {
    let mut given = view(3, &[(0, true), (1, true), (2, true)]);
    let update = RollingUpdateStatefulSetStrategy { max_unavailable: Some(2.into()), ..Default::default() };
    given.set.spec.update_strategy.rolling_update = Some(Box::new(update));
    assert_eq!(done(&given), ["delete Pod ns/web-2", "delete Pod ns/web-1"]);
    change(&mut given, 0, |p| p.ready = None);
    assert_eq!(done(&given).len(), 0, "in order, a pod that is not ready stops the round");
    given.set.spec.pod_management_policy = "Parallel".into();
    assert_eq!(done(&given), ["delete Pod ns/web-2"]);
    given.set.spec.update_strategy.type_ = "OnDelete".into();
    assert!(done(&given).is_empty());
}

#[test]
fn an_older_template_wanted_again_becomes_the_newest_revision() {
    let mut given = view(1, &[(0, false)]);
    given.set.spec.template = template("old");
    let name = given.revisions[0].metadata.name.clone();
    assert_eq!(done(&given), [format!("update ControllerRevision ns/{name}"), "delete Pod ns/web-0".into()]);
    let plan = StatefulSets::plan(&given, now());
    let revision: &api_types::apps::v1::ControllerRevision = plan.actions()[0].effect.object().unwrap();
    assert_eq!(revision.revision, 3);
}

#[test]
fn history_is_kept_to_its_limit() {
    let mut given = view(1, &[(0, false)]);
    given.set.status.current_revision = given.revisions[1].metadata.name.clone();
    given.set.spec.revision_history_limit = Some(0);
    let old = given.revisions[0].metadata.name.clone();
    assert_eq!(done(&given), [format!("delete ControllerRevision ns/{old}")]);
    given.set.spec.revision_history_limit = Some(1);
    assert!(done(&given).is_empty());
}

fn with_claims(mut view: View, policy: Option<(Retention, Retention)>) -> View {
    let mut data = PersistentVolumeClaim::default();
    data.metadata.name = "data".into();
    view.set.spec.volume_claim_templates = vec![data.into()];
    view.set.spec.persistent_volume_claim_retention_policy = policy.map(|(when_deleted, when_scaled)| {
        Box::new(StatefulSetPersistentVolumeClaimRetentionPolicy { when_deleted, when_scaled })
    });
    for (key, pod) in &mut view.pods {
        let name = format!("data-{}", key.name);
        let claim = Claim { volume: "data".into(), name: name.as_str().into(), ephemeral: false };
        Arc::make_mut(pod).claims = vec![claim].into();
        let mut object = PersistentVolumeClaim::default();
        object.metadata.name = name.clone();
        object.metadata.namespace = "ns".into();
        view.claims.insert(name, Arc::new(ClaimObject(object)));
    }
    view
}

#[test]
fn claims_come_before_their_pod() {
    let given = with_claims(view(2, &[(0, false)]), None);
    assert_eq!(done(&given), ["create PersistentVolumeClaim ns/data-web-1", "create Pod ns/web-1"]);
    let plan = StatefulSets::plan(&given, now());
    let claim: &PersistentVolumeClaim = plan.actions()[0].effect.object().unwrap();
    assert_eq!(claim.metadata.labels, labels());
    let pod: &Pod = plan.actions()[1].effect.object().unwrap();
    let source = pod.spec.volumes[0].source.persistent_volume_claim.as_ref().unwrap();
    assert_eq!(source.claim_name, "data-web-1");
}

#[test]
fn a_claim_being_deleted_holds_its_pod_back() {
    let mut given = with_claims(view(1, &[(0, false)]), None);
    given.pods.clear();
    let claim = given.claims.get_mut("data-web-0").unwrap();
    Arc::make_mut(claim).0.metadata.deletion_timestamp = Some(Default::default());
    let plan = StatefulSets::plan(&given, now());
    assert!(plan.actions().is_empty() && plan.again.is_some());
}

#[test]
fn retention_says_who_owns_claims() {
    let owner = |view: &View, claim: &str| {
        let plan = StatefulSets::plan(view, now());
        let claims = plan.actions().into_iter().filter_map(|a| a.effect.object::<PersistentVolumeClaim>());
        let claim = claims.into_iter().find(|c| c.metadata.name == claim).cloned();
        claim.map(|c| c.metadata.owner_references.iter().map(|r| r.kind.clone()).collect::<Vec<_>>())
    };
    let base = || view(1, &[(0, false), (1, false)]);
    let (keep, delete) = (Retention::Retain, Retention::Delete);
    assert_eq!(owner(&with_claims(base(), None), "data-web-0"), None);
    let given = with_claims(base(), Some((delete.clone(), keep.clone())));
    assert_eq!(owner(&given, "data-web-0"), Some(vec!["StatefulSet".into()]));
    assert_eq!(owner(&given, "data-web-1"), Some(vec!["StatefulSet".into()]));
    let given = with_claims(base(), Some((keep, delete.clone())));
    assert_eq!(owner(&given, "data-web-0"), None);
    assert_eq!(owner(&given, "data-web-1"), Some(vec!["Pod".into()]));
    let given = with_claims(base(), Some((delete.clone(), delete)));
    assert_eq!(owner(&given, "data-web-1"), Some(vec!["Pod".into()]));
}

#[test]
fn pods_named_otherwise_are_let_go_and_ones_that_fit_are_adopted() {
    let mut given = view(1, &[(0, false)]);
    change(&mut given, 0, |p| p.owner = None);
    given.pods.push((Key::new("ns", "stranger"), given.pods[0].1.clone()));
    change(&mut given, 1, |p| p.owner = Some(Owner { uid: "set-uid".into(), ..Owner::default() }));
    let (claimed, adoption) = super::plan::claimed(&given);
    assert_eq!(claimed.len(), 1);
    assert_eq!((adoption.adopt.len(), adoption.release.len()), (1, 1));
}

#[test]
fn status_counts_and_an_update_completes() {
    let mut given = view(2, &[(0, true), (1, false)]);
    let counted = status(&given);
    assert_eq!((counted.replicas, counted.ready_replicas, counted.available_replicas), (2, 2, 2));
    assert_eq!((counted.current_replicas, counted.updated_replicas), (1, 1));
    assert_ne!(counted.current_revision, counted.update_revision);
    given.pods[0] = pod(0, &given.revisions[1].metadata.name.clone(), |_| {});
    let counted = status(&given);
    assert_eq!((counted.current_replicas, counted.updated_replicas), (2, 2));
    assert_eq!(counted.current_revision, counted.update_revision);
    given.set.status = counted;
    assert!(StatefulSets::conclude(&given, &Outcome::default(), now()).is_nothing());
}
