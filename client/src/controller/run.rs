//! The one loop: takes a key, waits until the caches show what was written for it, observes, plans,
//! performs, concludes; backs off on failure.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use daemon::logging::error_chain;
use daemon::shutdown::Shutdown;
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::Controller;
use super::action::Outcome;
use super::hands::{Hands, Unseen};
use crate::informer::Caches;
use crate::key::Key;
use crate::queue::Queue;

/// How long an own write may stay invisible before it is believed lost (upstream's expectations).
const PATIENCE: Duration = Duration::from_secs(300);

/// A controller at work.
pub struct Running {
    /// Keys can be added by hand.
    pub queue: Queue<Key>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Running {
    /// Resolves when all workers have ended, which they do at shutdown.
    pub async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Loop<C> {
    controller: C,
    caches: Caches,
    hands: Hands,
    queue: Queue<Key>,
    /// By key: what its last round wrote and the caches may not show yet.
    unseen: Mutex<HashMap<Key, Vec<Unseen>>>,
    shutdown: Shutdown,
}

/// Starts a controller's workers; they begin once the caches are filled that the controller wakes on.
/// What it looks at beside them is waited for when it first does.
pub fn run<C: Controller>(
    controller: C,
    caches: &Caches,
    hands: Hands,
    workers: usize,
    shutdown: Shutdown,
) -> Running {
    let queue = Queue::with_backoff(C::QUEUE, hands.clock.clone(), controller.backoff());
    let caches = caches.scoped();
    for wake in controller.wakes_on() {
        wake.install(&caches, &queue);
    }
    let this = Arc::new(Loop {
        controller,
        caches: caches.clone(),
        hands,
        queue: queue.clone(),
        unseen: Mutex::default(),
        shutdown: shutdown.clone(),
    });
    let mut tasks = JoinSet::new();
    let timer = queue.clone();
    tasks.spawn(async move { timer.run_timer().await });
    let closing = queue.clone();
    tasks.spawn(async move {
        shutdown.wait().await;
        closing.close();
    });
    let synced = caches.clone();
    tasks.spawn(async move {
        if this.shutdown.unless(synced.wait_synced()).await.is_none() {
            return;
        }
        tracing::info!(controller = C::NAME, workers, "Starting controller");
        let mut running = JoinSet::new();
        for _ in 0..workers.max(1) {
            let this = this.clone();
            running.spawn(async move { this.work().await });
        }
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                tracing::error!(controller = C::NAME, error = %error, "Worker ended unexpectedly");
            }
        }
        tracing::info!(controller = C::NAME, "Shut down controller");
    });
    Running { queue, tasks }
}

impl<C: Controller> Loop<C> {
    async fn work(self: Arc<Self>) {
        while let Some(key) = self.queue.next().await {
            if let Some(waiting) = self.still_unseen(&key) {
                self.clone().wait_for(key.clone(), waiting);
            } else {
                let hands = self.hands.fresh();
                let synced = AssertUnwindSafe(self.sync(&key, &hands)).catch_unwind().await;
                // What was written was written, however the round ended.
                let unseen = hands.take_unseen();
                if !unseen.is_empty() {
                    self.unseen.lock().insert(key.clone(), unseen);
                }
                match synced {
                    Ok(Some((outcome, again))) => self.settle(&key, &outcome, again),
                    Ok(None) => {}
                    Err(_) => {
                        // One object that is more than a controller can bear must not keep it from the
                        // others. The panic itself is on stderr.
                        tracing::error!(controller = C::NAME, key = %key, "Sync panicked, trying again");
                        self.queue.retry(key.clone());
                    }
                }
            }
            self.queue.done(&key);
        }
    }

    /// What the key's last round wrote and a cache does not show yet.
    fn still_unseen(&self, key: &Key) -> Option<Vec<Unseen>> {
        let mut unseen = self.unseen.lock();
        let list = unseen.get_mut(key)?;
        list.retain(|u| !u.is_seen(&self.caches));
        if list.is_empty() {
            unseen.remove(key);
            return None;
        }
        Some(list.clone())
    }

    /// Puts the key back once the caches have caught up. No worker waits for that.
    fn wait_for(self: Arc<Self>, key: Key, waiting: Vec<Unseen>) {
        tokio::spawn(async move {
            let caught_up = async {
                for one in &waiting {
                    one.seen(&self.caches).await;
                }
            };
            tokio::select! {
                () = caught_up => {}
                () = self.shutdown.wait() => return,
                () = self.hands.clock.sleep(PATIENCE) => {
                    tracing::warn!(controller = C::NAME, key = %key, "The caches never showed an own write");
                    self.unseen.lock().remove(&key);
                }
            }
            self.queue.add(key);
        });
    }

    fn look_again_when_filled(&self, key: Key) {
        let (caches, queue, shutdown) = (self.caches.clone(), self.queue.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            if shutdown.unless(caches.wait_synced()).await.is_some() {
                queue.add(key);
            }
        });
    }

    /// One round. `None` when there was nothing to be decided.
    async fn sync(&self, key: &Key, hands: &Hands) -> Option<(Outcome, Option<Duration>)> {
        let view = self.controller.observe(key, &self.caches);
        if !self.caches.is_synced() {
            // It looked into a store that is not filled yet: what it saw there is not so.
            self.look_again_when_filled(key.clone());
            return None;
        }
        let Some(view) = view else {
            self.queue.forget(key);
            return None;
        };
        let mut outcome = Outcome::default();
        let plan = C::plan(&view, hands.clock.now());
        let mut again = plan.again;
        hands.perform(&self.controller, plan, &mut outcome).await;

        let last = C::conclude(&view, &outcome, hands.clock.now());
        again = [again, last.again].into_iter().flatten().min();
        hands.perform(&self.controller, last, &mut outcome).await;
        again = [again, outcome.again].into_iter().flatten().min();
        Some((outcome, again))
    }

    fn settle(&self, key: &Key, outcome: &Outcome, again: Option<Duration>) {
        if outcome.failures.is_empty() {
            self.queue.forget(key);
            if let Some(delay) = again {
                self.queue.add_after(key.clone(), delay);
            }
            return;
        }
        for failure in &outcome.failures {
            if failure.source.is_conflict() || failure.source.is_not_found() {
                // The cache was behind; the next look will not be.
                tracing::debug!(controller = C::NAME, key = %key, action = failure.what, "Stale, trying again");
            } else {
                tracing::error!(
                    controller = C::NAME,
                    key = %key,
                    error = error_chain(failure),
                    "Sync failed, trying again"
                );
            }
        }
        self.queue.retry(key.clone());
    }
}
