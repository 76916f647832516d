//! What to do about a pod, from its spec and what the runtime shows. Pure.
//!
//! The order of the actions is the order in which they are done: stop, sandbox, ephemeral containers,
//! init containers, then the others. Rules are those of upstream's kubelet (KEP-753 for restartable
//! init containers, KEP-5307 for restart rules); their messages end up in events.

use api_types::core::v1::{
    Container, ContainerRestartPolicy, ContainerRestartRule, ContainerRestartRuleAction,
    ContainerRestartRuleOnExitCodesOperator, Pod, PodSpec, RestartPolicy,
};

use crate::cri::labels::container_hash;
use crate::cri::observed::{self, ObservedPod, State};
use crate::probe::Verdict;
use crate::resize::checkpoint::PodResources;
use crate::resize::plan::{self as resize, Amounts, Update};

/// Why a container is stopped; decides its grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// Its definition changed, or its pod ends.
    Ordinary,
    /// Its startup probe gave up.
    StartupProbe,
    /// Its liveness probe gave up.
    LivenessProbe,
    /// Its postStart hook failed.
    PostStartHook,
    /// The runtime lost track of it.
    Unknown,
}

/// Which of the spec's lists a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `initContainers`
    Init,
    /// `containers`
    Regular,
    /// `ephemeralContainers`
    Ephemeral,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop all containers and sandboxes of the pod.
    StopPod,
    /// Remove the init containers' remains, for they will run again.
    PurgeInit,
    /// Stop one container.
    StopContainer {
        /// The runtime's id.
        id: String,
        /// Its name in the spec.
        name: String,
        /// For the event.
        message: String,
        /// Decides the grace period.
        reason: KillReason,
    },
    /// Remove a container because all start anew (KEP-5532).
    Reset {
        /// The runtime's id.
        id: String,
        /// It may run: stop it first, without grace.
        kill: bool,
    },
    /// Tell runtime and control groups what the pod was given.
    Resize {
        /// The containers that keep running with other resources.
        updates: Vec<Update>,
    },
    /// Make a sandbox.
    CreateSandbox {
        /// Its number.
        attempt: u32,
    },
    /// Make and start a container.
    Start {
        /// The list it stands in.
        kind: Kind,
        /// Its place there.
        index: usize,
    },
}

/// What the decision is made from.
pub struct View<'a> {
    /// The pod as it should be.
    pub pod: &'a Pod,
    /// The pod as it is.
    pub observed: &'a ObservedPod,
    /// Liveness verdict of a container id, once there is one.
    pub liveness: &'a dyn Fn(&str) -> Option<Verdict>,
    /// Startup verdict of a container id, once there is one.
    pub startup: &'a dyn Fn(&str) -> Option<Verdict>,
    /// What containers and pod were last told; `None` when no one noted it.
    pub actuated: Option<&'a PodResources>,
    /// A rule said that all containers start anew, and they are being removed.
    pub restarting: bool,
}

/// Runs beside the containers for the pod's life (KEP-753).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy == Some(ContainerRestartPolicy::Always)
}

/// The rule of a container that fits this code.
fn restart_rule(container: &Container, exit_code: i32) -> Option<&ContainerRestartRule> {
    container.restart_policy_rules.iter().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| match codes.operator {
            ContainerRestartRuleOnExitCodesOperator::In => codes.values.contains(&exit_code),
            ContainerRestartRuleOnExitCodesOperator::NotIn => !codes.values.contains(&exit_code),
            _ => false,
        })
    })
}

/// Whether an end of the container with this code makes all containers start anew (KEP-5532).
pub fn restarts_all(container: &Container, exit_code: i32) -> bool {
    restart_rule(container, exit_code)
        .is_some_and(|rule| rule.action == ContainerRestartRuleAction::RestartAllContainers)
}

/// Whether any rule of the pod can make all containers start anew.
pub fn may_restart_all(spec: &PodSpec) -> bool {
    spec.init_containers.iter().chain(&spec.containers).any(|container| {
        container
            .restart_policy_rules
            .iter()
            .any(|rule| rule.action == ContainerRestartRuleAction::RestartAllContainers)
    })
}

