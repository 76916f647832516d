//! The status of each situation of a pod.

use std::collections::HashMap;

use api_types::core::v1::{
    ConditionStatus, Container, ContainerRestartPolicy, ContainerRestartRule, ContainerRestartRuleAction,
    ContainerRestartRuleOnExitCodes, ContainerRestartRuleOnExitCodesOperator, ContainerStateRunning,
    ContainerStatus, Pod, PodCondition, PodConditionType, PodPhase, PodReadinessGate, PodStatus,
    RestartPolicy,
};
use jiff::Timestamp;

use super::{Eviction, View, compute};
use crate::cri::observed::{self, ObservedPod, Sandbox, State};
use crate::probe::ProbeView;
use crate::sync_pod::reasons::StartError;

/// Started as soon as running, and ready when the name does not say otherwise.
struct Probes;

impl ProbeView for Probes {
    fn mark(&self, pod: &Pod, status: &mut PodStatus) {
        let sidecar = |name: &str| {
            pod.spec
                .init_containers
                .iter()
                .any(|init| init.name == name && init.restart_policy == Some(ContainerRestartPolicy::Always))
        };
        for container in &mut status.container_statuses {
            let running = container.state.running.is_some();
            container.started = Some(running);
            container.ready = running && !container.name.starts_with("unready");
        }
        for container in &mut status.init_container_statuses {
            let running = container.state.running.is_some();
            container.started = Some(running);
            let done = container.state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0);
            container.ready = if sidecar(&container.name) { running } else { done };
        }
    }
}

struct Given {
    pod: Pod,
    observed: ObservedPod,
    old: PodStatus,
    errors: HashMap<String, StartError>,
    terminal: bool,
    eviction: Option<Eviction>,
}

fn given(policy: RestartPolicy, containers: &[&str]) -> Given {
    let mut pod = Pod::default();
    pod.spec.restart_policy = policy;
    let container = |name: &&str| Container { name: (*name).into(), ..Default::default() };
    pod.spec.containers = containers.iter().map(container).collect();
    let sandbox = Sandbox { ready: true, ips: vec!["10.0.0.1".into()], ..Default::default() };
    let observed = ObservedPod { sandboxes: vec![sandbox], ..Default::default() };
    Given {
        pod,
        observed,
        old: PodStatus::default(),
        errors: HashMap::new(),
        terminal: false,
        eviction: None,
    }
}

impl Given {
    fn init(mut self, name: &str) -> Self {
        self.pod.spec.init_containers.push(Container { name: name.into(), ..Default::default() });
        self
    }

    fn seen(mut self, name: &str, state: State, exit_code: i32) -> Self {
        let count = self.observed.containers.len() as i64;
        let seen = observed::Container {
            id: format!("{name}{count}"),
            name: name.into(),
            state,
            exit_code,
            created_at: count,
            reason: if exit_code == 0 { "Completed".into() } else { "Error".into() },
            ..Default::default()
        };
        self.observed.containers.insert(0, seen);
        self
    }

    fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    fn status(&self) -> PodStatus {
        compute(&View {
            pod: &self.pod,
            observed: &self.observed,
            old: &self.old,
            start_errors: &self.errors,
            probes: &Probes,
            terminal: self.terminal,
            eviction: self.eviction.as_ref(),
            host_ips: &["192.0.2.1".to_owned()],
            prefers_v6: false,
            runtime_name: "containerd",
            actuated: None,
            limits: None,
            resize: &[],
            now: Timestamp::from_second(1000).unwrap(),
        })
    }
}

fn condition(status: &PodStatus, type_: PodConditionType) -> (bool, &str, &str) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (found.status == ConditionStatus::True, &found.reason, &found.message)
}

use RestartPolicy::{Always, Never, OnFailure};
use State::{Exited, Running};

fn check_phase(given: Given, expected: PodPhase) {
    assert_eq!(given.status().phase, expected);
}

#[test]
fn phases() {
    check_phase(given(Always, &["a"]), PodPhase::Pending);
    check_phase(given(Always, &["a", "b"]).seen("a", Running, 0), PodPhase::Pending);
    check_phase(given(Always, &["a"]).seen("a", Running, 0), PodPhase::Running);
    check_phase(given(Always, &["a"]).seen("a", Exited, 1), PodPhase::Running);
    check_phase(given(OnFailure, &["a"]).seen("a", Exited, 1), PodPhase::Running);
    check_phase(given(OnFailure, &["a"]).seen("a", Exited, 0), PodPhase::Succeeded);
    check_phase(given(Never, &["a", "b"]).seen("a", Exited, 1).seen("b", Exited, 0), PodPhase::Failed);
    check_phase(given(Never, &["a"]).init("i").seen("i", Exited, 1), PodPhase::Failed);
    check_phase(given(Always, &["a"]).init("i").seen("i", Exited, 1), PodPhase::Pending);
    let deleted = |code| given(Always, &["a"]).seen("a", Exited, code).with(|given| given.terminal = true);
    check_phase(deleted(0), PodPhase::Succeeded);
    check_phase(deleted(137), PodPhase::Failed);
}

