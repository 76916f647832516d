//! The scheduler at work: one task takes pods from the queue and decides, others bind, preempt and
//! report. Cache and queue are behind one lock, which is held only to change them and to bring the
//! snapshot up to date; deciding reads the snapshot alone.
//!
//! Invariant: a pod that was popped is either bound, given back to the queue, or gone.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{PodCondition, PodConditionType};
use api_types::meta::v1::ConditionStatus;
use api_types::resource::v1::ResourceClaim;
use api_types::value::Time;
use daemon::clock::SharedClock;
use daemon::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::api::{Api, ApiError, ClaimCall, Note};
use crate::cache::{Cache, Snapshot};
use crate::cycle::{Attempt, Chosen, Failure};
use crate::devices::{self, Devices};
use crate::extender::EXTENDER;
use crate::framework::{
    Around, ClusterEvent, Code, CycleState, Permission, PostFiltered, Rejection, Release, Sight, Verdict,
};
use crate::metrics::{Attempted, Point, metrics, timed};
use crate::node::NodeView;
use crate::pod::PodView;
use crate::profile::Profile;
use crate::queue::{Backoff, Profiles, Queue, QueuedPod, Returned, Ticket};
use crate::storage::Storage;

/// The longest note of an event (events.k8s.io validation).
const NOTE_LIMIT: usize = 1024;
/// What an attempt that never reached a decision is reported with.
const SCHEDULER_ERROR: &str = "SchedulerError";

/// Cache and queue, changed together.
pub struct Shared {
    pub cache: Cache,
    pub queue: Queue,
}

/// The scheduler. Cheap to share.
pub struct Scheduler {
    shared: Mutex<Shared>,
    profiles: Arc<Profiles>,
    api: Arc<dyn Api>,
    clock: SharedClock,
    percentage: i32,
    wake: Notify,
    /// Counts changes of storage, and pods that went: binding tasks look again.
    changes: watch::Sender<u64>,
}

/// Why an attempt ended without a binding.
struct Setback {
    reason: &'static str,
    message: String,
    returned: Returned,
    post: PostFiltered,
}

impl Setback {
    fn error(message: String) -> Self {
        Self { reason: SCHEDULER_ERROR, message, returned: Returned::Error, post: PostFiltered::default() }
    }

    fn rejected(rejection: &Rejection) -> Self {
        if rejection.code == Code::Error {
            return Self::error(rejection.message());
        }
        Self {
            reason: "Unschedulable",
            message: format!("0/1 nodes are available: 1 {}.", rejection.message()),
            returned: Returned::Unschedulable {
                rejected_by: [rejection.plugin].into(),
                pending: rejection.code == Code::Pending,
            },
            post: PostFiltered::default(),
        }
    }
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        let message = failure.message();
        let (rejected_by, pending, post) = match failure {
            Failure::Error(_) => return Self::error(message),
            Failure::NoNodes => (Default::default(), false, PostFiltered::default()),
            Failure::Unfit { rejected_by, pending, post, .. } => (rejected_by, pending, *post),
        };
        Self {
            reason: "Unschedulable",
            message,
            returned: Returned::Unschedulable { rejected_by, pending },
            post,
        }
    }
}

impl Scheduler {
    pub fn new(
        profiles: Profiles,
        api: Arc<dyn Api>,
        clock: SharedClock,
        backoff: Backoff,
        percentage: i32,
    ) -> Arc<Self> {
        let profiles = Arc::new(profiles);
        let queue = Queue::new(profiles.clone(), backoff);
        let shared = Mutex::new(Shared { cache: Cache::default(), queue });
        let changes = watch::Sender::new(0);
        Arc::new(Self { shared, profiles, api, clock, percentage, wake: Notify::new(), changes })
    }

    /// Changes cache or queue; whoever waits for pods looks again.
    pub fn change<T>(&self, change: impl FnOnce(&mut Shared, Duration) -> T) -> T {
        let result = change(&mut self.shared.lock(), self.clock.monotonic());
        self.wake.notify_one();
        result
    }

