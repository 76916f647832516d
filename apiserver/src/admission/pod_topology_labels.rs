//! PodTopologyLabels: a pod that comes to a node gets the node's zone and region as labels (KEP-4742). A
//! Binding carries them to the pod; a pod that names its node itself has them at once.

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::views::Views;
use api_types::core::v1::{Binding, Pod};
use std::collections::BTreeMap;

pub struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        let views = context.views;
        if request.is_about("", "pods", "binding") {
            if let Some(binding) = request.object_mut::<Binding>()
                && binding.target.kind == "Node"
            {
                let labels = of_node(views, &binding.target.name);
                binding.metadata.labels.extend(labels);
            }
        } else if request.is_about("", "pods", "")
            && let Some(pod) = request.object_mut::<Pod>()
            && !pod.spec.node_name.is_empty()
        {
            let labels = of_node(views, &pod.spec.node_name);
            pod.metadata.labels.extend(labels);
        }
        Ok(())
    }
}

/// None for a node that is not known: that is for others to judge.
fn of_node(views: &Views, node: &str) -> BTreeMap<String, String> {
    views.nodes.get("", node).map(|node| node.topology.clone()).unwrap_or_default()
}
