//! Pods that wait for a node.
//!
//! ```text
//!  new pod ──► active ──pop──► in flight ──► bound
//!     │          ▲  ▲              │ no node
//!     ▼ gated    │  └── backoff ◄──┤ an event during the attempt may have helped
//!  unschedulable ┘         ▲       ▼
//!     └── an event that helps ── unschedulable (5 minutes at most)
//! ```
//!
//! Pure: the time comes in as a parameter (since some fixed moment), the caller holds the lock.
//! A pod is in exactly one place. Events that happen while a pod is in flight are remembered and
//! held against what rejected it, so that none is missed. A pod that failed waits 1 s, 2 s, 4 s … up
//! to 10 s; when nothing else is to be done, pods that were merely unschedulable do not wait
//! (KEP-5142), those that met an error do.

mod nominator;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use nominator::{Nominator, Ticket};

use crate::devices::Devices;
use crate::framework::{ClusterEvent, SortKey};
use crate::metrics::metrics;
use crate::pod::PodView;
use crate::profile::Profile;

/// How long a pod may stay unschedulable before it is tried again without any event.
pub const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(5 * 60);

/// A pod that waits, and how it fared so far.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    pub pod: Arc<PodView>,
    /// When it last entered the queue.
    pub since: Duration,
    /// When it was first tried.
    pub first_attempt: Option<Duration>,
    pub attempts: u32,
    /// Attempts that found no node, and that met errors since the last that did not: each has its backoff.
    unschedulable: u32,
    errors: u32,
    /// Plugins that rejected it.
    pub rejected_by: BTreeSet<&'static str>,
    /// The plugin that keeps it from entering.
    gated_by: Option<&'static str>,
    /// Whether it was last retried because of the time limit.
    pub flushed: bool,
}

/// Why a pod comes back.
#[derive(Debug)]
pub enum Returned {
    /// These plugins rejected it; `pending` when one waits for something outside.
    Unschedulable {
        rejected_by: BTreeSet<&'static str>,
        pending: bool,
    },
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active(SortKey, u64),
    Backoff {
        until: Duration,
        error: bool,
        number: u64,
    },
    Unschedulable,
    /// Popped; events from this number on may matter.
    InFlight(u64),
}

#[derive(Debug)]
struct Entry {
    queued: QueuedPod,
    place: Place,
    /// A newer view that came while the pod was in flight.
    update: Option<Arc<PodView>>,
}

/// The initial and the longest backoff.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(10) }
    }
}

impl Backoff {
    fn after(&self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            n => self.initial.saturating_mul(1 << (n - 1).min(30)).min(self.max),
        }
    }
}

/// Profiles by scheduler name.
pub type Profiles = HashMap<Arc<str>, Arc<Profile>>;

/// Pods that wait, by where they do.
pub struct Queue {
    profiles: Arc<Profiles>,
    backoff: Backoff,
    pods: HashMap<Arc<str>, Entry>,
    active: BTreeMap<(SortKey, u64), Arc<str>>,
    waiting: BTreeMap<(Duration, u64), Arc<str>>,
    /// Tried without success, by when they entered.
    unschedulable: BTreeSet<(Duration, Arc<str>)>,
    /// Held back by PreEnqueue.
    gated: BTreeSet<Arc<str>>,
    /// Number of the next pod or event.
    number: u64,
    in_flight: BTreeSet<u64>,
    events: VecDeque<(u64, ClusterEvent)>,
    /// As PreEnqueue sees them.
    pub devices: Devices,
    pub nominator: Nominator,
}

