//! Whole attempts with the default plugins: the chosen node or the message.

use std::sync::Arc;

use super::*;
use crate::config::SchedulerConfig;
use crate::testing::{NodeBuilder, PodBuilder, cluster, node, pod};

fn attempt(incoming: &PodBuilder, nodes: &[NodeBuilder], others: &[PodBuilder]) -> Result<Chosen, Failure> {
    let profiles = SchedulerConfig::default().profiles().unwrap();
    let snapshot = cluster(nodes, others);
    let attempt = Attempt {
        profile: &profiles[0],
        snapshot: &snapshot,
        percentage: 0,
        start: 0,
        random: &mut fastrand::Rng::with_seed(1),
    };
    attempt.run(&Arc::new(incoming.view())).result
}

fn check(incoming: &PodBuilder, nodes: &[NodeBuilder], others: &[PodBuilder], expected: Result<&str, &str>) {
    let outcome = attempt(incoming, nodes, others);
    let got = outcome.as_ref().map(|c| c.node.to_string()).map_err(Failure::message);
    assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned));
}

fn machine(name: &str) -> NodeBuilder {
    node(name).allocatable("cpu", "2").allocatable("memory", "4Gi")
}

#[test]
fn messages_are_upstreams() {
    check(&pod("p"), &[], &[], Err("no nodes available to schedule pods"));
    // Larger than the node: preemption cannot help.
    check(
        &pod("p").requests("cpu", "4"),
        &[machine("a")],
        &[],
        Err(
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
    );
    // It would fit an empty node, but nothing of lower priority is there.
    check(
        &pod("p").requests("cpu", "2"),
        &[machine("a")],
        &[pod("q").requests("cpu", "1").on("a")],
        Err(
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
    );
    check(
        &pod("p").requests("cpu", "1").requests("memory", "4Gi"),
        &[
            machine("a").taint("x", "", "NoSchedule"),
            machine("b").edit(|n| n.spec.unschedulable = true),
            machine("c"),
            machine("d").taint("y", "", "NoExecute"),
        ],
        &[pod("q").requests("memory", "1Gi").on("c")],
        Err(
            "0/4 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s). \
             no new claims to deallocate, preemption: 0/4 nodes are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling.",
        ),
    );
}

#[test]
fn pre_filter_messages_stand_alone() {
    let claim = pod("p").edit(|p| {
        let mut volume = api_types::core::v1::Volume { name: "data".into(), ..Default::default() };
        volume.source.persistent_volume_claim =
            Some(Box::new(api_types::core::v1::PersistentVolumeClaimVolumeSource {
                claim_name: "data".into(),
                ..Default::default()
            }));
        p.spec.volumes.push(volume);
    });
    check(
        &claim,
        &[machine("a")],
        &[],
        Err("0/1 nodes are available: persistentvolumeclaim \"data\" not found. not found"),
    );
}

#[test]
fn nodes_that_a_pod_does_not_name_are_counted() {
    let named = pod("p").node_field(&["b"]).requests("cpu", "2");
    check(
        &named,
        &[machine("a"), machine("b")],
        &[pod("q").requests("cpu", "1").on("b")],
        Err(
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
             no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.",
        ),
    );
    check(&pod("p").node_field(&["b"]), &[machine("a"), machine("b")], &[], Ok("b"));
}

#[test]
fn the_emptier_node_wins() {
    let busy = pod("q").requests("cpu", "1").requests("memory", "2Gi").on("a");
    check(
        &pod("p").requests("cpu", "500m").requests("memory", "1Gi"),
        &[machine("a"), machine("b")],
        &[busy],
        Ok("b"),
    );
}

#[test]
fn preferences_outweigh_fullness() {
    let soft = machine("b").taint("x", "", "PreferNoSchedule");
    check(
        &pod("p").requests("cpu", "1"),
        &[machine("a"), soft],
        &[pod("q").requests("cpu", "500m").on("a")],
        Ok("a"),
    );
}

#[test]
fn large_clusters_are_searched_in_part() {
    for (percentage, nodes, expected) in [
        (0, 10, 10),
        (0, 99, 99),
        (0, 1000, 420),
        (0, 6000, 300),
        (40, 1000, 400),
        (100, 500, 500),
        (1, 5000, 100),
    ] {
        assert_eq!(nodes_to_find(percentage, nodes), expected, "{percentage}% of {nodes}");
    }
}
