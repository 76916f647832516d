//! NodePorts: host ports that a pod asks for must be free on its node.

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ClusterEvent, CycleState, Filter, Plugin, PreFilter, PreFiltered, Rejection, Verdict,
};
use crate::pod::PodView;

pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::AssignedPodDeleted(gone) => {
                gone.ports.iter().any(|used| pod.ports.iter().any(|p| p.conflicts(used)))
            }
            _ => false,
        }
    }
}

impl PreFilter for NodePorts {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodView, _: &Snapshot) -> Result<PreFiltered, Rejection> {
        Ok(if pod.ports.is_empty() { PreFiltered::Skip } else { PreFiltered::AllNodes })
    }
}

impl Filter for NodePorts {
    fn filter(&self, _: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        if node.has_free(&pod.ports) {
            return Ok(());
        }
        Err(Rejection::unschedulable("node(s) didn't have free ports for the requested pod ports"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_filter_with, node, pod};

    #[test]
    fn a_taken_port_excludes_the_node() {
        let no = Some("node(s) didn't have free ports for the requested pod ports");
        let used = [pod("q").host_port(80, "TCP")];
        check_filter_with(&NodePorts, &pod("p").host_port(80, "TCP"), &node("a"), &[], None);
        check_filter_with(&NodePorts, &pod("p").host_port(80, "TCP"), &node("a"), &used, no);
        check_filter_with(&NodePorts, &pod("p").host_port(80, "UDP"), &node("a"), &used, None);
        check_filter_with(&NodePorts, &pod("p").host_port(81, "TCP"), &node("a"), &used, None);
    }
}
