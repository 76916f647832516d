//! device-taint-eviction-controller: pods leave devices whose NoExecute taints their claims do not
//! tolerate, at once or when the toleration's seconds are over (KEP-5055). DeviceTaintRules are off by
//! default and do not exist here.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use api_types::resource::v1::ResourceClaim;
use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Wake};
use client::informer::Caches;
use daemon::metrics::{self, Histogram, IntCounter};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cached::{DeviceClaimObject, DevicePool, PodFacts, controller_of};
pub use plan::{Own, View};

/// See the module. Its keys are pods.
#[derive(Debug, Default)]
pub struct DeviceTaintEviction {
    /// UIDs of pods that are to go.
    due: Mutex<HashSet<Box<str>>>,
}

static DELETIONS: LazyLock<IntCounter> = LazyLock::new(|| {
    metrics::global().counter(
        "device_taint_eviction_controller_pod_deletions_total",
        "[ALPHA] Total number of Pods deleted by DeviceTaintEvictionController since its start.",
    )
});
static LATENCY: LazyLock<Histogram> = LazyLock::new(|| {
    metrics::global().histogram(
        "device_taint_eviction_controller_pod_deletion_duration_seconds",
        "[ALPHA] Latency, in seconds, between the time when a device taint effect has been activated and a Pod's \
         deletion via DeviceTaintEvictionController.",
        &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0],
    )
});

/// The pods that use a claim.
fn users(claim: &ResourceClaim, keys: &mut Vec<Key>) {
    let users = claim.status.reserved_for.iter();
    let pods = users.filter(|user| user.api_group.is_empty() && user.resource == "pods");
    keys.extend(pods.map(|user| Key::new(claim.metadata.namespace.as_str(), user.name.as_str())));
}

/// The slices of a pool that count.
fn newest(slices: Vec<(Key, Arc<DevicePool>)>) -> Vec<Arc<DevicePool>> {
    let newest = slices.iter().map(|(_, slice)| slice.generation).max();
    let counts = slices.into_iter().filter(|(_, slice)| Some(slice.generation) == newest);
    counts.map(|(_, slice)| slice).collect()
}

impl Controller for DeviceTaintEviction {
    const NAME: &'static str = "device-taint-eviction-controller";
    const QUEUE: &'static str = "device-taint-eviction-controller";
    type View = View;
    type Own = Own;

    fn wakes_on(&self) -> Vec<Wake> {
        // There from the start, so that a scrape shows zero.
        let _ = (DELETIONS.get(), LATENCY.get_sample_count());
        vec![
            Wake::on::<PodFacts>(|change, _, keys| {
                let said = |pod: &Arc<PodFacts>| (pod.uid.clone(), pod.node.clone(), pod.devices.clone());
                let has = [change.old, change.new].into_iter().flatten().any(|pod| pod.devices.is_some());
                if has && change.old.map(said) != change.new.map(said) {
                    keys.push(change.key.clone());
                }
            }),
            Wake::on::<DeviceClaimObject>(|change, _, keys| {
                [change.old, change.new].into_iter().flatten().for_each(|claim| users(claim, keys));
            }),
            Wake::on::<DevicePool>(|change, caches, keys| {
                if change.old == change.new {
                    return;
                }
                for slice in [change.old, change.new].into_iter().flatten() {
                    let pool = format!("{}/{}", slice.driver, slice.pool);
                    let claims = caches.store::<DeviceClaimObject>().by_index("pool", &pool);
                    claims.iter().for_each(|(_, claim)| users(claim, keys));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let pod = caches.store::<PodFacts>().get(key)?;
        let pools = caches.store::<DevicePool>();
        let claim = |name: &str, of_template: bool| {
            let claim = caches.store::<DeviceClaimObject>().find(&key.namespace, name)?;
            let own = controller_of(&claim.metadata).is_some_and(|owner| *owner.uid == *pod.uid);
            let user = claim.status.reserved_for.iter().any(|user| *user.uid == *pod.uid);
            (user && (own || !of_template)).then_some(claim)
        };
        let mut affected = Vec::new();
        for entry in pod.devices.iter().flat_map(|devices| &devices.entries) {
            let Some(claim) = entry.made().and_then(|name| claim(name, entry.template.is_some())) else {
                continue;
            };
            for result in claim.status.allocation.iter().flat_map(|a| &a.devices.results) {
                let slices = newest(pools.by_index("pool", &format!("{}/{}", result.driver, result.pool)));
                let taints = slices.iter().flat_map(|slice| &slice.taints);
                let taints = taints.filter(|taint| *taint.device == *result.device);
                affected.extend(taints.map(|taint| (taint.taint.clone(), result.tolerations.clone())));
            }
        }
        let due = self.due.lock().contains(&pod.uid);
        if pod.deleting.is_some() || pod.node.is_empty() || (affected.is_empty() && !due) {
            self.due.lock().remove(&pod.uid);
            return None;
        }
        Some(View { key: key.clone(), pod, affected, due })
    }

    fn plan(view: &View, now: Timestamp) -> Plan<Own> {
        plan::plan(view, now)
    }

    async fn perform(&self, own: Own, hands: &Hands) -> Result<Option<Duration>, Failure> {
        match own {
            Own::Due(uid) => {
                self.due.lock().insert(uid);
            }
            Own::Stays(uid) => {
                self.due.lock().remove(&uid);
            }
            Own::Evict { key, uid, at } => {
                let outcome = hands.all(plan::eviction(&key, &uid, hands.clock.now())).await;
                if let Some(failure) = outcome.failures.into_iter().next() {
                    return Err(failure);
                }
                self.due.lock().remove(&uid);
                DELETIONS.inc();
                LATENCY.observe((hands.clock.now() - at).total(jiff::Unit::Second).unwrap_or(0.0).max(0.0));
            }
        }
        Ok(None)
    }
}
