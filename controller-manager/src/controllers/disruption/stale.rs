//! Pods that were marked as about to be disrupted (`DisruptionTarget`) and two minutes later still
//! are not going: the mark is taken back.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use api_types::value::Time;
use client::controller::{Action, Controller, Never, Plan, Target, Wake};
use client::informer::Caches;
use client::{Key, Patch};
use jiff::Timestamp;
use serde_json::json;

use crate::cached::PodFacts;

const PATIENCE: Duration = Duration::from_secs(120);
/// Marks of the kubelet's own stay.
const BY_KUBELET: &str = "TerminationByKubelet";

/// See the module. Its keys are pods.
#[derive(Debug)]
pub struct StaleDisruptions;

/// A pod with the mark.
#[derive(Debug)]
pub struct Marked {
    pub key: Key,
    pub pod: Arc<PodFacts>,
    pub since: Timestamp,
}

impl Controller for StaleDisruptions {
    const NAME: &'static str = "disruption-controller";
    const QUEUE: &'static str = "stale_pod_disruption";
    type View = Marked;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::on::<PodFacts>(|change, _, keys| {
            if change.new.is_some_and(|pod| marked(pod).is_some()) {
                keys.push(change.key.clone());
            }
        })]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Marked> {
        let pod = caches.store::<PodFacts>().get(key)?;
        let since = marked(&pod)?;
        Some(Marked { key: key.clone(), pod, since })
    }

    fn plan(view: &Marked, now: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let passed = Duration::try_from(now - view.since).unwrap_or_default();
        if let Some(left) = PATIENCE.checked_sub(passed).filter(|left| !left.is_zero()) {
            plan.look_again(left);
            return plan;
        }
        let condition = json!({
            "type": "DisruptionTarget", "status": "False", "reason": null, "message": null,
            "lastTransitionTime": Time::whole(now).to_string(),
        });
        let uid = &*view.pod.uid;
        let patch =
            Patch::Strategic(json!({ "metadata": { "uid": uid }, "status": { "conditions": [condition] } }));
        plan.act(Action::patch_status(Target::new::<Pod>(view.key.clone(), uid), patch));
        plan
    }
}

/// Since when a pod that neither goes nor ended has had the mark.
fn marked(pod: &PodFacts) -> Option<Timestamp> {
    let mark = pod.disruption.as_ref().filter(|d| d.holds && *d.reason != *BY_KUBELET)?;
    pod.is_active().then(|| mark.since.unwrap_or_default())
}
