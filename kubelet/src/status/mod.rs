//! A pod's status: computed from what is seen ([`compute`]), and written to the API ([`writer`]).
//!
//! Computing is pure: given the spec, the runtime's view, the status before and the probes' verdicts it
//! says what the status is, in upstream's words. Containers are in [`containers`], the phase in
//! [`phase`], the conditions in [`conditions`].

pub mod conditions;
pub mod containers;
pub mod finish;
pub mod phase;
pub mod resources;
pub mod restarting;
pub mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use api_types::core::v1::{HostIP, Pod, PodCondition, PodIP, PodPhase, PodStatus};
use api_types::meta::Time;
use jiff::Timestamp;

use crate::cri::observed::{ObservedPod, State};
use crate::probe::ProbeView;
use crate::resize::checkpoint::PodResources;
use crate::resources::{PodLimits, qos_class};
use crate::sync_pod::plan;
use crate::sync_pod::reasons::StartError;

/// Why the kubelet itself ends a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// `DeadlineExceeded`, `Evicted`, …
    pub reason: String,
    /// For people.
    pub message: String,
    /// It is ended for the node's sake: the condition DisruptionTarget says so (KEP-3329).
    pub disrupts: bool,
}

/// What a status is computed from.
pub struct View<'a> {
    /// The pod as the API has it, with the resources that it was given.
    pub pod: &'a Pod,
    /// The pod as the runtime has it.
    pub observed: &'a ObservedPod,
    /// The status last computed, or the API's after a restart.
    pub old: &'a PodStatus,
    /// Failed starts, by container.
    pub start_errors: &'a HashMap<String, StartError>,
    /// Verdicts of the probes.
    pub probes: &'a dyn ProbeView,
    /// No container of the pod will run again.
    pub terminal: bool,
    /// Set when the kubelet ends the pod by itself.
    pub eviction: Option<&'a Eviction>,
    /// The node's addresses, the first of the cluster's first family.
    pub host_ips: &'a [String],
    /// Addresses of version 6 come first.
    pub prefers_v6: bool,
    /// What container ids start with: `containerd`.
    pub runtime_name: &'a str,
    /// What its containers were last told.
    pub actuated: Option<&'a PodResources>,
    /// The limits of its control group, while it has one.
    pub limits: Option<&'a PodLimits>,
    /// Conditions of a resize.
    pub resize: &'a [PodCondition],
    /// Now.
    pub now: Timestamp,
}

/// Computes the status.
pub fn compute(view: &View<'_>) -> PodStatus {
    let pod = view.pod;
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        qos_class: qos_class(pod),
        nominated_node_name: pod.status.nominated_node_name.clone(),
        resource_claim_statuses: pod.status.resource_claim_statuses.clone(),
        start_time: view.old.start_time.or(pod.status.start_time).or(Some(Time::whole(view.now))),
        ..Default::default()
    };
    containers::fill(view, &mut status);
    let all: Vec<_> =
        status.container_statuses.iter().chain(&status.init_container_statuses).cloned().collect();
    status.phase = phase::phase(pod, &all, view.terminal, plan::regular_active(pod, view.observed));
    settle_phase(view, &mut status);
    view.probes.mark(pod, &mut status);
    resources::of_pod(view, &mut status);
    conditions::fill(view, &mut status);
    addresses(view, &mut status);
    status
}

/// A terminal phase is final, whoever reached it, and reason and message stay with their phase.
fn settle_phase(view: &View<'_>, status: &mut PodStatus) {
    let terminal = |phase: &PodPhase| matches!(phase, PodPhase::Failed | PodPhase::Succeeded);
    if !terminal(&status.phase) {
        if terminal(&view.old.phase) {
            status.phase = view.old.phase.clone();
        } else if terminal(&view.pod.status.phase) {
            status.phase = view.pod.status.phase.clone();
        }
    }
    if status.phase == view.old.phase {
        let keep = |old: &String, api: &String| if old.is_empty() { api.clone() } else { old.clone() };
        status.reason = keep(&view.old.reason, &view.pod.status.reason);
        status.message = keep(&view.old.message, &view.pod.status.message);
    }
    // COMPAT: a pod is not said to have ended while something of it may run.
    let may_run = !view.terminal
        && view.observed.containers.iter().any(|seen| matches!(seen.state, State::Running | State::Unknown));
    if let Some(eviction) = view.eviction.filter(|_| !may_run) {
        status.phase = PodPhase::Failed;
        status.reason = eviction.reason.clone();
        status.message = eviction.message.clone();
    }
    if terminal(&view.pod.status.phase) {
        status.phase = view.pod.status.phase.clone();
    }
}

fn addresses(view: &View<'_>, status: &mut PodStatus) {
    let primary_v6 = view.prefers_v6;
    let ips = view.observed.ips();
    let first = ips.iter().find(|ip| ip.contains(':') == primary_v6);
    let second = ips.iter().find(|ip| ip.contains(':') != primary_v6);
    status.pod_ips = first.into_iter().chain(second).map(|ip| PodIP { ip: ip.clone() }).collect();
    status.host_ips = view.host_ips.iter().take(2).map(|ip| HostIP { ip: ip.clone() }).collect();
    status.host_ip = view.host_ips.first().cloned().unwrap_or_default();
    if view.pod.spec.host_network && status.pod_ips.is_empty() {
        status.pod_ips = view.host_ips.iter().take(2).map(|ip| PodIP { ip: ip.clone() }).collect();
    }
    // COMPAT: an address that was once published stays while the pod has none, as the API would keep it.
    if status.pod_ips.is_empty() && view.terminal {
        status.pod_ips = view.old.pod_ips.clone();
    }
    status.pod_ip = status.pod_ips.first().map(|ip| ip.ip.clone()).unwrap_or_default();
}