#[test]
fn a_terminal_phase_is_final() {
    let mut given = given(Always, &["a"]).seen("a", Running, 0);
    given.pod.status.phase = PodPhase::Failed;
    given.pod.status.reason = "Evicted".into();
    given.old.phase = PodPhase::Failed;
    given.old.reason = "Evicted".into();
    let status = given.status();
    assert_eq!((status.phase, status.reason.as_str()), (PodPhase::Failed, "Evicted"));
}

#[test]
fn an_eviction_fails_the_pod_with_its_reason() {
    let given = given(Always, &["a"]).seen("a", Running, 0).with(|given| {
        given.eviction =
            Some(Eviction { reason: "DeadlineExceeded".into(), message: "late".into(), disrupts: true });
    });
    // Not while something of it runs.
    let status = given.status();
    assert_eq!((status.phase.as_str(), status.reason.as_str()), ("Running", ""));
    let disrupted = PodConditionType::DisruptionTarget;
    assert_eq!(condition(&status, disrupted), (true, "TerminationByKubelet", "late"));
    let status = given.with(|given| given.observed.containers[0].state = Exited).status();
    assert_eq!(
        (status.phase.as_str(), status.reason.as_str(), status.message.as_str()),
        ("Failed", "DeadlineExceeded", "late")
    );
}

/// A pod whose container `a` makes all containers start anew when it ends with 42.
fn restarts_all() -> Given {
    given(Never, &["a", "b"]).with(|given| {
        let container = &mut given.pod.spec.containers[0];
        container.restart_policy = Some(ContainerRestartPolicy::Never);
        container.restart_policy_rules.push(ContainerRestartRule {
            action: ContainerRestartRuleAction::RestartAllContainers,
            exit_codes: Some(Box::new(ContainerRestartRuleOnExitCodes {
                operator: ContainerRestartRuleOnExitCodesOperator::In,
                values: vec![42],
            })),
        });
    })
}

#[test]
fn all_containers_restart_and_the_pod_does_not_end() {
    let restarting = PodConditionType::AllContainersRestarting;
    let mut given = restarts_all().seen("a", Running, 0).seen("b", Running, 0);
    given.old = given.status();
    assert_eq!(condition(&given.old, restarting.clone()), (false, "", ""));
    // One ended with the code.
    given.observed.containers.retain(|seen| seen.name != "a");
    given = given.seen("a", Exited, 42);
    given.old = given.status();
    let started = (true, "RestartAllContainersStarted", "container exited with restart policy rule");
    assert_eq!(condition(&given.old, restarting.clone()), started);
    assert_eq!(given.old.phase, PodPhase::Running);
    // All are removed.
    given.observed.containers.clear();
    given.old = given.status();
    assert_eq!(condition(&given.old, restarting.clone()), (false, "", ""));
    assert_eq!(given.old.phase, PodPhase::Running);
    for container in &given.old.container_statuses {
        assert_eq!(container.restart_count, 1, "{}", container.name);
        assert_eq!(container.state.waiting.as_ref().unwrap().reason, "RestartingAllContainers");
        assert_eq!(container.last_state.terminated.as_ref().unwrap().exit_code, 137);
    }
    // And they run again.
    let status = given.seen("a", Running, 0).seen("b", Running, 0).status();
    assert_eq!(condition(&status, restarting), (false, "", ""));
    assert_eq!(status.container_statuses[0].restart_count, 1);
}

#[test]
fn waiting_containers_say_why() {
    let error = |name: &str, reason: &'static str| (name.to_owned(), StartError::new(reason, "m"));
    let given = given(Always, &["a", "b"]).seen("a", Exited, 3).with(|given| {
        given.errors.extend([error("a", "CrashLoopBackOff"), error("b", "ErrImagePull")]);
    });
    let status = given.status();
    let shown = |index: usize| {
        let status: &ContainerStatus = &status.container_statuses[index];
        let waiting = status.state.waiting.as_ref().map(|waiting| waiting.reason.clone());
        (waiting, status.last_state.terminated.as_ref().map(|ended| ended.exit_code))
    };
    assert_eq!(shown(0), (Some("CrashLoopBackOff".into()), Some(3)));
    assert_eq!(shown(1), (Some("ErrImagePull".into()), None));
    assert_eq!(status.container_statuses[0].container_id, "containerd://a0");
}

