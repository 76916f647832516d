//! The conditions that the kubelet owns, in upstream's order and words; all others are kept.

use api_types::core::v1::{
    ConditionStatus, ContainerStatus, PodCondition, PodConditionType, PodPhase, PodStatus,
};
use api_types::meta::Time;

use super::{View, restarting};
use crate::sync_pod::plan::{is_sidecar, may_restart_all, sandbox_changed};

/// No one else may set this condition.
pub fn is_owned(type_: &PodConditionType) -> bool {
    OWNED.contains(type_)
        || matches!(
            type_,
            PodConditionType::PodResizePending
                | PodConditionType::PodResizeInProgress
                | PodConditionType::AllContainersRestarting
        )
}

/// The conditions that every pod has.
const OWNED: &[PodConditionType] = &[
    PodConditionType::PodReadyToStartContainers,
    PodConditionType::Initialized,
    PodConditionType::Ready,
    PodConditionType::ContainersReady,
    PodConditionType::PodScheduled,
];

/// Status, reason and message of a condition.
struct Verdict {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes() -> Self {
        Self { status: true, reason: "", message: String::new() }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Self { status: false, reason, message }
    }
}

/// Sets `status.conditions`.
pub fn fill(view: &View<'_>, status: &mut PodStatus) {
    let foreign: Vec<PodCondition> =
        view.pod.status.conditions.iter().filter(|condition| !is_owned(&condition.type_)).cloned().collect();
    let all: Vec<ContainerStatus> =
        status.init_container_statuses.iter().chain(&status.container_statuses).cloned().collect();
    let containers_ready = containers_ready(view, &all, &status.phase);
    let ready = if containers_ready.status {
        gates(view, &foreign)
    } else {
        Verdict::no(containers_ready.reason, containers_ready.message.clone())
    };
    let (new_sandbox, _) = sandbox_changed(view.pod, view.observed);
    let to_start = Verdict { status: !new_sandbox, reason: "", message: String::new() };
    let verdicts =
        [to_start, initialized(view, &all, &status.phase), ready, containers_ready, Verdict::yes()];
    status.conditions = foreign;
    status.conditions.extend(view.resize.iter().cloned());
    for (type_, verdict) in OWNED.iter().zip(verdicts) {
        status.conditions.push(condition(view, type_, verdict));
    }
    if may_restart_all(&view.pod.spec) {
        let verdict = all_restarting(view, &status.phase);
        status.conditions.push(condition(view, &PodConditionType::AllContainersRestarting, verdict));
    }
    if let Some(eviction) = view.eviction.filter(|eviction| eviction.disrupts) {
        let verdict =
            Verdict { status: true, reason: "TerminationByKubelet", message: eviction.message.clone() };
        status.conditions.retain(|old| old.type_ != PodConditionType::DisruptionTarget);
        status.conditions.push(condition(view, &PodConditionType::DisruptionTarget, verdict));
    }
}

fn all_restarting(view: &View<'_>, phase: &PodPhase) -> Verdict {
    match phase {
        PodPhase::Succeeded => return Verdict::no("PodCompleted", String::new()),
        PodPhase::Failed => return Verdict::no("PodFailed", String::new()),
        _ => {}
    }
    let (pod, observed) = (view.pod, view.observed);
    if !restarting::wanted(pod, observed, view.old) || restarting::cleaned_up(pod, observed) {
        return Verdict::no("", String::new());
    }
    let message = "container exited with restart policy rule".to_owned();
    Verdict { status: true, reason: "RestartAllContainersStarted", message }
}

/// Makes the condition; its transition time is kept while its status is.
fn condition(view: &View<'_>, type_: &PodConditionType, verdict: Verdict) -> PodCondition {
    let status = if verdict.status { ConditionStatus::True } else { ConditionStatus::False };
    let old =
        |conditions: &[PodCondition]| conditions.iter().find(|condition| condition.type_ == *type_).cloned();
    let before = old(&view.old.conditions).or_else(|| old(&view.pod.status.conditions));
    let kept = before.filter(|condition| condition.status == status);
    PodCondition {
        type_: type_.clone(),
        observed_generation: view.pod.metadata.generation,
        last_transition_time: kept
            .and_then(|condition| condition.last_transition_time)
            .or(Some(Time::whole(view.now))),
        status,
        reason: verdict.reason.into(),
        message: verdict.message,
        ..Default::default()
    }
}

