//! kill -9 at every step of a pod's life: for each call to the runtime that changes something, before the
//! runtime has it and when it has answered, the kubelet, the runtime or both are killed. The pod comes up
//! and goes all the same, each of its containers is started once, and nothing of it is left.
//!
//! `FERROKUBE_STEPS=all` kills each of the three at each step; otherwise they take turns.

use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::{BUSYBOX, Cluster, Namespace, eventually};

use crate::between::{Between, Fate, Moment};
use crate::held::{self, Held};
use crate::{VICTIMS, kill, ready};

const CONTAINERS: [&str; 3] = ["init", "beside", "main"];

/// A pod of every sort of container, whose containers note each of their starts in a folder of the node.
fn pod(number: usize, starts: &str) -> String {
    let container = |name: &str, then: &str, more: &str| {
        format!(
            "  - name: {name}
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    command: [sh, -c, 'echo started >>/starts/{name}; {then}']
    volumeMounts: [{{name: starts, mountPath: /starts}}, {{name: disk, mountPath: /disk, subPath: below}}]
{more}"
        )
    };
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: step-{number}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 3
  initContainers:
{}{}  containers:
{}  volumes:
  - {{name: disk, emptyDir: {{}}}}
  - {{name: starts, hostPath: {{path: {starts}, type: DirectoryOrCreate}}}}
",
        container("init", "true", ""),
        container("beside", "trap exit TERM; while :; do sleep 0.2; done", "    restartPolicy: Always\n"),
        container(
            "main",
            "trap exit TERM; while :; do sleep 0.2; done",
            "    lifecycle: {postStart: {exec: {command: ['true']}}, preStop: {exec: {command: ['true']}}}\n",
        ),
    )
}

/// The kubelet that asks its runtime by way of a [`Between`]; asks it itself again when this is dropped.
struct Diverted<'a> {
    cluster: &'a Cluster,
    config: std::path::PathBuf,
    before: String,
    between: Between,
}

impl<'a> Diverted<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let config = cluster.dir().join("kubelet/config.yaml");
        let before = std::fs::read_to_string(&config)?;
        let (runtime, socket) =
            (cluster.dir().join("run/containerd.sock"), cluster.dir().join("run/between.sock"));
        let between = Between::listen(&socket, &runtime)?;
        let after = before.replace(&runtime.display().to_string(), &socket.display().to_string());
        ensure!(after != before, "{} does not name {}", config.display(), runtime.display());
        std::fs::write(&config, after)?;
        let diverted = Self { cluster, config, before, between };
        kill(cluster, &["kubelet"])?;
        Ok(diverted)
    }

    /// Kills the victims if the call that was awaited is held now; says which it was.
    fn spring(&self, victims: &[&str]) -> Result<Option<String>> {
        let Some(call) = self.between.held() else { return Ok(None) };
        kill(self.cluster, victims)?;
        self.between.release(if victims.contains(&"kubelet") { Fate::Drop } else { Fate::PassOn });
        Ok(Some(call))
    }
}

impl Drop for Diverted<'_> {
    fn drop(&mut self) {
        let written = std::fs::write(&self.config, &self.before);
        let killed = kill(self.cluster, &["kubelet"]);
        if written.is_err() || killed.is_err() {
            println!("the kubelet's configuration is not as it was: {written:?} {killed:?}");
        }
    }
}

/// A pod's life with a kill in it; the call at which it was, `None` if the life has no such step.
fn life(
    ns: &Namespace,
    diverted: &Diverted,
    number: usize,
    step: (usize, Moment),
    victims: &[&str],
) -> Result<Option<String>> {
    let starts = ns.cluster().dir().join(format!("starts/{}-{number}", ns.name));
    let name = format!("pod/step-{number}");
    let mut call = None;
    let mut spring = || -> Result<()> {
        call = diverted.spring(victims)?.or_else(|| call.take());
        Ok(())
    };
    diverted.between.hold(step.0, step.1);
    ns.apply(&pod(number, &starts.display().to_string()))?;
    eventually("it runs", 120, || {
        spring()?;
        let path =
            "{.status.phase} {.status.containerStatuses[0].ready} {.status.initContainerStatuses[1].ready}";
        Ok(ns.path(&name, path)? == "Running true true")
    })?;
    ns.kubectl(&["delete", &name, "--wait=false"]).succeeds()?;
    eventually("it is gone", 120, || {
        spring()?;
        Ok(ns.path("pods", "{.items[*].metadata.name}")?.split(' ').all(|name| name == "steady"))
    })?;
    for container in CONTAINERS {
        let noted = std::fs::read_to_string(starts.join(container)).unwrap_or_default();
        ensure!(noted == "started\n", "{container} was started {} times", noted.lines().count());
    }
    Ok(call)
}

#[test]
fn a_pod_lives_and_goes_whatever_is_killed_at_any_step() -> Result<()> {
    let _alone = crate::ALONE.lock();
    let Some(cluster) = Cluster::of_this_run() else { return Ok(()) };
    let ns = cluster.namespace("steps")?;
    ns.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: steady}}
spec:
  containers:
  - {{name: main, image: {BUSYBOX}, imagePullPolicy: IfNotPresent, command: [sleep, '36000']}}
"
    ))?;
    ns.until("pod/steady", "{.status.phase}", "Running", 120)?;
    let container = "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}";
    let before = ns.path("pod/steady", container)?;

    let all = std::env::var("FERROKUBE_STEPS").is_ok_and(|steps| steps == "all");
    let diverted = Diverted::new(&cluster)?;
    let mut number = 0;
    'steps: for step in 0.. {
        for moment in [Moment::Asked, Moment::Answered] {
            let turns =
                if all { 0..VICTIMS.len() } else { number % VICTIMS.len()..number % VICTIMS.len() + 1 };
            for victims in &VICTIMS[turns] {
                ready(&cluster)?;
                let what = || format!("life {number}: {victims:?} killed at call {step}, {moment:?}");
                let Some(call) = life(&ns, &diverted, number, (step, moment), victims).with_context(what)?
                else {
                    break 'steps;
                };
                println!("{}: {call}", what());
                number += 1;
            }
        }
    }
    drop(diverted);
    // Sandbox, three containers, a hook and all of it back.
    ensure!(number >= 2 * 12, "only {number} lives had a step at which something was killed");

    ready(&cluster)?;
    let mut last = Vec::new();
    let clean = eventually("nothing is left", 180, || {
        last = Held::look(&cluster)?.surplus(&held::needs(&cluster)?);
        Ok(last.is_empty())
    });
    clean.with_context(|| format!("left over:\n{}", last.join("\n")))?;
    let now = ns.path("pod/steady", container)?;
    ensure!(now == before, "the pod that was left alone was {before}, and is {now}");
    Ok(())
}
