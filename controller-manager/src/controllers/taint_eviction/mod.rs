//! taint-eviction-controller: pods leave nodes whose NoExecute taints they do not tolerate, at once or
//! when their toleration's seconds are over.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use api_types::core::v1::TaintEffect;
use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Wake};
use client::informer::{Caches, Change};
use daemon::clock::SharedClock;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cached::{NodeFacts, PodFacts};
pub use plan::{Forget, View};

/// See the module. Its keys are pods.
pub struct TaintEviction {
    clock: SharedClock,
    /// Since when a pod is under taints: its tolerated seconds count from then.
    since: Mutex<HashMap<Key, Timestamp>>,
}

impl TaintEviction {
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, since: Mutex::default() }
    }
}

impl Controller for TaintEviction {
    const NAME: &'static str = "taint-eviction-controller";
    const QUEUE: &'static str = "noexec_taint_pod";
    type View = View;
    type Own = Forget;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<PodFacts>(),
            Wake::on::<NodeFacts>(|change: &Change<'_, NodeFacts>, caches, keys| {
                let taints = |node: Option<&std::sync::Arc<NodeFacts>>| node.map(|n| n.taints.clone());
                if taints(change.old) != taints(change.new) {
                    let pods = caches.store::<PodFacts>().by_index("node", &change.key.name);
                    keys.extend(pods.into_iter().map(|(key, _)| key));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let pod = caches.store::<PodFacts>().get(key);
        let node =
            pod.as_ref().and_then(|pod| caches.store::<NodeFacts>().get(&Key::cluster(pod.node.clone())));
        let mut since = self.since.lock();
        let (Some(pod), Some(node)) = (pod, node) else {
            since.remove(key);
            return None;
        };
        let taints: Vec<_> =
            node.taints.iter().filter(|t| t.effect == TaintEffect::NoExecute).cloned().collect();
        let known = since.get(key).copied();
        if pod.deleting.is_some() || (taints.is_empty() && known.is_none()) {
            since.remove(key);
            return None;
        }
        let start = if taints.is_empty() {
            known
        } else {
            Some(*since.entry(key.clone()).or_insert(self.clock.now()))
        };
        Some(View { key: key.clone(), pod, taints, since: start })
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Forget> {
        plan::plan(view, now)
    }

    async fn perform(&self, forget: Forget, _: &Hands) -> Result<Option<Duration>, Failure> {
        self.since.lock().remove(&forget.0);
        Ok(None)
    }
}
