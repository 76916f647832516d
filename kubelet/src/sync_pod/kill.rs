//! Stopping: preStop hooks, grace periods, the order of sidecars, then the sandbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::{Container, LifecycleHandler, Pod};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::plan::{KillReason, is_sidecar};
use crate::cri::CallError;
use crate::cri::observed::{self, ObservedPod, State};
use crate::kubelet::Kubelet;
use crate::lifecycle;

/// Seconds that every container gets, whatever its grace period says.
const MINIMUM_GRACE: i64 = 2;

/// The container's spec, wherever it stands in the pod.
pub fn spec_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = &pod.spec;
    spec.containers
        .iter()
        .chain(&spec.init_containers)
        .chain(spec.ephemeral_containers.iter().map(|container| &container.common))
        .find(|container| container.name == name)
}

/// Seconds that a container has to end, for this reason.
fn grace_period(
    pod: &Pod,
    container: Option<&Container>,
    seen: &observed::Container,
    reason: KillReason,
) -> i64 {
    let probes = |probe: &Option<Box<api_types::core::v1::Probe>>| {
        probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds)
    };
    let own = match reason {
        KillReason::StartupProbe => container.and_then(|container| probes(&container.startup_probe)),
        KillReason::LivenessProbe => container.and_then(|container| probes(&container.liveness_probe)),
        _ => None,
    };
    let facts = &seen.facts;
    pod.metadata
        .deletion_grace_period_seconds
        .or(own)
        .or(pod.spec.termination_grace_period_seconds)
        .or(facts.deletion_grace)
        .or(facts.termination_grace)
        .unwrap_or(MINIMUM_GRACE)
}

/// One container to stop.
pub struct Target<'a> {
    /// The pod; of an orphan only its identity.
    pub pod: &'a Arc<Pod>,
    /// What to stop.
    pub seen: &'a observed::Container,
    /// For the event; empty for the usual one.
    pub message: &'a str,
    /// Why.
    pub reason: KillReason,
    /// Seconds that overrule all others.
    pub grace: Option<i64>,
}

/// Stops one container: its preStop hook, its stop signal, its end.
pub async fn stop_container(kubelet: &Arc<Kubelet>, target: Target<'_>) -> Result<(), CallError> {
    stop_in_turn(kubelet, target, std::future::ready(())).await
}

/// Stops one container, its hook at once and its signal when it is its turn, as far as there is time.
async fn stop_in_turn(
    kubelet: &Arc<Kubelet>,
    target: Target<'_>,
    turn: impl Future<Output = ()>,
) -> Result<(), CallError> {
    let Target { pod, seen, message, reason, grace } = target;
    let spec = spec_of(pod, &seen.name);
    let usual = format!("Stopping container {}", seen.name);
    let message = if message.is_empty() { &usual } else { message };
    kubelet.recorder.container(pod, &seen.name, "Normal", "Killing", message);
    let mut grace = grace.unwrap_or_else(|| grace_period(pod, spec, seen, reason));
    let hook: Option<&LifecycleHandler> = match spec {
        Some(spec) => spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_deref()),
        None => seen.facts.pre_stop.as_ref(),
    };
    if let Some(hook) = hook.filter(|_| grace > 0) {
        grace -= pre_stop(kubelet, pod, spec, seen, hook, grace).await;
    }
    let began = Instant::now();
    // When there is no time left, nobody waits for anybody.
    let _ = tokio::time::timeout(Duration::from_secs(grace.max(0).unsigned_abs()), turn).await;
    grace -= i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    match kubelet.runtime.stop_container(&seen.id, grace.max(MINIMUM_GRACE)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Runs a preStop hook in at most `grace` seconds; answers how many it took.
async fn pre_stop(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    spec: Option<&Container>,
    seen: &observed::Container,
    hook: &LifecycleHandler,
    grace: i64,
) -> i64 {
    let fallback = Container { name: seen.name.clone(), ..Default::default() };
    let began = Instant::now();
    let limit = Duration::from_secs(grace.unsigned_abs());
    let run = lifecycle::run(kubelet, pod, spec.unwrap_or(&fallback), &seen.id, hook);
    match tokio::time::timeout(limit, run).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(pod = pod.metadata.name, container = seen.name, %error, "preStop hook failed");
            // Not the message itself: it may hold secrets of the server.
            let (reason, text) = ("FailedPreStopHook", "PreStopHook failed");
            kubelet.recorder.container(pod, &seen.name, "Warning", reason, text);
        }
        Err(_) => {
            tracing::info!(
                pod = pod.metadata.name,
                container = seen.name,
                "preStop hook took the grace period"
            );
        }
    }
    i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX)
}

/// Who must have ended before a container gets its signal, by place in `running`: a sidecar waits for all
/// that are no sidecars and for the sidecars after it; the others wait for no one.
fn predecessors(pod: &Pod, running: &[&str]) -> Vec<Vec<usize>> {
    let sidecar =
        |name: &str| pod.spec.init_containers.iter().position(|spec| spec.name == name && is_sidecar(spec));
    running
        .iter()
        .map(|name| match sidecar(name) {
            None => Vec::new(),
            Some(own) => (0..running.len())
                .filter(|other| sidecar(running[*other]).is_none_or(|other| other > own))
                .collect(),
        })
        .collect()
}

/// Stops everything of a pod: all hooks at once, then the signals in their order.
pub async fn stop_pod(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    observed: &ObservedPod,
    grace: Option<i64>,
) -> Result<(), CallError> {
    let running: Vec<&observed::Container> = observed
        .containers
        .iter()
        .filter(|seen| matches!(seen.state, State::Running | State::Unknown))
        .collect();
    let names: Vec<&str> = running.iter().map(|seen| seen.name.as_str()).collect();
    let ended: Vec<CancellationToken> = running.iter().map(|_| CancellationToken::new()).collect();
    let stops = running.iter().zip(predecessors(pod, &names)).enumerate().map(|(place, (seen, before))| {
        let turn = join_all(before.into_iter().map(|before| ended[before].cancelled()));
        // Also when stopping failed: the others must not wait for ever.
        let done = ended[place].clone().drop_guard();
        let target = Target { pod, seen, message: "", reason: KillReason::Ordinary, grace };
        async move {
            let result = stop_in_turn(kubelet, target, async { _ = turn.await }).await;
            drop(done);
            result
        }
    });
    for result in join_all(stops).await {
        result?;
    }
    for sandbox in &observed.sandboxes {
        match kubelet.runtime.stop_sandbox(&sandbox.id).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::ContainerRestartPolicy;

    #[test]
    fn sidecars_wait_for_whom_they_serve() {
        let mut pod = Pod::default();
        for name in ["first", "second"] {
            pod.spec.init_containers.push(Container {
                name: name.into(),
                restart_policy: Some(ContainerRestartPolicy::Always),
                ..Default::default()
            });
        }
        pod.spec.containers.push(Container { name: "main".into(), ..Default::default() });
        let waits = predecessors(&pod, &["first", "main", "second"]);
        assert_eq!(waits, [vec![1, 2], vec![], vec![1]]);
    }
}
