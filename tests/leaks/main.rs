//! kill -9 of the kubelet, the container runtime or both at random moments of pods' lives: afterwards
//! the node holds what its pods need and nothing else.
//!
//! Runs alone, for it kills daemons. In each round pods of several sorts are made and deleted while
//! daemons are killed; at the end directories, mounts, control groups, sandboxes, containers,
//! addresses and logs are counted ([`held`]) and compared with the pods that the API has.
//! One pod lives through all of it and must still have its first container.
//! [`steps`] does the same at each step of one pod's life.

mod between;
mod held;
mod steps;

use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::{BUSYBOX, Cluster, Namespace, eventually};
use held::Held;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// One test at a time kills daemons (.config/nextest.toml says the same for tests in processes of their own).
static ALONE: Mutex<()> = Mutex::new(());

const ROUNDS: u32 = 6;
const VICTIMS: [&[&str]; 3] = [&["kubelet"], &["containerd"], &["kubelet", "containerd"]];

/// Moments differ from run to run; the seed is told so that one can be looked for again.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |age| age.as_nanos());
        let seed = u64::try_from(seed & u128::from(u64::MAX)).unwrap_or(1) | 1;
        println!("seed {seed}");
        Self(seed)
    }

    /// Up to that many milliseconds.
    fn pause(&mut self, most: u64) {
        // xorshift: nothing depends on how good it is.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        std::thread::sleep(Duration::from_millis(self.0 % most));
    }
}

/// Pods of every sort that leaves something behind: volumes of all kinds, sub-paths, init containers,
/// ends of their own, crashes, hooks.
fn pods(round: u32) -> String {
    let pod = |name: &str, spec: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}-{round}}}\nspec:\n{spec}---\n")
    };
    let container = format!("image: {BUSYBOX}, imagePullPolicy: IfNotPresent");
    pod(
        "volumes",
        &format!(
            "  terminationGracePeriodSeconds: 2
  initContainers:
  - {{name: init, {container}, command: [sh, -c, 'echo x >/disk/x'], volumeMounts: [{{name: disk, mountPath: /disk}}]}}
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    command: [sleep, '3600']
    volumeMounts:
    - {{name: disk, mountPath: /sub, subPath: below}}
    - {{name: memory, mountPath: /memory}}
    - {{name: settings, mountPath: /settings}}
    - {{name: secret, mountPath: /secret}}
  volumes:
  - {{name: disk, emptyDir: {{}}}}
  - {{name: memory, emptyDir: {{medium: Memory}}}}
  - {{name: settings, configMap: {{name: settings}}}}
  - {{name: secret, secret: {{secretName: secret}}}}
"
        ),
    ) + &pod(
        "ends",
        &format!(
            "  restartPolicy: Never\n  containers:\n  - {{name: main, {container}, command: [sh, -c, 'sleep 1; echo done']}}\n"
        ),
    ) + &pod(
        "crashes",
        &format!("  containers:\n  - {{name: main, {container}, command: [sh, -c, 'sleep 1; exit 1']}}\n"),
    ) + &pod(
        "hooked",
        &format!(
            "  terminationGracePeriodSeconds: 4
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    command: [sleep, '3600']
    lifecycle: {{preStop: {{exec: {{command: [sleep, '2']}}}}}}
"
        ),
    ) + &pod(
        "sidecars",
        &format!(
            "  terminationGracePeriodSeconds: 4
  initContainers:
  - {{name: first, {container}, command: [sleep, '1']}}
  - name: beside
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    restartPolicy: Always
    command: [sh, -c, 'trap exit TERM; while :; do sleep 1; done']
    startupProbe: {{exec: {{command: ['true']}}, periodSeconds: 1}}
    lifecycle: {{preStop: {{sleep: {{seconds: 1}}}}}}
  - {{name: last, {container}, command: [sleep, '1']}}
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    command: [sh, -c, 'trap exit TERM; while :; do sleep 1; done']
    lifecycle: {{postStart: {{exec: {{command: [sleep, '1']}}}}}}
"
        ),
    )
}

fn kill(cluster: &Cluster, victims: &[&str]) -> Result<()> {
    for victim in victims {
        println!("kill -9 {victim}");
        // It may be on its way up from the last time.
        eventually("it can be killed", 60, || Ok(cluster.kubeforge("kill", &[victim]).status == 0))?;
    }
    Ok(())
}

fn ready(cluster: &Cluster) -> Result<()> {
    eventually("the node is Ready", 180, || {
        let path = "jsonpath={.items[0].status.conditions[?(@.type==\"Ready\")].status}";
        Ok(cluster.kubectl(&["get", "nodes", "-o", path]).stdout == "True")
    })
}

fn rounds(cluster: &Cluster, ns: &Namespace) -> Result<()> {
    let mut dice = Dice::new();
    for round in 0..ROUNDS {
        let victims = VICTIMS[round as usize % VICTIMS.len()];
        ns.apply(&pods(round))?;
        dice.pause(4000);
        kill(cluster, victims).with_context(|| format!("round {round}, while pods start"))?;
        dice.pause(4000);
        ns.kubectl(&["delete", "pods", "-l", "!steady", "--wait=false"]).succeeds()?;
        dice.pause(3000);
        kill(cluster, victims).with_context(|| format!("round {round}, while pods end"))?;
    }
    Ok(())
}

#[test]
fn a_node_holds_what_its_pods_need_and_no_more() -> Result<()> {
    let _alone = ALONE.lock();
    let Some(cluster) = Cluster::of_this_run() else { return Ok(()) };
    let ns = cluster.namespace("leaks")?;
    ns.apply(&format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{a: b}}
---
apiVersion: v1
kind: Secret
metadata: {{name: secret}}
stringData: {{a: b}}
---
apiVersion: v1
kind: Pod
metadata: {{name: steady, labels: {{steady: 'yes'}}}}
spec:
  containers:
  - {{name: main, image: {BUSYBOX}, imagePullPolicy: IfNotPresent, command: [sleep, '36000']}}
"
    ))?;
    ns.until("pod/steady", "{.status.phase}", "Running", 120)?;
    let container = ns.path("pod/steady", "{.status.containerStatuses[0].containerID}")?;

    rounds(&cluster, &ns)?;

    ready(&cluster)?;
    eventually("the pods are gone", 240, || Ok(ns.path("pods", "{.items[*].metadata.name}")? == "steady"))?;
    let mut last = Vec::new();
    let clean = eventually("nothing is left", 180, || {
        last = Held::look(&cluster)?.surplus(&held::needs(&cluster)?);
        Ok(last.is_empty())
    });
    clean.with_context(|| format!("left over:\n{}", last.join("\n")))?;

    let now = ns.path("pod/steady", "{.status.containerStatuses[0].containerID}")?;
    ensure!(now == container, "the pod that was left alone had {container}, and has {now}");
    let restarts = ns.path("pod/steady", "{.status.containerStatuses[0].restartCount}")?;
    ensure!(restarts == "0", "the pod that was left alone was started again: {restarts}");
    let held = Held::look(&cluster)?;
    ensure!(
        !held.sandboxes.is_empty() && !held.cgroups.is_empty(),
        "the looking itself found nothing: {held:?}"
    );
    Ok(())
}
