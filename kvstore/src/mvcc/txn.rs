//! Transactions: checked as a whole, then applied as a whole at one revision.
//!
//! All conditions, those of nested transactions too, are evaluated before anything changes; what could
//! fail (leases, revisions, keys that must exist) is checked along the path taken, so that applying it
//! cannot stop half-way.

use std::collections::HashSet;

use etcd_protocol::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_protocol::etcdserverpb::request_op::Request;
use etcd_protocol::etcdserverpb::response_op::Response;
use etcd_protocol::etcdserverpb::*;
use etcd_protocol::mvccpb::KeyValue;

use super::range::check_revision;
use super::{KeyRange, Keyspace, Records, Revision, Version, check_range, range};
use crate::error::Error;

/// What transactions need to know of leases.
pub trait Leases {
    fn exists(&self, lease: i64) -> bool;
    fn attach(&mut self, lease: i64, key: &[u8]);
    fn detach(&mut self, lease: i64, key: &[u8]);
}

/// One change that a transaction made.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub revision: Revision,
    /// As it goes into the record: a deletion carries its key and revision only.
    pub kv: KeyValue,
}

impl Change {
    pub fn is_delete(&self) -> bool {
        self.kv.version == 0
    }
}

/// What is wrong with a put before the store is looked at.
pub fn check_put(request: &PutRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

/// What is wrong with a transaction before the store is looked at. `max_ops` bounds the longest list,
/// nested ones included.
pub fn check_txn(request: &TxnRequest, max_ops: usize) -> Result<(), Error> {
    check_shape(request, max_ops)?;
    Changed::by(&request.success)?;
    Changed::by(&request.failure)?;
    Ok(())
}

fn check_shape(request: &TxnRequest, max_ops: usize) -> Result<(), Error> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    if ops > max_ops {
        return Err(Error::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) if delete.key.is_empty() => {
                return Err(Error::EmptyKey);
            }
            Some(Request::RequestDeleteRange(_)) => {}
            Some(Request::RequestTxn(nested)) => check_shape(nested, max_ops - ops)?,
            // COMPAT: an operation of no kind is a missing key.
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}

/// What a list of operations changes: no key may be put twice, nor put and deleted.
///
/// COMPAT: the two branches of one nested transaction may put the same key; a nested delete is held
/// only against the puts that follow it and those of the enclosing lists.
#[derive(Default)]
struct Changed<'a> {
    puts: HashSet<&'a [u8]>,
    deletes: Vec<KeyRange<'a>>,
}

impl<'a> Changed<'a> {
    fn by(ops: &'a [RequestOp]) -> Result<Self, Error> {
        let mut changed = Self::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                changed.deletes.push(KeyRange::new(&delete.key, &delete.range_end));
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                let (success, failure) = (Self::by(&nested.success)?, Self::by(&nested.failure)?);
                for key in success.puts.union(&failure.puts) {
                    changed.put(key)?;
                }
                changed.deletes.extend(success.deletes);
                changed.deletes.extend(failure.deletes);
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                changed.put(&put.key)?;
            }
        }
        Ok(changed)
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), Error> {
        if self.deletes.iter().any(|range| range.contains(key)) || !self.puts.insert(key) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }
}

/// Whether no branch of a transaction changes anything.
pub fn is_read_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(Request::RequestRange(_)) | None => true,
        Some(Request::RequestTxn(nested)) => is_read_only(nested),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => false,
    })
}

/// Whether every read of a read-only transaction may be answered from this member's state alone.
pub fn is_serializable(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(Request::RequestRange(range)) => range.serializable,
        Some(Request::RequestTxn(nested)) => is_serializable(nested),
        _ => false,
    })
}

/// One transaction under way on a keyspace.
pub struct Txn<'a> {
    keyspace: &'a mut Keyspace,
    records: &'a dyn Records,
    leases: &'a mut dyn Leases,
    /// Revision that changes get.
    main: i64,
    changes: Vec<Change>,
}

impl Records for Txn<'_> {
    fn record(&self, revision: Revision) -> Result<Option<KeyValue>, Error> {
        if revision.main == self.main {
            return Ok(self.changes.get(revision.sub as usize).map(|change| change.kv.clone()));
        }
        self.records.record(revision)
    }
}

