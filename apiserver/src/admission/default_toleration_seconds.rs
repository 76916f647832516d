//! DefaultTolerationSeconds: pods stay five minutes on a node that has failed, unless they say
//! otherwise (API doc "Taint based Evictions").

use super::{Context, Operation, Plugin, Refusal, Request};
use api_types::core::v1::{Pod, TaintEffect, Toleration, TolerationOperator};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Seconds for the two states of a failed node.
#[derive(Debug, Clone, Copy)]
pub struct DefaultTolerationSeconds {
    pub not_ready: i64,
    pub unreachable: i64,
}

#[cfg(test)]
impl DefaultTolerationSeconds {
    pub const DEFAULT: Self = Self { not_ready: 300, unreachable: 300 };
}

impl Plugin for DefaultTolerationSeconds {
    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit(&self, request: &mut Request<'_>, _: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("", "pods", "") {
            return Ok(());
        }
        let Some(pod) = request.object_mut::<Pod>() else { return Ok(()) };
        for (key, seconds) in [(NOT_READY, self.not_ready), (UNREACHABLE, self.unreachable)] {
            let tolerated = pod.spec.tolerations.iter().any(|toleration| {
                (toleration.key == key || toleration.key.is_empty())
                    && (toleration.effect == TaintEffect::NoExecute || toleration.effect.is_unset())
            });
            if !tolerated {
                pod.spec.tolerations.push(Toleration {
                    key: key.to_owned(),
                    operator: TolerationOperator::Exists,
                    effect: TaintEffect::NoExecute,
                    toleration_seconds: Some(seconds),
                    ..Toleration::default()
                });
            }
        }
        Ok(())
    }
}
