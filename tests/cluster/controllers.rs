//! Reconciliation that a user notices outside of Deployments: replica sets, endpoints, nodes, drain.

use crate::{walk, web};
use anyhow::{Result, ensure};
use ferrokube_tests::eventually;

#[test]
fn a_replica_set_adopts_and_releases_by_label() -> Result<()> {
    walk("adopt", |ns| {
        ns.kubectl(&[
            "run",
            "orphan",
            "--image",
            ferrokube_tests::BUSYBOX,
            "--image-pull-policy=IfNotPresent",
            "--labels=app=set",
            "--command",
            "--",
            "sleep",
            "3600",
        ])
        .succeeds()?;
        ns.apply(
            "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: set}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: set}}\n  template:\n    metadata: {labels: {app: set}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers: [{name: c, image: 'docker.io/library/busybox:latest', imagePullPolicy: IfNotPresent, command: [sleep, '3600']}]\n",
        )?;
        ns.until("pod/orphan", "{.metadata.ownerReferences[0].kind}", "ReplicaSet", 30)?;
        ns.kubectl(&["label", "pod", "orphan", "app=other", "--overwrite"]).succeeds()?;
        ns.until("pod/orphan", "{.metadata.ownerReferences}", "", 30)?;
        eventually("another pod takes its place", 60, || {
            Ok(ns.kubectl(&["get", "pods", "-l", "app=set", "-o", "name"]).succeeds()?.lines().count() == 1)
        })
    })
}

#[test]
fn endpoints_follow_the_pods() -> Result<()> {
    walk("endpoints", |ns| {
        ns.apply(&web("web", 2))?;
        ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=http"]).says(&["exposed"])?;
        eventually("both pods are endpoints", 90, || {
            Ok(ns.path("endpoints/web", "{.subsets[0].addresses[*].ip}")?.split(' ').count() == 2)
        })?;
        let slices = ns
            .kubectl(&["get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "json"])
            .succeeds()?;
        let slices: serde_json::Value = serde_json::from_str(&slices)?;
        let slice = &slices["items"][0];
        ensure!(slice["addressType"] == "IPv4" && slice["ports"][0]["port"] == 8080, "{slice}");
        ensure!(slice["endpoints"][0]["conditions"]["ready"] == true, "{slice}");
        ns.kubectl(&["scale", "deployment/web", "--replicas=0"]).succeeds()?;
        eventually("no endpoint is left", 60, || Ok(ns.path("endpoints/web", "{.subsets}")?.is_empty()))
    })
}

#[test]
fn a_cordoned_node_takes_no_pods_and_a_drained_one_loses_them() -> Result<()> {
    walk("drain", |ns| {
        // Other tests need the node: only pods of this namespace are drained, by their label.
        let node = ns.cluster().node()?;
        let pod = |name: &str, tolerates: bool| {
            let tolerations = if tolerates { "" } else { "  nodeSelector: {drain-test: 'yes'}\n" };
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{drain: me}}}}\nspec:\n{tolerations}  terminationGracePeriodSeconds: 0\n  containers: [{{name: c, image: 'docker.io/library/busybox:latest', imagePullPolicy: IfNotPresent, command: [sleep, '3600']}}]\n"
            )
        };
        ns.apply(&pod("picky", false))?;
        ns.until(
            "pod/picky",
            "{.status.conditions[?(@.type==\"PodScheduled\")].reason}",
            "Unschedulable",
            30,
        )?;
        ns.kubectl(&["describe", "pod", "picky"]).says(&[
            "FailedScheduling",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ])?;
        ns.kubectl(&["label", "node", &node, "drain-test=yes"]).succeeds()?;
        ns.until("pod/picky", "{.status.phase}", "Running", 60)?;
        ns.kubectl(&["describe", "pod", "picky"]).says(&["Successfully assigned"])?;
        ns.kubectl(&["label", "node", &node, "drain-test-"]).succeeds()?;
        ns.kubectl(&[
            "drain",
            &node,
            "--pod-selector=drain=me",
            "--force",
            "--ignore-daemonsets",
            "--timeout=60s",
        ])
        .says(&["drained"])?;
        ns.kubectl(&["get", "node", &node]).says(&["SchedulingDisabled"])?;
        ns.kubectl(&["get", "pod", "picky"]).fails_with("NotFound")?;
        ns.kubectl(&["uncordon", &node]).says(&["uncordoned"])?;
        Ok(())
    })
}
