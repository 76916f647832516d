//! NodeName: a pod that names its node fits no other. (Such pods normally never come here.)

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, CycleState, Filter, Plugin, Rejection, Verdict};
use crate::pod::PodView;

pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn wakes(&self, _: &PodView, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded(_))
    }
}

impl Filter for NodeName {
    fn filter(&self, _: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        if pod.node_name.is_empty() || pod.node_name == *node.name() {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match the requested node name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_filter, node, pod};

    #[test]
    fn only_the_named_node_fits() {
        check_filter(&NodeName, &pod("p"), &node("a"), None);
        check_filter(&NodeName, &pod("p").on("a"), &node("a"), None);
        let no = Some("node(s) didn't match the requested node name");
        check_filter(&NodeName, &pod("p").on("b"), &node("a"), no);
    }
}
