//! Leader election on a Lease, with upstream's record and timing (client-go `leaderelection`).
//!
//! [`Race`] is pure: from the Lease as it is and the local clock it says what to write. Clocks of
//! others are not trusted: a lease counts as held until it did not change for its duration by our
//! own clock. Losing the lease ends the work; the process is expected to exit.

use std::time::Duration;

use api_types::coordination::v1::{Lease, LeaseSpec};
use api_types::core::v1::ObjectReference;
use api_types::meta::v1::ObjectMeta;
use api_types::value::MicroTime;
use daemon::clock::SharedClock;
use daemon::logging::error_chain;
use daemon::metrics;
use daemon::shutdown::Shutdown;
use jiff::Timestamp;

use crate::connection::Client;
use crate::error::Error;
use crate::events::Recorder;

/// `--leader-elect-*`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `kube-system`.
    pub namespace: String,
    /// `kube-scheduler`.
    pub name: String,
    /// Host name, `_`, and something unique.
    pub identity: String,
    /// How long others wait after the last renewal; 15 s.
    pub lease_duration: Duration,
    /// How long the leader tries to renew; 10 s.
    pub renew_deadline: Duration,
    /// Between tries; 2 s.
    pub retry_period: Duration,
    /// Whether shutdown gives the lease up, so that the next one need not wait.
    pub release: bool,
}

impl Settings {
    /// Upstream's timing.
    pub fn new(namespace: &str, name: &str, identity: String) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            release: true,
        }
    }
}

/// What to do with the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    Create(Lease),
    Update(Lease),
    /// Held by this other one.
    Wait(String),
}

/// What one candidate has seen of the Lease.
#[derive(Debug)]
pub struct Race {
    settings: Settings,
    /// The record last seen, and when by our own clock it was first seen so.
    seen: Option<(LeaseSpec, Duration)>,
}

impl Race {
    pub fn new(settings: Settings) -> Self {
        Self { settings, seen: None }
    }

    /// What to write, given the Lease as the server has it.
    pub fn next(&mut self, lease: Option<&Lease>, now: Timestamp, monotonic: Duration) -> Move {
        let Some(lease) = lease else {
            let metadata = ObjectMeta {
                namespace: self.settings.namespace.clone(),
                name: self.settings.name.clone(),
                ..ObjectMeta::default()
            };
            return Move::Create(Lease { metadata, spec: self.record(now, now, 0) });
        };
        if self.seen.as_ref().is_none_or(|(spec, _)| *spec != lease.spec) {
            self.seen = Some((lease.spec.clone(), monotonic));
        }
        let since = self.seen.as_ref().map_or(monotonic, |(_, since)| *since);
        let holder = lease.spec.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.settings.identity;
        let duration = lease.spec.lease_duration_seconds.unwrap_or(0).max(0) as u64;
        if !ours && !holder.is_empty() && monotonic < since + Duration::from_secs(duration) {
            return Move::Wait(holder.to_owned());
        }
        let transitions = lease.spec.lease_transitions.unwrap_or(0);
        let spec = if ours {
            let acquired = lease.spec.acquire_time.map_or(now, |t| t.0);
            self.record(acquired, now, transitions)
        } else {
            self.record(now, now, transitions + 1)
        };
        Move::Update(Lease { spec, metadata: lease.metadata.clone() })
    }

    /// The Lease that gives up what we hold.
    pub fn release(&self, held: &Lease, now: Timestamp) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..held.spec.clone()
        };
        Lease { spec, metadata: held.metadata.clone() }
    }

    fn record(&self, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(self.settings.lease_duration.as_secs()).ok(),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(renewed)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// Why leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Shutdown was asked for.
    Shutdown,
    /// The lease could not be renewed in time, or another took it.
    Lost,
}

/// Takes part in an election.
#[derive(Debug)]
pub struct Elector {
    client: Client,
    race: Race,
    recorder: Recorder,
    clock: SharedClock,
    held: Option<Lease>,
}

