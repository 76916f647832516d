//! Whether a pod may stay, and how long.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, Taint, Toleration};
use api_types::value::Time;
use client::controller::{Action, Plan, Step, Target, Told};
use client::{Key, Patch};
use jiff::Timestamp;
use serde_json::json;

use crate::cached::PodFacts;
use crate::service_pods::reference;

/// A pod and the NoExecute taints of its node.
#[derive(Debug, Clone)]
pub struct View {
    pub key: Key,
    pub pod: Arc<PodFacts>,
    pub taints: Vec<Taint>,
    /// Since when it is under such taints.
    pub since: Option<Timestamp>,
}

/// The pod is under no taints any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget(pub Key);

/// How long a pod may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    Ever,
    For(Duration),
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan<Forget> {
    let mut plan = Plan::nothing();
    let (key, pod) = (&view.key, &view.pod);
    match (stay(&view.pod.tolerations, &view.taints), view.since) {
        (Stay::Ever, Some(_)) if view.taints.is_empty() => {
            let message = format!("Cancelling deletion of Pod {key}");
            plan.tell(Told::normal(reference(key, pod), "TaintManagerEviction", message));
            plan.step(Step::Own(Forget(key.clone())));
        }
        (Stay::Ever, _) => {}
        (Stay::For(span), since) => {
            let due = since.unwrap_or(now).saturating_add(span).unwrap_or(Timestamp::MAX);
            if now < due {
                plan.look_again(Duration::try_from(due - now).unwrap_or(span));
            } else {
                evict(view, now, &mut plan);
            }
        }
    }
    plan
}

fn evict(view: &View, now: Timestamp, plan: &mut Plan<Forget>) {
    let (key, pod) = (&view.key, &view.pod);
    let message = format!("Marking for deletion Pod {key}");
    plan.tell(Told::normal(reference(key, pod), "TaintManagerEviction", message));
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": Time::whole(now).to_string(),
    });
    let target = Target::new::<Pod>(key.clone(), &pod.uid);
    let patch =
        Patch::Strategic(json!({"metadata": {"uid": &*pod.uid}, "status": {"conditions": [condition]}}));
    plan.act(Action::patch_status(target.clone(), patch));
    plan.act(Action::delete(target));
}

/// The least that any taint leaves the pod.
pub(super) fn stay(tolerations: &[Toleration], taints: &[Taint]) -> Stay {
    let mut least = Stay::Ever;
    for taint in taints {
        let fitting: Vec<&Toleration> = tolerations.iter().filter(|t| t.tolerates(taint)).collect();
        if fitting.is_empty() {
            return Stay::For(Duration::ZERO);
        }
        for toleration in fitting {
            let Some(seconds) = toleration.toleration_seconds else { continue };
            let span = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            least = match least {
                Stay::For(known) if known <= span => least,
                _ => Stay::For(span),
            };
        }
    }
    least
}
