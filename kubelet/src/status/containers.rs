//! The statuses of a pod's containers, from the runtime's view and the statuses before.

use api_types::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, PodStatus, RecursiveReadOnlyMode, VolumeMountStatus,
};
use api_types::meta::Time;
use jiff::Timestamp;

use super::{View, resources, restarting};
use crate::cri::observed::{self, State};
use crate::sync_pod::plan::{is_sidecar, regular_created, should_start};

const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// Sets the three lists of container statuses.
pub fn fill(view: &View<'_>, status: &mut PodStatus) {
    let spec = &view.pod.spec;
    status.container_statuses = list(view, &spec.containers, &view.old.container_statuses, false);
    status.container_statuses.sort_by(|a, b| a.name.cmp(&b.name));
    status.init_container_statuses =
        list(view, &spec.init_containers, &view.old.init_container_statuses, true);
    let ephemeral: Vec<Container> =
        spec.ephemeral_containers.iter().map(|container| container.common.clone()).collect();
    status.ephemeral_container_statuses =
        list(view, &ephemeral, &view.old.ephemeral_container_statuses, false);
    status.ephemeral_container_statuses.sort_by(|a, b| a.name.cmp(&b.name));
}

fn list(
    view: &View<'_>,
    containers: &[Container],
    before: &[ContainerStatus],
    init: bool,
) -> Vec<ContainerStatus> {
    containers
        .iter()
        .map(|container| {
            let old = before.iter().find(|status| status.name == container.name);
            one(view, container, old, init)
        })
        .collect()
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(Box::new(ContainerStateWaiting { reason: reason.into(), message: message.into() })),
        ..Default::default()
    }
}

fn terminated(ended: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(Box::new(ended)), ..Default::default() }
}

/// Nanoseconds of the runtime as a time of the API; zero is none.
fn time(nanoseconds: i64) -> Option<Time> {
    (nanoseconds > 0)
        .then(|| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok())
        .flatten()
        .map(Time::whole)
}

fn one(view: &View<'_>, container: &Container, old: Option<&ContainerStatus>, init: bool) -> ContainerStatus {
    let seen: Vec<&observed::Container> =
        view.observed.containers.iter().filter(|seen| seen.name == container.name).take(2).collect();
    let mut status = match seen.first() {
        Some(newest) => from_runtime(view, container, newest, old),
        None => from_memory(view, container, old),
    };
    if let Some(previous) = seen.get(1) {
        status.last_state = state(view, previous, old).0;
    }
    let succeeded = seen.first().is_some_and(|seen| seen.state == State::Exited && seen.exit_code == 0);
    if init && succeeded && !is_sidecar(container) {
        return status;
    }
    if init
        && seen.is_empty()
        && !is_sidecar(container)
        && status.state.waiting.is_some()
        && regular_created(view.pod, view.observed)
    {
        status.state = terminated(ContainerStateTerminated {
            reason: "Completed".into(),
            message: "Unable to get init container status from container runtime and pod has been \
                      initialized, treat it as exited normally"
                .into(),
            ..Default::default()
        });
        return status;
    }
    if should_start(container, view.pod, view.observed)
        && let Some(error) = view.start_errors.get(&container.name)
    {
        if status.state.terminated.is_some() {
            status.last_state = std::mem::take(&mut status.state);
        }
        status.state = waiting(error.reason, &error.message);
    }
    status
}

/// The status of a container that the runtime does not know.
fn from_memory(view: &View<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    if let Some(old) = old.filter(|old| old.state.waiting.is_none())
        && restarting::wanted(view.pod, view.observed, view.old)
    {
        return removed(old);
    }
    if let Some(old) = old.filter(|old| old.state.terminated.is_some()) {
        return old.clone();
    }
    let reason =
        if view.pod.spec.init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        state: waiting(reason, ""),
        volume_mounts: volume_mounts(container, &[]),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    if old.state.running.is_some() && status.last_state.terminated.is_none() {
        // It ran, and now nothing is known of it: it ended, though no one can say how. Without this the
        // pod would fall back to Pending.
        status.last_state = terminated(ContainerStateTerminated {
            reason: STATUS_UNKNOWN.into(),
            message:
                "The container could not be located when the pod was deleted.  The container used to be \
                      Running"
                    .into(),
            exit_code: 137,
            ..Default::default()
        });
        if view.pod.metadata.deletion_timestamp.is_none() {
            status.restart_count += 1;
        }
    }
    status
}

