//! Which ranges a node gets.

use api_types::core::v1::{Node, ObjectReference};
use client::controller::{Action, Plan, Step, Target, Told};
use client::{Key, Patch};
use ipnet::IpNet;
use serde_json::json;

use super::ranges::Ranges;

/// A node without ranges, and what is taken.
#[derive(Debug, Clone)]
pub struct View {
    pub key: Key,
    pub uid: Box<str>,
    pub ranges: Vec<Ranges>,
    pub used: Vec<IpNet>,
}

/// Give these to the node. Not a mere patch: they are taken from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assign {
    pub key: Key,
    pub uid: Box<str>,
    pub nets: Vec<IpNet>,
}

pub(super) fn plan(view: &View) -> Plan<Assign> {
    let mut plan = Plan::nothing();
    let nets: Option<Vec<IpNet>> = view.ranges.iter().map(|range| range.free(&view.used)).collect();
    match nets {
        Some(nets) => {
            plan.step(Step::Own(Assign { key: view.key.clone(), uid: view.uid.clone(), nets }));
        }
        None => {
            // COMPAT: events of nodes carry the name as the UID.
            let regarding = ObjectReference {
                kind: "Node".into(),
                name: view.key.name.to_string(),
                uid: view.key.name.to_string(),
                ..ObjectReference::default()
            };
            let message = format!("Node {} status is now: CIDRNotAvailable", view.key.name);
            plan.tell(Told::normal(regarding, "CIDRNotAvailable", message));
        }
    }
    plan
}

pub(super) fn write(assign: &Assign) -> Plan {
    let nets: Vec<String> = assign.nets.iter().map(IpNet::to_string).collect();
    let patch =
        json!({"metadata": {"uid": &*assign.uid}, "spec": {"podCIDR": nets.first(), "podCIDRs": nets}});
    let mut plan = Plan::nothing();
    plan.act(Action::patch(Target::new::<Node>(assign.key.clone(), &assign.uid), Patch::Strategic(patch)));
    plan
}
