//! What the plan says for each situation of a pod.

use api_types::core::v1::{
    Container, ContainerResizePolicy, ContainerRestartPolicy, ContainerRestartRule,
    ContainerRestartRuleAction, ContainerRestartRuleOnExitCodes, ContainerRestartRuleOnExitCodesOperator,
    Pod, Probe, ResourceResizeRestartPolicy, RestartPolicy,
};

use super::plan::{Action, KillReason, Kind, View, plan};
use crate::cri::labels::container_hash;
use crate::cri::observed::{self, ObservedPod, Sandbox, State};
use crate::probe::Verdict;
use crate::resize::checkpoint::PodResources;
use crate::resize::plan::{Amounts, Update, resources_of};

/// A pod with containers of the image `i`.
struct Given {
    pod: Pod,
    observed: ObservedPod,
    liveness: Option<Verdict>,
    startup: Option<Verdict>,
    actuated: Option<PodResources>,
    restarting: bool,
}

fn container(name: &str) -> Container {
    Container { name: name.into(), image: "i".into(), ..Default::default() }
}

fn given(policy: RestartPolicy, containers: &[&str]) -> Given {
    let mut pod = Pod::default();
    pod.spec.restart_policy = policy;
    pod.spec.containers = containers.iter().map(|name| container(name)).collect();
    Given {
        pod,
        observed: ObservedPod::default(),
        liveness: None,
        startup: None,
        actuated: None,
        restarting: false,
    }
}

impl Given {
    fn init(mut self, names: &[&str]) -> Self {
        self.pod.spec.init_containers = names.iter().map(|name| container(name)).collect();
        self
    }

    fn sidecar(mut self, name: &str) -> Self {
        let mut sidecar = container(name);
        sidecar.restart_policy = Some(ContainerRestartPolicy::Always);
        self.pod.spec.init_containers.push(sidecar);
        self
    }

    fn sandbox(mut self, attempt: u32, ready: bool) -> Self {
        let sandbox = Sandbox {
            id: format!("s{attempt}"),
            attempt,
            ready,
            ips: vec!["10.0.0.1".into()],
            ..Default::default()
        };
        self.observed.sandboxes.insert(0, sandbox);
        self
    }

    fn seen(mut self, name: &str, state: State, exit_code: i32) -> Self {
        let mut seen = observed::Container {
            id: format!("id-{name}"),
            name: name.into(),
            state,
            exit_code,
            ..Default::default()
        };
        seen.facts.hash = container_hash(name, "i");
        self.observed.containers.insert(0, seen);
        self
    }

    fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }
}

fn check(given: Given, expected: &[Action]) {
    let actions = plan(&View {
        pod: &given.pod,
        observed: &given.observed,
        liveness: &|_| given.liveness,
        startup: &|_| given.startup,
        actuated: given.actuated.as_ref(),
        restarting: given.restarting,
    });
    assert_eq!(actions, expected);
}

fn start(index: usize) -> Action {
    Action::Start { kind: Kind::Regular, index }
}

fn start_init(index: usize) -> Action {
    Action::Start { kind: Kind::Init, index }
}

fn stop(name: &str, message: &str, reason: KillReason) -> Action {
    Action::StopContainer { id: format!("id-{name}"), name: name.into(), message: message.into(), reason }
}

use RestartPolicy::{Always, Never, OnFailure};
use State::{Created, Exited, Running, Unknown};

#[test]
fn a_new_pod_gets_a_sandbox_and_its_containers() {
    check(given(Always, &["a", "b"]), &[Action::CreateSandbox { attempt: 0 }, start(0), start(1)]);
    check(
        given(Always, &["a"]).init(&["i"]),
        &[Action::PurgeInit, Action::CreateSandbox { attempt: 0 }, start_init(0)],
    );
}

#[test]
fn a_running_pod_is_left_alone() {
    check(given(Always, &["a"]).sandbox(0, true).seen("a", Running, 0), &[]);
}