/// The status of a container that was removed so that all start anew.
fn removed(old: &ContainerStatus) -> ContainerStatus {
    let mut status = old.clone();
    status.state = waiting(restarting::REASON, restarting::MESSAGE);
    status.last_state = terminated(ContainerStateTerminated {
        reason: restarting::REASON.into(),
        message: restarting::MESSAGE.into(),
        exit_code: 137,
        ..Default::default()
    });
    status.restart_count += 1;
    status
}

fn from_runtime(
    view: &View<'_>,
    container: &Container,
    seen: &observed::Container,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let (state, extra_restart) = state(view, seen, old);
    let mut status = ContainerStatus {
        name: seen.name.clone(),
        restart_count: seen.facts.restart_count,
        image: seen.image.clone(),
        image_id: seen.image_ref.clone(),
        container_id: format!("{}://{}", view.runtime_name, seen.id),
        state,
        volume_mounts: volume_mounts(container, &seen.read_only_below),
        allocated_resources: container.resources.requests.clone(),
        resources: Some(Box::new(resources::of_container(view, container, seen, old))),
        user: seen.user.as_ref().map(|user| {
            Box::new(ContainerUser {
                linux: Some(Box::new(LinuxContainerUser {
                    uid: user.uid,
                    gid: user.gid,
                    supplemental_groups: user.supplemental_groups.clone(),
                })),
            })
        }),
        ..Default::default()
    };
    if let Some(old) = old {
        status.restart_count = status.restart_count.max(old.restart_count) + extra_restart;
        if old.container_id != status.container_id && old.state.terminated.is_some() {
            status.last_state = old.state.clone();
        } else if old.last_state.terminated.is_some() {
            status.last_state = old.last_state.clone();
        }
        if seen.state == State::Running && old.state.terminated.is_some() {
            status.restart_count = status.restart_count.max(old.restart_count + 1);
        }
        if seen.state == State::Running && old.container_id == status.container_id {
            status.started = old.started;
        }
    }
    status
}

/// The state, and how many restarts it tells of that the runtime did not count.
fn state(
    view: &View<'_>,
    seen: &observed::Container,
    old: Option<&ContainerStatus>,
) -> (ContainerState, i32) {
    let state = match seen.state {
        State::Running => ContainerState {
            running: Some(Box::new(ContainerStateRunning { started_at: time(seen.started_at) })),
            ..Default::default()
        },
        State::Exited => terminated(ContainerStateTerminated {
            exit_code: seen.exit_code,
            reason: seen.reason.clone(),
            message: seen.message.clone(),
            started_at: time(seen.started_at),
            finished_at: time(seen.finished_at),
            container_id: format!("{}://{}", view.runtime_name, seen.id),
            ..Default::default()
        }),
        State::Unknown if old.is_some_and(|old| old.state.running.is_some()) => {
            let all = restarting::wanted(view.pod, view.observed, view.old);
            let ended = ContainerStateTerminated {
                reason: if all { restarting::REASON } else { STATUS_UNKNOWN }.into(),
                message: "The container could not be located when the pod was terminated".into(),
                exit_code: 137,
                ..Default::default()
            };
            return (terminated(ended), 1);
        }
        State::Created | State::Unknown => waiting("", ""),
    };
    (state, 0)
}

fn volume_mounts(container: &Container, below: &[String]) -> Vec<VolumeMountStatus> {
    container
        .volume_mounts
        .iter()
        .map(|mount| VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only,
            recursive_read_only: mount.read_only.then(|| {
                let whole = below.contains(&mount.mount_path);
                if whole { RecursiveReadOnlyMode::Enabled } else { RecursiveReadOnlyMode::Disabled }
            }),
            ..Default::default()
        })
        .collect()
}
