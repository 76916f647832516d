//! The work queue: each key waits at most once, is worked on by at most one worker, and comes back
//! after a back-off when the work failed (client-go's `workqueue`, its metrics included).
//!
//! A key that is added while a worker has it waits until that worker is done. Delayed adds keep the
//! earliest moment of a key.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use daemon::clock::SharedClock;
use daemon::metrics::{self, Histogram, IntCounter, IntGauge};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limiter::Bucket;

/// How long a key that failed waits: twice as long each time. [`Backoff::default`] is client-go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
    /// Whether retries of all keys together are held to a rate, too.
    pub shared_rate: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(Duration::from_millis(5), Duration::from_secs(1000))
    }
}

impl Backoff {
    /// Of each key, and all keys together at client-go's rate.
    pub const fn between(first: Duration, longest: Duration) -> Self {
        Self { first, longest, shared_rate: true }
    }

    /// Of each key for itself.
    pub const fn own(first: Duration, longest: Duration) -> Self {
        Self { first, longest, shared_rate: false }
    }

    /// After so many failures before this one.
    fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(2u32.saturating_pow(failures.min(31))).min(self.longest)
    }
}

/// Retries of all keys together: 10 a second, 100 at once.
const RETRY_QPS: f64 = 10.0;
const RETRY_BURST: u32 = 100;

/// A queue of keys. Clones share it.
pub struct Queue<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<K> {
    state: Mutex<State<K>>,
    /// Wakes one waiting worker.
    ready: Notify,
    /// Wakes the timer: an earlier delayed add.
    sooner: Notify,
    clock: SharedClock,
    backoff: Backoff,
    metrics: Metrics,
}

struct State<K> {
    waiting: VecDeque<K>,
    /// To be worked on: waiting, or added while being worked on. With the moment of the add.
    dirty: HashMap<K, Duration>,
    /// Being worked on, since when.
    working: HashMap<K, Duration>,
    delayed: BTreeMap<(Duration, u64), K>,
    delayed_at: HashMap<K, (Duration, u64)>,
    added: u64,
    failures: HashMap<K, u32>,
    retries: Bucket,
    closed: bool,
}

struct Metrics {
    depth: IntGauge,
    adds: IntCounter,
    waited: Histogram,
    worked: Histogram,
    retries: IntCounter,
    unfinished: metrics::FloatGauge,
    longest: metrics::FloatGauge,
}

impl Metrics {
    fn new(name: &str) -> Self {
        let all = metrics::global();
        let buckets = metrics::exponential_buckets(10e-9, 10.0, 10).expect("constants above zero");
        let label = &["name"];
        let of = &[name];
        Self {
            depth: all
                .int_gauge_vec("workqueue_depth", "[BETA] Current depth of workqueue", label)
                .with_label_values(of),
            adds: all
                .counter_vec(
                    "workqueue_adds_total",
                    "[BETA] Total number of adds handled by workqueue",
                    label,
                )
                .with_label_values(of),
            waited: all
                .histogram_vec(
                    "workqueue_queue_duration_seconds",
                    "[BETA] How long in seconds an item stays in workqueue before being requested.",
                    label,
                    &buckets,
                )
                .with_label_values(of),
            worked: all
                .histogram_vec(
                    "workqueue_work_duration_seconds",
                    "[BETA] How long in seconds processing an item from workqueue takes.",
                    label,
                    &buckets,
                )
                .with_label_values(of),
            retries: all
                .counter_vec(
                    "workqueue_retries_total",
                    "[BETA] Total number of retries handled by workqueue",
                    label,
                )
                .with_label_values(of),
            unfinished: all
                .gauge_vec(
                    "workqueue_unfinished_work_seconds",
                    "[BETA] How many seconds of work has done that is in progress and hasn't been observed by \
                     work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads \
                     by observing the rate at which this increases.",
                    label,
                )
                .with_label_values(of),
            longest: all
                .gauge_vec(
                    "workqueue_longest_running_processor_seconds",
                    "[BETA] How many seconds has the longest running processor for workqueue been running.",
                    label,
                )
                .with_label_values(of),
        }
    }
}

