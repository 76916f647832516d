//! What is written of a node: conditions after silence, taints after conditions, and that its pods
//! are not ready.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::well_known::taint;
use api_types::core::v1::{
    ConditionStatus, Node, NodeCondition, NodeConditionType, ObjectReference, Pod, Taint, TaintEffect,
};
use api_types::value::Time;
use client::controller::{Action, Plan, Step, Target, Told};
use client::{Key, Patch};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Limits;
use crate::cached::{NodeFacts, PodFacts};
use crate::service_pods::reference;

/// A node, and what decides about it.
#[derive(Debug, Clone)]
pub struct View {
    pub key: Key,
    /// It is there no more; nothing else is known then.
    pub gone: bool,
    pub node: Arc<NodeFacts>,
    /// When it was last heard of.
    pub seen: Timestamp,
    pub is_new: bool,
    /// It has a lease or a status of its own.
    pub heard_of: bool,
    pub limits: Limits,
    pub zone: String,
    /// Time between two evicting taints in the zone; `None`: none is given.
    pub evicting: Option<Duration>,
    pub all_dark: bool,
    /// From when the zone permits the next evicting taint.
    pub slot: Timestamp,
    /// Pods on the node whose status says that they are ready.
    pub ready_pods: Vec<(Key, Arc<PodFacts>)>,
}

impl View {
    /// Of a node that was known and is there no more.
    pub(super) fn gone(key: Key, limits: Limits) -> Self {
        Self {
            key,
            gone: true,
            node: Arc::default(),
            seen: Timestamp::MIN,
            is_new: false,
            heard_of: true,
            limits,
            zone: String::new(),
            evicting: None,
            all_dark: false,
            slot: Timestamp::MIN,
            ready_pods: Vec::new(),
        }
    }
}

/// What is not an action on an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// The zone's next evicting taint is due only after this long.
    TakeSlot { zone: String, every: Duration },
}

/// Conditions that only a kubelet can know.
const KUBELETS: [NodeConditionType; 4] = [
    NodeConditionType::Ready,
    NodeConditionType::MemoryPressure,
    NodeConditionType::DiskPressure,
    NodeConditionType::PIDPressure,
];

pub(super) fn plan(view: &View, now: Timestamp) -> Plan<Own> {
    let mut plan = Plan::nothing();
    let name = &view.key.name;
    if view.gone {
        let message = format!("Node {name} event: Removing Node {name} from Controller");
        plan.tell(Told::normal(node_reference(&view.key), "RemovingNode", message));
        return plan;
    }
    if view.is_new {
        let message = format!("Node {name} event: Registered Node {name} in Controller");
        plan.tell(Told::normal(node_reference(&view.key), "RegisteredNode", message));
    }
    let grace = if view.heard_of { view.limits.grace } else { view.limits.startup_grace };
    let deadline = view.seen.saturating_add(grace).unwrap_or(Timestamp::MAX);
    let mut conditions = view.node.conditions.clone();
    if now > deadline {
        let unknown = silent(&conditions, view.node.created, now);
        if !unknown.is_empty() {
            let list: Vec<Value> = unknown.iter().map(condition_json).collect();
            let patch = Patch::Strategic(json!({"status": {"conditions": list}}));
            plan.act(Action::patch_status(target(view), patch));
            for condition in unknown {
                conditions.retain(|c| c.type_ != condition.type_);
                conditions.push(condition);
            }
        }
    } else {
        let left = Duration::try_from(deadline - now).unwrap_or(view.limits.period);
        plan.look_again(left.max(Duration::from_millis(100)));
    }
    taints(view, &conditions, now, &mut plan);
    let ready = status_of(&conditions, &NodeConditionType::Ready);
    if ready.is_some_and(|status| *status != ConditionStatus::True) {
        pods_not_ready(view, now, &mut plan);
    }
    plan
}

/// The kubelet's conditions that must become Unknown.
fn silent(conditions: &[NodeCondition], created: Timestamp, now: Timestamp) -> Vec<NodeCondition> {
    let of = |ty: &NodeConditionType| match conditions.iter().find(|c| c.type_ == *ty) {
        None => Some(NodeCondition {
            type_: ty.clone(),
            status: ConditionStatus::Unknown,
            reason: "NodeStatusNeverUpdated".into(),
            message: "Kubelet never posted node status.".into(),
            last_heartbeat_time: Some(Time::whole(created)),
            last_transition_time: Some(Time::whole(now)),
        }),
        Some(known) if known.status != ConditionStatus::Unknown => Some(NodeCondition {
            status: ConditionStatus::Unknown,
            reason: "NodeStatusUnknown".into(),
            message: "Kubelet stopped posting node status.".into(),
            last_transition_time: Some(Time::whole(now)),
            ..known.clone()
        }),
        Some(_) => None,
    };
    KUBELETS.iter().filter_map(of).collect()
}

