//! Who leaves, and when.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Taint, TaintEffect, Toleration};
use client::Key;
use client::controller::Controller as _;
use jiff::Timestamp;

use super::plan::{Stay, stay};
use super::*;
use crate::cached::PodFacts;

fn taint(key: &str) -> Taint {
    Taint { key: key.into(), effect: TaintEffect::NoExecute, ..Taint::default() }
}

fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
    Toleration {
        key: key.into(),
        operator: "Exists".into(),
        toleration_seconds: seconds,
        ..Toleration::default()
    }
}

#[test]
fn the_shortest_toleration_counts() {
    let span = |seconds| Stay::For(Duration::from_secs(seconds));
    assert_eq!(stay(&[], &[]), Stay::Ever);
    assert_eq!(stay(&[], &[taint("a")]), span(0));
    assert_eq!(stay(&[toleration("a", None)], &[taint("a")]), Stay::Ever);
    assert_eq!(stay(&[toleration("a", Some(300))], &[taint("a")]), span(300));
    assert_eq!(
        stay(&[toleration("", Some(300)), toleration("b", Some(5))], &[taint("a"), taint("b")]),
        span(5)
    );
    assert_eq!(stay(&[toleration("a", Some(300))], &[taint("a"), taint("b")]), span(0));
}

fn view(tolerations: Vec<Toleration>, taints: Vec<Taint>) -> View {
    let pod = Arc::new(PodFacts { uid: "u".into(), tolerations, ..PodFacts::default() });
    View { key: Key::new("ns", "p"), pod, taints, since: Some(Timestamp::UNIX_EPOCH) }
}

#[test]
fn a_pod_goes_when_its_seconds_are_over() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let view = view(vec![toleration("a", Some(60))], vec![taint("a")]);
    let early = TaintEviction::plan(&view, at(59));
    assert!(early.actions().is_empty());
    assert_eq!(early.again, Some(Duration::from_secs(1)));
    let late = TaintEviction::plan(&view, at(60));
    let done: Vec<String> = late.actions().iter().map(|a| a.effect.describe()).collect();
    assert_eq!(done, ["patch/status Pod ns/p", "delete Pod ns/p"]);
}

#[test]
fn when_the_taints_are_gone_it_stays() {
    let plan = TaintEviction::plan(&view(Vec::new(), Vec::new()), Timestamp::UNIX_EPOCH);
    assert!(plan.actions().is_empty());
    assert_eq!(plan.steps.len(), 2);
}
