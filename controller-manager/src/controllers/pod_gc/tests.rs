//! What is taken, and what is left.

use std::sync::Arc;

use api_types::core::v1::PodPhase;
use client::Key;
use client::controller::Controller as _;
use jiff::Timestamp;

use super::*;
use crate::cached::PodFacts;

fn pod(phase: PodPhase, second: i64) -> Arc<PodFacts> {
    let created = Timestamp::from_second(second).unwrap();
    Arc::new(PodFacts { uid: "u".into(), phase, created, ..PodFacts::default() })
}

fn actions(view: &View) -> Vec<String> {
    let plan = PodGc::plan(view, Timestamp::UNIX_EPOCH);
    plan.actions().iter().map(|a| a.effect.describe()).collect()
}

#[test]
fn the_oldest_finished_pods_beyond_the_threshold_go() {
    let pods =
        [("c", 3), ("a", 1), ("b", 2)].map(|(name, at)| (Key::new("ns", name), pod(PodPhase::Succeeded, at)));
    let view = View::Finished { pods: pods.to_vec(), threshold: 1 };
    assert_eq!(actions(&view), ["delete Pod ns/a", "delete Pod ns/b"]);
    let view = View::Finished { pods: pods.to_vec(), threshold: 3 };
    assert!(actions(&view).is_empty());
}

#[test]
fn a_pod_deleted_before_it_was_scheduled_fails_and_goes() {
    let view = View::Unscheduled { key: Key::new("ns", "a"), pod: pod(PodPhase::Pending, 1) };
    assert_eq!(actions(&view), ["patch/status Pod ns/a", "delete Pod ns/a"]);
}

#[test]
fn a_pod_of_a_missing_node_is_only_asked_about() {
    let view = View::Orphaned { key: Key::new("ns", "a"), pod: pod(PodPhase::Running, 1) };
    assert!(actions(&view).is_empty());
    assert_eq!(PodGc::plan(&view, Timestamp::UNIX_EPOCH).steps.len(), 1);
    let orphan = Orphan { key: Key::new("ns", "a"), pod: pod(PodPhase::Running, 1), node: "gone".into() };
    let taken: Vec<String> =
        plan::take_orphan(&orphan).actions().iter().map(|a| a.effect.describe()).collect();
    assert_eq!(taken, ["patch/status Pod ns/a", "delete Pod ns/a"]);
}
