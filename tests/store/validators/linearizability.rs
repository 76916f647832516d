//! Every request takes effect at one moment between its sending and its answer, all or nothing, and what
//! was acknowledged stays.
//!
//! The store numbers its changes, and a watch of everything shows all of them: this is the order to be
//! checked, and no search for one is needed. The model runs along it. Each revision must be the effect
//! of one request (each put carries a value of its own, which names it); each answer must be the
//! model's at the revision that the answer names; and what was answered before another request was
//! sent must not come after it. A request without an answer takes effect once, after it was sent, or
//! not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::request_op::Request as Op;
use etcd_protocol::mvccpb::Event;

use crate::history::{History, Micros, Operation, Outcome, Violation, violated};
use crate::model::{Answer, COMPACTED, LEASE_NOT_FOUND, Model, Request, attached, bare};

const LINEARIZABLE: &str = "requests are linearizable";
const DURABLE: &str = "what was acknowledged is not lost";
const ATOMIC: &str = "a transaction is atomic";
const EXPLAINED: &str = "nothing changes without a request";
const GAPLESS: &str = "every revision is there";

/// The order of all changes, as replayed.
pub struct Timeline {
    pub model: Model,
    pub moments: Vec<Moment>,
    /// Operations that took effect, and at which revision.
    pub effects: BTreeMap<usize, i64>,
}

/// One revision.
pub struct Moment {
    pub revision: i64,
    pub events: Vec<Event>,
    /// When a watch first saw it.
    pub seen: Micros,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Index of an operation.
    Request(usize),
    /// The end of a lease, by time or by a request.
    LeaseEnded(i64),
}

pub fn check(history: &History) -> Result<Timeline, Violation> {
    let timeline = replay(history)?;
    reads(history, &timeline)?;
    real_time(history, &timeline)?;
    Ok(timeline)
}

/// Events by revision as the first watch saw them.
fn observed(history: &History) -> Result<Vec<(i64, Micros, Vec<Event>)>, Violation> {
    let mut found: Vec<(i64, Micros, Vec<Event>)> = Vec::new();
    for seen in history.watches.first().into_iter().flat_map(|watch| watch.seen()) {
        for event in &seen.events {
            let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            match found.last_mut() {
                Some((last, _, events)) if *last == revision => events.push(event.clone()),
                last => {
                    let expected = last.map_or(2, |(last, ..)| *last + 1);
                    if revision != expected {
                        return violated(GAPLESS, format!("revision {expected} is followed by {revision}"));
                    }
                    found.push((revision, seen.at, vec![event.clone()]));
                }
            }
        }
    }
    Ok(found)
}

/// Requests by what identifies them in the history.
struct Requests<'a> {
    all: &'a [Operation],
    by_value: HashMap<Bytes, usize>,
    /// Acknowledged deletions, which carry no value, by revision.
    deletes: BTreeMap<i64, usize>,
    /// Deletions with unknown outcome, and revocations: what may explain a revision that only deletes.
    candidates: Vec<usize>,
}

impl<'a> Requests<'a> {
    fn of(history: &'a History) -> Result<Self, Violation> {
        let all = history.operations.as_slice();
        let mut requests =
            Self { all, by_value: HashMap::new(), deletes: BTreeMap::new(), candidates: Vec::new() };
        for (n, operation) in all.iter().enumerate() {
            let values = values(&operation.request);
            for value in &values {
                requests.by_value.insert(value.clone(), n);
            }
            if !operation.is_write() {
                continue;
            }
            match &operation.outcome {
                Outcome::Unknown => requests.candidates.push(n),
                Outcome::Answered { .. } if matches!(operation.request, Request::Revoke { .. }) => {
                    requests.candidates.push(n);
                }
                Outcome::Answered { revision, answer, .. } if deletes(answer) => {
                    if let Some(other) = requests.deletes.insert(*revision, n) {
                        let detail =
                            format!("revision {revision} is claimed by {:?}", [other, n].map(|n| &all[n]));
                        return violated(LINEARIZABLE, detail);
                    }
                }
                Outcome::Answered { .. } | Outcome::Refused { .. } => {}
            }
        }
        Ok(requests)
    }
}

/// Values that a request may put: each is used once in a run.
fn values(request: &Request) -> Vec<Bytes> {
    fn of_txn(txn: &pb::TxnRequest, values: &mut Vec<Bytes>) {
        for op in txn.success.iter().chain(&txn.failure) {
            match &op.request {
                Some(Op::RequestPut(put)) => values.push(put.value.clone()),
                Some(Op::RequestTxn(nested)) => of_txn(nested, values),
                _ => {}
            }
        }
    }
    let mut values = Vec::new();
    match request {
        Request::Put(put) => values.push(put.value.clone()),
        Request::Txn(txn) => of_txn(txn, &mut values),
        _ => {}
    }
    values
}

