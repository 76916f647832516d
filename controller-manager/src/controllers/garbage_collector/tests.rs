//! The graph's tasks and the plan's deeds.

use std::sync::Arc;

use api_types::core::v1::well_known::finalizer;
use api_types::meta::v1::{DeletionPropagation, ObjectMeta, OwnerReference};
use client::ResourceRef;

use super::graph::{Dependent, Graph, Node, Task};
use super::plan::{Deed, OwnerState, going, owned};

fn resource() -> Arc<ResourceRef> {
    Arc::new(ResourceRef {
        group: "apps".into(),
        version: "v1".into(),
        resource: "things".into(),
        kind: "Thing".into(),
        namespaced: true,
    })
}

fn meta(owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
    ObjectMeta {
        namespace: "ns".into(),
        owner_references: owners.iter().map(|o| owner(o)).collect(),
        finalizers: finalizers.iter().map(|f| (*f).to_owned()).collect(),
        deletion_timestamp: deleting.then(Default::default),
        ..Default::default()
    }
}

fn owner(uid: &str) -> OwnerReference {
    // A leading `!` blocks the owner's deletion.
    let blocks = uid.starts_with('!');
    OwnerReference {
        api_version: "apps/v1".into(),
        kind: "Thing".into(),
        uid: uid.trim_start_matches('!').into(),
        block_owner_deletion: Some(blocks),
        ..Default::default()
    }
}

fn node(owners: &[&str], finalizers: &[&str], deleting: bool) -> Arc<Node> {
    Arc::new(Node::new(resource(), &meta(owners, finalizers, deleting)))
}

fn examined(tasks: Vec<Task>) -> Vec<String> {
    let mut uids: Vec<String> = tasks
        .into_iter()
        .map(|task| match task {
            Task::Examine(uid) => uid.to_string(),
            Task::Orphan(uid) => format!("orphan {uid}"),
        })
        .collect();
    uids.sort();
    uids
}

#[test]
fn what_has_an_unseen_owner_is_looked_at() {
    let mut graph = Graph::default();
    assert!(graph.put("owner", node(&[], &[], false)).is_empty());
    assert!(graph.put("a", node(&["owner"], &[], false)).is_empty());
    assert_eq!(examined(graph.put("b", node(&["nobody"], &[], false))), ["b"]);
    assert!(graph.put("b", node(&["nobody"], &[], false)).is_empty(), "once is enough");
}

#[test]
fn owners_are_meant_by_namespace_kind_and_name() {
    let elsewhere = |owners: &[&str]| {
        let meta = ObjectMeta { namespace: "other".into(), ..meta(owners, &[], false) };
        Arc::new(Node::new(resource(), &meta))
    };
    let renamed = |owners: &[&str]| {
        let mut meta = meta(owners, &[], false);
        meta.owner_references[0].name = "another".into();
        Arc::new(Node::new(resource(), &meta))
    };
    let mut graph = Graph::default();
    graph.put("owner", node(&[], &[], false));
    assert!(graph.put("a", node(&["owner"], &[], false)).is_empty());
    assert_eq!(examined(graph.put("b", elsewhere(&["owner"]))), ["b"]);
    assert_eq!(examined(graph.put("c", renamed(&["owner"]))), ["c"]);
    // As well where the dependents were seen first.
    for (uid, node) in
        [("d", node(&["late"], &[], false)), ("e", elsewhere(&["late"])), ("f", renamed(&["late"]))]
    {
        assert_eq!(examined(graph.put(uid, node)), [uid]);
    }
    assert_eq!(examined(graph.put("late", node(&[], &[], false))), ["e", "f"]);
}

#[test]
fn objects_outside_of_namespaces_are_kept_for_owners_inside() {
    let own = meta(&["a"], &[], false);
    let with = |states: &[OwnerState]| {
        let owners: Vec<_> = states.iter().map(|state| (owner("a"), *state)).collect();
        owned(&own, &owners, &[])
    };
    assert!(with(&[OwnerState::Unreachable]).is_empty());
    assert!(with(&[OwnerState::Gone, OwnerState::Unreachable]).is_empty());
    assert_eq!(with(&[OwnerState::Gone]), [Deed::Delete(DeletionPropagation::Background)]);
}

