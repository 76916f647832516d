//! Pods are the one kind that is deleted gracefully: the kubelet ends them and confirms with a
//! deletion of grace 0 (API doc "Pod Lifecycle").

use api_types::core::v1::{Pod, PodPhase};
use api_types::kind::{Kind, Object};

/// The grace period of a deletion, for kinds that have one.
pub fn grace_period(kind: &Kind, object: &dyn Object, asked: Option<i64>) -> Option<i64> {
    if kind.resource != "pods" {
        return None;
    }
    let pod: &Pod = object.as_any().downcast_ref()?;
    let seconds = asked.or(pod.spec.termination_grace_period_seconds).unwrap_or(30);
    let unscheduled = pod.spec.node_name.is_empty();
    let ended = matches!(pod.status.phase, PodPhase::Succeeded | PodPhase::Failed);
    // Nobody would confirm the end of a pod that never ran or has ended.
    Some(if unscheduled || ended { 0 } else { seconds })
}