/// Whether an answer says that something was deleted.
fn deletes(answer: &Answer) -> bool {
    match answer {
        Answer::Delete(delete) => delete.deleted > 0,
        Answer::Txn(txn) => txn.responses.iter().any(|op| match &op.response {
            Some(pb::response_op::Response::ResponseDeleteRange(delete)) => delete.deleted > 0,
            _ => false,
        }),
        _ => false,
    }
}

/// Whether an answer says that something was changed.
fn changes(answer: &Answer) -> bool {
    match answer {
        Answer::Put(_) => true,
        Answer::Txn(txn) => {
            deletes(answer)
                || txn
                    .responses
                    .iter()
                    .any(|op| matches!(op.response, Some(pb::response_op::Response::ResponsePut(_))))
        }
        other => deletes(other),
    }
}

/// Runs the model along what was observed.
fn replay(history: &History) -> Result<Timeline, Violation> {
    let requests = Requests::of(history)?;
    let mut timeline = Timeline { model: Model::default(), moments: Vec::new(), effects: BTreeMap::new() };
    for (revision, seen, events) in observed(history)? {
        let cause = cause(&requests, &timeline, revision, seen, &events)?;
        let request = match cause {
            Cause::Request(n) => requests.all[n].request.clone(),
            Cause::LeaseEnded(lease) => Request::Revoke { lease },
        };
        let (answer, expected) = apply(&mut timeline.model, &request, revision)?;
        if !same_keys(&expected, &events) {
            let guarantee = if matches!(request, Request::Txn(_)) { ATOMIC } else { LINEARIZABLE };
            return violated(
                guarantee,
                format!("revision {revision} of {request:?} is {events:?}, not {expected:?}"),
            );
        }
        if let Cause::Request(n) = cause {
            timeline.effects.insert(n, revision);
            if let Outcome::Answered { revision: said, answer: got, .. } = &requests.all[n].outcome
                && !matches!(request, Request::Revoke { .. })
                && (*said, bare(got.clone())) != (revision, answer.clone())
            {
                let detail =
                    format!("{request:?} at {revision} was answered {got:?} at {said}, not {answer:?}");
                return violated(LINEARIZABLE, detail);
            }
        }
        timeline.moments.push(Moment { revision, events: expected, seen, cause });
    }
    for (n, operation) in history.operations.iter().enumerate() {
        if let Outcome::Answered { revision, answer, .. } = &operation.outcome
            && changes(answer)
            && !timeline.effects.contains_key(&n)
        {
            return violated(DURABLE, format!("{:?}, acknowledged at {revision}", operation.request));
        }
    }
    Ok(timeline)
}

/// Whether events say the same of keys; what was there before is for `watches` to judge.
fn same_keys(some: &[Event], others: &[Event]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(a, b)| (a.r#type, &a.kv) == (b.r#type, &b.kv))
}

fn apply(model: &mut Model, request: &Request, revision: i64) -> Result<(Answer, Vec<Event>), Violation> {
    // Whether a lease exists cannot be seen from keys: `leases` judges it by time.
    for lease in leases(request) {
        model.leases.entry(lease).or_insert(0);
    }
    match model.apply(request) {
        Ok(done) => Ok(done),
        Err(refusal) => violated(LINEARIZABLE, format!("{request:?} has revision {revision}: {refusal}")),
    }
}

/// Leases that a request names.
pub fn leases(request: &Request) -> BTreeSet<i64> {
    let of_op = |op: &pb::RequestOp| match &op.request {
        Some(Op::RequestPut(put)) => put.lease,
        _ => 0,
    };
    let mut leases: BTreeSet<i64> = match request {
        Request::Put(put) => [put.lease].into(),
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).map(of_op).collect(),
        Request::Revoke { lease } => [*lease].into(),
        _ => BTreeSet::new(),
    };
    leases.remove(&0);
    leases
}

