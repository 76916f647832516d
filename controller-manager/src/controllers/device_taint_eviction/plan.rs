//! Whether a pod may go on using its devices, and how long.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{ObjectReference, Pod};
use api_types::resource::v1::{DeviceTaint, DeviceTaintEffect, DeviceToleration, DeviceTolerationOperator};
use api_types::value::Time;
use client::controller::{Action, Never, Plan, Step, Target, Told};
use client::{Key, Patch};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::cached::PodFacts;
use crate::service_pods::reference;

const REASON: &str = "DeviceTaintManagerEviction";

/// A pod with a node, and the NoExecute taints of its devices.
#[derive(Debug, Clone)]
pub struct View {
    pub key: Key,
    pub pod: Arc<PodFacts>,
    /// Taints, and what is tolerated of the device that has them.
    pub affected: Vec<(DeviceTaint, Vec<DeviceToleration>)>,
    /// It was told to go.
    pub due: bool,
}

/// What is done beside writing objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// The pod of this UID is to go later.
    Due(Box<str>),
    /// It need not go any more.
    Stays(Box<str>),
    Evict {
        key: Key,
        uid: Box<str>,
        at: Timestamp,
    },
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan<Own> {
    let mut plan = Plan::nothing();
    let uid = view.pod.uid.clone();
    match eviction_time(&view.affected) {
        None if view.due => {
            let about = reference(&view.key, &view.pod);
            plan.tell(Told::normal(about, REASON, "Cancelling deletion"));
            plan.step(Step::Own(Own::Stays(uid)));
        }
        None => {}
        Some(at) if at <= now => {
            plan.step(Step::Own(Own::Evict { key: view.key.clone(), uid, at }));
        }
        Some(at) => {
            plan.step(Step::Own(Own::Due(uid)));
            plan.look_again(Duration::try_from(at - now).unwrap_or(Duration::MAX));
        }
    }
    plan
}

/// When the pod has to go: the earliest moment of any taint that is not tolerated for ever.
pub(super) fn eviction_time(affected: &[(DeviceTaint, Vec<DeviceToleration>)]) -> Option<Timestamp> {
    affected.iter().filter_map(|(taint, tolerations)| one(taint, tolerations)).min()
}

fn one(taint: &DeviceTaint, tolerations: &[DeviceToleration]) -> Option<Timestamp> {
    let mut least: Option<i64> = None;
    let fits = |t: &&DeviceToleration| t.effect == DeviceTaintEffect::NoExecute && tolerates(t, taint);
    for toleration in tolerations.iter().filter(fits) {
        let seconds = toleration.toleration_seconds?.max(0);
        least = Some(least.map_or(seconds, |known| known.min(seconds)));
    }
    // A taint without its moment has always been there.
    let added = taint.time_added.map_or(Timestamp::UNIX_EPOCH, |at| at.0);
    let span = SignedDuration::from_secs(least.unwrap_or(0));
    Some(added.saturating_add(span).unwrap_or(Timestamp::MAX))
}

/// An empty effect or key fits all; an empty operator is `Equal`.
fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let effect = toleration.effect.is_unset() || toleration.effect == taint.effect;
    let key = toleration.key.is_empty() || toleration.key == taint.key;
    let value = match toleration.operator {
        DeviceTolerationOperator::Exists => true,
        DeviceTolerationOperator::Equal | DeviceTolerationOperator::Unset => toleration.value == taint.value,
        DeviceTolerationOperator::Other(_) => false,
    };
    effect && key && value
}

/// The event, the condition, and the deletion.
pub(super) fn eviction(key: &Key, uid: &str, now: Timestamp) -> Plan<Never> {
    let mut plan = Plan::nothing();
    let about = ObjectReference {
        kind: "Pod".into(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        uid: uid.into(),
        ..ObjectReference::default()
    };
    plan.tell(Told::normal(about, REASON, "Marking for deletion"));
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByDeviceTaintManager",
        "message": "Device Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": Time::whole(now).to_string(),
    });
    let target = Target::new::<Pod>(key.clone(), uid);
    let patch = Patch::Strategic(json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}}));
    plan.act(Action::patch_status(target.clone(), patch));
    plan.act(Action::delete(target));
    plan
}
