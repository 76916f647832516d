//! cronjob-controller: makes a Job at each time of a CronJob's schedule.
//!
//! A round looks at the Jobs first: those that ended leave the list of active ones, and the oldest
//! beyond the history limits go. Then it finds the latest time of the schedule that has passed
//! without a Job (`times.rs`) and makes it, as the concurrency policy allows. A Job's name is made of
//! that time, so that none is made twice.

mod plan;
#[cfg(test)]
mod tests;
mod times;

use std::collections::HashMap;
use std::sync::Arc;

use api_types::batch::v1::CronJob;
use api_types::core::v1::ObjectReference;
use client::Key;
use client::controller::{Controller, Never, Outcome, Plan, Wake};
use client::informer::{Caches, Change};
use daemon::clock::SharedClock;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

use crate::cached::{CronJobObject, JobObject, Owner};

/// See the module.
#[derive(Debug)]
pub struct CronJobs {
    clock: SharedClock,
    /// The schedules as they were last seen, and since when; the moment is unknown of those that were
    /// there at the start.
    seen: Mutex<HashMap<Key, (String, Option<Timestamp>)>>,
}

impl CronJobs {
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, seen: Mutex::default() }
    }

    /// Since when the CronJob has had its schedule, if it changed in this process's time.
    fn scheduled_since(&self, key: &Key, cron: &CronJob) -> Option<Timestamp> {
        let schedule = format!("{} {}", cron.spec.time_zone.as_deref().unwrap_or(""), cron.spec.schedule);
        let mut seen = self.seen.lock();
        match seen.get_mut(key) {
            Some((known, since)) => {
                if *known != schedule {
                    (*known, *since) = (schedule, Some(self.clock.now()));
                }
                *since
            }
            None => {
                seen.insert(key.clone(), (schedule, None));
                None
            }
        }
    }
}

/// A CronJob with its Jobs.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub cron: CronJob,
    /// Those that it controls.
    pub jobs: Vec<Arc<JobObject>>,
    /// When it got the schedule that it has: times before that were not missed.
    pub since: Option<Timestamp>,
    pub at: Timestamp,
    pub zones: Zones,
}

/// Time zones by name; tests know a few only.
#[derive(Clone, Copy, Debug)]
pub struct Zones(fn(&str) -> Option<TimeZone>);

impl Default for Zones {
    fn default() -> Self {
        Self(|name| TimeZone::get(name).ok())
    }
}

impl Controller for CronJobs {
    const NAME: &'static str = "cronjob-controller";
    const QUEUE: &'static str = "cronjob";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<CronJobObject>(), Wake::on::<JobObject>(wake_by_job)]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let Some(cron) = caches.store::<CronJobObject>().get(key) else {
            self.seen.lock().remove(key);
            return None;
        };
        let cron = cron.0.clone();
        let jobs = caches.store::<JobObject>().by_index("owner", &cron.metadata.uid);
        let jobs = jobs.into_iter().map(|(_, job)| job).collect();
        let since = self.scheduled_since(key, &cron);
        Some(View { cron, jobs, since, at: self.clock.now(), zones: Zones::default() })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        plan::plan(view)
    }

    fn conclude(view: &View, outcome: &Outcome, _: Timestamp) -> Plan {
        plan::conclude(view, outcome)
    }
}

impl View {
    /// For events.
    fn reference(&self) -> ObjectReference {
        client::events::reference(&self.cron)
    }
}

fn wake_by_job(change: &Change<'_, JobObject>, _: &Caches, keys: &mut Vec<Key>) {
    for job in [change.old, change.new].into_iter().flatten() {
        if let Some(owner) = Owner::of(&job.metadata).filter(Owner::is::<CronJob>) {
            keys.push(Key::new(change.key.namespace.clone(), owner.name));
        }
    }
}
