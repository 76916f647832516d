//! What etcd promises, as a program: keys, revisions, transactions, leases and compaction, with every
//! past revision kept. Sequential, without I/O, and written from etcd's documentation of its API, not
//! from kvstore: it shares nothing with it but the messages.
//!
//! Answers are etcd's messages without headers; what is refused carries etcd's words.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_protocol::etcdserverpb::request_op::Request as Op;
use etcd_protocol::etcdserverpb::response_op::Response as OpAnswer;
use etcd_protocol::mvccpb::event::EventType;
use etcd_protocol::mvccpb::{Event, KeyValue};
use imbl::OrdMap;

/// All keys at one revision; a clone shares.
pub type Keys = OrdMap<Bytes, KeyValue>;

/// One request of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(i64),
    Grant { lease: i64, ttl: i64 },
    Revoke { lease: i64 },
    KeepAlive { lease: i64 },
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    Delete(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact,
    /// Seconds granted.
    Grant {
        ttl: i64,
    },
    Revoke,
    /// Seconds left; 0 when the lease is gone.
    KeepAlive {
        ttl: i64,
    },
}

/// Why a request was refused, in etcd's words.
pub type Refusal = &'static str;

pub const COMPACTED: Refusal = "etcdserver: mvcc: required revision has been compacted";
pub const FUTURE: Refusal = "etcdserver: mvcc: required revision is a future revision";
pub const KEY_NOT_FOUND: Refusal = "etcdserver: key not found";
pub const LEASE_NOT_FOUND: Refusal = "etcdserver: requested lease not found";
pub const LEASE_EXISTS: Refusal = "etcdserver: lease already exists";

/// The store as it should be.
#[derive(Clone, Debug)]
pub struct Model {
    pub revision: i64,
    pub compacted: i64,
    keys: Keys,
    /// Keys as they were after each revision that is not compacted.
    past: BTreeMap<i64, Keys>,
    pub leases: BTreeMap<i64, i64>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            keys: Keys::new(),
            past: BTreeMap::from([(1, Keys::new())]),
            leases: BTreeMap::new(),
        }
    }
}

impl Model {
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Keys after a revision; `None` when it is compacted or to come.
    pub fn at(&self, revision: i64) -> Option<&Keys> {
        self.past.get(&revision)
    }

    /// Applies a request. Its events, all of one revision, come back with the answer.
    pub fn apply(&mut self, request: &Request) -> Result<(Answer, Vec<Event>), Refusal> {
        let (answer, keys, events) = self.effect(request)?;
        match request {
            Request::Compact(revision) => {
                self.compacted = *revision;
                self.past = self.past.split_off(revision);
            }
            Request::Grant { lease, ttl } => drop(self.leases.insert(*lease, *ttl)),
            Request::Revoke { lease } => drop(self.leases.remove(lease)),
            _ => {}
        }
        if !events.is_empty() {
            self.revision += 1;
            self.keys = keys;
            self.past.insert(self.revision, self.keys.clone());
        }
        Ok((answer, events))
    }

    /// What a request would be answered, and what it would make of the keys.
    pub fn effect(&self, request: &Request) -> Result<(Answer, Keys, Vec<Event>), Refusal> {
        let mut step = self.step(self.revision, self.keys.clone());
        let answer = match request {
            Request::Range(range) => Answer::Range(step.range(range)?),
            Request::Put(put) => {
                step.check_put(put)?;
                Answer::Put(step.put(put))
            }
            Request::Delete(delete) => Answer::Delete(step.delete(delete)),
            Request::Txn(txn) => {
                let branches = step.choose(txn);
                step.check(txn, &branches)?;
                Answer::Txn(step.txn(txn, &branches)?)
            }
            Request::Compact(revision) if *revision <= self.compacted => return Err(COMPACTED),
            Request::Compact(revision) if *revision > self.revision => return Err(FUTURE),
            Request::Compact(_) => Answer::Compact,
            Request::Grant { lease, .. } if self.leases.contains_key(lease) => return Err(LEASE_EXISTS),
            Request::Grant { ttl, .. } => Answer::Grant { ttl: *ttl },
            Request::Revoke { lease } if !self.leases.contains_key(lease) => return Err(LEASE_NOT_FOUND),
            Request::Revoke { lease } => {
                for key in attached(&step.keys, *lease) {
                    step.remove(&key);
                }
                Answer::Revoke
            }
            Request::KeepAlive { lease } => {
                Answer::KeepAlive { ttl: self.leases.get(lease).copied().unwrap_or(0) }
            }
        };
        Ok((answer, step.keys, step.events))
    }