impl Queue {
    pub fn new(profiles: Arc<Profiles>, backoff: Backoff) -> Self {
        Self {
            profiles,
            backoff,
            pods: HashMap::new(),
            active: BTreeMap::new(),
            waiting: BTreeMap::new(),
            unschedulable: BTreeSet::new(),
            gated: BTreeSet::new(),
            number: 0,
            in_flight: BTreeSet::new(),
            events: VecDeque::new(),
            devices: Devices::default(),
            nominator: Nominator::default(),
        }
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn profile(&self, pod: &PodView) -> Option<Arc<Profile>> {
        self.profiles.get(&pod.scheduler_name).cloned()
    }

    /// A pod that is to be scheduled appeared.
    pub fn add(&mut self, pod: Arc<PodView>, now: Duration) {
        if self.pods.contains_key(&pod.uid) {
            self.update(pod, now);
            return;
        }
        self.nominator.see(&pod);
        let queued = QueuedPod {
            pod,
            since: now,
            first_attempt: None,
            attempts: 0,
            unschedulable: 0,
            errors: 0,
            rejected_by: BTreeSet::new(),
            gated_by: None,
            flushed: false,
        };
        self.enter(queued, "UnschedulablePodAdd");
    }

    /// A waiting pod changed.
    pub fn update(&mut self, pod: Arc<PodView>, now: Duration) {
        let Some(entry) = self.pods.get_mut(&pod.uid) else {
            self.add(pod, now);
            return;
        };
        if let Place::InFlight(_) = entry.place {
            let old = entry.update.as_ref().unwrap_or(&entry.queued.pod).clone();
            entry.update = Some(pod.clone());
            if !pod.asks_otherwise(&old) {
                return;
            }
            self.remember(ClusterEvent::PodUpdated { old, new: pod });
            return;
        }
        let Some(Entry { mut queued, place, .. }) = self.take(&pod.uid.clone()) else { return };
        let old = std::mem::replace(&mut queued.pod, pod.clone());
        self.nominator.see(&pod);
        match place {
            Place::Active(..) => self.enter(queued, "UnschedulablePodUpdate"),
            Place::Backoff { .. } => self.put(queued, place),
            Place::Unschedulable if !pod.asks_otherwise(&old) => self.put(queued, place),
            Place::Unschedulable => {
                let event = ClusterEvent::PodUpdated { old, new: pod };
                self.retry_if_helped(queued, &event, now);
            }
            Place::InFlight(_) => {}
        }
    }

    /// A waiting pod is gone or has been bound by somebody.
    pub fn remove(&mut self, uid: &str) {
        self.nominator.remove(uid);
        if let Some(Entry { place: Place::InFlight(from), .. }) = self.take(uid) {
            self.landed(from);
        }
    }

    /// The next pod to be scheduled.
    pub fn pop(&mut self, now: Duration) -> Option<QueuedPod> {
        self.flush_backoff(now);
        let uid = match self.active.first_key_value() {
            Some((_, uid)) => uid.clone(),
            None => {
                let eager = |(_, uid): &(&(Duration, u64), &Arc<str>)| {
                    self.pods
                        .get(*uid)
                        .is_some_and(|e| matches!(e.place, Place::Backoff { error: false, .. }))
                };
                let uid = self.waiting.iter().find(eager)?.1.clone();
                metrics().incoming.with_label_values(&["active", "PopFromBackoffQ"]).inc();
                uid
            }
        };
        let Entry { mut queued, .. } = self.take(&uid)?;
        queued.attempts += 1;
        queued.first_attempt.get_or_insert(now);
        let from = self.next_number();
        self.in_flight.insert(from);
        let entry = Entry { queued: queued.clone(), place: Place::InFlight(from), update: None };
        self.pods.insert(uid, entry);
        Some(queued)
    }

    /// The attempt for a pod that was popped has ended well, or the pod is no longer our concern.
    pub fn done(&mut self, uid: &str) {
        if let Some(Entry { place: Place::InFlight(from), .. }) = self.pods.get(uid) {
            let from = *from;
            self.pods.remove(uid);
            self.landed(from);
        }
    }

    /// A pod that was popped found no node. A pod that is gone meanwhile stays away.
    pub fn give_back(&mut self, uid: &str, why: Returned, now: Duration) {
        let Some(Entry { place: Place::InFlight(from), .. }) = self.pods.get(uid) else { return };
        let from = *from;
        let Some(Entry { mut queued, update, .. }) = self.pods.remove(uid) else { return };
        if let Some(newer) = update {
            queued.pod = newer;
        }
        self.nominator.see(&queued.pod);
        queued.since = now;
        queued.flushed = false;
        let helped = match why {
            Returned::Error => {
                queued.errors += 1;
                queued.rejected_by.clear();
                true
            }
            Returned::Unschedulable { rejected_by, pending } => {
                queued.errors = 0;
                // What waits for something outside is not at fault and starts without delay.
                queued.unschedulable = if pending { 0 } else { queued.unschedulable + 1 };
                queued.rejected_by = rejected_by;
                self.missed_events(&queued, from)
            }
        };
        self.landed(from);
        if helped {
            self.enter_or_wait(queued, now, "ScheduleAttemptFailure");
        } else {
            metrics().incoming.with_label_values(&["unschedulable", "ScheduleAttemptFailure"]).inc();
            self.put(queued, Place::Unschedulable);
        }
    }

    /// Whether something happened since `from` that may help the pod.
    fn missed_events(&self, queued: &QueuedPod, from: u64) -> bool {
        let mut since = self.events.iter().filter(|(number, _)| *number > from);
        since.any(|(_, event)| self.helps(queued, event))
    }

    /// Something happened: pods that it may help are tried again.
    pub fn on_event(&mut self, event: &ClusterEvent, now: Duration) {
        let gated = event.opens_gates().then_some(&self.gated);
        let helped: Vec<Arc<str>> = self
            .unschedulable
            .iter()
            .map(|(_, uid)| uid)
            .chain(gated.into_iter().flatten())
            .filter(|uid| self.pods.get(*uid).is_some_and(|e| self.helps(&e.queued, event)))
            .cloned()
            .collect();
        for uid in helped {
            if let Some(Entry { queued, .. }) = self.take(&uid) {
                self.enter_or_wait(queued, now, event.label());
            }
        }
        self.remember(event.clone());
    }

    fn helps(&self, queued: &QueuedPod, event: &ClusterEvent) -> bool {
        let profile = self.profiles.get(&queued.pod.scheduler_name);
        profile.is_some_and(|p| p.wakes(&queued.pod, &queued.rejected_by, event))
    }

    fn remember(&mut self, event: ClusterEvent) {
        if !self.in_flight.is_empty() {
            let number = self.next_number();
            self.events.push_back((number, event));
        }
    }

    fn landed(&mut self, from: u64) {
        self.in_flight.remove(&from);
        let oldest = self.in_flight.first().copied().unwrap_or(u64::MAX);
        while self.events.front().is_some_and(|(number, _)| *number < oldest) {
            self.events.pop_front();
        }
    }

    fn retry_if_helped(&mut self, queued: QueuedPod, event: &ClusterEvent, now: Duration) {
        let helped = queued.gated_by.is_some() || self.helps(&queued, event);
        if helped {
            self.enter_or_wait(queued, now, event.label());
        } else {
            self.put(queued, Place::Unschedulable);
        }
    }

    /// Moves pods whose time has come, and returns when to look again.
    pub fn flush(&mut self, now: Duration) -> Option<Duration> {
        self.flush_backoff(now);
        let stale: Vec<Arc<str>> = self
            .unschedulable
            .iter()
            .take_while(|(since, _)| *since + MAX_UNSCHEDULABLE <= now)
            .map(|(_, uid)| uid.clone())
            .collect();
        for uid in stale {
            if let Some(Entry { mut queued, .. }) = self.take(&uid) {
                queued.flushed = true;
                self.enter_or_wait(queued, now, "UnschedulableTimeout");
            }
        }
        let next_backoff = self.waiting.first_key_value().map(|((until, _), _)| *until);
        let next_stale = self.unschedulable.first().map(|(since, _)| *since + MAX_UNSCHEDULABLE);
        next_backoff.into_iter().chain(next_stale).min()
    }

    fn flush_backoff(&mut self, now: Duration) {
        while let Some((&(until, _), uid)) = self.waiting.first_key_value()
            && until <= now
        {
            let uid = uid.clone();
            let Some(Entry { queued, .. }) = self.take(&uid) else { return };
            self.enter(queued, "BackoffComplete");
        }
    }

    fn enter_or_wait(&mut self, queued: QueuedPod, now: Duration, event: &'static str) {
        let error = queued.errors > 0;
        let failures = if error { queued.errors } else { queued.unschedulable };
        let until = queued.since + self.backoff.after(failures);
        // A pod that is held back anyway need not wait for it.
        if until <= now || self.gate(&queued.pod).is_some() {
            self.enter(queued, event);
        } else {
            metrics().incoming.with_label_values(&["backoff", event]).inc();
            let number = self.next_number();
            self.put(queued, Place::Backoff { until, error, number });
        }
    }

    fn gate(&self, pod: &PodView) -> Option<&'static str> {
        self.profile(pod).and_then(|p| p.run_pre_enqueue(pod, &self.devices).err()).map(|r| r.plugin)
    }