/// Whether a container that ended with this code is started again.
pub fn should_restart(container: &Container, spec: &PodSpec, exit_code: i32) -> bool {
    let rule = restart_rule(container, exit_code).filter(|_| container.restart_policy.is_some());
    if let Some(rule) = rule
        && matches!(
            rule.action,
            ContainerRestartRuleAction::Restart | ContainerRestartRuleAction::RestartAllContainers
        )
    {
        return true;
    }
    match &container.restart_policy {
        Some(ContainerRestartPolicy::Always) => return true,
        Some(ContainerRestartPolicy::Never) => return false,
        Some(ContainerRestartPolicy::OnFailure) => return exit_code != 0,
        _ => {}
    }
    match spec.restart_policy {
        RestartPolicy::Never => false,
        RestartPolicy::OnFailure => exit_code != 0,
        _ => true,
    }
}

/// Whether the next sync will start the container (again).
pub fn should_start(container: &Container, pod: &Pod, observed: &ObservedPod) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    match observed.container(&container.name) {
        None => true,
        Some(seen) => match seen.state {
            State::Running => false,
            State::Unknown | State::Created => true,
            State::Exited => should_restart(container, &pod.spec, seen.exit_code),
        },
    }
}

/// Whether a new sandbox is needed, and the number that it would get.
pub fn sandbox_changed(pod: &Pod, observed: &ObservedPod) -> (bool, u32) {
    let Some(newest) = observed.sandboxes.first() else { return (true, 0) };
    let ready = observed.sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    let lost_address = !pod.spec.host_network && newest.ips.is_empty();
    if ready > 1 || !newest.ready || newest.host_network != pod.spec.host_network || lost_address {
        return (true, newest.attempt + 1);
    }
    (false, newest.attempt)
}

/// Some regular container was ever made, so all init containers are done.
pub fn regular_created(pod: &Pod, observed: &ObservedPod) -> bool {
    pod.spec
        .containers
        .iter()
        .filter_map(|container| observed.container(&container.name))
        .any(|seen| seen.state != State::Unknown)
}

/// Some regular container was made and is not known to have ended.
pub fn regular_active(pod: &Pod, observed: &ObservedPod) -> bool {
    pod.spec
        .containers
        .iter()
        .filter_map(|container| observed.container(&container.name))
        .any(|seen| matches!(seen.state, State::Created | State::Running))
}

/// Lists what has to be done now.
pub fn plan(view: &View<'_>) -> Vec<Action> {
    let (pod, observed) = (view.pod, view.observed);
    if view.restarting {
        return plan_reset(pod, observed);
    }
    let (new_sandbox, attempt) = sandbox_changed(pod, observed);
    if new_sandbox {
        return plan_new_sandbox(pod, observed, attempt);
    }
    let mut changes = Changes::default();
    for (index, container) in pod.spec.ephemeral_containers.iter().enumerate() {
        if observed.container(&container.common.name).is_none() {
            changes.ephemeral.push(index);
        }
    }
    let initialized = changes.init_containers(view);
    if initialized && !changes.stop_pod {
        changes.regular_containers(view);
        changes.pod_resources(view);
    }
    changes.into_actions()
}

/// Removes all containers: the regular ones before the init containers, and last those whose end asked
/// for it, so that a kubelet that is killed in between still finds the cause.
fn plan_reset(pod: &Pod, observed: &ObservedPod) -> Vec<Action> {
    let (mut targets, mut sources) = (Vec::new(), Vec::new());
    for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
        for seen in observed.containers.iter().filter(|seen| seen.name == container.name) {
            let ended = seen.state == State::Exited;
            let action = Action::Reset { id: seen.id.clone(), kill: !ended };
            if ended && restarts_all(container, seen.exit_code) {
                sources.push(action);
            } else {
                targets.push(action);
            }
        }
    }
    targets.append(&mut sources);
    targets
}