    /// What a request that changes nothing is answered by the store as it was at a revision; `None` when
    /// it would have changed something.
    pub fn answer_at(&self, revision: i64, request: &Request) -> Option<Result<Answer, Refusal>> {
        let mut step = self.step(revision, self.at(revision)?.clone());
        let answer = match request {
            Request::Range(range) => step.range(range).map(Answer::Range),
            Request::Delete(delete) => Ok(Answer::Delete(step.delete(delete))),
            Request::Txn(txn) => {
                let branches = step.choose(txn);
                step.txn(txn, &branches).map(Answer::Txn)
            }
            _ => return None,
        };
        step.events.is_empty().then_some(answer)
    }

    fn step(&self, revision: i64, keys: Keys) -> Step<'_> {
        Step { past: &self.past, leases: &self.leases, revision, keys, events: Vec::new() }
    }
}

/// Keys that a lease holds.
pub fn attached(keys: &Keys, lease: i64) -> BTreeSet<Bytes> {
    keys.iter().filter(|(_, kv)| kv.lease == lease).map(|(key, _)| key.clone()).collect()
}

/// Whether a range of a request holds a key: no end is the key alone, "\0" is everything from it on.
pub fn within(start: &[u8], end: &[u8], key: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        end => key >= start && key < end,
    }
}

/// One request being applied: its changes so far.
struct Step<'a> {
    past: &'a BTreeMap<i64, Keys>,
    leases: &'a BTreeMap<i64, i64>,
    /// Before it.
    revision: i64,
    keys: Keys,
    events: Vec<Event>,
}

/// The branch that a transaction takes, and those that the ones nested in it take.
struct Branches {
    succeeded: bool,
    nested: Vec<Branches>,
}

fn taken<'a>(txn: &'a pb::TxnRequest, branches: &Branches) -> impl Iterator<Item = &'a Op> {
    let ops = if branches.succeeded { &txn.success } else { &txn.failure };
    ops.iter().filter_map(|op| op.request.as_ref())
}

