//! NodeUnschedulable: nodes with spec.unschedulable take only pods that tolerate it.

use api_types::core::v1::{Taint, TaintEffect};

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, CycleState, Filter, Plugin, Rejection, Verdict};
use crate::pod::PodView;

pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::PodUpdated { new, .. } => new.uid == pod.uid && tolerated(new),
            _ => event
                .node()
                .is_some_and(|(old, new)| !new.unschedulable && old.is_none_or(|o| o.unschedulable)),
        }
    }
}

/// `kubectl cordon` means this taint, whether or not the controller has added it yet.
fn tolerated(pod: &PodView) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: TaintEffect::NoSchedule,
        ..Taint::default()
    };
    pod.tolerations.iter().any(|t| t.tolerates(&taint))
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        if node.node().unschedulable && !tolerated(pod) {
            return Err(Rejection::unresolvable("node(s) were unschedulable"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_filter, node, pod};

    #[test]
    fn cordoned_nodes_take_pods_that_tolerate_it() {
        let cordoned = node("a").edit(|n| n.spec.unschedulable = true);
        let no = Some("node(s) were unschedulable");
        check_filter(&NodeUnschedulable, &pod("p"), &node("a"), None);
        check_filter(&NodeUnschedulable, &pod("p"), &cordoned, no);
        let daemon = pod("p").toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule");
        check_filter(&NodeUnschedulable, &daemon, &cordoned, None);
    }
}