fn plan_new_sandbox(pod: &Pod, observed: &ObservedPod, attempt: u32) -> Vec<Action> {
    // Something to stop only when there is something at all.
    let mut actions = Vec::new();
    if !observed.sandboxes.is_empty() || !observed.containers.is_empty() {
        actions.push(Action::StopPod);
    }
    let never = pod.spec.restart_policy == RestartPolicy::Never;
    if never && attempt != 0 && !observed.containers.is_empty() {
        return actions;
    }
    let start: Vec<usize> = (0..pod.spec.containers.len())
        .filter(|index| {
            let container = &pod.spec.containers[*index];
            let run_once = match &container.restart_policy {
                Some(policy) => *policy == ContainerRestartPolicy::OnFailure,
                None => pod.spec.restart_policy == RestartPolicy::OnFailure,
            };
            let succeeded = observed
                .container(&container.name)
                .is_some_and(|seen| seen.state == State::Exited && seen.exit_code == 0);
            !(run_once && succeeded)
        })
        .collect();
    if start.is_empty() && regular_created(pod, observed) {
        return actions;
    }
    if !pod.spec.init_containers.is_empty() {
        actions.push(Action::PurgeInit);
        actions.push(Action::CreateSandbox { attempt });
        actions.push(Action::Start { kind: Kind::Init, index: 0 });
        return actions;
    }
    actions.push(Action::CreateSandbox { attempt });
    actions.extend(start.into_iter().map(|index| Action::Start { kind: Kind::Regular, index }));
    actions
}

#[derive(Default)]
struct Changes {
    stop_pod: bool,
    stop: Vec<Action>,
    ephemeral: Vec<usize>,
    init: Vec<usize>,
    regular: Vec<usize>,
    updates: Vec<Update>,
    resize: bool,
}

impl Changes {
    fn into_actions(self) -> Vec<Action> {
        if self.stop_pod {
            return vec![Action::StopPod];
        }
        let start = |kind| move |index| Action::Start { kind, index };
        let mut actions = self.stop;
        if self.resize {
            actions.push(Action::Resize { updates: self.updates });
        }
        actions.extend(self.ephemeral.into_iter().map(start(Kind::Ephemeral)));
        actions.extend(self.init.into_iter().map(start(Kind::Init)));
        actions.extend(self.regular.into_iter().map(start(Kind::Regular)));
        actions
    }

    fn stop(&mut self, seen: &observed::Container, message: String, reason: KillReason) {
        self.stop.push(Action::StopContainer {
            id: seen.id.clone(),
            name: seen.name.clone(),
            message,
            reason,
        });
    }

    fn unknown(&mut self, seen: &observed::Container, what: &str) {
        let message = format!("{what} is in {:?} state, try killing it before restart", seen.state.as_str());
        self.stop(seen, message, KillReason::Unknown);
    }

    /// Decides about the init containers; answers whether the pod is initialised.
    ///
    /// They are looked at from the last to the first, since finished ones may be gone from the runtime:
    /// the last one that is known says how far the pod got.
    fn init_containers(&mut self, view: &View<'_>) -> bool {
        let spec = &view.pod.spec;
        if spec.init_containers.is_empty() {
            return true;
        }
        let last = spec.init_containers.len() - 1;
        let mut initialized = regular_active(view.pod, view.observed);
        let mut previously = initialized;
        for (index, container) in spec.init_containers.iter().enumerate().rev() {
            let sidecar = is_sidecar(container);
            let Some(seen) = view.observed.container(&container.name) else {
                if previously && sidecar {
                    self.init.push(index);
                }
                continue;
            };
            if previously && !sidecar {
                continue;
            }
            match seen.state {
                // Making and starting are one step; a container left in between is started anew.
                State::Created => self.init.push(index),
                State::Running if sidecar => {
                    self.running_sidecar(view, index, last, seen, &mut initialized, previously);
                }
                State::Running => {}
                State::Exited if sidecar => self.init.push(index),
                State::Exited if seen.exit_code == 0 => {
                    if index == last {
                        initialized = true;
                    } else {
                        self.init.push(index + 1);
                    }
                }
                State::Exited => {
                    if !should_start(container, view.pod, view.observed) {
                        self.stop_pod = true;
                        return false;
                    }
                    self.init.push(index);
                }
                State::Unknown => {
                    let restart = match &container.restart_policy {
                        Some(policy) => *policy != ContainerRestartPolicy::Never,
                        None => spec.restart_policy != RestartPolicy::Never,
                    };
                    if !sidecar && !restart {
                        self.stop_pod = true;
                        return false;
                    }
                    self.unknown(seen, "Init container");
                    self.init.push(index);
                }
            }
            previously = true;
        }
        if !previously {
            self.init.push(0);
        }
        self.init.sort_unstable();
        self.init.dedup();
        initialized
    }