impl Step<'_> {
    /// The revision that changes get.
    fn next(&self) -> i64 {
        self.revision + 1
    }

    fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Refusal> {
        let keys = match request.revision {
            revision if revision <= 0 => &self.keys,
            revision if revision == self.next() && !self.events.is_empty() => &self.keys,
            revision if revision > self.revision => return Err(FUTURE),
            revision => self.past.get(&revision).ok_or(COMPACTED)?,
        };
        let mut kvs: Vec<KeyValue> = keys
            .iter()
            .filter(|(key, _)| within(&request.key, &request.range_end, key))
            .map(|(_, kv)| kv.clone())
            .collect();
        let count = kvs.len() as i64;
        let more = request.limit > 0 && count > request.limit;
        if request.limit > 0 {
            kvs.truncate(request.limit as usize);
        }
        if request.count_only {
            kvs.clear();
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(pb::RangeResponse { header: None, kvs, more: more && !request.count_only, count })
    }

    fn check_put(&self, put: &pb::PutRequest) -> Result<(), Refusal> {
        if (put.ignore_value || put.ignore_lease) && !self.keys.contains_key(&put.key) {
            return Err(KEY_NOT_FOUND);
        }
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(LEASE_NOT_FOUND);
        }
        Ok(())
    }

    fn put(&mut self, put: &pb::PutRequest) -> pb::PutResponse {
        let before = self.keys.get(&put.key).cloned();
        let next = self.next();
        let kept = before.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: before.as_ref().map_or(next, |kv| kv.create_revision),
            mod_revision: next,
            version: kept.version + 1,
            value: if put.ignore_value { kept.value } else { put.value.clone() },
            lease: if put.ignore_lease { kept.lease } else { put.lease },
        };
        self.keys.insert(put.key.clone(), kv.clone());
        self.events.push(Event {
            r#type: EventType::Put.into(),
            kv: Some(kv),
            prev_kv: before.clone().filter(|kv| kv.mod_revision < next),
        });
        pb::PutResponse { header: None, prev_kv: before.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        let found: Vec<Bytes> =
            self.keys.keys().filter(|key| within(&request.key, &request.range_end, key)).cloned().collect();
        let mut answer = pb::DeleteRangeResponse { deleted: found.len() as i64, ..Default::default() };
        for key in found {
            let before = self.remove(&key);
            if request.prev_kv {
                answer.prev_kvs.extend(before);
            }
        }
        answer
    }

    fn remove(&mut self, key: &Bytes) -> Option<KeyValue> {
        let before = self.keys.remove(key);
        let kv = KeyValue { key: key.clone(), mod_revision: self.next(), ..Default::default() };
        let prev_kv = before.clone().filter(|kv| kv.mod_revision < self.next());
        self.events.push(Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv });
        before
    }

    /// All conditions are judged by the keys from before the transaction.
    fn choose(&self, txn: &pb::TxnRequest) -> Branches {
        let mut branches =
            Branches { succeeded: txn.compare.iter().all(|compare| self.holds(compare)), nested: Vec::new() };
        let nested = taken(txn, &branches).filter_map(|op| match op {
            Op::RequestTxn(nested) => Some(self.choose(nested)),
            _ => None,
        });
        branches.nested = nested.collect();
        branches
    }

    fn check(&self, txn: &pb::TxnRequest, branches: &Branches) -> Result<(), Refusal> {
        let mut nested = branches.nested.iter();
        for op in taken(txn, branches) {
            match op {
                Op::RequestRange(range) => drop(self.range(range)?),
                Op::RequestPut(put) => self.check_put(put)?,
                Op::RequestDeleteRange(_) => {}
                Op::RequestTxn(inner) => self.check(inner, nested.next().expect("chosen before"))?,
            }
        }
        Ok(())
    }

    fn txn(&mut self, txn: &pb::TxnRequest, branches: &Branches) -> Result<pb::TxnResponse, Refusal> {
        let mut nested = branches.nested.iter();
        let mut responses = Vec::new();
        for op in taken(txn, branches) {
            let response = match op {
                Op::RequestRange(range) => OpAnswer::ResponseRange(self.range(range)?),
                Op::RequestPut(put) => OpAnswer::ResponsePut(self.put(put)),
                Op::RequestDeleteRange(delete) => OpAnswer::ResponseDeleteRange(self.delete(delete)),
                Op::RequestTxn(inner) => {
                    OpAnswer::ResponseTxn(self.txn(inner, nested.next().expect("chosen before"))?)
                }
            };
            responses.push(pb::ResponseOp { response: Some(response) });
        }
        Ok(pb::TxnResponse { header: None, succeeded: branches.succeeded, responses })
    }

    /// Over a range a condition holds if it does for every key. An absent key is one of zeros, but has
    /// no value to compare with.
    fn holds(&self, compare: &pb::Compare) -> bool {
        let found: Vec<&KeyValue> = self
            .keys
            .iter()
            .filter(|(key, _)| within(&compare.key, &compare.range_end, key))
            .map(|(_, kv)| kv)
            .collect();
        if found.is_empty() {
            return compare.target() != CompareTarget::Value && holds_for(compare, &KeyValue::default());
        }
        found.into_iter().all(|kv| holds_for(compare, kv))
    }
}

fn holds_for(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let ordering = match compare.target_union.as_ref() {
        Some(TargetUnion::Version(version)) => kv.version.cmp(version),
        Some(TargetUnion::CreateRevision(revision)) => kv.create_revision.cmp(revision),
        Some(TargetUnion::ModRevision(revision)) => kv.mod_revision.cmp(revision),
        Some(TargetUnion::Lease(lease)) => kv.lease.cmp(lease),
        Some(TargetUnion::Value(value)) => kv.value.cmp(value),
        None => panic!("the tests' conditions name what they compare with"),
    };
    match compare.result() {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::NotEqual => ordering.is_ne(),
    }
}

/// An answer without the headers in it, as the model gives it.
pub fn bare(mut answer: Answer) -> Answer {
    match &mut answer {
        Answer::Range(range) => range.header = None,
        Answer::Put(put) => put.header = None,
        Answer::Delete(delete) => delete.header = None,
        Answer::Txn(txn) => bare_txn(txn),
        Answer::Compact | Answer::Grant { .. } | Answer::Revoke | Answer::KeepAlive { .. } => {}
    }
    answer
}

fn bare_txn(txn: &mut pb::TxnResponse) {
    txn.header = None;
    for op in &mut txn.responses {
        match op.response.as_mut() {
            Some(OpAnswer::ResponseRange(range)) => range.header = None,
            Some(OpAnswer::ResponsePut(put)) => put.header = None,
            Some(OpAnswer::ResponseDeleteRange(delete)) => delete.header = None,
            Some(OpAnswer::ResponseTxn(nested)) => bare_txn(nested),
            None => {}
        }
    }
}
