//! SchedulingGates: a pod with gates does not enter the queue (KEP-3521).

use crate::devices::Devices;
use crate::framework::{ClusterEvent, Plugin, PreEnqueue, Rejection, Verdict};
use crate::pod::PodView;

pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    /// Only the removal of gates helps, and that is an update of the pod itself.
    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::PodUpdated { new, .. } if new.uid == pod.uid && new.gates.is_empty())
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodView, _: &Devices) -> Verdict {
        if pod.gates.is_empty() {
            return Ok(());
        }
        Err(Rejection::unresolvable(format!("waiting for scheduling gates: [{}]", pod.gates.join(" "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn gates_hold_a_pod_back() {
        assert_eq!(SchedulingGates.pre_enqueue(&pod("a").view(), &Devices::default()), Ok(()));
        let gated = pod("a").edit(|p| {
            p.spec.scheduling_gates =
                ["foo", "bar"].map(|n| api_types::core::v1::PodSchedulingGate { name: n.into() }).into();
        });
        let rejection = SchedulingGates.pre_enqueue(&gated.view(), &Devices::default()).unwrap_err();
        assert_eq!(rejection.message(), "waiting for scheduling gates: [foo bar]");
    }
}