#[test]
fn a_lost_sandbox_is_replaced_unless_the_pod_has_run() {
    check(
        given(Always, &["a"]).sandbox(0, false).seen("a", Exited, 0),
        &[Action::StopPod, Action::CreateSandbox { attempt: 1 }, start(0)],
    );
    check(given(Never, &["a"]).sandbox(0, false).seen("a", Exited, 1), &[Action::StopPod]);
    check(given(OnFailure, &["a"]).sandbox(0, false).seen("a", Exited, 0), &[Action::StopPod]);
    check(
        given(OnFailure, &["a"]).sandbox(0, false).seen("a", Exited, 1),
        &[Action::StopPod, Action::CreateSandbox { attempt: 1 }, start(0)],
    );
    // Its network is gone: the sandbox is of no use, although it runs.
    check(
        given(Always, &["a"]).sandbox(0, true).with(|given| given.observed.sandboxes[0].ips.clear()),
        &[Action::StopPod, Action::CreateSandbox { attempt: 1 }, start(0)],
    );
}

#[test]
fn restart_policies() {
    let ended = |policy, code| {
        given(policy, &["a", "b"]).sandbox(0, true).seen("a", Exited, code).seen("b", Running, 0)
    };
    check(ended(Always, 0), &[start(0)]);
    check(ended(OnFailure, 0), &[]);
    check(ended(OnFailure, 1), &[start(0)]);
    check(ended(Never, 1), &[]);
    // Nothing runs and nothing will.
    check(given(Never, &["a"]).sandbox(0, true).seen("a", Exited, 1), &[Action::StopPod]);
    let deleted = given(Always, &["a"]).sandbox(0, true).seen("a", Exited, 1).with(|given| {
        given.pod.metadata.deletion_timestamp = Some(Default::default());
    });
    check(deleted, &[Action::StopPod]);
}

#[test]
fn restart_rules_of_a_container_win() {
    let rule = |code: i32| {
        given(Never, &["a", "b"]).sandbox(0, true).seen("a", Exited, code).seen("b", Running, 0).with(
            |given| {
                let container = &mut given.pod.spec.containers[0];
                container.restart_policy = Some(ContainerRestartPolicy::Never);
                container.restart_policy_rules.push(ContainerRestartRule {
                    action: ContainerRestartRuleAction::Restart,
                    exit_codes: Some(Box::new(ContainerRestartRuleOnExitCodes {
                        operator: ContainerRestartRuleOnExitCodesOperator::In,
                        values: vec![42],
                    })),
                });
            },
        )
    };
    check(rule(42), &[start(0)]);
    check(rule(1), &[]);
}

#[test]
fn a_changed_image_restarts_whatever_the_policy() {
    check(
        given(Never, &["a"]).sandbox(0, true).seen("a", Running, 0).with(|given| {
            given.pod.spec.containers[0].image = "j".into();
        }),
        &[stop("a", "Container a definition changed, will be restarted", KillReason::Ordinary), start(0)],
    );
}

#[test]
fn failed_probes_restart() {
    let running = |policy| given(policy, &["a"]).sandbox(0, true).seen("a", Running, 0);
    let dead = |policy| running(policy).with(|given| given.liveness = Some(Verdict::Failure));
    let message = "Container a failed liveness probe, will be restarted";
    check(dead(Always), &[stop("a", message, KillReason::LivenessProbe), start(0)]);
    check(dead(Never), &[Action::StopPod]);
    check(
        running(Always).with(|given| given.startup = Some(Verdict::Failure)),
        &[
            stop("a", "Container a failed startup probe, will be restarted", KillReason::StartupProbe),
            start(0),
        ],
    );
}

#[test]
fn a_container_that_was_made_but_not_started_is_started() {
    check(given(Always, &["a"]).sandbox(0, true).seen("a", Created, 0), &[start(0)]);
    check(
        given(Always, &["a"]).sandbox(0, true).seen("a", Unknown, 0),
        &[
            stop(
                "a",
                "Container is in \"unknown\" state, try killing it before restart",
                KillReason::Unknown,
            ),
            start(0),
        ],
    );
}

#[test]
fn init_containers_run_one_after_the_other() {
    let pod = |policy| given(policy, &["a"]).init(&["i", "j"]).sandbox(0, true);
    check(pod(Always), &[start_init(0)]);
    check(pod(Always).seen("i", Running, 0), &[]);
    check(pod(Always).seen("i", Exited, 0), &[start_init(1)]);
    check(pod(Always).seen("i", Exited, 0).seen("j", Exited, 0), &[start(0)]);
    check(pod(Always).seen("i", Exited, 1), &[start_init(0)]);
    check(pod(Never).seen("i", Exited, 1), &[Action::StopPod]);
    // The remains of the first were collected: the last one tells.
    check(pod(Always).seen("j", Exited, 0), &[start(0)]);
    // A regular container runs: initialisation is over, whatever is left of it.
    check(pod(Always).seen("a", Running, 0), &[]);
}