impl<'a> Txn<'a> {
    pub fn new(keyspace: &'a mut Keyspace, records: &'a dyn Records, leases: &'a mut dyn Leases) -> Self {
        let main = keyspace.revision + 1;
        Self { keyspace, records, leases, main, changes: Vec::new() }
    }

    /// Ends the transaction: the revision moves if anything changed.
    pub fn commit(self) -> Vec<Change> {
        if !self.changes.is_empty() {
            self.keyspace.revision = self.main;
        }
        self.changes
    }

    /// Revision as of the changes made so far.
    pub fn revision(&self) -> i64 {
        if self.changes.is_empty() { self.keyspace.revision } else { self.main }
    }

    pub fn put(&mut self, request: &PutRequest) -> Result<PutResponse, Error> {
        self.check_put(request)?;
        self.apply_put(request)
    }

    fn check_put(&self, request: &PutRequest) -> Result<(), Error> {
        let missing = || self.keyspace.index.latest(&request.key).is_none();
        if (request.ignore_value || request.ignore_lease) && missing() {
            return Err(Error::KeyNotFound);
        }
        if request.lease != 0 && !self.leases.exists(request.lease) {
            return Err(Error::LeaseNotFound);
        }
        Ok(())
    }

    fn apply_put(&mut self, request: &PutRequest) -> Result<PutResponse, Error> {
        let before = self.keyspace.index.latest(&request.key).copied();
        let previous = match before {
            Some(version) if request.prev_kv || request.ignore_value => self.record(version.revision)?,
            _ => None,
        };
        let value = match &previous {
            Some(kv) if request.ignore_value => kv.value.clone(),
            _ => request.value.clone(),
        };
        let held = before.map_or(0, |version| version.lease);
        let lease = if request.ignore_lease { held } else { request.lease };
        let revision = self.next_revision();
        let version = Version {
            revision,
            create: before.map_or(self.main, |version| version.create),
            version: before.map_or(1, |version| version.version + 1),
            lease,
        };
        self.keyspace.index.push(&request.key, version);
        if held != lease {
            if held != 0 {
                self.leases.detach(held, &request.key);
            }
            if lease != 0 {
                self.leases.attach(lease, &request.key);
            }
        }
        let kv = KeyValue {
            key: request.key.clone(),
            create_revision: version.create,
            mod_revision: self.main,
            version: version.version,
            value,
            lease,
        };
        self.changes.push(Change { revision, kv });
        let prev_kv = if request.prev_kv { previous } else { None };
        Ok(PutResponse { header: self.inner_header(), prev_kv })
    }

    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> Result<DeleteRangeResponse, Error> {
        let keys = KeyRange::new(&request.key, &request.range_end);
        let found: Vec<_> = self
            .keyspace
            .index
            .range(keys)
            .filter_map(|(key, history)| history.latest().map(|version| (key.clone(), *version)))
            .collect();
        let mut prev_kvs = Vec::new();
        if request.prev_kv {
            for (_, version) in &found {
                prev_kvs.extend(self.record(version.revision)?);
            }
        }
        for (key, version) in &found {
            self.delete(key, version.lease);
        }
        Ok(DeleteRangeResponse { header: self.inner_header(), deleted: found.len() as i64, prev_kvs })
    }

    fn delete(&mut self, key: &[u8], lease: i64) {
        let revision = self.next_revision();
        self.keyspace.index.push(key, Version::tombstone(revision));
        if lease != 0 {
            self.leases.detach(lease, key);
        }
        let kv = KeyValue {
            key: bytes::Bytes::copy_from_slice(key),
            mod_revision: self.main,
            ..Default::default()
        };
        self.changes.push(Change { revision, kv });
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        let mut answer =
            range(&self.keyspace.index, self.revision(), self.keyspace.compacted, self, request)?;
        answer.header = self.inner_header();
        Ok(answer)
    }

