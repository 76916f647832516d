//! One state machine per pod: running, then ending, then cleaned up, never back.
//!
//! ```text
//! Syncing ──deleted, evicted, finished──► Terminating ──all stopped──► Terminated ──cleaned──► Done
//! ```
//! A pod costs an entry in a map; a task runs only while something is done for it, one at a time per
//! pod. What happens in between marks the entry, and the pod is looked at again: nothing is queued.
//! A pod that starts to end cancels what was being done for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodPhase, PodStatus};
use futures::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;

use crate::kubelet::Kubelet;
use crate::latency;
use crate::sources::static_pods::is_static;
use crate::status::Eviction;
use crate::sync_pod::act;

/// How far a pod's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Is made to run.
    Syncing,
    /// Is being stopped.
    Terminating,
    /// Is stopped; what it used is being freed.
    Terminated,
    /// Nothing is left but its logs.
    Done,
}

/// What a worker's task gets to see.
#[derive(Clone)]
pub struct Turn {
    /// The newest state of the pod.
    pub pod: Arc<Pod>,
    /// How far it is.
    pub stage: Stage,
    /// Seconds that its containers have to end.
    pub grace: Option<i64>,
    /// Why the kubelet ends it.
    pub eviction: Option<Eviction>,
    /// The API no longer has it.
    pub gone: bool,
    /// It was never known to the API in this kubelet's life.
    pub orphan: bool,
    /// It was decided before that it may run.
    pub admitted: bool,
    /// It was deleted, and everything of it was freed: there is nothing to free again.
    pub freed: bool,
}

/// What a turn came to.
pub enum Outcome {
    /// Look again when something happens, or then.
    Wait(Option<Duration>),
    /// Whether the pod may run could not be decided yet: the same, and the next turn decides.
    Undecided(Option<Duration>),
    /// Its containers have all ended for good.
    Finished,
    /// The kubelet must end it.
    Evict(Eviction),
    /// Everything is stopped.
    Stopped,
    /// What the pod used is freed. Its containers too (`deleted`), or they stay for their logs.
    Cleaned { deleted: bool },
}

struct Worker {
    turn: Turn,
    running: Option<CancellationToken>,
    dirty: bool,
    /// When it was first seen, until it runs.
    seen: Option<Instant>,
    /// It was new to the node, and not all of its containers have run yet.
    unstarted: bool,
}

enum Wake {
    Now(String),
    At(String, Instant),
}

/// The workers of all pods.
pub struct Workers {
    pods: Mutex<HashMap<String, Worker>>,
    wake: mpsc::UnboundedSender<Wake>,
    queue: Mutex<Option<mpsc::UnboundedReceiver<Wake>>>,
    /// The sources that were not read yet, by their bits.
    awaited: watch::Sender<u8>,
}

/// Where pods come from that cannot be read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The API.
    Api = 1,
    /// The server of static pods.
    Url = 2,
}

/// Seconds that the pod has to end, by what the API says.
fn grace(pod: &Pod) -> i64 {
    let meta = &pod.metadata;
    let seconds = match (&meta.deletion_timestamp, meta.deletion_grace_period_seconds) {
        (Some(_), Some(seconds)) => seconds,
        _ => pod.spec.termination_grace_period_seconds.unwrap_or(30),
    };
    // COMPAT: even a forced deletion gives the processes a second.
    seconds.max(1)
}

fn ended(pod: &Pod) -> bool {
    matches!(pod.status.phase, PodPhase::Failed | PodPhase::Succeeded)
}

impl Workers {
    /// No pods yet.
    pub fn new() -> Arc<Self> {
        let (wake, queue) = mpsc::unbounded_channel();
        let (awaited, _) = watch::channel(Source::Api as u8);
        Arc::new(Self { pods: Mutex::default(), wake, queue: Mutex::new(Some(queue)), awaited })
    }