impl Elector {
    pub fn new(client: Client, settings: Settings, recorder: Recorder, clock: SharedClock) -> Self {
        Self { client, race: Race::new(settings), recorder, clock, held: None }
    }

    /// Waits until this candidate leads. `false`: shutdown came first.
    pub async fn acquire(&mut self, shutdown: &Shutdown) -> bool {
        let settings = self.race.settings.clone();
        let lock = format!("{}/{}", settings.namespace, settings.name);
        tracing::info!(lock, "Attempting to acquire leader lease...");
        loop {
            match shutdown.unless(self.try_once()).await {
                None => return false,
                Some(true) => break,
                Some(false) => {}
            }
            // Jitter, so that candidates do not march in step.
            let pause = settings.retry_period.mul_f64(1.0 + 1.2 * fastrand::f64());
            if shutdown.unless(self.clock.sleep(pause)).await.is_none() {
                return false;
            }
        }
        tracing::info!(lock, "Successfully acquired lease");
        self.tell("became leader");
        self.gauge(1);
        true
    }

    /// Renews until the lease is lost or shutdown is asked for; then the work must have stopped
    /// already or stop at once.
    pub async fn renew(&mut self, shutdown: &Shutdown) -> End {
        let settings = self.race.settings.clone();
        let mut deadline = self.clock.monotonic() + settings.renew_deadline;
        let end = loop {
            if shutdown.unless(self.clock.sleep(settings.retry_period)).await.is_none() {
                break End::Shutdown;
            }
            let left = deadline.saturating_sub(self.clock.monotonic());
            let clock = self.clock.clone();
            let renewed = tokio::select! {
                renewed = self.try_once() => renewed,
                () = clock.sleep(left) => false,
                () = shutdown.wait() => break End::Shutdown,
            };
            let now = self.clock.monotonic();
            if renewed {
                deadline = now + settings.renew_deadline;
            } else if now >= deadline {
                tracing::error!(lock = settings.name, "Failed to renew lease");
                break End::Lost;
            }
        };
        self.tell("stopped leading");
        self.gauge(0);
        end
    }

    /// Gives the lease up, if the settings want it: after the work has stopped.
    pub async fn release(&mut self) {
        let Some(held) = self.held.take().filter(|_| self.race.settings.release) else { return };
        let lease = self.race.release(&held, self.clock.now());
        match tokio::time::timeout(self.patience(), self.client.api::<Lease>().update(&lease)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(error = error_chain(&error), "Failed to release lease"),
            Err(_) => tracing::warn!(error = "no answer in time", "Failed to release lease"),
        }
    }

    /// COMPAT: a request for the lease takes half the renew deadline at most, so that one lost on a dead
    /// connection leaves time for another.
    fn patience(&self) -> Duration {
        self.race.settings.renew_deadline / 2
    }

