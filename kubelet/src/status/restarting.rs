//! Whether all containers of a pod are being removed to start anew, because a rule said so (KEP-5532).

use api_types::core::v1::{ConditionStatus, Pod, PodConditionType, PodStatus};

use crate::cri::observed::{ObservedPod, State};
use crate::sync_pod::plan::restarts_all;

/// Reason of containers that were removed for it.
pub const REASON: &str = "RestartingAllContainers";
/// What the status says of such a container.
pub const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// A container ended with a code for which all start anew, or that was noted and is not done yet.
pub fn wanted(pod: &Pod, observed: &ObservedPod, old: &PodStatus) -> bool {
    let spec = &pod.spec;
    under_way(old)
        || spec.init_containers.iter().chain(&spec.containers).any(|container| {
            observed
                .container(&container.name)
                .is_some_and(|seen| seen.state == State::Exited && restarts_all(container, seen.exit_code))
        })
}

/// The status says that containers are being removed.
pub fn under_way(status: &PodStatus) -> bool {
    status.conditions.iter().any(|condition| {
        condition.type_ == PodConditionType::AllContainersRestarting
            && condition.status == ConditionStatus::True
    })
}

/// All containers are gone from the runtime.
pub fn cleaned_up(pod: &Pod, observed: &ObservedPod) -> bool {
    let spec = &pod.spec;
    !spec
        .init_containers
        .iter()
        .chain(&spec.containers)
        .any(|container| observed.container(&container.name).is_some())
}
