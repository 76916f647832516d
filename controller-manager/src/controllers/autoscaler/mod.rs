//! horizontal-pod-autoscaler-controller: fits the scale of a workload to what its pods use.
//!
//! Every few seconds the target's scale, its pods, their usage (`target.rs`, `metrics.rs`) and what the
//! custom and external metrics APIs tell (`readings.rs`) are asked for; what follows is arithmetic: a
//! proposal for each metric (`replicas.rs`, `values.rs`), the largest of which is held against recent
//! proposals and the allowed rate (`limits.rs`); `plan.rs` puts the status together.

mod limits;
mod metrics;
mod plan;
mod readings;
mod replicas;
mod target;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscaler};
use api_types::selector::Labels;
use api_types::value::Quantity;
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Plan, Step, Wake};
use client::informer::Caches;
use client::queue::Backoff;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cached::AutoscalerObject;
pub use limits::Memory;

/// What the flags say.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Between looks.
    pub period: Duration,
    /// How long a higher proposal holds a lower one back.
    pub downscale_stabilization: Duration,
    /// How far usage may be off without consequence.
    pub tolerance: Tolerance,
    /// How long after its start a pod's CPU counts only if it is ready.
    pub cpu_initialization: Duration,
    /// How long after its start a pod may become ready for the first time.
    pub initial_readiness: Duration,
}

/// How far the ratio of usage to aim may be off 1 without consequence.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
}

impl Tolerance {
    /// The same in both directions.
    pub fn both(tolerance: f64) -> Self {
        Self { up: tolerance, down: tolerance }
    }

    /// Whether nothing is to follow.
    fn holds(&self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

impl Settings {
    /// As an autoscaler's own rules have it (KEP-4951).
    fn of(&self, hpa: &HorizontalPodAutoscaler) -> Self {
        let Some(behavior) = &hpa.spec.behavior else { return *self };
        let own = |rules: &Option<Box<HPAScalingRules>>| {
            rules.as_ref().and_then(|rules| rules.tolerance.as_ref()).map(Quantity::as_f64)
        };
        let Tolerance { up, down } = self.tolerance;
        let tolerance = Tolerance {
            up: own(&behavior.scale_up).unwrap_or(up),
            down: own(&behavior.scale_down).unwrap_or(down),
        };
        Self { tolerance, ..*self }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Autoscaler {
    settings: Settings,
    memories: Mutex<HashMap<Key, Memory>>,
    /// Which pods each autoscaler was last seen to count.
    selectors: Mutex<BTreeMap<Key, Labels>>,
}

impl Autoscaler {
    pub fn new(settings: Settings) -> Self {
        Self { settings, memories: Mutex::default(), selectors: Mutex::default() }
    }

    /// The autoscalers that count one of these pods, by name.
    fn claimants(&self, key: &Key, seen: &target::Seen) -> Vec<Key> {
        let selector = seen.scale.as_ref().map(|scale| scale.status.selector.as_str()).unwrap_or_default();
        let (Ok(own), Ok(pods)) = (Labels::parse(selector), &seen.pods) else { return Vec::new() };
        if selector.is_empty() {
            return Vec::new();
        }
        let mut selectors = self.selectors.lock();
        selectors.insert(key.clone(), own);
        let counts = |labels: &Labels| pods.iter().any(|pod| labels.matches(&pod.metadata.labels));
        let found =
            selectors.iter().filter(|(other, labels)| other.namespace == key.namespace && counts(labels));
        found.map(|(other, _)| other.clone()).collect()
    }
}

impl Controller for Autoscaler {
    const NAME: &'static str = "horizontal-pod-autoscaler-controller";
    const QUEUE: &'static str = "horizontalpodautoscaler";
    type View = Arc<AutoscalerObject>;
    /// This autoscaler is to be looked at.
    type Own = Arc<AutoscalerObject>;

    fn backoff(&self) -> Backoff {
        Backoff::own(self.settings.period, self.settings.period)
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::on::<AutoscalerObject>(|change, _, keys| {
            // Not for its own writes: those of the status.
            let same = change.old.zip(change.new).is_some_and(|(old, new)| old.spec == new.spec);
            if !same {
                keys.push(change.key.clone());
            }
        })]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Arc<AutoscalerObject>> {
        let found = caches.store::<AutoscalerObject>().get(key);
        if found.is_none() {
            self.memories.lock().remove(key);
            self.selectors.lock().remove(key);
        }
        found
    }

    fn plan(view: &Arc<AutoscalerObject>, _: Timestamp) -> Plan<Arc<AutoscalerObject>> {
        let mut plan = Plan::nothing();
        plan.step(Step::Own(view.clone()));
        plan
    }

    async fn perform(&self, own: Arc<AutoscalerObject>, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let hpa: &HorizontalPodAutoscaler = &own;
        let key = Key::of(&hpa.metadata);
        let mut seen = target::look(hpa, hands).await;
        seen.claimants = self.claimants(&key, &seen);
        let mut memory = self.memories.lock().remove(&key).unwrap_or_default();
        let mut decision = plan::decide(hpa, &seen, &mut memory, &self.settings, hands.clock.now());
        if let Some((replicas, reason)) = decision.rescale.take() {
            let outcome = target::rescale(&seen, replicas, &hands.client).await;
            plan::rescaled(hpa, &mut decision, (replicas, &reason), outcome, &mut memory, hands.clock.now());
        }
        self.memories.lock().insert(key, memory);
        let mut plan = Plan::nothing();
        for told in decision.told {
            plan.tell(told);
        }
        if decision.status != hpa.status {
            let changed = HorizontalPodAutoscaler { status: decision.status, ..hpa.clone() };
            plan.act(Action::update_status(changed));
        }
        let again = Some(self.settings.period);
        hands.all(plan).await.failures.into_iter().next().map_or(Ok(again), Err)
    }
}
