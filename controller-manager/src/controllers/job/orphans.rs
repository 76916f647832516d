//! Pods that wait to be counted by a Job that is gone or over: they lose their finalizer, since
//! nobody will count them.

use std::sync::Arc;
use std::time::Duration;

use api_types::batch::v1::Job;
use api_types::core::v1::Pod;
use client::controller::{Action, Controller, Never, Plan, Target, Wake};
use client::informer::Caches;
use client::queue::Backoff;
use client::{Key, Patch};
use jiff::Timestamp;
use serde_json::json;

use super::{is_finished, is_managed_elsewhere};
use crate::cached::job_pod::TRACKING;
use crate::cached::{JobObject, PodFacts};

/// See the module. Its keys are pods.
#[derive(Debug)]
pub struct Orphans;

/// A pod to free.
#[derive(Debug)]
pub struct Orphan {
    key: Key,
    pod: Arc<PodFacts>,
}

impl Controller for Orphans {
    const NAME: &'static str = "job-controller";
    const QUEUE: &'static str = "job_orphan_pod";
    type View = Orphan;
    type Own = Never;

    fn backoff(&self) -> Backoff {
        Backoff::own(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::on::<PodFacts>(|change, _, keys| {
                let waits = |pod: &&Arc<PodFacts>| pod.job.as_ref().is_some_and(|job| job.tracked);
                if change.new.filter(waits).is_some() {
                    keys.push(change.key.clone());
                }
            }),
            Wake::on::<JobObject>(|change, caches, keys| {
                if change.new.is_none_or(|job| is_finished(job)) {
                    let pods = caches.store::<PodFacts>().by_index("owner", change.uid);
                    keys.extend(pods.into_iter().map(|(key, _)| key));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Orphan> {
        let pod = caches.store::<PodFacts>().get(key)?;
        if !pod.job.as_ref()?.tracked {
            return None;
        }
        if let Some(owner) = &pod.owner {
            if !owner.is::<Job>() {
                return None;
            }
            let job = caches.store::<JobObject>().find(&key.namespace, &owner.name);
            let job = job.filter(|job| *job.metadata.uid == *owner.uid);
            if job.is_some_and(|job| is_managed_elsewhere(&job) || !is_finished(&job)) {
                return None;
            }
        }
        Some(Orphan { key: key.clone(), pod })
    }

    fn plan(view: &Orphan, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let uid = &*view.pod.uid;
        let patch = json!({ "metadata": { "uid": uid, "$deleteFromPrimitiveList/finalizers": [TRACKING] } });
        plan.act(Action::patch(Target::new::<Pod>(view.key.clone(), uid), Patch::Strategic(patch)));
        plan
    }
}