#[test]
fn an_earlier_attempt_is_the_last_state() {
    let status = given(Always, &["a"]).seen("a", Exited, 1).seen("a", Running, 0).status();
    let container = &status.container_statuses[0];
    assert!(container.state.running.is_some());
    assert_eq!(container.last_state.terminated.as_ref().map(|ended| ended.exit_code), Some(1));
}

#[test]
fn a_container_that_vanished_counts_as_ended() {
    let mut given = given(Always, &["a"]);
    let mut before = ContainerStatus { name: "a".into(), restart_count: 2, ..Default::default() };
    before.state.running = Some(Box::new(ContainerStateRunning::default()));
    given.old.container_statuses.push(before);
    let status = given.status();
    let container = &status.container_statuses[0];
    let ended = container.last_state.terminated.as_ref().unwrap();
    assert_eq!(
        (ended.reason.as_str(), ended.exit_code, container.restart_count),
        ("ContainerStatusUnknown", 137, 3)
    );
    assert_eq!(status.phase, PodPhase::Running);
}

#[test]
fn conditions_follow_the_containers() {
    let status = given(Always, &["a", "unready"]).seen("a", Running, 0).seen("unready", Running, 0).status();
    let unready = (false, "ContainersNotReady", "containers with unready status: [unready]");
    assert_eq!(condition(&status, PodConditionType::Ready), unready);
    assert_eq!(condition(&status, PodConditionType::ContainersReady), unready);
    assert_eq!(condition(&status, PodConditionType::Initialized), (true, "", ""));
    assert_eq!(condition(&status, PodConditionType::PodReadyToStartContainers), (true, "", ""));
    assert_eq!(condition(&status, PodConditionType::PodScheduled), (true, "", ""));

    let status = given(Always, &["a"]).init("i").seen("i", Running, 0).status();
    let incomplete = (false, "ContainersNotInitialized", "containers with incomplete status: [i]");
    assert_eq!(condition(&status, PodConditionType::Initialized), incomplete);

    let status = given(Never, &["a"]).seen("a", Exited, 0).status();
    assert_eq!(condition(&status, PodConditionType::Ready), (false, "PodCompleted", ""));
}

#[test]
fn readiness_gates_hold_back_ready_alone() {
    let gate = PodConditionType::from("x.io/gate");
    let mut given = given(Always, &["a"]).seen("a", Running, 0);
    given.pod.spec.readiness_gates.push(PodReadinessGate { condition_type: gate.clone() });
    let status = given.status();
    assert_eq!(
        condition(&status, PodConditionType::Ready),
        (
            false,
            "ReadinessGatesNotReady",
            "corresponding condition of pod readiness gate \"x.io/gate\" does not exist."
        )
    );
    assert!(condition(&status, PodConditionType::ContainersReady).0);
    given.pod.status.conditions.push(PodCondition {
        type_: gate.clone(),
        status: ConditionStatus::True,
        ..Default::default()
    });
    let status = given.status();
    assert!(condition(&status, PodConditionType::Ready).0);
    // It is not ours, and stays.
    assert!(condition(&status, gate).0);
}

#[test]
fn transition_times_change_with_the_status_only() {
    let mut given = given(Always, &["a"]).seen("a", Running, 0);
    given.old = given.status();
    for condition in &mut given.old.conditions {
        condition.last_transition_time = Some(api_types::meta::Time(Timestamp::from_second(7).unwrap()));
    }
    let seconds = |status: &PodStatus, type_: PodConditionType| {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
        found.last_transition_time.unwrap().0.as_second()
    };
    assert_eq!(seconds(&given.status(), PodConditionType::Ready), 7);
    given.observed.containers[0].state = Exited;
    assert_eq!(seconds(&given.status(), PodConditionType::Ready), 1000);
}

#[test]
fn addresses_of_the_pod_and_the_node() {
    let status = given(Always, &["a"]).status();
    assert_eq!((status.pod_ip.as_str(), status.host_ip.as_str()), ("10.0.0.1", "192.0.2.1"));
    let host = given(Always, &["a"]).with(|given| {
        given.pod.spec.host_network = true;
        given.observed.sandboxes[0].ips.clear();
    });
    let status = host.status();
    assert_eq!(status.pod_ip, "192.0.2.1");
}
