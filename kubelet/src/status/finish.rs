//! The last status of a pod: nothing waits or runs any more, and the phase is final.
//!
//! What is not known to have ended counts as a failure, since no one can say that it succeeded;
//! containers that never had their turn keep saying that they waited for it.

use api_types::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodPhase, PodStatus,
};

use crate::sync_pod::plan::is_sidecar;

/// Turns a status into the last one.
pub fn finish(pod: &Pod, status: &mut PodStatus) {
    if initialized(pod, status) {
        status.container_statuses.iter_mut().for_each(end);
    }
    let tried = status
        .init_container_statuses
        .iter()
        .rposition(|init| init.state.waiting.is_none() || init.last_state.terminated.is_some())
        .map_or(1, |last| last + 1);
    status.init_container_statuses.iter_mut().take(tried).for_each(end);
    if !matches!(status.phase, PodPhase::Succeeded | PodPhase::Failed) {
        status.phase = PodPhase::Failed;
    }
}

fn end(container: &mut ContainerStatus) {
    if container.state.terminated.is_some() {
        return;
    }
    container.state = ContainerState {
        terminated: Some(Box::new(ContainerStateTerminated {
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was terminated".into(),
            exit_code: 137,
            ..Default::default()
        })),
        ..Default::default()
    };
    container.ready = false;
    container.started = Some(false);
}

/// The regular containers had their turn, or could have had it.
fn initialized(pod: &Pod, status: &PodStatus) -> bool {
    let Some(last) = pod.spec.init_containers.last() else { return true };
    let moved = |container: &ContainerStatus| {
        container.last_state.terminated.is_some() || container.state.waiting.is_none()
    };
    if status.container_statuses.iter().any(moved) {
        return true;
    }
    let Some(seen) = status.init_container_statuses.iter().find(|seen| seen.name == last.name) else {
        return false;
    };
    if is_sidecar(last) {
        return seen.state.running.is_some() && seen.started == Some(true);
    }
    [&seen.state, &seen.last_state]
        .iter()
        .any(|state| state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::{Container, ContainerStateWaiting};

    fn waiting(name: &str) -> ContainerStatus {
        let mut status = ContainerStatus { name: name.into(), ..Default::default() };
        status.state.waiting = Some(Box::new(ContainerStateWaiting::default()));
        status
    }

    fn check(init: &[&str], expected: (&[bool], &[bool])) {
        let mut pod = Pod::default();
        pod.spec.init_containers =
            init.iter().map(|name| Container { name: (*name).into(), ..Default::default() }).collect();
        let mut status = PodStatus {
            phase: PodPhase::Pending,
            init_container_statuses: init.iter().map(|name| waiting(name)).collect(),
            container_statuses: vec![waiting("a")],
            ..Default::default()
        };
        finish(&pod, &mut status);
        let ended = |list: &[ContainerStatus]| {
            list.iter().map(|status| status.state.terminated.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(status.phase, PodPhase::Failed);
        assert_eq!(ended(&status.init_container_statuses), expected.0);
        assert_eq!(ended(&status.container_statuses), expected.1);
    }

    #[test]
    fn containers_that_never_ran() {
        check(&[], (&[], &[true]));
        // The first init container would have run next; the others were not due.
        check(&["i", "j"], (&[true, false], &[false]));
    }
}