    /// The pod is, or has become, this.
    pub fn set(&self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone();
        let mut pods = self.pods.lock();
        let worker = pods.entry(uid.clone()).or_insert_with(|| Worker {
            turn: Turn {
                pod: Arc::clone(&pod),
                stage: Stage::Syncing,
                grace: None,
                eviction: None,
                gone: false,
                orphan: false,
                admitted: false,
                freed: false,
            },
            running: None,
            dirty: false,
            // One that ran before this kubelet did does not start now.
            seen: (pod.status.phase == PodPhase::Pending).then(Instant::now),
            unstarted: pod.status.start_time.is_none(),
        });
        worker.turn.orphan = false;
        let old = std::mem::replace(&mut worker.turn.pod, Arc::clone(&pod));
        if pod.metadata.deletion_timestamp.is_some() || ended(&pod) {
            worker.end(None, None);
        }
        let shown = |pod: &Pod| {
            (pod.metadata.generation, pod.metadata.deletion_timestamp, pod.metadata.labels.clone())
        };
        // The API telling what we wrote is no news, but for a pod that waits to be removed.
        let news = Arc::ptr_eq(&old, &pod)
            || shown(&old) != shown(&pod)
            || old.metadata.annotations != pod.metadata.annotations
            || old.spec != pod.spec
            || old.status.resource_claim_statuses != pod.status.resource_claim_statuses
            || !crate::status::conditions::same_foreign(&old, &pod);
        let done = worker.turn.stage == Stage::Done && pod.metadata.deletion_timestamp.is_some();
        drop(pods);
        if news || done {
            self.wake(&uid);
        }
    }

    /// The API no longer has the pod.
    pub fn gone(&self, uid: &str) {
        let mut pods = self.pods.lock();
        let Some(worker) = pods.get_mut(uid) else { return };
        worker.turn.gone = true;
        worker.end(None, None);
        drop(pods);
        self.wake(uid);
    }

    /// The kubelet ends a pod that runs, in so many seconds.
    pub fn evict(&self, uid: &str, eviction: Eviction, grace: i64) {
        let mut pods = self.pods.lock();
        let Some(worker) = pods.get_mut(uid) else { return };
        worker.end(Some(eviction), Some(grace.max(1)));
        drop(pods);
        self.wake(uid);
    }

    /// The runtime has containers of a pod that no one knows.
    pub fn orphan(&self, pod: Pod) {
        let uid = pod.metadata.uid.clone();
        let mut pods = self.pods.lock();
        if pods.contains_key(&uid) {
            return;
        }
        let turn = Turn {
            grace: Some(grace(&pod)),
            pod: Arc::new(pod),
            stage: Stage::Terminating,
            eviction: None,
            gone: true,
            orphan: true,
            admitted: true,
            freed: false,
        };
        pods.insert(uid.clone(), Worker { turn, running: None, dirty: false, seen: None, unstarted: false });
        drop(pods);
        self.wake(&uid);
    }

    /// Look at the pod.
    pub fn wake(&self, uid: &str) {
        // The receiver goes only with the process.
        let _ = self.wake.send(Wake::Now(uid.to_owned()));
    }

    /// Look at the pod after a while.
    pub fn wake_after(&self, uid: &str, delay: Duration) {
        let _ = self.wake.send(Wake::At(uid.to_owned(), Instant::now() + delay));
    }

