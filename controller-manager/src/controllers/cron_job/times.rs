//! Times of a schedule: the latest that has passed, and how long it is until the next.

use std::time::Duration;

use api_types::batch::v1::CronJob;
use api_types::schedule::{BadSchedule, Schedule};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::View;

/// Looks come this much after a time of the schedule, so that it has passed for certain.
const DELTA: Duration = Duration::from_millis(100);
/// More missed times than this are told of.
const MANY: i64 = 100;

/// A schedule on the clocks of its time zone.
#[derive(Debug)]
pub(super) struct Clockwork {
    schedule: Schedule,
    zone: TimeZone,
}

/// Why there is no clockwork: the event that tells of it.
#[derive(Debug)]
pub(super) enum Broken {
    Zone(String),
    Schedule(BadSchedule),
}

/// The latest time that has passed since the last Job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub at: Timestamp,
    /// So many times were missed that something is wrong.
    pub many_missed: bool,
}

impl Clockwork {
    pub(super) fn of(view: &View) -> Result<Self, Broken> {
        let spec = &view.cron.spec;
        let zone = |name: &str| match name {
            "" => Ok(TimeZone::UTC),
            name => (view.zones.0)(name).ok_or_else(|| Broken::Zone(name.to_owned())),
        };
        let own = spec.time_zone.as_deref().map(zone).transpose()?;
        let schedule = Schedule::parse(&spec.schedule).map_err(Broken::Schedule)?;
        let named = schedule.zone.as_deref().map(zone).transpose()?;
        let zone = named.or(own).unwrap_or_else(TimeZone::system);
        Ok(Self { schedule, zone })
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, &self.zone)
    }

    /// The moment after which times count: the last Job, or when the CronJob was made or changed.
    fn earliest(view: &View) -> Timestamp {
        let meta = &view.cron.metadata;
        let created = meta.creation_timestamp.map(|t| t.0).unwrap_or_default();
        let last = view.cron.status.last_schedule_time.map_or(created, |t| t.0);
        view.since.map_or(last, |since| since.max(last))
    }

    /// The latest time that is due and not older than the starting deadline.
    pub(super) fn due(&self, view: &View) -> Option<Due> {
        let mut earliest = Self::earliest(view);
        if let Some(seconds) = view.cron.spec.starting_deadline_seconds
            && let Ok(deadline) = Timestamp::from_second(view.at.as_second() - seconds)
        {
            earliest = earliest.max(deadline);
        }
        let first = self.next(earliest).filter(|first| *first <= view.at)?;
        let Some(second) = self.next(first).filter(|second| *second <= view.at) else {
            return Some(Due { at: first, many_missed: false });
        };
        // Not one by one: a CronJob may have been suspended for years.
        let between = (second.as_second() - first.as_second()).max(1);
        let missed = (view.at.as_second() - first.as_second()) / between + 1;
        let close = Timestamp::from_second(first.as_second() + (missed - 2) * between).ok()?;
        let mut latest = None;
        let mut at = self.next(close.max(first));
        while let Some(time) = at.filter(|time| *time <= view.at) {
            latest = Some(time);
            at = self.next(time);
        }
        Some(Due { at: latest.unwrap_or(second), many_missed: missed > MANY })
    }

    /// How long it is until the next time. `after`: a Job was just made for this one.
    pub(super) fn until_next(&self, view: &View, after: Option<Timestamp>) -> Option<Duration> {
        let next = self.next(after.unwrap_or(view.at).max(view.at))?;
        Some(Duration::try_from(next - view.at).unwrap_or_default() + DELTA)
    }

    /// A time as the Job's annotation has it: on the clocks of the CronJob's own time zone.
    pub(super) fn stamp(view: &View, at: Timestamp) -> String {
        let name = view.cron.spec.time_zone.as_deref().unwrap_or("");
        let zone = if name.is_empty() { None } else { (view.zones.0)(name) };
        let local = at.to_zoned(zone.unwrap_or(TimeZone::UTC));
        match local.offset().seconds() {
            0 => local.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            _ => local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        }
    }
}

/// Name of the Job for a time.
pub(super) fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron.metadata.name, at.as_second() / 60)
}
