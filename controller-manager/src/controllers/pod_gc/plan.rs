//! Which pods go, and how: marked as failed first, then deleted without grace.

use std::sync::Arc;

use api_types::core::v1::Pod;
use api_types::meta::v1::DeleteOptions;
use client::controller::{Action, Plan, Step, Target};
use client::{Key, Patch};
use serde_json::json;

use crate::cached::PodFacts;

/// Why a look is taken, and at what.
#[derive(Debug, Clone)]
pub enum View {
    Finished { pods: Vec<(Key, Arc<PodFacts>)>, threshold: usize },
    Unscheduled { key: Key, pod: Arc<PodFacts> },
    OutOfService { key: Key, pod: Arc<PodFacts> },
    Orphaned { key: Key, pod: Arc<PodFacts> },
}

/// A pod whose node the cache does not have.
#[derive(Debug, Clone)]
pub struct Orphan {
    pub key: Key,
    pub pod: Arc<PodFacts>,
    pub node: String,
}

pub(super) fn plan(view: &View) -> Plan<Orphan> {
    let mut plan = Plan::nothing();
    match view {
        View::Finished { pods, threshold } => {
            for (key, pod) in surplus(pods, *threshold) {
                take(&mut plan, &key, &pod, None);
            }
        }
        View::Unscheduled { key, pod } | View::OutOfService { key, pod } => take(&mut plan, key, pod, None),
        View::Orphaned { key, pod } => {
            let node = pod.node.to_string();
            plan.step(Step::Own(Orphan { key: key.clone(), pod: pod.clone(), node }));
        }
    }
    plan
}

pub(super) fn take_orphan(orphan: &Orphan) -> Plan {
    let mut plan = Plan::nothing();
    take(&mut plan, &orphan.key, &orphan.pod, Some("PodGC: node no longer exists"));
    plan
}

/// The oldest finished pods beyond the threshold.
fn surplus(pods: &[(Key, Arc<PodFacts>)], threshold: usize) -> Vec<(Key, Arc<PodFacts>)> {
    let mut pods = pods.to_vec();
    pods.sort_by(|(a_key, a), (b_key, b)| (a.created, &a_key.name).cmp(&(b.created, &b_key.name)));
    pods.truncate(pods.len().saturating_sub(threshold));
    pods
}

fn take<O>(plan: &mut Plan<O>, key: &Key, pod: &PodFacts, disruption: Option<&str>) {
    let target = Target::new::<Pod>(key.clone(), &pod.uid);
    let mut status = serde_json::Map::new();
    if !pod.is_finished() {
        status.insert("phase".into(), "Failed".into());
    }
    if let Some(message) = disruption {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": message,
        });
        status.insert("conditions".into(), json!([condition]));
    }
    if !status.is_empty() {
        let patch = Patch::Strategic(json!({"metadata": {"uid": &*pod.uid}, "status": status}));
        plan.act(Action::patch_status(target.clone(), patch));
    }
    plan.act(Action::delete_with(target, now()));
}

fn now() -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() }
}
