//! The phase of a pod from its containers' statuses.

use api_types::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod, PodPhase};

use super::restarting;
use crate::sync_pod::plan::{is_sidecar, should_restart};

#[derive(Default)]
struct Count {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

/// The phase; `terminal` when nothing of the pod will run again, `active` when a regular container is up.
pub fn phase(pod: &Pod, statuses: &[ContainerStatus], terminal: bool, active: bool) -> PodPhase {
    let find = |name: &str| statuses.iter().find(|status| status.name == name);
    let (mut pending_init, mut pending_sidecars) = (0, 0);
    let mut count = Count::default();
    for container in &pod.spec.init_containers {
        let status = find(&container.name);
        if is_sidecar(container) {
            pending_sidecars += count.sidecar(status);
            continue;
        }
        let Some(status) = status else {
            pending_init += 1;
            continue;
        };
        let last = status.last_state.terminated.as_ref().filter(|_| status.state.waiting.is_some());
        match status.state.terminated.as_ref().or(last) {
            Some(ended) if ended.exit_code != 0 => {
                if !restarts(pod, container, ended) {
                    return PodPhase::Failed;
                }
                // COMPAT: a failed init container that will run again does not count as pending here;
                // the regular containers, which wait for it, do.
            }
            Some(_) => {}
            None => pending_init += 1,
        }
    }
    for container in &pod.spec.containers {
        count.regular(find(&container.name), |ended| restarts(pod, container, ended));
    }
    if pending_init > 0 || (pending_sidecars > 0 && !active) || count.waiting > 0 {
        PodPhase::Pending
    } else if count.running > 0 && count.unknown == 0 {
        PodPhase::Running
    } else if count.running == 0 && count.stopped > 0 && count.unknown == 0 {
        let succeeded = count.stopped == count.succeeded;
        if !terminal && count.stopped != count.stopped_for_good {
            PodPhase::Running
        } else if succeeded {
            PodPhase::Succeeded
        } else {
            PodPhase::Failed
        }
    } else {
        PodPhase::Pending
    }
}

/// A container that ended like this runs again: by its policy, or because all start anew.
fn restarts(pod: &Pod, container: &Container, ended: &ContainerStateTerminated) -> bool {
    ended.reason == restarting::REASON || should_restart(container, &pod.spec, ended.exit_code)
}

impl Count {
    /// Answers whether the sidecar has yet to start (1) or not (0).
    fn sidecar(&mut self, status: Option<&ContainerStatus>) -> usize {
        let Some(status) = status else {
            self.unknown += 1;
            return 0;
        };
        if status.state.running.is_some() {
            self.running += 1;
            return usize::from(status.started != Some(true));
        }
        if status.state.terminated.is_some() {
            return 0;
        }
        if status.state.waiting.is_some() {
            if status.last_state.terminated.is_some() {
                return 0;
            }
            self.waiting += 1;
        } else {
            self.unknown += 1;
        }
        1
    }

    fn regular(
        &mut self,
        status: Option<&ContainerStatus>,
        restarts: impl Fn(&ContainerStateTerminated) -> bool,
    ) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        if status.state.running.is_some() {
            self.running += 1;
        } else if let Some(ended) = &status.state.terminated {
            self.stopped += 1;
            self.stopped_for_good += usize::from(!restarts(ended));
            self.succeeded += usize::from(ended.exit_code == 0);
        } else if status.state.waiting.is_some() {
            match &status.last_state.terminated {
                Some(ended) => {
                    self.stopped += 1;
                    self.stopped_for_good += usize::from(!restarts(ended));
                }
                None => self.waiting += 1,
            }
        } else {
            self.unknown += 1;
        }
    }
}
