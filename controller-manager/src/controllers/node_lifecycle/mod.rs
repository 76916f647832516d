//! node-lifecycle-controller: what the cluster believes of a node whose kubelet has gone silent, and
//! the taints that its conditions mean.
//!
//! Heartbeats are leases and status updates; when each was last seen is judged by this process's
//! clock alone, so that clocks of nodes need not agree. Evicting taints are given at the rate of
//! the node's zone; when every zone is dark, the fault is taken to be ours and none is given.

mod health;
mod plan;
#[cfg(test)]
mod tests;
mod zone;

use std::collections::HashMap;
use std::time::Duration;

use api_types::core::v1::well_known::namespace;
use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Wake};
use client::informer::{Caches, Change};
use daemon::clock::SharedClock;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cached::{LeaseFacts, NodeFacts, PodFacts};
use crate::flags::Flags;
use health::Heartbeats;
pub use plan::{Own, View};
use zone::Zones;

/// How long silence lasts before it means something, and how fast pods may be evicted.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub grace: Duration,
    pub startup_grace: Duration,
    pub period: Duration,
    /// Nodes a second.
    pub rate: f64,
    pub secondary_rate: f64,
    pub large_cluster: usize,
    pub unhealthy_zone: f64,
}

impl From<&Flags> for Limits {
    fn from(flags: &Flags) -> Self {
        Self {
            grace: flags.node_monitor_grace_period.0,
            startup_grace: flags.node_startup_grace_period.0,
            period: flags.node_monitor_period.0,
            rate: flags.node_eviction_rate,
            secondary_rate: flags.secondary_node_eviction_rate,
            large_cluster: flags.large_cluster_size_threshold,
            unhealthy_zone: flags.unhealthy_zone_threshold,
        }
    }
}

/// See the module. Its keys are nodes.
pub struct NodeLifecycle {
    limits: Limits,
    clock: SharedClock,
    heartbeats: Mutex<Heartbeats>,
    /// When the next node of a zone may be given an evicting taint.
    slots: Mutex<HashMap<String, Timestamp>>,
}

impl NodeLifecycle {
    pub fn new(limits: Limits, clock: SharedClock) -> Self {
        Self { limits, clock, heartbeats: Mutex::default(), slots: Mutex::default() }
    }
}

impl Controller for NodeLifecycle {
    const NAME: &'static str = "node-lifecycle-controller";
    const QUEUE: &'static str = "node_lifecycle_controller";
    type View = View;
    type Own = Own;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<NodeFacts>(),
            Wake::on::<LeaseFacts>(|change: &Change<'_, LeaseFacts>, _, keys| {
                keys.push(Key::cluster(change.key.name.clone()));
            }),
            Wake::nothing::<PodFacts>(),
        ]
    }

    /// Reads caches, and notes when a heartbeat was first seen.
    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let nodes = caches.store::<NodeFacts>();
        let Some(node) = nodes.get(key) else {
            let known = self.heartbeats.lock().forget(&key.name);
            return known.then(|| View::gone(key.clone(), self.limits));
        };
        let lease = caches.store::<LeaseFacts>().find(namespace::NODE_LEASE, &key.name);
        let renewed = lease.and_then(|lease| lease.renewed);
        let seen = self.heartbeats.lock().look(&key.name, &node, renewed, self.clock.now());
        let zones = Zones::of(nodes.all().iter().map(|(_, node)| &**node), &self.limits);
        let zone = zone::name(&node.labels);
        let slot = self.slots.lock().get(&zone).copied().unwrap_or(Timestamp::MIN);
        let pods = caches.store::<PodFacts>().by_index("node", &key.name);
        Some(View {
            key: key.clone(),
            gone: false,
            seen: seen.at,
            is_new: seen.is_new,
            heard_of: renewed.is_some() || !node.conditions.is_empty(),
            limits: self.limits,
            evicting: zones.evicting(&zone),
            all_dark: zones.all_dark(),
            zone,
            slot,
            ready_pods: pods.into_iter().filter(|(_, pod)| pod.ready_condition).collect(),
            node,
        })
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Own> {
        plan::plan(view, now)
    }

    async fn perform(&self, own: Own, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let Own::TakeSlot { zone, every } = own;
        let next = hands.clock.now().saturating_add(every).unwrap_or(Timestamp::MAX);
        self.slots.lock().insert(zone, next);
        Ok(None)
    }
}