/// What brought a revision about.
fn cause(
    requests: &Requests<'_>,
    timeline: &Timeline,
    revision: i64,
    seen: Micros,
    events: &[Event],
) -> Result<Cause, Violation> {
    let mut named = events.iter().filter_map(|event| event.kv.as_ref()).filter(|kv| kv.version > 0);
    if let Some(kv) = named.next() {
        let Some(n) = requests.by_value.get(&kv.value).copied() else {
            return violated(EXPLAINED, format!("nobody put what revision {revision} holds: {kv:?}"));
        };
        if let Some(before) = timeline.effects.get(&n) {
            let detail = format!("{:?} took effect at {before} and at {revision}", requests.all[n].request);
            return violated(LINEARIZABLE, detail);
        }
        if let Outcome::Refused { message, .. } = &requests.all[n].outcome {
            let detail = format!("{:?} was refused ({message})", requests.all[n].request);
            return violated(EXPLAINED, format!("revision {revision}: {detail}"));
        }
        return Ok(Cause::Request(n));
    }
    if let Some(n) = requests.deletes.get(&revision) {
        return Ok(Cause::Request(*n));
    }
    // In the order of sending: of requests that do the same, the later ones are wanted later.
    for n in requests.candidates.iter().filter(|n| !timeline.effects.contains_key(*n)) {
        let operation = &requests.all[*n];
        let explains = |(_, _, expected): (_, _, Vec<Event>)| same_keys(&expected, events);
        if operation.sent < seen && timeline.model.effect(&operation.request).is_ok_and(explains) {
            return Ok(Cause::Request(*n));
        }
    }
    let deleted: BTreeSet<Bytes> =
        events.iter().filter_map(|event| Some(event.kv.as_ref()?.key.clone())).collect();
    let keys = timeline.model.keys();
    let held = deleted.iter().next().and_then(|key| keys.get(key)).map_or(0, |kv| kv.lease);
    if held != 0 && attached(keys, held) == deleted {
        return Ok(Cause::LeaseEnded(held));
    }
    violated(EXPLAINED, format!("no request and no lease explains revision {revision}: {events:?}"))
}

/// Answers that changed nothing are the model's at the revision they name.
fn reads(history: &History, timeline: &Timeline) -> Result<(), Violation> {
    for (n, operation) in history.operations.iter().enumerate() {
        let Outcome::Answered { revision, answer, .. } = &operation.outcome else {
            refusal(operation)?;
            continue;
        };
        if timeline.effects.contains_key(&n) {
            continue;
        }
        match timeline.model.answer_at(*revision, &operation.request) {
            Some(Ok(expected)) if bare(answer.clone()) == expected => {}
            None if !matches!(
                operation.request,
                Request::Range(_) | Request::Delete(_) | Request::Txn(_)
            ) => {}
            expected => {
                let request = &operation.request;
                let detail = format!("{request:?} at {revision} was answered {answer:?}, not {expected:?}");
                return violated(LINEARIZABLE, detail);
            }
        }
    }
    Ok(())
}

/// Refusals that a client of these tests may meet; whether those were right is for others to say.
fn refusal(operation: &Operation) -> Result<(), Violation> {
    const PRESSED: [&str; 2] = ["etcdserver: mvcc: database space exceeded", "etcdserver: too many requests"];
    match &operation.outcome {
        Outcome::Refused { message, .. }
            if ![COMPACTED, LEASE_NOT_FOUND].contains(&message.as_str())
                && !PRESSED.contains(&message.as_str()) =>
        {
            violated(LINEARIZABLE, format!("{:?} was refused: {message}", operation.request))
        }
        _ => Ok(()),
    }
}

/// Nothing takes effect before what had been answered, or seen, when it was sent.
fn real_time(history: &History, timeline: &Timeline) -> Result<(), Violation> {
    let effective = |n: usize, operation: &Operation| match &operation.outcome {
        Outcome::Answered { revision, .. } => Some(timeline.effects.get(&n).copied().unwrap_or(*revision)),
        Outcome::Refused { .. } => None,
        Outcome::Unknown => timeline.effects.get(&n).copied(),
    };
    let serializable =
        |operation: &Operation| matches!(&operation.request, Request::Range(range) if range.serializable);
    let orders = |request: &Request| {
        matches!(request, Request::Range(_) | Request::Put(_) | Request::Delete(_) | Request::Txn(_))
    };
    let mut known: Vec<(Micros, i64)> = timeline.moments.iter().map(|m| (m.seen, m.revision)).collect();
    for (n, operation) in history.operations.iter().enumerate() {
        if let (Some(at), Some(revision)) = (operation.answered_at(), effective(n, operation))
            && orders(&operation.request)
            && !serializable(operation)
        {
            known.push((at, revision));
        }
    }
    known.sort_unstable();
    let mut highest = 0;
    for (_, revision) in &mut known {
        highest = highest.max(*revision);
        *revision = highest;
    }
    for (n, operation) in history.operations.iter().enumerate() {
        let Some(revision) = effective(n, operation) else { continue };
        if serializable(operation) || !orders(&operation.request) {
            continue;
        }
        let before = known.partition_point(|(at, _)| *at < operation.sent);
        let least = before.checked_sub(1).map_or(0, |last| known[last].1);
        let late = if timeline.effects.contains_key(&n) { revision <= least } else { revision < least };
        if late {
            let detail = format!(
                "{:?} took effect at {revision}, {least} was known when it was sent",
                operation.request
            );
            return violated(LINEARIZABLE, detail);
        }
    }
    Ok(())
}
