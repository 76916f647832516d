//! kill -9 of any daemon, or of all, at any moment: nothing acknowledged is lost, running
//! containers are kept, the cluster converges.
//!
//! Runs alone, after the walk. A writer creates and changes ConfigMaps all the while and notes each
//! write that was acknowledged; after every kill the cluster must become ready again and hold at
//! least what was acknowledged.

use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::{BUSYBOX, Cluster, Namespace, eventually};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const DAEMONS: [&str; 6] =
    ["kube-apiserver", "kvstore", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

/// Writes until told to stop; what was acknowledged is in `known`.
fn write(ns: &Namespace, stop: &AtomicBool, known: &Mutex<BTreeMap<String, u64>>) {
    let mut round = 0u64;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let name = format!("w{}", round % 7);
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{round: \"{round}\"}}\n"
        );
        if ns.kubectl_with(&["apply", "-f", "-"], &text).status == 0 {
            known.lock().expect("no panic while locked").insert(name, round);
        }
    }
}

fn converged(ns: &Namespace) -> Result<()> {
    eventually("the apiserver is ready", 60, || Ok(ns.kubectl(&["get", "--raw", "/readyz"]).stdout == "ok"))?;
    eventually("the node is Ready", 90, || {
        let path = "jsonpath={.items[0].status.conditions[?(@.type==\"Ready\")].status}";
        Ok(ns.cluster().kubectl(&["get", "nodes", "-o", path]).stdout == "True")
    })
}

fn holds(ns: &Namespace, known: &Mutex<BTreeMap<String, u64>>) -> Result<()> {
    let snapshot = known.lock().expect("no panic while locked").clone();
    for (name, round) in snapshot {
        let found: u64 = ns.path(&format!("configmap/{name}"), "{.data.round}")?.parse()?;
        ensure!(found >= round, "{name}: round {round} was acknowledged, {found} is there");
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_and_containers_run_on() -> Result<()> {
    let Some(cluster) = Cluster::of_this_run() else { return Ok(()) };
    let ns = cluster.namespace("kill")?;
    ns.kubectl(&[
        "create",
        "deployment",
        "steady",
        "--image",
        BUSYBOX,
        "--replicas=2",
        "--",
        "sleep",
        "36000",
    ])
    .succeeds()?;
    ns.kubectl(&["rollout", "status", "deployment/steady", "--timeout=120s"]).succeeds()?;
    eventually("two pods are left", 60, || {
        Ok(ns.path("pods", "{.items[*].metadata.name}")?.split(' ').count() == 2)
    })?;
    let containers = || ns.path("pods", "{.items[*].status.containerStatuses[*].containerID}");
    let before = containers()?;

    let (stop, known) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| write(&ns, &stop, &known));
        let walk = || -> Result<()> {
            for victim in DAEMONS.iter().chain(&["all"]).chain(&["kube-apiserver", "kvstore", "all"]) {
                println!("kill -9 {victim}");
                cluster.kubeforge("kill", &[victim]).succeeds()?;
                converged(&ns).with_context(|| format!("after kill -9 of {victim}"))?;
                holds(&ns, &known).with_context(|| format!("after kill -9 of {victim}"))?;
            }
            Ok(())
        };
        let result = walk();
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic");
        result
    })?;
    holds(&ns, &known)?;
    let writes: u64 = known.lock().expect("no panic while locked").values().copied().max().unwrap_or(0);
    println!("{writes} rounds of writing, 10 kills");
    ensure!(writes > 0, "not one write was acknowledged");

    eventually("the same containers run, never restarted", 60, || Ok(containers()? == before))?;
    let restarts = ns.path("pods", "{.items[*].status.containerStatuses[*].restartCount}")?;
    ensure!(restarts == "0 0", "{restarts}");

    // And it still works.
    ns.kubectl(&["scale", "deployment/steady", "--replicas=3"]).succeeds()?;
    ns.until("deployment/steady", "{.status.readyReplicas}", "3", 90)
}