    /// Into the active pods, unless PreEnqueue holds the pod back.
    fn enter(&mut self, mut queued: QueuedPod, event: &'static str) {
        let Some(profile) = self.profile(&queued.pod) else { return };
        queued.gated_by = self.gate(&queued.pod);
        if let Some(plugin) = queued.gated_by {
            queued.rejected_by.insert(plugin);
            metrics().incoming.with_label_values(&["unschedulable", event]).inc();
            self.put(queued, Place::Unschedulable);
            return;
        }
        metrics().incoming.with_label_values(&["active", event]).inc();
        let key = profile.sort_key(&queued.pod, queued.since);
        let number = self.next_number();
        self.put(queued, Place::Active(key, number));
    }

    fn put(&mut self, queued: QueuedPod, place: Place) {
        let uid = queued.pod.uid.clone();
        match place {
            Place::Active(key, number) => drop(self.active.insert((key, number), uid.clone())),
            Place::Backoff { until, number, .. } => drop(self.waiting.insert((until, number), uid.clone())),
            Place::Unschedulable => {
                match queued.gated_by {
                    Some(_) => self.gated.insert(uid.clone()),
                    None => self.unschedulable.insert((queued.since, uid.clone())),
                };
                for plugin in &queued.rejected_by {
                    let labels = [*plugin, &*queued.pod.scheduler_name];
                    metrics().unschedulable.with_label_values(&labels).inc();
                }
            }
            Place::InFlight(_) => {}
        }
        self.pods.insert(uid, Entry { queued, place, update: None });
    }

