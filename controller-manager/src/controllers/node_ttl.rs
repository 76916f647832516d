//! ttl-controller: tells kubelets, in an annotation of their nodes, how long they may use a ConfigMap or
//! Secret without asking again: the longer, the more nodes there are.

use std::sync::Arc;

use api_types::core::v1::Node;
use client::controller::{Action, Controller, Never, Plan, Target, Wake};
use client::informer::Caches;
use client::{Key, Patch};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

use crate::cached::{NodeFacts, OBJECT_TTL};

/// From how many nodes on a step is left downwards and upwards, and its seconds. They overlap so that
/// a cluster at a boundary does not go to and fro.
const STEPS: [(usize, usize, i64); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// See the module. Its keys are nodes.
#[derive(Debug, Default)]
pub struct NodeTtl {
    step: Mutex<usize>,
}

/// A node, and what it should be told.
#[derive(Debug)]
pub struct View {
    pub key: Key,
    pub node: Arc<NodeFacts>,
    pub seconds: i64,
}

/// The step for so many nodes, coming from another.
fn step(mut step: usize, nodes: usize) -> usize {
    while nodes > STEPS[step].1 {
        step += 1;
    }
    while nodes < STEPS[step].0 {
        step -= 1;
    }
    step
}

impl Controller for NodeTtl {
    const NAME: &'static str = "ttl-controller";
    const QUEUE: &'static str = "ttlcontroller";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<NodeFacts>()]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let nodes = caches.store::<NodeFacts>();
        let mut current = self.step.lock();
        *current = step(*current, nodes.len());
        Some(View { key: key.clone(), node: nodes.get(key)?, seconds: STEPS[*current].2 })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        if view.node.object_ttl != Some(view.seconds) {
            let patch = json!({"metadata": {"annotations": {OBJECT_TTL: view.seconds.to_string()}}});
            let target = Target::new::<Node>(view.key.clone(), &view.node.uid);
            plan.act(Action::patch(target, Patch::Strategic(patch)));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_overlap() {
        assert_eq!([0, 100, 101, 5000].map(|nodes| STEPS[step(0, nodes)].2), [0, 0, 15, 300]);
        assert_eq!([95, 89].map(|nodes| STEPS[step(1, nodes)].2), [15, 0]);
    }

    #[test]
    fn a_node_is_told_what_it_was_not() {
        let caches = Caches::detached();
        let controller = NodeTtl::default();
        let mut node = Node::default();
        node.metadata.name = "a".into();
        let actions = |caches: &Caches| {
            let view = controller.observe(&Key::cluster("a"), caches).unwrap();
            NodeTtl::plan(&view, Timestamp::UNIX_EPOCH).actions().len()
        };
        caches.store::<NodeFacts>().put(node.clone());
        assert_eq!(actions(&caches), 1);
        node.metadata.annotations.insert(OBJECT_TTL.into(), "0".into());
        caches.store::<NodeFacts>().put(node);
        assert_eq!(actions(&caches), 0);
    }
}
