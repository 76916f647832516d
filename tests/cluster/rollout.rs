//! Deployments: rolling updates, history, pause, undo, scaling.

use crate::{walk, web};
use anyhow::{Result, ensure};
use ferrokube_tests::eventually;

#[test]
fn a_deployment_rolls_forward_and_back() -> Result<()> {
    walk("rollout", |ns| {
        ns.apply(&web("web", 3))?;
        ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])
            .says(&["deployment \"web\" successfully rolled out"])?;
        ns.kubectl(&["get", "deployment", "web"]).says(&["READY", "UP-TO-DATE", "AVAILABLE", "3/3"])?;
        ns.kubectl(&["describe", "deployment", "web"]).says(&[
            "StrategyType:           RollingUpdate",
            "25% max unavailable, 25% max surge",
            "Available      True    MinimumReplicasAvailable",
            "Progressing    True    NewReplicaSetAvailable",
            "ScalingReplicaSet",
            "Scaled up replica set web-",
            "from 0 to 3",
        ])?;
        ns.kubectl(&["set", "env", "deployment/web", "ROUND=2"]).succeeds()?;
        ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).succeeds()?;
        ns.kubectl(&["rollout", "history", "deployment/web"]).says(&["REVISION", "1", "2"])?;
        ns.kubectl(&["rollout", "history", "deployment/web", "--revision=2"]).says(&["ROUND:\t2"])?;
        ns.kubectl(&["rollout", "undo", "deployment/web", "--to-revision=1"]).says(&["rolled back"])?;
        ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).succeeds()?;
        let template = ns.get("deployment/web")?["spec"]["template"].to_string();
        ensure!(!template.contains("ROUND"), "{template}");
        eventually("the old pods are gone", 60, || {
            Ok(ns.kubectl(&["get", "pods", "-l", "app=web", "-o", "name"]).succeeds()?.lines().count() == 3)
        })
    })
}

#[test]
fn a_paused_deployment_waits() -> Result<()> {
    walk("pause", |ns| {
        ns.apply(&web("web", 1))?;
        ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).succeeds()?;
        ns.kubectl(&["rollout", "pause", "deployment/web"]).says(&["paused"])?;
        ns.kubectl(&["set", "env", "deployment/web", "ROUND=2"]).succeeds()?;
        ns.until(
            "deployment/web",
            "{.status.observedGeneration}",
            &ns.path("deployment/web", "{.metadata.generation}")?,
            20,
        )?;
        let sets = ns.kubectl(&["get", "rs", "-o", "name"]).succeeds()?;
        ensure!(sets.lines().count() == 1, "{sets}");
        ns.kubectl(&["rollout", "resume", "deployment/web"]).says(&["resumed"])?;
        ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).succeeds()?;
        eventually("the new replica set has the pod", 60, || {
            let rows = ns.kubectl(&["get", "rs", "-o", "jsonpath={.items[*].status.replicas}"]).succeeds()?;
            Ok(rows.split(' ').filter(|n| *n == "1").count() == 1)
        })
    })
}

#[test]
fn scaling_and_healing() -> Result<()> {
    walk("scale", |ns| {
        ns.apply(&web("web", 1))?;
        ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).succeeds()?;
        ns.kubectl(&["scale", "deployment/web", "--replicas=3"]).says(&["scaled"])?;
        ns.until("deployment/web", "{.status.readyReplicas}", "3", 90)?;
        let pod = ns.path("pods", "{.items[0].metadata.name}")?;
        ns.kubectl(&["delete", "pod", &pod]).succeeds()?;
        ns.until("deployment/web", "{.status.readyReplicas}", "3", 90)?;
        ns.kubectl(&["get", "pod", &pod]).fails_with("NotFound")?;
        ns.kubectl(&["scale", "deployment/web", "--replicas=0", "--current-replicas=2"])
            .fails_with("Expected replicas to be 2, was 3")?;
        ns.kubectl(&["scale", "deployment/web", "--replicas=1"]).succeeds()?;
        eventually("one pod is left", 60, || {
            Ok(ns.kubectl(&["get", "pods", "-o", "name"]).succeeds()?.lines().count() == 1)
        })
    })
}
