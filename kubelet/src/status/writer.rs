//! The statuses last computed, and their way into the API.
//!
//! A status is written when it differs from what the API has; one write per pod is under way at a time,
//! and only the newest status is written. A pod that is being deleted is removed from the API here, once
//! its worker says that nothing of it is left on the node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodCondition, PodConditionType, PodStatus};
use api_types::meta::v1::{DeleteOptions, Preconditions};
use client::Client;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::conditions::is_owned;
use crate::sources::mirrors::Mirrors;
use crate::sources::static_pods::is_static;

/// Writes under way at once.
const PARALLEL: usize = 16;
const RETRY: Duration = Duration::from_secs(2);

struct Entry {
    /// As the API last showed it.
    pod: Arc<Pod>,
    status: PodStatus,
    /// Nothing is left on the node: the object may go.
    finished: bool,
}

#[derive(Default)]
struct State {
    entries: HashMap<String, Entry>,
    dirty: HashSet<String>,
}

/// The statuses of this node's pods.
pub struct Statuses {
    client: Client,
    mirrors: Arc<Mirrors>,
    state: Mutex<State>,
    changed: Notify,
}

impl Statuses {
    /// No statuses yet.
    pub fn new(client: Client, mirrors: Arc<Mirrors>) -> Arc<Self> {
        Arc::new(Self { client, mirrors, state: Mutex::default(), changed: Notify::new() })
    }

    /// The status last computed.
    pub fn get(&self, uid: &str) -> Option<PodStatus> {
        self.state.lock().entries.get(uid).map(|entry| entry.status.clone())
    }

    /// Notes a status; it is written if it says something new.
    pub fn set(&self, pod: &Arc<Pod>, status: PodStatus) {
        let uid = pod.metadata.uid.clone();
        let mut state = self.state.lock();
        let finished = state.entries.get(&uid).is_some_and(|entry| entry.finished);
        let known = state.entries.get(&uid).is_some_and(|entry| entry.status == status);
        // What a write stored may be ahead of the watch, from which the caller's pod comes.
        let pod = match state.entries.get(&uid) {
            Some(entry) if revision(&entry.pod) > revision(pod) => Arc::clone(&entry.pod),
            _ => Arc::clone(pod),
        };
        let new = !known || merged(&pod, &status) != pod.status;
        state.entries.insert(uid.clone(), Entry { pod, status, finished });
        if new {
            state.dirty.insert(uid);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Nothing of the pod is left on the node: after its last status it may be removed from the API.
    pub fn finish(&self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone();
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.get_mut(&uid) {
            let newer = revision(pod) > revision(&entry.pod);
            if entry.finished && !newer {
                return;
            }
            entry.finished = true;
            if newer {
                entry.pod = Arc::clone(pod);
            }
            state.dirty.insert(uid);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Forgets a pod that the API no longer has.
    pub fn forget(&self, uid: &str) {
        let mut state = self.state.lock();
        state.entries.remove(uid);
        state.dirty.remove(uid);
    }

    /// Writes; never ends.
    pub async fn run(self: Arc<Self>) {
        loop {
            let dirty: Vec<String> = self.state.lock().dirty.drain().collect();
            if dirty.is_empty() {
                self.changed.notified().await;
                continue;
            }
            let failed: Vec<String> = futures::stream::iter(dirty)
                .map(|uid| async {
                    match self.write(&uid).await {
                        Ok(()) => None,
                        Err(error) => {
                            tracing::warn!(%error, pod = uid, "cannot write the status of a pod");
                            Some(uid)
                        }
                    }
                })
                .buffer_unordered(PARALLEL)
                .filter_map(|failed| async { failed })
                .collect()
                .await;
            if !failed.is_empty() {
                let this = Arc::clone(&self);
                tokio::spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    this.state.lock().dirty.extend(failed);
                    this.changed.notify_one();
                });
            }
        }
    }

    async fn write(&self, uid: &str) -> Result<(), client::Error> {
        let entry = {
            let state = self.state.lock();
            state.entries.get(uid).map(|entry| (Arc::clone(&entry.pod), entry.status.clone(), entry.finished))
        };
        let Some((mut pod, status, finished)) = entry else { return Ok(()) };
        if is_static(&pod) {
            // Its mirror shows the status; without one it is written once there is one.
            let Some(mirror) = self.mirrors.of(&pod) else { return Ok(()) };
            pod = mirror;
        }
        let shown = pod.metadata.uid.clone();
        let api = self.client.api::<Pod>().namespace(&pod.metadata.namespace);
        loop {
            let mut next = (*pod).clone();
            next.status = merged(&pod, &status);
            if next.status == pod.status {
                break;
            }
            match api.update_status(&next).await {
                Ok(stored) if shown != *uid => {
                    self.mirrors.set(Arc::new(stored));
                    return Ok(());
                }
                Ok(stored) => {
                    self.note(uid, &stored);
                    pod = Arc::new(stored);
                    break;
                }
                Err(error) if error.is_conflict() => match api.find(&pod.metadata.name).await? {
                    Some(fresh) if fresh.metadata.uid == shown => pod = Arc::new(fresh),
                    // Another pod has the name now.
                    _ => return Ok(()),
                },
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if finished && shown == *uid && pod.metadata.deletion_timestamp.is_some() {
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                preconditions: Some(Box::new(Preconditions {
                    uid: Some(uid.to_owned()),
                    ..Default::default()
                })),
                ..Default::default()
            };
            match api.delete(&pod.metadata.name, &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => tracing::info!(pod = pod.metadata.name, uid, "removed a pod from the API"),
            }
        }
        Ok(())
    }

    /// The next write compares with what this one stored, and not with what the watch will bring.
    fn note(&self, uid: &str, stored: &Pod) {
        if let Some(entry) = self.state.lock().entries.get_mut(uid) {
            entry.pod = Arc::new(stored.clone());
        }
    }
}

/// Revisions of one object are in order (KEP-5504).
fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.parse().unwrap_or_default()
}

/// The computed status with what others own in the pod's.
fn merged(pod: &Pod, status: &PodStatus) -> PodStatus {
    let mut merged = status.clone();
    // DisruptionTarget is shared: ours when this kubelet ends the pod, else whoever set it.
    let ours = |condition: &PodCondition| {
        is_owned(&condition.type_)
            || (condition.type_ == PodConditionType::DisruptionTarget
                && condition.reason == "TerminationByKubelet")
    };
    merged.conditions.retain(|condition| ours(condition));
    let set: Vec<PodConditionType> =
        merged.conditions.iter().map(|condition| condition.type_.clone()).collect();
    let foreign = pod
        .status
        .conditions
        .iter()
        .filter(|condition| !is_owned(&condition.type_) && !set.contains(&condition.type_));
    // Where a condition stood it stays, so that nothing seems to change when nothing did.
    let mut conditions: Vec<_> = foreign.cloned().collect();
    conditions.append(&mut merged.conditions);
    conditions.sort_by_key(|condition| {
        pod.status.conditions.iter().position(|old| old.type_ == condition.type_).unwrap_or(usize::MAX)
    });
    merged.conditions = conditions;
    let theirs = &pod.status;
    merged.start_time = theirs.start_time.or(merged.start_time);
    merged.nominated_node_name = theirs.nominated_node_name.clone();
    merged.resize = theirs.resize.clone();
    merged.resource_claim_statuses = theirs.resource_claim_statuses.clone();
    merged.extended_resource_claim_status = theirs.extended_resource_claim_status.clone();
    merged.qos_class = if theirs.qos_class.is_unset() { merged.qos_class } else { theirs.qos_class.clone() };
    merged
}