    async fn try_once(&mut self) -> bool {
        let error = match tokio::time::timeout(self.patience(), self.try_to_hold()).await {
            Ok(Ok(held)) => return held,
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        match &error {
            // Another was faster: not worth an error.
            Some(error) if error.is_conflict() || error.is_already_exists() => {
                tracing::debug!(error = error_chain(error), "Lost a race for the lease");
            }
            _ => {
                let error =
                    error.as_ref().map_or_else(|| "no answer in time".into(), |error| error_chain(error));
                tracing::error!(error, "Error retrieving or updating lease lock");
            }
        }
        // What we hold may be stale: read it anew next time.
        self.held = None;
        false
    }

    async fn try_to_hold(&mut self) -> Result<bool, Error> {
        let (namespace, name) = (self.race.settings.namespace.clone(), self.race.settings.name.clone());
        let api = self.client.api::<Lease>().namespace(namespace);
        // The holder knows the Lease by its own last write.
        let lease = match self.held.clone() {
            Some(held) => Some(held),
            None => api.find(&name).await?,
        };
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let stored = match self.race.next(lease.as_ref(), now, monotonic) {
            Move::Create(lease) => api.create(&lease).await?,
            Move::Update(lease) => api.update(&lease).await?,
            Move::Wait(holder) => {
                tracing::debug!(holder, lock = name, "Lease is held by another");
                return Ok(false);
            }
        };
        self.held = Some(stored);
        Ok(true)
    }

    fn tell(&self, what: &str) {
        let settings = &self.race.settings;
        let regarding = ObjectReference {
            kind: "Lease".into(),
            api_version: "coordination.k8s.io/v1".into(),
            namespace: settings.namespace.clone(),
            name: settings.name.clone(),
            ..ObjectReference::default()
        };
        let message = format!("{} {what}", settings.identity);
        self.recorder.normal(&regarding, "LeaderElection", &message);
    }

    fn gauge(&self, value: i64) {
        metrics::global()
            .int_gauge_vec(
                "leader_election_master_status",
                "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
                &["name"],
            )
            .with_label_values(&[&self.race.settings.name])
            .set(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn race(identity: &str) -> Race {
        Race::new(Settings::new("kube-system", "x", identity.into()))
    }

    fn at(seconds: u64) -> (Timestamp, Duration) {
        (Timestamp::from_second(1000 + seconds as i64).unwrap(), Duration::from_secs(seconds))
    }

    fn held_by(identity: &str, renewed: i64, transitions: i32) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(identity.into()),
            lease_duration_seconds: Some(15),
            acquire_time: Some(MicroTime(Timestamp::from_second(7).unwrap())),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            lease_transitions: Some(transitions),
            ..Default::default()
        };
        Lease { spec, ..Default::default() }
    }

    fn next(race: &mut Race, lease: Option<&Lease>, second: u64) -> Move {
        let (now, monotonic) = at(second);
        race.next(lease, now, monotonic)
    }

    #[test]
    fn an_absent_lease_is_created_with_upstreams_record() {
        let Move::Create(lease) = next(&mut race("a"), None, 0) else { panic!("no create") };
        assert_eq!(lease.metadata.name, "x");
        assert_eq!(lease.spec.lease_duration_seconds, Some(15));
        assert_eq!(lease.spec.lease_transitions, Some(0));
        assert_eq!(lease.spec.acquire_time, lease.spec.renew_time);
    }

    #[test]
    fn a_held_lease_is_taken_only_after_it_stood_still_by_our_clock() {
        let mut b = race("b");
        // The holder's clock is far behind: that does not matter.
        let lease = held_by("a", 10, 3);
        assert_eq!(next(&mut b, Some(&lease), 0), Move::Wait("a".into()));
        assert_eq!(next(&mut b, Some(&lease), 14), Move::Wait("a".into()));
        let renewed = held_by("a", 12, 3);
        assert_eq!(next(&mut b, Some(&renewed), 15), Move::Wait("a".into()), "it moved");
        let Move::Update(taken) = next(&mut b, Some(&renewed), 30) else { panic!("not taken") };
        assert_eq!(taken.spec.holder_identity.as_deref(), Some("b"));
        assert_eq!(taken.spec.lease_transitions, Some(4));
    }

    #[test]
    fn the_holder_renews_and_keeps_when_it_acquired() {
        let Move::Update(lease) = next(&mut race("a"), Some(&held_by("a", 10, 3)), 5) else {
            panic!("no renewal")
        };
        assert_eq!(lease.spec.acquire_time, Some(MicroTime(Timestamp::from_second(7).unwrap())));
        assert_eq!(lease.spec.lease_transitions, Some(3));
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        let a = race("a");
        let released = a.release(&held_by("a", 10, 3), at(0).0);
        assert_eq!(released.spec.holder_identity.as_deref(), Some(""));
        assert!(matches!(next(&mut race("b"), Some(&released), 0), Move::Update(_)));
    }
}