/// COMPAT: lists of names are printed as Go prints slices: `[a b]`.
fn names(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn message(unknown: &[&str], word: &str, others: &[&str]) -> String {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", names(unknown)));
    }
    if !others.is_empty() {
        parts.push(format!("containers with {word} status: {}", names(others)));
    }
    parts.join(", ")
}

fn containers_ready(view: &View<'_>, statuses: &[ContainerStatus], phase: &PodPhase) -> Verdict {
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let spec = &view.pod.spec;
    let sidecars = spec.init_containers.iter().filter(|container| is_sidecar(container));
    for container in sidecars.chain(&spec.containers) {
        match statuses.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if *phase == PodPhase::Succeeded && unknown.is_empty() {
        return Verdict::no("PodCompleted", String::new());
    }
    if *phase == PodPhase::Failed {
        return Verdict::no("PodFailed", String::new());
    }
    if unknown.is_empty() && unready.is_empty() {
        return Verdict::yes();
    }
    Verdict::no("ContainersNotReady", message(&unknown, "unready", &unready))
}

fn gates(view: &View<'_>, conditions: &[PodCondition]) -> Verdict {
    let mut parts = Vec::new();
    for gate in &view.pod.spec.readiness_gates {
        let name = gate.condition_type.as_str();
        match conditions.iter().find(|condition| condition.type_ == gate.condition_type) {
            None => {
                parts.push(format!("corresponding condition of pod readiness gate {name:?} does not exist."));
            }
            Some(condition) if condition.status != ConditionStatus::True => parts.push(format!(
                "the status of pod readiness gate {name:?} is not \"True\", but {}",
                condition.status.as_str()
            )),
            Some(_) => {}
        }
    }
    if parts.is_empty() { Verdict::yes() } else { Verdict::no("ReadinessGatesNotReady", parts.join(", ")) }
}

fn initialized(view: &View<'_>, statuses: &[ContainerStatus], phase: &PodPhase) -> Verdict {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in &view.pod.spec.init_containers {
        match statuses.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) => {
                let done = if is_sidecar(container) { status.started == Some(true) } else { status.ready };
                if !done {
                    incomplete.push(container.name.as_str());
                }
            }
        }
    }
    if *phase == PodPhase::Succeeded && unknown.is_empty() {
        return Verdict { status: true, reason: "PodCompleted", message: String::new() };
    }
    // A regular container that ever ran proves that initialisation was over.
    let started = view.pod.spec.containers.iter().any(|container| {
        statuses.iter().any(|status| {
            status.name == container.name
                && (status.last_state.terminated.is_some()
                    || status.state.terminated.is_some()
                    || (status.state.running.is_some() && status.started == Some(true)))
        })
    });
    if started || (unknown.is_empty() && incomplete.is_empty()) {
        return Verdict::yes();
    }
    // What was initialised once stays so, also while its containers start anew.
    let was = view
        .old
        .conditions
        .iter()
        .any(|old| old.type_ == PodConditionType::Initialized && old.status == ConditionStatus::True);
    if was {
        return Verdict::yes();
    }
    Verdict::no("ContainersNotInitialized", message(&unknown, "incomplete", &incomplete))
}

/// Whether the conditions that others own (readiness gates) are the same in both.
pub fn same_foreign(a: &api_types::core::v1::Pod, b: &api_types::core::v1::Pod) -> bool {
    let foreign = |pod: &api_types::core::v1::Pod| {
        let mut list: Vec<PodCondition> =
            pod.status.conditions.iter().filter(|condition| !is_owned(&condition.type_)).cloned().collect();
        list.sort_by(|a, b| a.type_.cmp(&b.type_));
        list
    };
    foreign(a) == foreign(b)
}
