//! TaintNodesByCondition: a new node is not ready yet, so nothing is put there before it says it is.

use super::{Context, Operation, Plugin, Refusal, Request};
use api_types::core::v1::{Node, Taint, TaintEffect};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit(&self, request: &mut Request<'_>, _: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("", "nodes", "") {
            return Ok(());
        }
        if let Some(node) = request.object_mut::<Node>() {
            let taints = &mut node.spec.taints;
            if !taints.iter().any(|t| t.key == NOT_READY && t.effect == TaintEffect::NoSchedule) {
                taints.push(Taint {
                    key: NOT_READY.to_owned(),
                    effect: TaintEffect::NoSchedule,
                    ..Taint::default()
                });
            }
        }
        Ok(())
    }
}
