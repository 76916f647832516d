//! Columns of pods: the one-word status that people know pods by, readiness, restarts.

use super::*;
use crate::columns::{or, since};
use crate::kind::Column;
use crate::meta::v1::ConditionStatus;
use crate::value::Time;
use jiff::Timestamp;

pub(super) const COLUMNS: &[Column<Pod>] = &[
    Column::name(),
    Column::text("Ready", "Containers that are ready, out of all.", |pod: &Pod, _| {
        let seen = Summary::of(pod);
        format!("{}/{}", seen.ready, seen.total).into()
    }),
    Column::text("Status", "State of the pod and its containers in one word.", |pod: &Pod, _| {
        Summary::of(pod).reason.into()
    }),
    Column::text("Restarts", "How often containers were restarted, and when last.", |pod, now| {
        Summary::of(pod).restarts_text(now).into()
    }),
    Column::age(),
    Column::text("IP", "Address of the pod.", |pod: &Pod, _| {
        or(pod.status.pod_ips.first().map_or("", |first| &first.ip), "<none>").into()
    })
    .wide(),
    Column::text("Node", "Node that the pod is bound to.", |pod: &Pod, _| {
        or(&pod.spec.node_name, "<none>").into()
    })
    .wide(),
    Column::text("Nominated Node", "Node where room is being made for the pod.", |pod: &Pod, _| {
        or(&pod.status.nominated_node_name, "<none>").into()
    })
    .wide(),
    Column::text(
        "Readiness Gates",
        "Extra conditions for readiness that hold, out of all.",
        |pod: &Pod, _| readiness_gates(pod).into(),
    )
    .wide(),
];

/// What the status of all containers comes down to.
struct Summary {
    ready: usize,
    total: usize,
    restarts: i32,
    last_restart: Option<Time>,
    reason: String,
}

impl Summary {
    fn of(pod: &Pod) -> Self {
        let Pod { metadata, spec, status } = pod;
        let mut own = Self {
            ready: 0,
            total: spec.containers.len() + spec.init_containers.iter().filter(|c| c.is_sidecar()).count(),
            restarts: 0,
            last_restart: None,
            reason: or(&status.reason, status.phase.as_str()).to_owned(),
        };
        if status
            .conditions
            .iter()
            .any(|c| c.type_ == PodConditionType::PodScheduled && c.reason == "SchedulingGated")
        {
            own.reason = "SchedulingGated".to_owned();
        }
        let initializing = own.look_at_init_containers(spec, status);
        let initialized =
            status.conditions.iter().find(|c| c.type_ == PodConditionType::Initialized).map(|c| &c.status);
        if !initializing || initialized == Some(&ConditionStatus::True) {
            own.look_at_containers(spec, status);
        }
        if metadata.deletion_timestamp.is_some() {
            if status.reason == "NodeLost" {
                own.reason = "Unknown".to_owned();
            } else if !matches!(status.phase, PodPhase::Succeeded | PodPhase::Failed) {
                own.reason = "Terminating".to_owned();
            }
        }
        own
    }

    fn count_restarts(&mut self, container: &ContainerStatus) {
        self.restarts += container.restart_count;
        if let Some(ended) = &container.last_state.terminated {
            self.last_restart = self.last_restart.max(ended.finished_at);
        }
    }

    /// Goes up to the first init container that is not done; tells whether there is one.
    fn look_at_init_containers(&mut self, spec: &PodSpec, status: &PodStatus) -> bool {
        let is_sidecar = |name: &str| spec.init_containers.iter().any(|c| c.name == name && c.is_sidecar());
        for (place, container) in status.init_container_statuses.iter().enumerate() {
            self.count_restarts(container);
            let ended = container.state.terminated.as_deref();
            if ended.is_some_and(|ended| ended.exit_code == 0) {
                continue;
            }
            if is_sidecar(&container.name) && container.started == Some(true) {
                self.ready += usize::from(container.ready);
                continue;
            }
            let waits_for = container.state.waiting.as_deref().map_or("", |w| &w.reason);
            self.reason = match ended {
                Some(ended) => format!("Init:{}", ending(ended)),
                None if !matches!(waits_for, "" | "PodInitializing") => format!("Init:{waits_for}"),
                None => format!("Init:{place}/{}", spec.init_containers.len()),
            };
            return true;
        }
        false
    }

    fn look_at_containers(&mut self, spec: &PodSpec, status: &PodStatus) {
        // Restarts of init containers that are done no longer count; those of sidecars do.
        (self.restarts, self.last_restart) = (0, None);
        for container in &status.init_container_statuses {
            if spec.init_containers.iter().any(|c| c.name == container.name && c.is_sidecar()) {
                self.count_restarts(container);
            }
        }
        let mut running = false;
        let mut failure = None;
        // The first container's state wins, so it comes last.
        for container in status.container_statuses.iter().rev() {
            self.count_restarts(container);
            let state = &container.state;
            if let Some(waiting) = state.waiting.as_ref().filter(|w| !w.reason.is_empty()) {
                self.reason = waiting.reason.clone();
            } else if let Some(ended) = &state.terminated {
                self.reason = ending(ended);
                if ended.exit_code != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if container.ready && state.running.is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            let is_ready = status
                .conditions
                .iter()
                .any(|c| c.type_ == PodConditionType::Ready && c.status == ConditionStatus::True);
            if running && is_ready {
                self.reason = "Running".to_owned();
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                self.reason = "NotReady".to_owned();
            }
        }
    }

    fn restarts_text(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(at) if self.restarts != 0 => format!("{} ({} ago)", self.restarts, since(Some(at), now)),
            _ => self.restarts.to_string(),
        }
    }
}

/// How a container ended, in one word.
fn ending(ended: &ContainerStateTerminated) -> String {
    if !ended.reason.is_empty() {
        ended.reason.clone()
    } else if ended.signal != 0 {
        format!("Signal:{}", ended.signal)
    } else {
        format!("ExitCode:{}", ended.exit_code)
    }
}

fn readiness_gates(pod: &Pod) -> String {
    let gates = &pod.spec.readiness_gates;
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let holds = |type_: &PodConditionType| {
        let found = pod.status.conditions.iter().find(|c| c.type_ == *type_);
        found.is_some_and(|c| c.status == ConditionStatus::True)
    };
    format!("{}/{}", gates.iter().filter(|g| holds(&g.condition_type)).count(), gates.len())
}
