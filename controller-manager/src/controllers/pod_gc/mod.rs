//! pod-garbage-collector-controller: takes away pods that nobody else will: finished ones beyond the
//! threshold, those of nodes that are gone, those deleted before they were scheduled, and those
//! that hang on a node that is out of service.
//!
//! A node that is missing from the cache is given 40 seconds and then asked for itself, since the
//! cache may be behind.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use api_types::core::v1::well_known::taint;
use api_types::core::v1::{ConditionStatus, Node, NodeConditionType};
use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cached::{NodeFacts, PodFacts};
pub use plan::{Orphan, View};

/// The key of the look at all finished pods.
const FINISHED: &str = "finished";
/// How long a node may be missing before its pods count as orphans.
const QUARANTINE: Duration = Duration::from_secs(40);

/// See the module. Its keys are pods, and one for all finished pods.
#[derive(Debug)]
pub struct PodGc {
    /// Finished pods that are kept; 0 keeps all.
    threshold: usize,
    /// Nodes that pods name and the cache does not have, and since when that is known.
    missing: Mutex<HashMap<String, Timestamp>>,
}

impl PodGc {
    /// `threshold` of 0 or less keeps all finished pods.
    pub fn new(threshold: i32) -> Self {
        Self { threshold: usize::try_from(threshold).unwrap_or(0), missing: Mutex::default() }
    }
}

impl Controller for PodGc {
    const NAME: &'static str = "pod-garbage-collector-controller";
    const QUEUE: &'static str = "pod_gc";
    type View = View;
    type Own = Orphan;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::on::<PodFacts>(|change: &Change<'_, PodFacts>, caches, keys| {
                let Some(pod) = change.new else { return };
                if pod.is_finished() {
                    keys.push(Key::cluster(FINISHED));
                }
                let homeless = !pod.node.is_empty()
                    && caches.store::<NodeFacts>().get(&Key::cluster(pod.node.clone())).is_none();
                if pod.deleting.is_some() || homeless {
                    keys.push(change.key.clone());
                }
            }),
            Wake::on::<NodeFacts>(|change: &Change<'_, NodeFacts>, caches, keys| {
                let pods = caches.store::<PodFacts>().by_index("node", &change.key.name);
                let matters = change.new.is_none_or(|node| out_of_service(node));
                keys.extend(pods.into_iter().filter(|_| matters).map(|(key, _)| key));
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let pods = caches.store::<PodFacts>();
        if key.namespace.is_empty() {
            let finished = pods.all().into_iter().filter(|(_, pod)| pod.is_finished()).collect();
            return (self.threshold > 0)
                .then_some(View::Finished { pods: finished, threshold: self.threshold });
        }
        let pod = pods.get(key)?;
        if pod.node.is_empty() {
            return pod.deleting.is_some().then(|| View::Unscheduled { key: key.clone(), pod });
        }
        let node = caches.store::<NodeFacts>().get(&Key::cluster(pod.node.clone()));
        if node.is_some() {
            self.missing.lock().remove(&*pod.node);
        }
        match node {
            None => Some(View::Orphaned { key: key.clone(), pod }),
            Some(node) if pod.deleting.is_some() && out_of_service(&node) => {
                Some(View::OutOfService { key: key.clone(), pod })
            }
            Some(_) => None,
        }
    }

    fn plan(view: &View, _: Timestamp) -> Plan<Orphan> {
        plan::plan(view)
    }

    /// Asks for the node itself; only if the server does not know it either are its pods orphans.
    async fn perform(&self, orphan: Orphan, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let now = hands.clock.now();
        let since = *self.missing.lock().entry(orphan.node.clone()).or_insert(now);
        let waited = Duration::try_from(now - since).unwrap_or_default();
        if waited < QUARANTINE {
            return Ok(Some(QUARANTINE - waited));
        }
        let found = hands.client.api::<Node>().find(&orphan.node).await;
        if found.map_err(|e| Failure::new("look for the node", e))?.is_some() {
            self.missing.lock().remove(&orphan.node);
            return Ok(None);
        }
        hands.all(plan::take_orphan(&orphan)).await.failures.into_iter().next().map_or(Ok(None), Err)
    }
}

fn out_of_service(node: &NodeFacts) -> bool {
    let ready = node
        .conditions
        .iter()
        .any(|c| c.type_ == NodeConditionType::Ready && c.status == ConditionStatus::True);
    !ready && node.taints.iter().any(|t| t.key == taint::OUT_OF_SERVICE)
}
