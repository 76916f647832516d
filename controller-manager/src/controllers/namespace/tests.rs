//! Which namespaces are worked on, and what their conditions say.

use api_types::core::v1::{Namespace, NamespaceConditionType, NamespaceStatus};
use api_types::meta::v1::{ConditionStatus, Status};
use client::Error;
use jiff::Timestamp;

use super::content::{Found, Undiscovered};
use super::{is_ours_to_empty, status};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn say(status: &NamespaceStatus, type_: NamespaceConditionType) -> (ConditionStatus, &str, &str) {
    let c = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
    (c.status.clone(), &c.reason, &c.message)
}

#[test]
fn only_namespaces_that_go_and_wait_for_us_are_emptied() {
    let mut namespace = Namespace::default();
    namespace.spec.finalizers = vec!["kubernetes".into()];
    assert!(!is_ours_to_empty(&namespace));
    namespace.metadata.deletion_timestamp = Some(Default::default());
    assert!(is_ours_to_empty(&namespace));
    namespace.spec.finalizers = vec!["someone/else".into()];
    assert!(!is_ours_to_empty(&namespace));
}

#[test]
fn what_is_left_is_told_in_upstreams_words() {
    let mut status = NamespaceStatus::default();
    let found = Found {
        remaining: [("pods.".to_owned(), 2), ("deployments.apps".to_owned(), 1)].into(),
        finalizers: [("example.com/guard".to_owned(), 1)].into(),
        ..Found::default()
    };
    assert!(status::update(&mut status, &found, at(5)));
    assert_eq!(
        say(&status, NamespaceConditionType::NamespaceContentRemaining),
        (
            ConditionStatus::True,
            "SomeResourcesRemain",
            "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances"
        )
    );
    assert_eq!(
        say(&status, NamespaceConditionType::NamespaceFinalizersRemaining).2,
        "Some content in the namespace has finalizers remaining: example.com/guard in 1 resource instances"
    );
    assert_eq!(
        say(&status, NamespaceConditionType::NamespaceDeletionContentFailure),
        (
            ConditionStatus::False,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization"
        )
    );
    assert!(!status::update(&mut status, &found, at(9)), "nothing new, nothing written");
    assert!(status::update(&mut status, &Found::default(), at(9)));
    let remaining = status
        .conditions
        .iter()
        .find(|c| c.type_ == NamespaceConditionType::NamespaceContentRemaining)
        .unwrap();
    assert_eq!(remaining.last_transition_time.unwrap().0, at(9));
}

#[test]
fn failures_are_told() {
    let mut status = NamespaceStatus::default();
    let refusal = Status { message: "no".into(), ..Default::default() };
    let failures = vec![("delete pods in namespace x".to_owned(), Error::Status(Box::new(refusal)))];
    let found = Found { failures, ..Found::default() };
    status::update(&mut status, &found, at(0));
    assert_eq!(
        say(&status, NamespaceConditionType::NamespaceDeletionContentFailure).2,
        "Failed to delete all resource types, 1 remaining: delete pods in namespace x: no"
    );
}

#[test]
fn groups_that_are_not_known_are_told() {
    let mut status = NamespaceStatus::default();
    let error = |code| Error::Status(Box::new(Status { code, message: "no".into(), ..Default::default() }));
    let groups = [("a.example.com/v1".to_owned(), error(503)), ("b.example.com/v1".to_owned(), error(500))];
    let found = Found { undiscovered: Undiscovered::Groups(groups.into()), ..Found::default() };
    status::update(&mut status, &found, at(0));
    assert_eq!(
        say(&status, NamespaceConditionType::NamespaceDeletionDiscoveryFailure).2,
        "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: a.example.com/v1: stale GroupVersion discovery: a.example.com/v1, b.example.com/v1: no"
    );
    let content = say(&status, NamespaceConditionType::NamespaceDeletionContentFailure);
    assert_eq!(content.0, ConditionStatus::False);
}