impl<K> std::fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("depth", &self.inner.state.lock().waiting.len()).finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Queue<K> {
    /// `name` is the metrics' label.
    pub fn new(name: &str, clock: SharedClock) -> Self {
        Self::with_backoff(name, clock, Backoff::default())
    }

    /// A queue whose keys back off otherwise.
    pub fn with_backoff(name: &str, clock: SharedClock, backoff: Backoff) -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(State {
                    waiting: VecDeque::new(),
                    dirty: HashMap::new(),
                    working: HashMap::new(),
                    delayed: BTreeMap::new(),
                    delayed_at: HashMap::new(),
                    added: 0,
                    failures: HashMap::new(),
                    retries: Bucket::new(RETRY_QPS, RETRY_BURST),
                    closed: false,
                }),
                ready: Notify::new(),
                sooner: Notify::new(),
                clock,
                backoff,
                metrics: Metrics::new(name),
            }),
        }
    }

    /// To be worked on as soon as a worker is free.
    pub fn add(&self, key: K) {
        let now = self.inner.clock.monotonic();
        let mut state = self.inner.state.lock();
        self.add_locked(&mut state, key, now);
    }

    fn add_locked(&self, state: &mut State<K>, key: K, now: Duration) {
        if state.closed || state.dirty.contains_key(&key) {
            return;
        }
        self.inner.metrics.adds.inc();
        state.dirty.insert(key.clone(), now);
        if !state.working.contains_key(&key) {
            state.waiting.push_back(key);
            self.inner.metrics.depth.set(state.waiting.len() as i64);
            self.inner.ready.notify_one();
        }
    }

    /// To be worked on after `delay`; an earlier delayed add of the same key stands.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = self.inner.clock.monotonic() + delay;
        let mut state = self.inner.state.lock();
        if let Some(known) = state.delayed_at.get(&key).copied() {
            if known.0 <= at {
                return;
            }
            state.delayed.remove(&known);
        }
        state.added += 1;
        let place = (at, state.added);
        state.delayed.insert(place, key.clone());
        state.delayed_at.insert(key, place);
        drop(state);
        self.inner.sooner.notify_one();
    }

    /// Another try after a failure: backs off by the key's failures in a row and all keys' rate.
    pub fn retry(&self, key: K) {
        let delay = {
            let now = self.inner.clock.monotonic();
            let mut state = self.inner.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            let delay = self.inner.backoff.after(*failures);
            *failures = failures.saturating_add(1);
            if self.inner.backoff.shared_rate { delay.max(state.retries.reserve(now)) } else { delay }
        };
        self.inner.metrics.retries.inc();
        self.add_after(key, delay);
    }

    /// The work succeeded: the next failure counts as the first.
    pub fn forget(&self, key: &K) {
        self.inner.state.lock().failures.remove(key);
    }

    /// Failures in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.inner.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key, which nobody else gets until [`Queue::done`]. `None` once closed.
    pub async fn next(&self) -> Option<K> {
        loop {
            let notified = self.inner.ready.notified();
            {
                let mut state = self.inner.state.lock();
                if state.closed {
                    // The next waiter must see it, too.
                    self.inner.ready.notify_one();
                    return None;
                }
                if let Some(key) = state.waiting.pop_front() {
                    let now = self.inner.clock.monotonic();
                    let since = state.dirty.remove(&key).unwrap_or(now);
                    state.working.insert(key.clone(), now);
                    self.inner.metrics.depth.set(state.waiting.len() as i64);
                    self.inner.metrics.waited.observe(now.saturating_sub(since).as_secs_f64());
                    if !state.waiting.is_empty() {
                        self.inner.ready.notify_one();
                    }
                    return Some(key);
                }
            }
            notified.await;
        }
    }

    /// The worker is done with this key; if it was added meanwhile, it waits again.
    pub fn done(&self, key: &K) {
        let mut state = self.inner.state.lock();
        let now = self.inner.clock.monotonic();
        if let Some(since) = state.working.remove(key) {
            self.inner.metrics.worked.observe(now.saturating_sub(since).as_secs_f64());
        }
        if state.dirty.contains_key(key) {
            state.waiting.push_back(key.clone());
            self.inner.metrics.depth.set(state.waiting.len() as i64);
            self.inner.ready.notify_one();
        }
    }

    pub fn len(&self) -> usize {
        self.inner.state.lock().waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No more keys for anyone.
    pub fn close(&self) {
        self.inner.state.lock().closed = true;
        self.inner.ready.notify_one();
        self.inner.sooner.notify_one();
    }

    /// Moves delayed keys over when their moment comes, and keeps the gauges of work under way.
    /// Must run beside the workers; ends when the queue is closed.
    pub async fn run_timer(&self) {
        const GAUGES: Duration = Duration::from_millis(500);
        loop {
            let wait = {
                let mut state = self.inner.state.lock();
                if state.closed {
                    return;
                }
                let now = self.inner.clock.monotonic();
                while let Some(first) = state.delayed.first_entry() {
                    if first.key().0 > now {
                        break;
                    }
                    let key = first.remove();
                    state.delayed_at.remove(&key);
                    self.add_locked(&mut state, key, now);
                }
                self.measure(&state, now);
                let next = state.delayed.keys().next().map(|(at, _)| at.saturating_sub(now));
                if state.working.is_empty() { next } else { Some(next.unwrap_or(GAUGES).min(GAUGES)) }
            };
            let sooner = self.inner.sooner.notified();
            match wait {
                Some(wait) => {
                    tokio::select! {
                        () = self.inner.clock.sleep(wait) => {}
                        () = sooner => {}
                    }
                }
                None => sooner.await,
            }
        }
    }

    fn measure(&self, state: &State<K>, now: Duration) {
        let spans = state.working.values().map(|since| now.saturating_sub(*since).as_secs_f64());
        let (sum, longest) = spans.fold((0.0, 0.0f64), |(sum, max), s| (sum + s, max.max(s)));
        self.inner.metrics.unfinished.set(sum);
        self.inner.metrics.longest.set(longest);
    }

    /// The keys that wait or are being worked on: for tests.
    pub fn pending(&self) -> HashSet<K> {
        let state = self.inner.state.lock();
        state.dirty.keys().chain(state.working.keys()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use daemon::clock::Manual;
    use futures::FutureExt as _;

    use super::*;

    fn queue() -> (Queue<&'static str>, Arc<Manual>) {
        let clock = Manual::new(jiff::Timestamp::UNIX_EPOCH);
        (Queue::new("test", clock.clone()), clock)
    }

    fn now(queue: &Queue<&'static str>) -> Option<&'static str> {
        queue.next().now_or_never().flatten()
    }

    #[test]
    fn a_key_waits_once_and_is_worked_on_once() {
        let (queue, _) = queue();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(now(&queue), Some("a"));
        queue.add("a");
        assert_eq!((now(&queue), now(&queue)), (Some("b"), None), "a is being worked on");
        queue.done(&"a");
        assert_eq!(now(&queue), Some("a"));
        queue.done(&"a");
        assert_eq!(now(&queue), None);
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        let after = |backoff: Backoff| [0, 1, 2, 40].map(|n| backoff.after(n).as_millis());
        assert_eq!(after(Backoff::default()), [5, 10, 20, 1_000_000]);
        assert_eq!(
            after(Backoff::own(Duration::from_secs(1), Duration::from_secs(3))),
            [1000, 2000, 3000, 3000]
        );
        let (queue, _) = queue();
        queue.retry("a");
        queue.retry("a");
        assert_eq!(queue.failures(&"a"), 2);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test]
    async fn delayed_keys_come_at_their_earliest_moment() {
        let (queue, clock) = queue();
        let timer = tokio::spawn({
            let queue = queue.clone();
            async move { queue.run_timer().await }
        });
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(30));
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(4));
        assert_eq!(now(&queue), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        queue.close();
        timer.await.unwrap();
        assert_eq!(queue.next().await, None);
    }
}
