//! Stopping: preStop hooks, grace periods, the order of sidecars, then the sandbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::{Container, LifecycleHandler, Pod};
use futures::future::join_all;

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
        let fallback = Container { name: seen.name.clone(), ..Default::default() };
        let began = Instant::now();
        let limit = Duration::from_secs(grace.unsigned_abs());
        let run = lifecycle::run(kubelet, pod, spec.unwrap_or(&fallback), &seen.id, hook);
        match tokio::time::timeout(limit, run).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(pod = pod.metadata.name, container = seen.name, %error, "preStop hook failed");
                // Not the message itself: it may hold secrets of the server.
                kubelet.recorder.container(
                    pod,
                    &seen.name,
                    "Warning",
                    "FailedPreStopHook",
                    "PreStopHook failed",
                );
            }
            Err(_) => {
                tracing::info!(
                    pod = pod.metadata.name,
                    container = seen.name,
                    "preStop hook took the grace period"
                );
            }
        }
        grace -= i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    }
    match kubelet.runtime.stop_container(&seen.id, grace.max(MINIMUM_GRACE)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Stops everything of a pod. Sidecars outlive the containers that they serve, and end last first.
pub async fn stop_pod(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    observed: &ObservedPod,
    grace: Option<i64>,
) -> Result<(), CallError> {
    let began = Instant::now();
    let running: Vec<&observed::Container> = observed
        .containers
        .iter()
        .filter(|seen| matches!(seen.state, State::Running | State::Unknown))
        .collect();
    let sidecar = |seen: &observed::Container| {
        pod.spec.init_containers.iter().position(|spec| spec.name == seen.name && is_sidecar(spec))
    };
    let stop = |seen, grace| {
        stop_container(kubelet, Target { pod, seen, message: "", reason: KillReason::Ordinary, grace })
    };
    let (mut sidecars, others): (Vec<_>, Vec<_>) =
        running.into_iter().partition(|seen| sidecar(seen).is_some());
    for result in join_all(others.into_iter().map(|seen| stop(seen, grace))).await {
        result?;
    }
    sidecars.sort_by_key(|seen| std::cmp::Reverse(sidecar(seen)));
    for seen in sidecars {
        let total = grace.unwrap_or_else(|| grace_period(pod, None, seen, KillReason::Ordinary));
        let used = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
        stop(seen, Some((total - used).max(0))).await?;
    }
    for sandbox in &observed.sandboxes {
        match kubelet.runtime.stop_sandbox(&sandbox.id).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
