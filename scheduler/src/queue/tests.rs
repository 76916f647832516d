//! Where pods go, and when they come back.

use super::*;
use crate::config::SchedulerConfig;
use crate::testing::{PodBuilder, node, pod};

fn queue() -> Queue {
    let profiles = SchedulerConfig::default().profiles().unwrap();
    let profiles = profiles.into_iter().map(|p| (p.name.clone(), Arc::new(p))).collect();
    Queue::new(Arc::new(profiles), Backoff::default())
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pop(queue: &mut Queue, now: u64) -> Option<String> {
    queue.pop(at(now)).map(|q| q.pod.name.clone())
}

fn unfit(plugin: &'static str) -> Returned {
    Returned::Unschedulable { rejected_by: [plugin].into(), pending: false }
}

fn fail(queue: &mut Queue, pod: &PodBuilder, why: Returned, now: u64) {
    queue.give_back(&pod.view().uid, why, at(now));
}

fn new_node() -> ClusterEvent {
    ClusterEvent::NodeAdded(Arc::new(node("n").allocatable("cpu", "8").view()))
}

#[test]
fn higher_priority_goes_first_then_who_waited_longer() {
    let mut queue = queue();
    queue.add(pod("late").shared(), at(2));
    queue.add(pod("early").shared(), at(1));
    queue.add(pod("urgent").priority(10).shared(), at(3));
    let order: Vec<_> = (0..4).filter_map(|_| pop(&mut queue, 4)).collect();
    assert_eq!(order, ["urgent", "early", "late"]);
}

#[test]
fn an_unschedulable_pod_waits_for_an_event_that_helps() {
    let (mut queue, big) = (queue(), pod("big").requests("cpu", "4"));
    queue.add(big.shared(), at(0));
    pop(&mut queue, 0);
    fail(&mut queue, &big, unfit("NodeResourcesFit"), 0);
    assert_eq!(pop(&mut queue, 100), None);
    let small = ClusterEvent::NodeAdded(Arc::new(node("n").allocatable("cpu", "1").view()));
    queue.on_event(&small, at(100));
    assert_eq!(pop(&mut queue, 100), None);
    queue.on_event(&new_node(), at(100));
    assert_eq!(pop(&mut queue, 100).as_deref(), Some("big"));
}

#[test]
fn an_event_during_the_attempt_counts() {
    let (mut queue, big) = (queue(), pod("big").requests("cpu", "4"));
    queue.add(big.shared(), at(0));
    pop(&mut queue, 0);
    queue.on_event(&new_node(), at(0));
    fail(&mut queue, &big, unfit("NodeResourcesFit"), 0);
    // Not active before its backoff ends, but nobody else wants to be scheduled.
    assert_eq!(pop(&mut queue, 0).as_deref(), Some("big"));
}

#[test]
fn errors_back_off_and_double_up_to_ten_seconds() {
    let (mut queue, p) = (queue(), pod("p"));
    queue.add(p.shared(), at(0));
    let mut now = 0;
    for wait in [1, 2, 4, 8, 10, 10] {
        assert_eq!(pop(&mut queue, now).as_deref(), Some("p"), "at {now}");
        fail(&mut queue, &p, Returned::Error, now);
        assert_eq!(pop(&mut queue, now + wait - 1), None, "before {wait} s");
        assert_eq!(queue.flush(at(now)), Some(at(now + wait)));
        now += wait;
    }
}

#[test]
fn five_minutes_are_the_longest_wait() {
    let (mut queue, p) = (queue(), pod("p"));
    queue.add(p.shared(), at(0));
    pop(&mut queue, 0);
    fail(&mut queue, &p, unfit("NodeAffinity"), 0);
    assert_eq!(queue.flush(at(299)), Some(at(300)));
    assert_eq!(pop(&mut queue, 299), None);
    queue.flush(at(300));
    let again = queue.pop(at(300)).unwrap();
    assert!(again.flushed);
    assert_eq!(again.attempts, 2);
}

#[test]
fn our_own_condition_is_no_reason_to_try_again() {
    let (mut queue, p) = (queue(), pod("p"));
    queue.add(p.shared(), at(0));
    pop(&mut queue, 0);
    let reported = p.clone().edit(|p| {
        p.metadata.resource_version = "7".into();
        p.status
            .conditions
            .push(api_types::core::v1::PodCondition { type_: "PodScheduled".into(), ..Default::default() });
    });
    // Neither while in flight nor later, also when no plugin in particular rejected the pod.
    queue.update(reported.shared(), at(0));
    fail(&mut queue, &p, Returned::Unschedulable { rejected_by: [].into(), pending: false }, 0);
    queue.update(reported.edit(|p| p.metadata.resource_version = "8".into()).shared(), at(20));
    assert_eq!(pop(&mut queue, 100), None);
    queue.update(p.toleration("a", "Exists", "", "").shared(), at(100));
    assert_eq!(pop(&mut queue, 100).as_deref(), Some("p"));
}

#[test]
fn gated_pods_enter_when_the_gates_are_gone() {
    let mut queue = queue();
    let gated = pod("p").edit(|p| {
        p.spec.scheduling_gates.push(api_types::core::v1::PodSchedulingGate { name: "wait".into() });
    });
    queue.add(gated.shared(), at(0));
    queue.on_event(&new_node(), at(1));
    queue.flush(at(1000));
    assert_eq!(pop(&mut queue, 1000), None);
    queue.update(pod("p").shared(), at(1001));
    assert_eq!(pop(&mut queue, 1001).as_deref(), Some("p"));
}

#[test]
fn an_update_in_flight_is_what_comes_back() {
    let mut queue = queue();
    queue.add(pod("p").shared(), at(0));
    pop(&mut queue, 0);
    queue.update(pod("p").node_selector("a", "b").shared(), at(0));
    fail(&mut queue, &pod("p"), Returned::Error, 0);
    assert!(queue.pod("p").unwrap().selection.is_some());
}

#[test]
fn a_pod_that_is_gone_does_not_come_back() {
    let mut queue = queue();
    queue.add(pod("p").shared(), at(0));
    pop(&mut queue, 0);
    queue.remove("p");
    fail(&mut queue, &pod("p"), Returned::Error, 0);
    assert_eq!(queue.flush(at(1000)), None);
    assert_eq!(pop(&mut queue, 1000), None);
}

#[test]
fn nominations_are_kept_until_taken_back() {
    let mut nominator = Nominator::default();
    let plain = pod("p").priority(3).shared();
    let _ = nominator.nominate(&plain, &"n".into());
    // An older view of the pod, without the nomination, does not end it.
    nominator.see(&plain);
    assert_eq!(nominator.lower("n", 5).len(), 1);
    assert_eq!(nominator.lower("n", 3).len(), 0);
    let _ = nominator.nominate(&plain, &"".into());
    assert_eq!(nominator.node_of("p"), None);
}