    /// The pod of that name that the API knows.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = self.pods.lock();
        let mut fitting = pods.values().filter(|worker| {
            let meta = &worker.turn.pod.metadata;
            !worker.turn.orphan && meta.name == name && meta.namespace == namespace
        });
        let first = fitting.next()?;
        let newest = fitting.fold(first, |newest, worker| if newest.turn.gone { worker } else { newest });
        Some(Arc::clone(&newest.turn.pod))
    }

    /// Everything known, with how far each is.
    pub fn all(&self) -> Vec<(Arc<Pod>, Stage)> {
        self.pods.lock().values().map(|worker| (Arc::clone(&worker.turn.pod), worker.turn.stage)).collect()
    }

    /// The uids of the pods that came from the API and were not said to be gone.
    pub fn sourced(&self) -> Vec<String> {
        let pods = self.pods.lock();
        let ours = |worker: &&Worker| !worker.turn.gone && !is_static(&worker.turn.pod);
        pods.iter().filter(|(_, worker)| ours(worker)).map(|(uid, _)| uid.clone()).collect()
    }

    /// A static pod of that name is known, running or ending.
    pub fn has_static(&self, namespace: &str, name: &str) -> bool {
        let pods = self.pods.lock();
        pods.values().any(|worker| {
            let meta = &worker.turn.pod.metadata;
            is_static(&worker.turn.pod) && meta.name == name && meta.namespace == namespace
        })
    }

    /// Another static pod has the name of this one and is not gone yet.
    pub fn has_predecessor(&self, pod: &Pod) -> bool {
        let pods = self.pods.lock();
        pods.iter().any(|(uid, worker)| {
            let (other, own) = (&worker.turn.pod.metadata, &pod.metadata);
            *uid != own.uid
                && worker.turn.gone
                && is_static(&worker.turn.pod)
                && (&other.name, &other.namespace) == (&own.name, &own.namespace)
        })
    }

    /// Look at the static pods: all, or the one that this is the mirror of.
    pub fn wake_static(&self, mirror: Option<&Pod>) {
        let pods = self.pods.lock();
        for (uid, worker) in pods.iter() {
            let (pod, shown) = (&worker.turn.pod, mirror.map(|mirror| &mirror.metadata));
            let fits = shown.is_none_or(|shown| {
                (&shown.name, &shown.namespace) == (&pod.metadata.name, &pod.metadata.namespace)
            });
            if fits && is_static(pod) {
                self.wake(uid);
            }
        }
    }

    /// The pod's uid is known.
    pub fn knows(&self, uid: &str) -> bool {
        self.pods.lock().contains_key(uid)
    }

    /// This source is to be read as well before it is known which pods there are.
    pub fn expect_source(&self, source: Source) {
        self.awaited.send_modify(|awaited| *awaited |= source as u8);
    }

    /// All pods of a source were seen once.
    pub fn source_ready(&self, source: Source) {
        self.awaited.send_modify(|awaited| *awaited &= !(source as u8));
    }

    /// The pod is not over, or may not be: not all pods were seen yet.
    pub fn may_be_active(&self, uid: &str) -> bool {
        let stage = self.pods.lock().get(uid).map(|worker| worker.turn.stage);
        stage.map_or_else(|| *self.awaited.borrow() != 0, |stage| stage <= Stage::Terminating)
    }

    /// Waits until all sources were read.
    pub async fn wait_for_source(&self) {
        let _ = self.awaited.subscribe().wait_for(|awaited| *awaited == 0).await;
    }

    /// Gives pods their turns; never ends.
    pub async fn run(self: Arc<Self>, kubelet: Arc<Kubelet>) {
        let Some(mut queue) = self.queue.lock().take() else { return };
        let mut later: DelayQueue<String> = DelayQueue::new();
        let mut keys: HashMap<String, (tokio_util::time::delay_queue::Key, Instant)> = HashMap::new();
        loop {
            let uid = tokio::select! {
                Some(wake) = queue.recv() => match wake {
                    Wake::Now(uid) => uid,
                    Wake::At(uid, at) => {
                        // One alarm per pod: the earliest.
                        match keys.get(&uid) {
                            Some((_, set)) if *set <= at => {}
                            Some((key, _)) => {
                                later.reset_at(key, at);
                                let key = *key;
                                keys.insert(uid, (key, at));
                            }
                            None => {
                                let key = later.insert_at(uid.clone(), at);
                                keys.insert(uid, (key, at));
                            }
                        }
                        continue;
                    }
                },
                Some(expired) = later.next() => {
                    let uid = expired.into_inner();
                    keys.remove(&uid);
                    uid
                }
            };
            self.start(&kubelet, uid);
        }
    }

    fn start(self: &Arc<Self>, kubelet: &Arc<Kubelet>, uid: String) {
        let mut pods = self.pods.lock();
        let Some(worker) = pods.get_mut(&uid) else { return };
        if worker.running.is_some() {
            worker.dirty = true;
            return;
        }
        let cancel = CancellationToken::new();
        worker.running = Some(cancel.clone());
        worker.dirty = false;
        if let Some(seen) = worker.seen.filter(|_| !worker.turn.admitted) {
            latency::began(seen.elapsed());
        }
        let (this, kubelet, turn) = (Arc::clone(self), Arc::clone(kubelet), worker.turn.clone());
        drop(pods);
        tokio::spawn(async move {
            // A panic must not leave the pod without turns for ever.
            let guard = Finish { workers: Arc::clone(&this), uid: uid.clone() };
            let began = Instant::now();
            let outcome = act::turn(&kubelet, &turn, &cancel).await;
            latency::turned(turn.stage, !turn.admitted, began.elapsed());
            std::mem::forget(guard);
            this.finish(&kubelet, &uid, outcome);
        });
    }

    fn finish(&self, kubelet: &Arc<Kubelet>, uid: &str, outcome: Outcome) {
        let starts =
            self.pods.lock().get(uid).is_some_and(|worker| worker.seen.is_some() || worker.unstarted);
        let status = starts.then(|| kubelet.statuses.get(uid)).flatten();
        let runs = status.as_ref().is_some_and(|status| status.phase == PodPhase::Running);
        let mut pods = self.pods.lock();
        let Some(worker) = pods.get_mut(uid) else { return };
        worker.running = None;
        worker.turn.admitted |= !matches!(outcome, Outcome::Undecided(_));
        if let Some(seen) = worker.seen.take_if(|_| runs) {
            latency::started(seen.elapsed());
        }
        let all_run = |status: &&PodStatus| worker.unstarted && latency::has_started(status);
        if let Some(status) = status.as_ref().filter(all_run) {
            worker.unstarted = false;
            latency::ran(&worker.turn.pod, status, kubelet.images.pulling(uid), Timestamp::now());
        }
        let mut again = worker.dirty;
        let mut delay = None;
        match outcome {
            Outcome::Wait(next) | Outcome::Undecided(next) => delay = next,
            Outcome::Finished => {
                worker.end(None, None);
                again = true;
            }
            Outcome::Evict(eviction) => {
                worker.end(Some(eviction), None);
                again = true;
            }
            Outcome::Stopped => {
                worker.turn.stage = worker.turn.stage.max(Stage::Terminated);
                again = true;
            }
            Outcome::Cleaned { deleted } => {
                worker.turn.stage = Stage::Done;
                worker.turn.freed |= deleted;
                // Deleted in the meantime, without the turn having seen it.
                again |= worker.turn.gone && !worker.turn.freed;
                if worker.turn.gone && worker.turn.freed {
                    pods.remove(uid);
                    drop(pods);
                    kubelet.statuses.forget(uid);
                    kubelet.mirrors.delete_orphans(kubelet);
                    return;
                }
            }
        }
        drop(pods);
        if again {
            self.wake(uid);
        } else if let Some(delay) = delay {
            self.wake_after(uid, delay);
        }
    }
}

impl Worker {
    /// Starts the end, or hurries it; `seconds` overrule what the pod says.
    fn end(&mut self, eviction: Option<Eviction>, seconds: Option<i64>) {
        let grace = seconds.unwrap_or_else(|| grace(&self.turn.pod));
        if self.turn.eviction.is_none() {
            self.turn.eviction = eviction;
        }
        let shorter = self.turn.grace.is_none_or(|before| grace < before);
        if shorter {
            self.turn.grace = Some(grace);
        }
        let starts = self.turn.stage == Stage::Syncing;
        if starts {
            self.turn.stage = Stage::Terminating;
        }
        if (starts || (shorter && self.turn.stage == Stage::Terminating))
            && let Some(running) = &self.running
        {
            running.cancel();
        }
    }
}

/// Frees a pod whose turn panicked.
struct Finish {
    workers: Arc<Workers>,
    uid: String,
}

impl Drop for Finish {
    fn drop(&mut self) {
        if let Some(worker) = self.workers.pods.lock().get_mut(&self.uid) {
            worker.running = None;
        }
        tracing::error!(pod = self.uid, "a pod's turn panicked");
        self.workers.wake_after(&self.uid, Duration::from_secs(10));
    }
}