    fn running_sidecar(
        &mut self,
        view: &View<'_>,
        index: usize,
        last: usize,
        seen: &observed::Container,
        initialized: &mut bool,
        previously: bool,
    ) {
        let container = &view.pod.spec.init_containers[index];
        if container.startup_probe.is_some() {
            match (view.startup)(&seen.id) {
                Some(Verdict::Success) => {}
                Some(Verdict::Failure) => {
                    let message = format!("Init container {} failed startup probe", container.name);
                    self.stop(seen, message, KillReason::StartupProbe);
                    self.init.push(index);
                    return;
                }
                Some(Verdict::Unknown) | None => return,
            }
        }
        if index == last {
            *initialized = true;
        } else if !previously {
            self.init.push(index + 1);
        }
        if changed(container, seen) {
            let message = format!("Init container {} definition changed", container.name);
            self.stop(seen, message, KillReason::Ordinary);
            self.init.push(index);
        } else if container.liveness_probe.is_some() && (view.liveness)(&seen.id) == Some(Verdict::Failure) {
            let message = format!("Init container {} failed liveness probe", container.name);
            self.stop(seen, message, KillReason::LivenessProbe);
            self.init.push(index);
        } else if !self.resources(view, container, seen) {
            self.init.push(index);
        }
    }

    /// Whether a running container keeps running, as far as its resources go.
    fn resources(&mut self, view: &View<'_>, container: &Container, seen: &observed::Container) -> bool {
        let Some(told) = view.actuated.and_then(|told| told.containers.get(&container.name)) else {
            return true;
        };
        let (wanted, told) = (Amounts::of(&resize::effective(view.pod, container)), Amounts::of(told));
        match resize::change(container, wanted, told) {
            resize::Change::None => true,
            resize::Change::InPlace => {
                self.resize = true;
                self.updates.push(Update { id: seen.id.clone(), name: seen.name.clone(), told, wanted });
                true
            }
            resize::Change::Restart => {
                self.resize = true;
                let message = format!("Container {} resize requires restart", container.name);
                self.stop(seen, message, KillReason::Ordinary);
                false
            }
        }
    }

    /// Resources of the pod as a whole.
    fn pod_resources(&mut self, view: &View<'_>) {
        if let (Some(wanted), Some(told)) =
            (&view.pod.spec.resources, view.actuated.and_then(|told| told.pod.as_ref()))
        {
            self.resize |= Amounts::of(wanted) != Amounts::of(told);
        }
    }

    fn regular_containers(&mut self, view: &View<'_>) {
        let spec = &view.pod.spec;
        let mut keep = 0;
        for (index, container) in spec.containers.iter().enumerate() {
            let seen = view.observed.container(&container.name);
            let Some(seen) = seen.filter(|seen| seen.state == State::Running) else {
                if should_start(container, view.pod, view.observed) {
                    self.regular.push(index);
                    if let Some(seen) = seen.filter(|seen| seen.state == State::Unknown) {
                        self.unknown(seen, "Container");
                    }
                }
                continue;
            };
            let mut restart = match &container.restart_policy {
                Some(policy) => *policy != ContainerRestartPolicy::Never,
                None => spec.restart_policy != RestartPolicy::Never,
            };
            let (message, reason) = if changed(container, seen) {
                // Whatever the restart policy says: this container is not the one that was asked for.
                restart = true;
                (format!("Container {} definition changed", container.name), KillReason::Ordinary)
            } else if (view.liveness)(&seen.id) == Some(Verdict::Failure) {
                (format!("Container {} failed liveness probe", container.name), KillReason::LivenessProbe)
            } else if (view.startup)(&seen.id) == Some(Verdict::Failure) {
                (format!("Container {} failed startup probe", container.name), KillReason::StartupProbe)
            } else if !self.resources(view, container, seen) {
                self.regular.push(index);
                continue;
            } else {
                keep += 1;
                continue;
            };
            if restart {
                self.regular.push(index);
                self.stop(seen, format!("{message}, will be restarted"), reason);
            } else {
                self.stop(seen, message, reason);
            }
        }
        if keep == 0 && self.regular.is_empty() {
            self.stop_pod = true;
        }
    }
}

fn changed(container: &Container, seen: &observed::Container) -> bool {
    container_hash(&container.name, &container.image) != seen.facts.hash
}