    fn take(&mut self, uid: &str) -> Option<Entry> {
        let entry = self.pods.remove(uid)?;
        match entry.place {
            Place::Active(key, number) => drop(self.active.remove(&(key, number))),
            Place::Backoff { until, number, .. } => drop(self.waiting.remove(&(until, number))),
            Place::Unschedulable => {
                self.gated.remove(uid);
                self.unschedulable.remove(&(entry.queued.since, entry.queued.pod.uid.clone()));
                for plugin in &entry.queued.rejected_by {
                    let labels = [*plugin, &*entry.queued.pod.scheduler_name];
                    metrics().unschedulable.with_label_values(&labels).dec();
                }
            }
            Place::InFlight(_) => {}
        }
        Some(entry)
    }

    /// The view of a waiting pod.
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodView>> {
        self.pods.get(uid).map(|e| e.update.as_ref().unwrap_or(&e.queued.pod))
    }

    /// Numbers of pods by queue, for the metric.
    pub fn report(&self) {
        let sizes = [
            ("active", self.active.len()),
            ("backoff", self.waiting.len()),
            ("unschedulable", self.unschedulable.len()),
            ("gated", self.gated.len()),
        ];
        for (queue, size) in sizes {
            metrics().pending.with_label_values(&[queue]).set(size as i64);
        }
    }
}