    /// Applies the branch that the conditions choose. The answer carries only the revision.
    pub fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        let path = self.choose(request)?;
        self.check_path(request, &path)?;
        self.apply_path(request, &path)
    }

    /// Evaluates the conditions, in nested transactions along the way too.
    fn choose(&self, request: &TxnRequest) -> Result<Path, Error> {
        let mut succeeded = true;
        for compare in &request.compare {
            if !self.holds(compare)? {
                succeeded = false;
                break;
            }
        }
        let mut nested = Vec::new();
        for op in branch(request, succeeded) {
            if let Some(Request::RequestTxn(inner)) = &op.request {
                nested.push(self.choose(inner)?);
            }
        }
        Ok(Path { succeeded, nested })
    }

    fn check_path(&self, request: &TxnRequest, path: &Path) -> Result<(), Error> {
        let mut nested = path.nested.iter();
        for op in branch(request, path.succeeded) {
            match &op.request {
                Some(Request::RequestRange(range)) => {
                    check_revision(range.revision, self.keyspace.revision, self.keyspace.compacted)?;
                }
                Some(Request::RequestPut(put)) => self.check_put(put)?,
                Some(Request::RequestTxn(inner)) => {
                    let path = nested.next().expect("choose made a path for each nested transaction");
                    self.check_path(inner, path)?;
                }
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    fn apply_path(&mut self, request: &TxnRequest, path: &Path) -> Result<TxnResponse, Error> {
        let mut nested = path.nested.iter();
        let mut responses = Vec::new();
        for op in branch(request, path.succeeded) {
            let response = match &op.request {
                Some(Request::RequestRange(range)) => Response::ResponseRange(self.range(range)?),
                Some(Request::RequestPut(put)) => Response::ResponsePut(self.apply_put(put)?),
                Some(Request::RequestDeleteRange(delete)) => {
                    Response::ResponseDeleteRange(self.delete_range(delete)?)
                }
                Some(Request::RequestTxn(inner)) => {
                    let path = nested.next().expect("choose made a path for each nested transaction");
                    Response::ResponseTxn(self.apply_path(inner, path)?)
                }
                None => continue,
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: self.inner_header(), succeeded: path.succeeded, responses })
    }

    /// COMPAT: over a range a condition must hold for every key; an absent key compares as a key of
    /// zeros, except that comparing the value of an absent key (or of an empty range) fails.
    fn holds(&self, compare: &Compare) -> Result<bool, Error> {
        let keys = KeyRange::new(&compare.key, &compare.range_end);
        let mut found =
            self.keyspace.index.range(keys).filter_map(|(_, history)| history.latest()).peekable();
        if found.peek().is_none() {
            if compare.target() == CompareTarget::Value {
                return Ok(false);
            }
            let absent = Version { revision: Revision::default(), create: 0, version: 0, lease: 0 };
            return self.version_holds(compare, &absent);
        }
        for version in found {
            if !self.version_holds(compare, version)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn version_holds(&self, compare: &Compare, version: &Version) -> Result<bool, Error> {
        let union = compare.target_union.as_ref();
        let ordering = match compare.target() {
            CompareTarget::Version => version.version.cmp(&match union {
                Some(TargetUnion::Version(wanted)) => *wanted,
                _ => 0,
            }),
            CompareTarget::Create => version.create.cmp(&match union {
                Some(TargetUnion::CreateRevision(wanted)) => *wanted,
                _ => 0,
            }),
            CompareTarget::Mod => version.revision.main.cmp(&match union {
                Some(TargetUnion::ModRevision(wanted)) => *wanted,
                _ => 0,
            }),
            CompareTarget::Lease => version.lease.cmp(&match union {
                Some(TargetUnion::Lease(wanted)) => *wanted,
                _ => 0,
            }),
            CompareTarget::Value => {
                let wanted = match union {
                    Some(TargetUnion::Value(wanted)) => wanted.as_ref(),
                    _ => b"",
                };
                let kv = self.record(version.revision)?.ok_or(Error::Compacted)?;
                kv.value.as_ref().cmp(wanted)
            }
        };
        Ok(match compare.result() {
            CompareResult::Equal => ordering.is_eq(),
            CompareResult::NotEqual => ordering.is_ne(),
            CompareResult::Greater => ordering.is_gt(),
            CompareResult::Less => ordering.is_lt(),
        })
    }

    fn next_revision(&self) -> Revision {
        Revision::new(self.main, self.changes.len() as u32)
    }

    fn inner_header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision(), ..Default::default() })
    }
}

/// Which branch a transaction takes, and each nested one in it.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}
