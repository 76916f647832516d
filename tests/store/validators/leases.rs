//! A lease ends once nobody keeps it alive, and not before the time that was last granted is over; its
//! keys go with it at one revision (`linearizability` finds no cause for a revision that takes only
//! some), and nothing is attached to it afterwards. A lease is only unknown once it can have ended.

use std::collections::BTreeSet;

use super::linearizability::{Cause, Timeline, leases};
use crate::history::{History, Micros, Operation, Outcome, Violation, violated};
use crate::model::{Answer, LEASE_NOT_FOUND, Request};

const NOT_EARLY: &str = "a lease does not end before its time";
const ENDS: &str = "a lease ends";
const GONE: &str = "a lease that ended is gone";
const SECOND: Micros = 1_000_000;

/// The history must end only after every lease had the time to.
pub fn check(history: &History, timeline: &Timeline) -> Result<(), Violation> {
    let mut ended = BTreeSet::new();
    for moment in &timeline.moments {
        if let Some(kv) =
            moment.events.iter().filter_map(|e| e.kv.as_ref()).find(|kv| ended.contains(&kv.lease))
        {
            return violated(GONE, format!("{kv:?} is attached to a lease that ended"));
        }
        match moment.cause {
            Cause::LeaseEnded(lease) => {
                alive_until(history, lease, moment.seen).map_or(Ok(()), |until| {
                    let detail = format!("{lease:x} ended at {}, it was alive until {until}", moment.seen);
                    violated(NOT_EARLY, detail)
                })?;
                ended.insert(lease);
            }
            Cause::Request(n) => {
                if let Request::Revoke { lease } = history.operations[n].request {
                    ended.insert(lease);
                }
            }
        }
    }
    for operation in &history.operations {
        unknown_lease(history, operation)?;
    }
    match timeline.model.keys().values().find(|kv| kv.lease != 0) {
        Some(kv) => violated(ENDS, format!("{kv:?} is still there")),
        None => Ok(()),
    }
}

/// Whoever is told that there is no such lease, or that no time is left, is told the truth.
fn unknown_lease(history: &History, operation: &Operation) -> Result<(), Violation> {
    let (named, at) = match (&operation.request, &operation.outcome) {
        (request, Outcome::Refused { at, message }) if message == LEASE_NOT_FOUND => (leases(request), *at),
        (
            Request::KeepAlive { lease },
            Outcome::Answered { at, answer: Answer::KeepAlive { ttl: 0 }, .. },
        ) => ([*lease].into(), *at),
        _ => return Ok(()),
    };
    let may_be_gone = named.into_iter().any(|lease| {
        let revoked = history
            .operations
            .iter()
            .any(|other| other.request == Request::Revoke { lease } && other.sent < at);
        revoked || alive_until(history, lease, at).is_none()
    });
    if may_be_gone {
        return Ok(());
    }
    violated(NOT_EARLY, format!("{:?} was told at {at} that its lease is gone", operation.request))
}

/// The time until which a lease was promised to live, if that is after `at`. Only what was promised
/// before `at` counts, and each promise from when it was asked for: the store gave it later than that.
fn alive_until(history: &History, lease: i64, at: Micros) -> Option<Micros> {
    let promises =
        history.operations.iter().filter_map(|operation| match (&operation.request, &operation.outcome) {
            (
                Request::Grant { lease: id, .. } | Request::KeepAlive { lease: id },
                Outcome::Answered {
                    at: answered,
                    answer: Answer::Grant { ttl } | Answer::KeepAlive { ttl },
                    ..
                },
            ) if *id == lease && *ttl > 0 && *answered < at => Some(operation.sent + *ttl as Micros * SECOND),
            _ => None,
        });
    promises.max().filter(|until| *until > at)
}