    /// Tells binding tasks that what they wait for may have come.
    pub fn tell_waiting(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether pods with this scheduler name are ours.
    pub fn serves(&self, scheduler_name: &str) -> bool {
        self.profiles.contains_key(scheduler_name)
    }

    /// Schedules pods until shutdown.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let (mut snapshot, mut start, mut random) = (Snapshot::default(), 0, fastrand::Rng::new());
        while !shutdown.is_triggered() {
            let next = self.shared.lock().queue.pop(self.clock.monotonic());
            match next {
                Some(queued) => {
                    start = self.attempt(queued, &mut snapshot, start, &mut random);
                    // Binding tasks of the same thread get their turn.
                    tokio::task::yield_now().await;
                }
                None => {
                    let (now, next) = self.change_nothing();
                    let pause = next.map_or(Duration::from_secs(30), |at| at.saturating_sub(now));
                    tokio::select! {
                        () = shutdown.wait() => return,
                        () = self.wake.notified() => {}
                        () = self.clock.sleep(pause.max(Duration::from_millis(1))) => {}
                    }
                }
            }
        }
    }

    /// Lets the time limits of the queue take effect and says when the next one does.
    fn change_nothing(&self) -> (Duration, Option<Duration>) {
        let now = self.clock.monotonic();
        let mut shared = self.shared.lock();
        let next = shared.queue.flush(now);
        shared.queue.report();
        let size = shared.cache.size();
        for (what, count) in [("nodes", size.nodes), ("pods", size.pods), ("assumed_pods", size.assumed)] {
            metrics().cache_size.with_label_values(&[what]).set(count as i64);
        }
        (now, next)
    }

    /// One attempt to schedule one pod. Returns where the next search begins.
    fn attempt(
        self: &Arc<Self>,
        queued: QueuedPod,
        snapshot: &mut Snapshot,
        start: usize,
        random: &mut fastrand::Rng,
    ) -> usize {
        let started = self.clock.monotonic();
        let pod = queued.pod.clone();
        let Some(profile) = self.profiles.get(&pod.scheduler_name).cloned() else {
            self.shared.lock().queue.done(&pod.uid);
            return start;
        };
        if pod.deleting {
            self.shared.lock().queue.done(&pod.uid);
            let message = format!("skip schedule deleting pod: {}", pod.key());
            self.failed_event(&pod, message);
            return start;
        }
        {
            let mut shared = self.shared.lock();
            if shared.cache.is_assumed(&pod.uid) {
                shared.queue.done(&pod.uid);
                return start;
            }
            shared.cache.update(snapshot);
            snapshot.nominated = shared.queue.nominator.all();
        }
        let attempt = Attempt { profile: &profile, snapshot, percentage: self.percentage, start, random };
        let outcome = attempt.run(&pod);
        metrics().algorithm_duration.observe((self.clock.monotonic() - started).as_secs_f64());
        match outcome.result {
            Ok(chosen) => self.proceed(profile, queued, chosen, started),
            Err(failure) => {
                let how = match failure {
                    Failure::Error(_) => Attempted::Error,
                    Failure::NoNodes | Failure::Unfit { .. } => Attempted::Unschedulable,
                };
                metrics().attempted(how, &profile.name, self.clock.monotonic() - started);
                self.set_back(pod, failure.into());
            }
        }
        outcome.next_start
    }