/// Taints without effect on running pods, that conditions and cordoning mean.
fn scheduling_taints(view: &View, conditions: &[NodeCondition]) -> Vec<&'static str> {
    use ConditionStatus::{False, True, Unknown};
    let mut keys: Vec<&'static str> = [
        (NodeConditionType::Ready, False, taint::NOT_READY),
        (NodeConditionType::Ready, Unknown, taint::UNREACHABLE),
        (NodeConditionType::MemoryPressure, True, taint::MEMORY_PRESSURE),
        (NodeConditionType::DiskPressure, True, taint::DISK_PRESSURE),
        (NodeConditionType::NetworkUnavailable, True, taint::NETWORK_UNAVAILABLE),
        (NodeConditionType::PIDPressure, True, taint::PID_PRESSURE),
    ]
    .into_iter()
    .filter(|(ty, status, _)| status_of(conditions, ty) == Some(status))
    .map(|(.., key)| key)
    .collect();
    if view.node.unschedulable {
        keys.push(taint::UNSCHEDULABLE);
    }
    keys
}

const OURS: [&str; 7] = [
    taint::NOT_READY,
    taint::UNREACHABLE,
    taint::MEMORY_PRESSURE,
    taint::DISK_PRESSURE,
    taint::NETWORK_UNAVAILABLE,
    taint::PID_PRESSURE,
    taint::UNSCHEDULABLE,
];

fn taints(view: &View, conditions: &[NodeCondition], now: Timestamp, plan: &mut Plan<Own>) {
    let is = |taint: &Taint, key: &str, effect: &TaintEffect| taint.key == key && taint.effect == *effect;
    let (no_schedule, no_execute) = (TaintEffect::NoSchedule, TaintEffect::NoExecute);
    let wanted = scheduling_taints(view, conditions);
    let mut taints: Vec<Taint> = view.node.taints.clone();
    taints.retain(|t| {
        !(t.effect == no_schedule && OURS.contains(&t.key.as_str()) && !wanted.contains(&t.key.as_str()))
    });
    for key in wanted {
        if !taints.iter().any(|t| is(t, key, &no_schedule)) {
            let time_added = Some(Time::whole(now));
            taints.push(Taint {
                key: key.into(),
                effect: no_schedule.clone(),
                time_added,
                ..Taint::default()
            });
        }
    }

    let evicting = match status_of(conditions, &NodeConditionType::Ready) {
        Some(ConditionStatus::False) => Some(taint::NOT_READY),
        Some(ConditionStatus::Unknown) => Some(taint::UNREACHABLE),
        _ => None,
    };
    // Every zone is dark: more likely our network than all the nodes.
    let evicting = evicting.filter(|_| !view.all_dark);
    let given =
        |t: &Taint| t.effect == no_execute && (t.key == taint::NOT_READY || t.key == taint::UNREACHABLE);
    let had_one = taints.iter().any(given);
    taints.retain(|t| !given(t) || Some(t.key.as_str()) == evicting);
    let mut took = None;
    if let Some(key) = evicting
        && !taints.iter().any(given)
        && let Some(every) = view.evicting
    {
        // A node that only changes from one to the other has had its turn.
        if had_one || view.slot <= now {
            let time_added = Some(Time::whole(now));
            taints.push(Taint { key: key.into(), effect: no_execute, time_added, ..Taint::default() });
            took = (!had_one).then(|| Own::TakeSlot { zone: view.zone.clone(), every });
        } else {
            plan.look_again(Duration::try_from(view.slot - now).unwrap_or(every));
        }
    }
    if taints != view.node.taints {
        let list: Vec<Value> = taints.iter().map(taint_json).collect();
        let version = &*view.node.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": list}});
        plan.act(Action::patch(target(view), Patch::Merge(patch)));
    }
    if let Some(slot) = took {
        plan.step(Step::Own(slot));
    }
}

fn pods_not_ready(view: &View, now: Timestamp, plan: &mut Plan<Own>) {
    let message = format!("Node {} status is now: NodeNotReady", view.key.name);
    if !view.ready_pods.is_empty() {
        plan.tell(Told::normal(node_reference(&view.key), "NodeNotReady", message));
    }
    let of = |(key, pod): &(Key, Arc<PodFacts>)| {
        let condition =
            json!({"type": "Ready", "status": "False", "lastTransitionTime": Time::whole(now).to_string()});
        let patch =
            Patch::Strategic(json!({"metadata": {"uid": &*pod.uid}, "status": {"conditions": [condition]}}));
        Action::patch_status(Target::new::<Pod>(key.clone(), &pod.uid), patch).on_success(Told::warning(
            reference(key, pod),
            "NodeNotReady",
            "Node is not ready",
        ))
    };
    plan.step(Step::Together(view.ready_pods.iter().map(of).collect()));
}

fn status_of<'a>(conditions: &'a [NodeCondition], ty: &NodeConditionType) -> Option<&'a ConditionStatus> {
    conditions.iter().find(|c| c.type_ == *ty).map(|c| &c.status)
}

fn target(view: &View) -> Target {
    Target::new::<Node>(view.key.clone(), &view.node.uid)
}

// COMPAT: events of nodes carry the name as the UID; kubectl describe looks for that.
fn node_reference(key: &Key) -> ObjectReference {
    let name = key.name.to_string();
    ObjectReference { kind: "Node".into(), uid: name.clone(), name, ..ObjectReference::default() }
}

fn condition_json(condition: &NodeCondition) -> Value {
    as_json(condition)
}

fn taint_json(taint: &Taint) -> Value {
    as_json(taint)
}

fn as_json(value: &dyn api_types::value::Value) -> Value {
    let text = api_types::codec::json::value_to_vec(value);
    serde_json::from_slice(&text).expect("what the codec writes is JSON")
}
