//! Claims of pods, and users of claims.

use std::sync::Arc;

use api_types::kind::Object as _;
use api_types::meta::v1::OwnerReference;
use api_types::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};
use client::Key;
use client::controller::{Effect, Outcome, Plan, Step};

use super::claims::{self, User};
use super::pods::{self, Entry, Make, generated_name};
use super::{FINALIZER, Gone, POD_CLAIM, metrics};
use crate::cached::{ClaimTemplateObject, DeviceClaim, DeviceClaimObject, MadeClaim, PodFacts};

fn claim(name: &str, owner: &str, users: &[&str], allocated: bool) -> DeviceClaimObject {
    let mut claim = ResourceClaim::default();
    claim.metadata.name = name.into();
    claim.metadata.namespace = "ns".into();
    claim.metadata.uid = format!("uid-of-{name}");
    if !owner.is_empty() {
        claim.metadata.owner_references = vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: "web".into(),
            uid: owner.into(),
            controller: Some(true),
            block_owner_deletion: None,
        }];
    }
    let user = |uid: &&str| ResourceClaimConsumerReference {
        resource: "pods".into(),
        name: format!("pod-{uid}"),
        uid: (*uid).into(),
        ..ResourceClaimConsumerReference::default()
    };
    claim.status.reserved_for = users.iter().map(user).collect();
    if allocated {
        claim.status.allocation = Some(Box::new(AllocationResult::default()));
        claim.metadata.finalizers = vec![FINALIZER.into()];
    }
    DeviceClaimObject(claim)
}

fn seen(claim: DeviceClaimObject, users: &[User], owner_done: bool) -> claims::View {
    claims::View { key: Key::new("ns", "c"), claim: Arc::new(claim), users: users.to_vec(), owner_done }
}

fn written<O>(plan: &Plan<O>) -> Vec<String> {
    plan.actions().iter().map(|a| a.effect.describe()).collect()
}

/// The status that a plan writes: users, and whether it stays allocated.
fn status<O>(plan: &Plan<O>) -> Option<(usize, bool)> {
    plan.actions().iter().find_map(|action| {
        let Effect::Update(..) = &action.effect else { return None };
        let claim: &ResourceClaim = action.effect.object()?;
        Some((claim.status.reserved_for.len(), claim.status.allocation.is_some()))
    })
}

#[test]
fn the_last_user_that_leaves_frees_the_devices() {
    use User::{Leaves, Stays, Unknown};
    let check = |users: &[User], expected: Option<(usize, bool)>| {
        let uids = ["1", "2"];
        let view = seen(claim("c", "", &uids[..users.len()], true), users, false);
        assert_eq!(status(&claims::plan(&view)), expected, "{users:?}");
    };
    check(&[], None);
    check(&[Stays, Stays], None);
    check(&[Stays, Leaves], Some((1, true)));
    check(&[Leaves, Leaves], Some((0, false)));
    check(&[Leaves, Unknown], Some((1, true)));
    // Not allocated by a scheduler: left alone.
    let mut foreign = claim("c", "", &["1"], true);
    foreign.0.metadata.finalizers.clear();
    assert_eq!(status(&claims::plan(&seen(foreign, &[Leaves], false))), Some((0, true)));
}

#[test]
fn the_server_is_asked_for_pods_that_are_not_known() {
    let plan = claims::plan(&seen(claim("c", "", &["1"], true), &[User::Unknown], false));
    let [Step::Own(ask)] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!(ask.pods, [("pod-1".to_owned(), "1".to_owned())]);
}

#[test]
fn what_is_free_loses_its_finalizer_and_what_no_pod_needs_is_deleted() {
    let outcome =
        |stored: DeviceClaimObject| Outcome { written: vec![stored.0.clone_boxed()], ..Outcome::default() };
    let mut freed = claim("c", "pod-uid", &[], true);
    freed.0.status.allocation = None;
    let view = seen(claim("c", "pod-uid", &["1"], true), &[User::Leaves], true);
    let last = claims::conclude(&view, &outcome(freed.clone()));
    assert_eq!(written(&last), ["update ResourceClaim ns/c", "delete ResourceClaim ns/c"]);
    let update: &ResourceClaim = last.actions()[0].effect.object().unwrap();
    assert!(update.metadata.finalizers.is_empty());
    // The pod needs it still.
    let view = seen(claim("c", "pod-uid", &["1"], true), &[User::Leaves], false);
    assert_eq!(written(&claims::conclude(&view, &outcome(freed))), ["update ResourceClaim ns/c"]);
    // Still used by another.
    let used = claim("c", "pod-uid", &["2"], true);
    assert!(claims::conclude(&view, &outcome(used)).is_nothing());
}

#[test]
fn a_claim_that_is_deleted_is_let_go_once_nobody_uses_it() {
    let deleted = |allocated: bool, users: &[&str]| {
        let mut claim = claim("c", "", users, true);
        claim.0.metadata.deletion_timestamp = Some(api_types::value::Time::default());
        if !allocated {
            claim.0.status.allocation = None;
        }
        let kept = vec![User::Stays; users.len()];
        written(&claims::plan(&seen(claim, &kept, false)))
    };
    assert_eq!(deleted(true, &["1"]), Vec::<String>::new());
    assert_eq!(deleted(true, &[]), ["update/status ResourceClaim ns/c"]);
    assert_eq!(deleted(false, &[]), ["update ResourceClaim ns/c"]);
}

#[test]
fn an_unused_claim_of_a_pod_that_is_done_is_deleted() {
    let view = |owner_done| seen(claim("c", "pod-uid", &[], false), &[], owner_done);
    assert_eq!(written(&claims::plan(&view(true))), ["delete ResourceClaim ns/c"]);
    assert!(claims::plan(&view(false)).is_nothing());
}

