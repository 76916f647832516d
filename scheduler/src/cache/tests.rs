//! The cache and the snapshots that it makes.

use super::*;
use crate::testing::{node, pod};

fn used(snapshot: &Snapshot, node: &str) -> i64 {
    snapshot.get(node).unwrap().requested.milli_cpu
}

#[test]
fn a_snapshot_follows_the_cache_and_stands_still_between() {
    let (mut cache, mut snapshot) = (Cache::default(), Snapshot::default());
    cache.set_node(Arc::new(node("a").view()));
    cache.update(&mut snapshot);
    cache.set_pod(pod("p").requests("cpu", "1").on("a").shared());
    assert_eq!(used(&snapshot, "a"), 0);
    cache.update(&mut snapshot);
    assert_eq!(used(&snapshot, "a"), 1000);
    cache.remove_pod("p");
    cache.update(&mut snapshot);
    assert_eq!(used(&snapshot, "a"), 0);
    cache.remove_node(&"a".into());
    cache.update(&mut snapshot);
    assert!(snapshot.nodes.is_empty());
}

#[test]
fn assumed_pods_take_room_until_confirmed_or_forgotten() {
    let (mut cache, mut snapshot) = (Cache::default(), Snapshot::default());
    cache.set_node(Arc::new(node("a").view()));
    cache.set_node(Arc::new(node("b").view()));
    let on = |name: &str| pod("p").requests("cpu", "1").on(name).shared();
    cache.assume(on("a"));
    assert!(cache.is_assumed("p"));
    cache.forget("p");
    cache.assume(on("a"));
    // Somebody else bound it elsewhere: what the apiserver says holds.
    cache.set_pod(on("b"));
    assert!(cache.forget("p").is_none());
    cache.update(&mut snapshot);
    assert_eq!((used(&snapshot, "a"), used(&snapshot, "b")), (0, 1000));
    assert_eq!(cache.size(), Size { nodes: 2, pods: 1, assumed: 0 });
}

#[test]
fn pods_may_come_before_their_node() {
    let (mut cache, mut snapshot) = (Cache::default(), Snapshot::default());
    cache.set_pod(pod("p").requests("cpu", "1").on("a").shared());
    cache.update(&mut snapshot);
    assert!(snapshot.nodes.is_empty());
    cache.set_node(Arc::new(node("a").view()));
    cache.update(&mut snapshot);
    assert_eq!(used(&snapshot, "a"), 1000);
}

#[test]
fn zones_take_turns() {
    let (mut cache, mut snapshot) = (Cache::default(), Snapshot::default());
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")] {
        cache.set_node(Arc::new(node(name).label("topology.kubernetes.io/zone", zone).view()));
    }
    cache.update(&mut snapshot);
    let order: Vec<_> = snapshot.nodes.iter().map(|n| n.name().to_string()).collect();
    assert_eq!(order, ["a1", "b1", "a2", "a3"]);
}

#[test]
fn nodes_with_an_image_are_counted() {
    let (mut cache, mut snapshot) = (Cache::default(), Snapshot::default());
    cache.set_node(Arc::new(node("a").image("i:1", 1).view()));
    cache.set_node(Arc::new(node("b").image("i:1", 1).view()));
    cache.remove_node(&"a".into());
    cache.update(&mut snapshot);
    assert_eq!(snapshot.image_nodes.get("i:1"), Some(&1));
}