    /// A node was found: take the room and bind in the background.
    fn proceed(
        self: &Arc<Self>,
        profile: Arc<Profile>,
        queued: QueuedPod,
        chosen: Chosen,
        started: Duration,
    ) {
        let Chosen { node, mut state, evaluated, feasible } = chosen;
        let assumed = Arc::new(PodView { node_name: node.clone(), ..(*queued.pod).clone() });
        let reserved = {
            let mut shared = self.shared.lock();
            if shared.queue.pod(&assumed.uid).is_none() {
                // It was deleted, or somebody else bound it, while we decided.
                return;
            }
            shared.cache.assume(assumed.clone());
            shared.queue.nominator.settle(&assumed.uid);
            timed(&profile, Point::Reserve, || {
                profile.run_reserve(&mut state, &assumed, &node, &mut shared.cache)
            })
        };
        if let Err(rejection) = reserved {
            self.forget(&assumed);
            let this = self.clone();
            tokio::spawn(async move {
                profile.run_clean_up(&state, &assumed, &this.around()).await;
                this.set_back(queued.pod, Setback::rejected(&rejection));
            });
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let running = metrics().bindings.with_label_values(&["binding"]);
            running.inc();
            let verdict = this.bind(&profile, &mut state, &assumed, &node).await;
            running.dec();
            let duration = this.clock.monotonic() - started;
            match verdict {
                Ok(()) => {
                    tracing::info!(
                        pod = assumed.key(),
                        node = &*node,
                        evaluated,
                        feasible,
                        "Successfully bound pod to node"
                    );
                    this.bound(&profile, &queued, &assumed, &state, duration);
                }
                Err(rejection) => {
                    this.change(|shared, _| {
                        timed(&profile, Point::Unreserve, || {
                            profile.run_unreserve(&mut state, &assumed, &node, &mut shared.cache);
                        });
                    });
                    profile.run_clean_up(&state, &assumed, &this.around()).await;
                    this.forget(&assumed);
                    let how = if rejection.code == Code::Error {
                        Attempted::Error
                    } else {
                        Attempted::Unschedulable
                    };
                    metrics().attempted(how, &profile.name, duration);
                    this.set_back(queued.pod.clone(), Setback::rejected(&rejection));
                }
            }
        });
    }

    async fn bind(
        self: &Arc<Self>,
        profile: &Profile,
        state: &mut CycleState,
        pod: &Arc<PodView>,
        node: &str,
    ) -> Verdict {
        let started = self.clock.monotonic();
        for plugin in &profile.permit {
            let verdict = self.permit(plugin.permit(state, pod, node)).await;
            if verdict.is_err() {
                metrics().point(Point::Permit, &verdict, &profile.name, self.clock.monotonic() - started);
            }
            verdict.map_err(|r| r.by(plugin.name()))?;
        }
        metrics().point(Point::Permit, &(), &profile.name, self.clock.monotonic() - started);
        if profile.pre_bind.iter().any(|plugin| plugin.has_work(state)) && *pod.nominated_node != *node {
            // The binding may take a while: autoscalers are told where the pod will be (KEP-5278).
            if let Err(error) = self.api.patch_status(pod, None, Some(node)).await {
                let (pod, error) = (pod.key(), error.to_string());
                tracing::error!(pod, node, error, "Failed to update the nominated node name");
            }
        }
        let around = self.around();
        for plugin in profile.pre_bind.iter().filter(|plugin| plugin.has_work(state)) {
            let started = self.clock.monotonic();
            let verdict = plugin.pre_bind(state, pod, node, &around).await;
            metrics().point(Point::PreBind, &verdict, &profile.name, self.clock.monotonic() - started);
            verdict.map_err(|r| failed(&r, "PreBind", plugin.name()))?;
        }
        let started = self.clock.monotonic();
        if let Some(verdict) = self.bind_by_extender(profile, pod, node).await {
            metrics().point(Point::Bind, &verdict, &profile.name, self.clock.monotonic() - started);
            return verdict.map_err(|r| r.by(EXTENDER));
        }
        // The first Bind plugin does it: none of ours passes a pod on.
        let plugin = profile.bind.first().expect("a profile without a Bind plugin is refused");
        let verdict = plugin.bind(&self.api, pod, node).await;
        metrics().point(Point::Bind, &verdict, &profile.name, self.clock.monotonic() - started);
        verdict.map_err(|r| failed(&r, "Bind", plugin.name()))
    }

    fn around(self: &Arc<Self>) -> Around {
        Around { api: self.api.clone(), sight: self.clone(), clock: self.clock.clone() }
    }

    /// An extender that binds goes before the plugins. `None`: there is none for this pod, or it failed
    /// and may be ignored.
    async fn bind_by_extender(&self, profile: &Profile, pod: &PodView, node: &str) -> Option<Verdict> {
        let interested = profile.extenders.iter().filter(|extender| extender.is_interested(pod));
        for extender in interested {
            let Some(binding) = extender.bind(pod, node) else { continue };
            match binding.await {
                Err(rejection) if extender.is_ignorable() => tracing::info!(
                    extender = extender.name(),
                    error = rejection.message(),
                    "Skipping extender in bind as it returned error and has ignorable flag set"
                ),
                verdict => return Some(verdict),
            }
        }
        None
    }

    async fn permit(&self, permission: Permission) -> Verdict {
        match permission {
            Permission::Allow => Ok(()),
            Permission::Reject(rejection) => Err(rejection),
            Permission::Wait(longest, wait) => tokio::select! {
                verdict = wait => verdict,
                () = self.clock.sleep(longest) => {
                    Err(Rejection::unschedulable("rejected due to timeout after waiting at plugin"))
                }
            },
        }
    }

    fn bound(
        &self,
        profile: &Profile,
        queued: &QueuedPod,
        pod: &Arc<PodView>,
        state: &CycleState,
        duration: Duration,
    ) {
        let now = self.clock.monotonic();
        {
            let mut shared = self.shared.lock();
            shared.queue.nominator.remove(&pod.uid);
            shared.queue.done(&pod.uid);
        }
        metrics().attempted(Attempted::Scheduled, &profile.name, duration);
        metrics().attempts_per_pod.observe(f64::from(queued.attempts));
        if let Some(first) = queued.first_attempt {
            // Sixteen attempts and more are one label value.
            let attempts = if queued.attempts > 15 { "16+".to_owned() } else { queued.attempts.to_string() };
            let sli = metrics().sli_duration.with_label_values(&[&attempts]);
            sli.observe((now - first).as_secs_f64());
        }
        if queued.flushed {
            metrics().after_flush.inc();
        }
        self.api.note(
            pod,
            None,
            Note {
                warning: false,
                reason: "Scheduled",
                action: "Binding",
                message: format!("Successfully assigned {} to {}", pod.key(), pod.node_name),
            },
        );
        timed(profile, Point::PostBind, || {
            profile.post_bind.iter().for_each(|p| p.post_bind(state, pod, &pod.node_name));
        });
    }

    /// Takes back an assumption: the room is free for others.
    fn forget(&self, pod: &PodView) {
        self.change(|shared, now| {
            if let Some(gone) = shared.cache.forget(&pod.uid) {
                shared.queue.on_event(&ClusterEvent::AssignedPodDeleted(gone), now);
            }
        });
    }

    /// No binding: preempt if that helps, give the pod back, and say why in event and condition.
    fn set_back(self: &Arc<Self>, pod: Arc<PodView>, setback: Setback) {
        let (latest, ticket) = {
            let mut shared = self.shared.lock();
            let Some(latest) = shared.queue.pod(&pod.uid).cloned() else { return };
            let nominate = |node| shared.queue.nominator.nominate(&latest, node);
            let ticket = setback.post.nominate.as_ref().and_then(nominate);
            (latest, ticket)
        };
        match setback.reason {
            SCHEDULER_ERROR => {
                tracing::error!(pod = pod.key(), error = setback.message, "Error scheduling pod; retrying");
            }
            _ => tracing::info!(
                pod = pod.key(),
                err = setback.message,
                "Unable to schedule pod; no fit; waiting"
            ),
        }
        let this = self.clone();
        tokio::spawn(async move {
            let Setback { reason, message, returned, post } = setback;
            if let Some(node) = &post.nominate
                && !post.victims.is_empty()
            {
                this.preempt(&latest, node, &post.victims).await;
            }
            if let Some(release) = &post.release {
                this.release(&latest, release).await;
            }
            // Not before the victims are told to go: their end may be what the pod waits for.
            this.change(|shared, now| shared.queue.give_back(&latest.uid, returned, now));
            this.failed_event(&latest, message.clone());
            let nominate = ticket.zip(post.nominate.as_deref());
            this.report(&latest, reason, message, nominate).await;
        });
    }

    /// Lets a claim give up what it has: the event of that lets the pod be tried again.
    async fn release(&self, pod: &PodView, release: &Release) {
        let (claim, outcome) = match release {
            Release::Deallocate(claim) => {
                let mut changed = claim.0.clone();
                changed.status = Default::default();
                (claim, self.api.claim(ClaimCall::UpdateStatus(&changed)).await.map(drop))
            }
            Release::Delete(claim) => {
                (claim, crate::plugins::resource_claims::delete(&*self.api, &*self.clock, claim).await)
            }
        };
        if let Err(error) = outcome {
            let (pod, claim) = (pod.key(), devices::key(claim));
            tracing::error!(pod, claim, error = error.to_string(), "Could not take devices back");
        }
    }

    fn failed_event(&self, pod: &Arc<PodView>, message: String) {
        let note = Note {
            warning: true,
            reason: "FailedScheduling",
            action: "Scheduling",
            message: shortened(message),
        };
        self.api.note(pod, None, note);
    }

    async fn report(&self, pod: &PodView, reason: &str, message: String, nominate: Option<(Ticket, &str)>) {
        let condition = self.condition(pod, reason, message);
        let current =
            |(ticket, _): &(Ticket, _)| self.shared.lock().queue.nominator.is_current(&pod.uid, *ticket);
        let nominate = nominate.filter(current);
        if condition.is_none() && nominate.is_none() {
            return;
        }
        let answer = self.api.patch_status(pod, condition.as_ref(), nominate.map(|(_, node)| node)).await;
        if let Some((ticket, _)) = nominate {
            self.nominated(pod, ticket, &answer);
        }
        match answer {
            Ok(_) | Err(ApiError::NotFound(_)) => {}
            Err(error) => {
                tracing::error!(pod = pod.key(), error = error.to_string(), "Error updating pod");
            }
        }
    }

    /// A nomination was written, or could not be: then the pod's status stands.
    fn nominated(&self, pod: &PodView, ticket: Ticket, answer: &Result<u64, ApiError>) {
        let revision = *answer.as_ref().unwrap_or(&0);
        self.shared.lock().queue.nominator.written(&pod.uid, ticket, revision);
    }

    /// PodScheduled=False, unless the pod says so already.
    fn condition(&self, pod: &PodView, reason: &str, message: String) -> Option<PodCondition> {
        let mut condition = PodCondition {
            type_: PodConditionType::PodScheduled,
            observed_generation: pod.generation,
            status: ConditionStatus::False,
            last_transition_time: Some(Time::whole(self.clock.now())),
            reason: reason.into(),
            message,
            ..PodCondition::default()
        };
        if let Some(old) = pod.scheduled.as_deref() {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time;
            }
            condition.last_probe_time = old.last_probe_time;
            if *old == condition {
                return None;
            }
        }
        Some(condition)
    }

    /// Deletes the victims, and takes their promise of the node from pods of lower priority.
    async fn preempt(&self, pod: &Arc<PodView>, node: &str, victims: &[Arc<PodView>]) {
        metrics().preemption_victims.observe(victims.len() as f64);
        for victim in victims.iter().filter(|v| !v.deleting) {
            if let Err(error) = self.evict(pod, node, victim).await {
                tracing::error!(
                    pod = pod.key(),
                    victim = victim.key(),
                    error = error.to_string(),
                    "Could not preempt pod"
                );
            }
        }
        let lower = {
            let mut shared = self.shared.lock();
            let nominator = &mut shared.queue.nominator;
            let lower = nominator.lower(node, pod.priority).into_iter();
            lower
                .filter_map(|other| {
                    let ticket = nominator.nominate(&other, &"".into())?;
                    Some((other, ticket))
                })
                .collect::<Vec<_>>()
        };
        for (other, ticket) in lower {
            let answer = self.api.patch_status(&other, None, Some("")).await;
            self.nominated(&other, ticket, &answer);
            if let Err(error) = answer {
                tracing::error!(
                    pod = other.key(),
                    error = error.to_string(),
                    "Cannot clear 'NominatedNodeName'"
                );
            }
        }
    }

    async fn evict(&self, pod: &Arc<PodView>, node: &str, victim: &Arc<PodView>) -> Result<(), ApiError> {
        let condition = PodCondition {
            type_: PodConditionType::DisruptionTarget,
            observed_generation: victim.generation,
            status: ConditionStatus::True,
            last_transition_time: Some(Time::whole(self.clock.now())),
            reason: "PreemptionByScheduler".into(),
            message: format!("{}: preempting to accommodate a higher priority pod", pod.scheduler_name),
            ..PodCondition::default()
        };
        let told = self.api.patch_status(victim, Some(&condition), None).await;
        let gone = match told {
            Ok(_) => self.api.delete(victim).await,
            Err(error) => Err(error),
        };
        match gone {
            Ok(()) => {}
            Err(ApiError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        tracing::info!(pod = pod.key(), victim = victim.key(), node, "Preemptor Pod preempted victim Pod");
        self.api.note(
            victim,
            Some(pod),
            Note {
                warning: false,
                reason: "Preempted",
                action: "Preempting",
                message: format!("Preempted by pod {} on node {node}", pod.uid),
            },
        );
        Ok(())
    }
}

impl Sight for Scheduler {
    fn storage(&self) -> Storage {
        self.shared.lock().cache.storage.clone()
    }

    fn devices(&self) -> Devices {
        self.shared.lock().cache.devices.clone()
    }

    fn claim_written(&self, pending: &str, claim: ResourceClaim) {
        self.change(|shared, _| {
            shared.cache.devices.written(claim);
            shared.cache.devices.settle(pending);
            shared.queue.devices = shared.cache.devices.clone();
        });
    }

    fn node(&self, name: &str) -> Option<Arc<NodeView>> {
        self.shared.lock().cache.node(name).cloned()
    }

    fn expects(&self, uid: &str) -> bool {
        self.shared.lock().queue.pod(uid).is_some()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn failed(rejection: &Rejection, point: &str, plugin: &'static str) -> Rejection {
    let message = match point {
        "Bind" => format!("binding rejected: running {point} plugin {plugin:?}: {}", rejection.message()),
        _ => format!("running {point} plugin {plugin:?}: {}", rejection.message()),
    };
    Rejection { code: rejection.code, reasons: vec![message.into()], plugin }
}

fn shortened(mut message: String) -> String {
    if message.len() > NOTE_LIMIT {
        let mut end = NOTE_LIMIT - 4;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}

#[cfg(test)]
mod tests;