fn pod(node: &str) -> Arc<PodFacts> {
    Arc::new(PodFacts { uid: "pod-uid".into(), node: node.into(), ..PodFacts::default() })
}

fn entry(name: &str, claim: MadeClaim) -> Entry {
    let entry = DeviceClaim { name: name.into(), template: Some("t".into()), claim };
    Entry { entry, named: None, made: None, template: Some(Arc::default()) }
}

fn planned(node: &str, entries: Vec<Entry>) -> Plan<Make> {
    pods::plan(&pods::View { key: Key::new("ns", "web"), pod: pod(node), entries })
}

fn made(plan: &Plan<Make>) -> &Make {
    let [Step::Own(make), ..] = &plan.steps[..] else { panic!("{plan:?}") };
    make
}

#[test]
fn a_claim_is_made_of_its_template_and_belongs_to_the_pod() {
    let mut template = ClaimTemplateObject::default();
    template.0.spec.metadata.labels.insert("l".into(), "1".into());
    template.0.spec.metadata.annotations.insert("a".into(), "2".into());
    let mut entry = entry("gpu", MadeClaim::Unknown);
    entry.template = Some(Arc::new(template));
    let plan = planned("", vec![entry]);
    let make = made(&plan);
    let claim = &make.claims[0];
    let meta = &claim.metadata;
    assert_eq!((meta.generate_name.as_str(), meta.namespace.as_str()), ("web-gpu-", "ns"));
    assert_eq!((meta.annotations[POD_CLAIM].as_str(), meta.annotations["a"].as_str()), ("gpu", "2"));
    assert_eq!(meta.labels["l"], "1");
    let owner = &meta.owner_references[0];
    assert_eq!(
        (owner.uid.as_str(), owner.controller, owner.block_owner_deletion),
        ("pod-uid", Some(true), None)
    );
    assert!(make.statuses.is_empty() && make.missing.is_none());
}

#[test]
fn what_is_there_is_entered_and_not_made_again() {
    // Made, but the status could not be written.
    let mut orphan = entry("gpu", MadeClaim::Unknown);
    orphan.made = Some(Arc::new(claim("web-gpu-x", "pod-uid", &[], false)));
    // Entered already: stays in what is applied.
    let mut known = entry("nic", MadeClaim::Named("web-nic-y".into()));
    known.named = Some(Arc::new(claim("web-nic-y", "pod-uid", &[], false)));
    let plan = planned("", vec![orphan, known]);
    let make = made(&plan);
    assert!(make.claims.is_empty());
    let statuses: Vec<_> = make.statuses.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    assert_eq!(statuses, [("gpu", Some("web-gpu-x")), ("nic", Some("web-nic-y"))]);
}

#[test]
fn a_claim_that_is_gone_or_of_another_pod_is_made_anew() {
    let gone = entry("gpu", MadeClaim::Named("web-gpu-x".into()));
    let mut foreign = entry("nic", MadeClaim::Named("web-nic-y".into()));
    foreign.named = Some(Arc::new(claim("web-nic-y", "other-uid", &[], false)));
    assert_eq!(made(&planned("", vec![gone, foreign])).claims.len(), 2);
    let mut fine = entry("nic", MadeClaim::Named("web-nic-y".into()));
    fine.named = Some(Arc::new(claim("web-nic-y", "pod-uid", &[], false)));
    assert!(planned("", vec![fine, entry("none", MadeClaim::None)]).is_nothing());
}

#[test]
fn a_template_that_is_missing_is_told_of() {
    let missing = Entry { template: None, ..entry("gpu", MadeClaim::Unknown) };
    assert_eq!(made(&planned("", vec![missing])).missing, Some(("gpu".into(), "t".into())));
}

#[test]
fn a_pod_with_a_node_reserves_what_is_allocated() {
    let entry = |claim: DeviceClaimObject| Entry {
        entry: DeviceClaim { name: "gpu".into(), template: None, claim: MadeClaim::Named("c".into()) },
        named: Some(Arc::new(claim)),
        made: None,
        template: None,
    };
    let reserved = planned("node", vec![entry(claim("c", "", &["1"], true))]);
    assert_eq!(status(&reserved), Some((2, true)));
    assert!(planned("", vec![entry(claim("c", "", &["1"], true))]).is_nothing());
    assert!(planned("node", vec![entry(claim("c", "", &[], false))]).is_nothing());
    assert!(planned("node", vec![entry(claim("c", "", &["pod-uid"], true))]).is_nothing());
}

#[test]
fn long_names_are_cut_in_proportion() {
    assert_eq!(generated_name("web", "gpu"), "web-gpu-");
    let name = generated_name(&"p".repeat(60), &"c".repeat(20));
    assert_eq!(name, format!("{}-{}", "p".repeat(41), "c".repeat(13)));
}

#[test]
fn only_the_newest_that_are_gone_are_remembered() {
    let gone = Gone::default();
    (0..=Gone::MOST).for_each(|uid| gone.add(&uid.to_string()));
    assert!(!gone.has("0") && gone.has("1") && gone.has("500"));
}

#[test]
fn claims_are_counted_by_what_they_are() {
    assert_eq!(metrics::labels(&claim("c", "", &[], true)), ("true", "false", ""));
    let mut generated = claim("c", "", &[], false);
    generated.0.metadata.annotations.insert(POD_CLAIM.into(), "gpu".into());
    assert_eq!(metrics::labels(&generated), ("false", "false", "resource_claim_template"));
}
