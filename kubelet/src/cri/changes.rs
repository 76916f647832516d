//! Tells which pods changed in the runtime.
//!
//! The runtime's event stream names them at once where it has one; containerd before 1.7 has not, and
//! there a light relist (two list calls) is compared with the one before it every second. With the
//! stream a relist only corrects, every five minutes. Consumers get uids and look for themselves.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Streaming;

use super::Runtime;
use super::labels::Identity;
use super::observed::{self, Digest};
use crate::latency;

/// How often the runtime is listed when it cannot send events.
const RELIST: Duration = Duration::from_secs(1);
/// How often it is listed beside the event stream.
const CORRECTION: Duration = Duration::from_secs(300);
/// A stream that was asked for so long ago is there.
const SETTLED: Duration = Duration::from_secs(1);
/// Pause before the stream is opened again after it broke.
const RECONNECT: Duration = Duration::from_secs(1);

/// Something of this pod changed, or (`gone`) nothing of it is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose it is.
    pub identity: Identity,
    /// The runtime has nothing of the pod any more.
    pub gone: bool,
}

/// What differs between two listings.
pub fn differences(before: &HashMap<String, Digest>, after: &HashMap<String, Digest>) -> Vec<Change> {
    let changed = after
        .iter()
        .filter(|(uid, digest)| before.get(*uid) != Some(digest))
        .map(|(_, digest)| Change { identity: digest.identity.clone(), gone: false });
    let gone = before
        .iter()
        .filter(|(uid, _)| !after.contains_key(*uid))
        .map(|(_, digest)| Change { identity: digest.identity.clone(), gone: true });
    changed.chain(gone).collect()
}

/// When the runtime last answered a listing; the node is not ready without one for three minutes.
#[derive(Clone)]
pub struct Pulse(std::sync::Arc<parking_lot::Mutex<Option<Instant>>>);

impl Pulse {
    /// A pulse that was never felt.
    pub fn new() -> Self {
        Self(std::sync::Arc::new(parking_lot::Mutex::new(None)))
    }

    /// The last listing.
    pub fn last(&self) -> Option<Instant> {
        *self.0.lock()
    }

    fn beat(&self) {
        *self.0.lock() = Some(Instant::now());
    }
}

/// Follows the runtime until the receiver is gone.
pub async fn follow(runtime: Runtime, pulse: Pulse, changes: mpsc::Sender<Change>) {
    let mut known = HashMap::new();
    let mut streaming = true;
    while !changes.is_closed() {
        if !relist(&runtime, &pulse, &mut known, &changes).await {
            tokio::time::sleep(RELIST).await;
            continue;
        }
        if streaming {
            match stream(&runtime, &pulse, &mut known, &changes).await {
                Ok(()) => tokio::time::sleep(RECONNECT).await,
                Err(error) if error.is_unimplemented() => {
                    tracing::info!("the runtime has no event stream: listing it every second");
                    streaming = false;
                }
                Err(error) => {
                    tracing::warn!(%error, "the runtime's event stream broke");
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        } else {
            tokio::time::sleep(RELIST).await;
        }
    }
}

async fn relist(
    runtime: &Runtime,
    pulse: &Pulse,
    known: &mut HashMap<String, Digest>,
    changes: &mpsc::Sender<Change>,
) -> bool {
    let began = Instant::now();
    match observed::digests(runtime).await {
        Ok(listed) => {
            latency::listed(began.elapsed(), jiff::Timestamp::now());
            pulse.beat();
            for change in differences(known, &listed) {
                if changes.send(change).await.is_err() {
                    return false;
                }
            }
            *known = listed;
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot list the runtime");
            false
        }
    }
}

async fn stream(
    runtime: &Runtime,
    pulse: &Pulse,
    known: &mut HashMap<String, Digest>,
    changes: &mpsc::Sender<Change>,
) -> Result<(), super::CallError> {
    // A runtime may say nothing at all, not even that the stream is there, until something happens.
    let opening = runtime.events();
    tokio::pin!(opening);
    let mut opened = None;
    // Between the listing before and the stream's start something may have happened: the first correction comes soon.
    let mut correction = tokio::time::interval_at(Instant::now() + SETTLED, CORRECTION);
    correction.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pulse_tick = tokio::time::interval(Duration::from_secs(60));
    loop {
        let waits = opened.is_none();
        let event = async {
            match &mut opened {
                Some(events) => Streaming::message(events).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            stream = &mut opening, if waits => opened = Some(stream?),
            event = event => {
                let Some(event) = event? else { return Ok(()) };
                pulse.beat();
                let Some(status) = event.pod_sandbox_status else { continue };
                let Some(identity) = Identity::from_labels(&status.labels) else { continue };
                if changes.send(Change { identity, gone: false }).await.is_err() {
                    return Ok(());
                }
            }
            _ = correction.tick() => {
                relist(runtime, pulse, known, changes).await;
            }
            _ = pulse_tick.tick() => {
                if runtime.version().await.is_ok() {
                    pulse.beat();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(pods: &[(&str, &[(&str, i32)])]) -> HashMap<String, Digest> {
        pods.iter()
            .map(|(uid, parts)| {
                let identity = Identity { uid: (*uid).into(), ..Default::default() };
                let parts = parts.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect();
                ((*uid).to_owned(), Digest { identity, parts })
            })
            .collect()
    }

    fn check(before: &[(&str, &[(&str, i32)])], after: &[(&str, &[(&str, i32)])], expected: &[(&str, bool)]) {
        let mut found: Vec<(String, bool)> = differences(&listing(before), &listing(after))
            .into_iter()
            .map(|change| (change.identity.uid, change.gone))
            .collect();
        found.sort();
        let expected: Vec<(String, bool)> =
            expected.iter().map(|(uid, gone)| ((*uid).to_owned(), *gone)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_pods_that_differ_are_named() {
        check(&[("a", &[("c", 1)])], &[("a", &[("c", 1)])], &[]);
        check(&[("a", &[("c", 1)])], &[("a", &[("c", 2)]), ("b", &[])], &[("a", false), ("b", false)]);
        check(&[("a", &[("c", 1)]), ("b", &[])], &[("b", &[])], &[("a", true)]);
    }
}
