//! Pods on one node, and how long each takes to be Ready, by the watch of a stock kubectl.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ferrokube_tests::{BUSYBOX, Cluster, Namespace, eventually};

/// A pod that does not come up in this time has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// How many pods the node has.
pub fn count(cluster: &Cluster) -> Result<usize> {
    Ok(cluster.kubectl(&["get", "pods", "-A", "--no-headers"]).succeeds()?.lines().count())
}

fn manifest(node: &str, number: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}}}\nspec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: main, image: {BUSYBOX}, imagePullPolicy: IfNotPresent, command: [sleep, '36000']}}\n---\n"
    )
}

/// A word of the watch, and when it came.
struct Seen {
    name: String,
    ready: bool,
    at: Instant,
}

fn watch(ns: &Namespace) -> Result<(std::process::Child, Receiver<Seen>)> {
    let form = "jsonpath={.metadata.name}{\" \"}{.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}";
    let mut command = ns.cluster().kubectl_command(&["-n", &ns.name, "get", "pods", "--watch", "-o", form]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let (name, ready) = line.split_once(' ').unwrap_or((&line, ""));
            let seen = Seen { name: name.to_owned(), ready: ready == "True", at: Instant::now() };
            if sender.send(seen).is_err() {
                return;
            }
        }
    });
    Ok((child, receiver))
}

/// Starts `many` pods, `step` at a time; how long each took.
pub fn start(ns: &Namespace, node: &str, many: usize, step: usize) -> Result<Vec<Duration>> {
    let (mut child, seen) = watch(ns)?;
    // The watch is to be there before the first pod.
    std::thread::sleep(Duration::from_secs(2));
    let result = follow(ns, node, many, step, &seen);
    child.kill()?;
    child.wait()?;
    result
}

fn follow(
    ns: &Namespace,
    node: &str,
    many: usize,
    step: usize,
    seen: &Receiver<Seen>,
) -> Result<Vec<Duration>> {
    let mut first: BTreeMap<String, Instant> = BTreeMap::new();
    let mut took: BTreeMap<String, Duration> = BTreeMap::new();
    for begin in (0..many).step_by(step) {
        let end = (begin + step).min(many);
        let manifests: String = (begin..end).map(|number| manifest(node, number)).collect();
        ns.kubectl_with(&["create", "-f", "-"], &manifests).succeeds()?;
        while took.len() < end {
            let Ok(one) = seen.recv_timeout(PATIENCE) else {
                bail!("{} of {end} pods are ready, and nothing moves", took.len());
            };
            let began = *first.entry(one.name.clone()).or_insert(one.at);
            if one.ready {
                took.entry(one.name).or_insert(one.at - began);
            }
        }
    }
    Ok(took.into_values().collect())
}

/// Deletes all of the namespace, and waits until they are gone.
pub fn delete(ns: &Namespace) -> Result<()> {
    ns.kubectl(&["delete", "pods", "--all", "--wait=false"]).succeeds()?;
    eventually("the pods are gone", 300, || {
        Ok(ns.kubectl(&["get", "pods", "--no-headers"]).succeeds()?.is_empty())
    })
}