#[test]
fn sidecars_stay_beside_the_containers() {
    let pod = || {
        given(Always, &["a"]).sidecar("s").with(|given| given.pod.spec.init_containers.push(container("i")))
    };
    check(pod().sandbox(0, true).seen("s", Running, 0), &[start_init(1)]);
    check(pod().sandbox(0, true).seen("s", Exited, 1), &[start_init(0)]);
    check(pod().sandbox(0, true).seen("s", Running, 0).seen("i", Exited, 0), &[start(0)]);
    // It crashed while the pod runs.
    check(
        pod().sandbox(0, true).seen("s", Exited, 1).seen("i", Exited, 0).seen("a", Running, 0),
        &[start_init(0)],
    );
    // With the last regular container the pod ends, sidecars and all.
    check(
        given(Never, &["a"]).sidecar("s").sandbox(0, true).seen("s", Running, 0).seen("a", Exited, 0),
        &[Action::StopPod],
    );
}

#[test]
fn a_sidecar_with_a_startup_probe_holds_back_what_follows() {
    let pod = |verdict| {
        given(Always, &["a"]).sidecar("s").sandbox(0, true).seen("s", Running, 0).with(|given| {
            given.pod.spec.init_containers[0].startup_probe = Some(Box::new(Probe::default()));
            given.startup = verdict;
        })
    };
    check(pod(None), &[]);
    check(pod(Some(Verdict::Unknown)), &[]);
    check(pod(Some(Verdict::Success)), &[start(0)]);
    check(
        pod(Some(Verdict::Failure)),
        &[stop("s", "Init container s failed startup probe", KillReason::StartupProbe), start_init(0)],
    );
}

#[test]
fn all_containers_are_removed_before_they_start_anew() {
    let reset = |name: &str, kill: bool| Action::Reset { id: format!("id-{name}"), kill };
    let pod = given(Never, &["a", "b"])
        .init(&["i"])
        .sandbox(0, true)
        .seen("i", Exited, 0)
        .seen("a", Exited, 42)
        .seen("b", Running, 0)
        .with(|given| {
            let container = &mut given.pod.spec.containers[0];
            container.restart_policy = Some(ContainerRestartPolicy::Never);
            container.restart_policy_rules.push(ContainerRestartRule {
                action: ContainerRestartRuleAction::RestartAllContainers,
                exit_codes: Some(Box::new(ContainerRestartRuleOnExitCodes {
                    operator: ContainerRestartRuleOnExitCodesOperator::In,
                    values: vec![42],
                })),
            });
            given.restarting = true;
        });
    check(pod, &[reset("b", true), reset("i", false), reset("a", false)]);
}

/// A pod whose one container was told 100m of CPU and is given 200m.
fn resized(policy: ResourceResizeRestartPolicy) -> Given {
    given(Always, &["a"]).sandbox(0, true).seen("a", Running, 0).with(|given| {
        let cpu = |amount| [("cpu".to_owned(), api_types::Quantity::from_milli(amount))].into();
        given.pod.spec.containers[0].resources.requests = cpu(100);
        given.actuated = Some(resources_of(&given.pod));
        let container = &mut given.pod.spec.containers[0];
        container.resources.requests = cpu(200);
        container
            .resize_policy
            .push(ContainerResizePolicy { resource_name: "cpu".into(), restart_policy: policy });
    })
}

#[test]
fn resources_change_in_place_or_with_a_restart() {
    let amount = |cpu_request| Amounts { cpu_request, ..Default::default() };
    let update = Update { id: "id-a".into(), name: "a".into(), told: amount(100), wanted: amount(200) };
    check(resized(ResourceResizeRestartPolicy::NotRequired), &[Action::Resize { updates: vec![update] }]);
    check(
        resized(ResourceResizeRestartPolicy::RestartContainer),
        &[
            stop("a", "Container a resize requires restart", KillReason::Ordinary),
            Action::Resize { updates: vec![] },
            start(0),
        ],
    );
    // What no one noted is left alone.
    check(resized(ResourceResizeRestartPolicy::RestartContainer).with(|given| given.actuated = None), &[]);
}