#[test]
fn dependents_of_what_is_gone_are_looked_at() {
    let mut graph = Graph::default();
    graph.put("owner", node(&[], &[], false));
    graph.put("a", node(&["owner"], &[], false));
    graph.put("b", node(&["owner"], &[], false));
    graph.put("c", node(&[], &[], false));
    graph.put("b", node(&[], &[], false));
    assert_eq!(examined(graph.remove("owner")), ["a"], "b let go of its owner before");
    assert!(graph.remove("owner").is_empty());
}

#[test]
fn foreground_deletion_wakes_dependents_and_their_end_wakes_the_owner() {
    let mut graph = Graph::default();
    graph.put("owner", node(&[], &[], false));
    graph.put("a", node(&["!owner"], &[], false));
    let going = node(&[], &[finalizer::FOREGROUND], true);
    assert_eq!(examined(graph.put("owner", going.clone())), ["a", "owner"]);
    assert!(graph.put("owner", going).is_empty(), "only when it begins");
    assert_eq!(examined(graph.put("late", node(&["!owner"], &[], false))), ["late"]);
    assert_eq!(
        examined(graph.put("late", node(&["owner"], &[], false))),
        ["late", "owner"],
        "it stopped blocking"
    );
    assert_eq!(examined(graph.remove("a")), ["owner"]);
}

#[test]
fn orphaning_begins_once() {
    let mut graph = Graph::default();
    graph.put("owner", node(&[], &[], false));
    let going = node(&[], &[finalizer::ORPHAN], true);
    assert_eq!(examined(graph.put("owner", going.clone())), ["orphan owner"]);
    assert!(graph.put("owner", going).is_empty());
}

fn deeds(finalizers: &[&str], owners: &[OwnerState], dependents: &[Dependent]) -> Vec<Deed> {
    let owners: Vec<_> =
        owners.iter().enumerate().map(|(n, state)| (owner(&format!("o{n}")), *state)).collect();
    owned(&meta(&[], finalizers, false), &owners, dependents)
}

fn dependent(blocks: bool, going: bool) -> Dependent {
    let finalizers: &[&str] = if going { &[finalizer::FOREGROUND] } else { &[] };
    Dependent { uid: "d".into(), node: node(&[], finalizers, going), blocks }
}

#[test]
fn objects_stay_as_long_as_one_owner_does() {
    use OwnerState::{Gone, Solid, Waiting};
    assert!(deeds(&[], &[], &[]).is_empty(), "what has no owners is nobody's");
    assert!(deeds(&[], &[Solid], &[]).is_empty());
    assert_eq!(deeds(&[], &[Solid, Gone, Waiting], &[]), [Deed::DropOwners(vec!["o1".into(), "o2".into()])]);
    let deleted = |policy| [Deed::Delete(policy)];
    assert_eq!(deeds(&[], &[Gone, Gone], &[]), deleted(DeletionPropagation::Background));
    assert_eq!(deeds(&[finalizer::ORPHAN], &[Gone], &[]), deleted(DeletionPropagation::Orphan));
    assert_eq!(deeds(&[finalizer::FOREGROUND], &[Gone], &[]), deleted(DeletionPropagation::Foreground));
}

#[test]
fn what_a_waiting_owner_waits_for_goes_in_the_foreground_too() {
    use OwnerState::Waiting;
    assert_eq!(deeds(&[], &[Waiting], &[]), [Deed::Delete(DeletionPropagation::Background)]);
    let foreground = Deed::Delete(DeletionPropagation::Foreground);
    assert_eq!(deeds(&[], &[Waiting], &[dependent(true, false)]), std::slice::from_ref(&foreground));
    assert_eq!(
        deeds(&[], &[Waiting], &[dependent(true, true)]),
        [Deed::Unblock, foreground],
        "a circle is cut"
    );
}

#[test]
fn a_foreground_deletion_ends_when_nothing_blocks_it() {
    assert_eq!(going(&[]), [Deed::DropFinalizer(finalizer::FOREGROUND)]);
    assert_eq!(going(&[dependent(false, false)]), [Deed::DropFinalizer(finalizer::FOREGROUND)]);
    assert_eq!(going(&[dependent(true, false)]), [Deed::Examine(vec!["d".into()])]);
    assert_eq!(going(&[dependent(true, true)]), [Deed::Examine(vec![])], "it reports by itself");
}
