//! Answers a range request from an index and its records. Pure but for reading records.

use std::cmp::Ordering;

use etcd_protocol::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_protocol::etcdserverpb::{RangeRequest, RangeResponse};
use etcd_protocol::mvccpb::KeyValue;

use super::{KeyIndex, KeyRange, Records, Revision, Version};
use crate::error::Error;

/// What is wrong with a request before anything is read.
pub fn check_range(request: &RangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let order = SortOrder::try_from(request.sort_order);
    let target = SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(Error::InvalidSortOption);
    }
    Ok(())
}

/// Whether `revision` (0: now) can be read when the store is at `now` and was compacted at `compacted`.
pub fn check_revision(revision: i64, now: i64, compacted: i64) -> Result<(), Error> {
    if revision > now {
        Err(Error::FutureRevision)
    } else if revision > 0 && revision < compacted {
        Err(Error::Compacted)
    } else {
        Ok(())
    }
}

/// Reads a range. `now` is the revision that 0 stands for; the answer carries no header.
///
/// COMPAT: `count` counts the keys of the range whatever limit and revision bounds say; `more` only
/// speaks about what the bounds let through.
pub fn range(
    index: &KeyIndex,
    now: i64,
    compacted: i64,
    records: &dyn Records,
    request: &RangeRequest,
) -> Result<RangeResponse, Error> {
    check_revision(request.revision, now, compacted)?;
    let at = if request.revision > 0 { request.revision } else { now };
    let keys = KeyRange::new(&request.key, &request.range_end);
    let mut in_force =
        index.range(keys).filter_map(|(key, history)| history.at(at).map(|version| (key, version)));

    if request.count_only {
        return Ok(RangeResponse { count: in_force.count() as i64, ..Default::default() });
    }

    let limit = usize::try_from(request.limit).ok().filter(|&limit| limit > 0);
    let sort = Sort::of(request);
    let mut answer = RangeResponse::default();
    if let Sort::Index = sort {
        let (mut seen, mut found) = (0, Vec::new());
        for (_, version) in in_force.by_ref() {
            seen += 1;
            if !within_bounds(version, request) {
                continue;
            }
            if limit.is_some_and(|limit| found.len() == limit) {
                answer.more = true;
                break;
            }
            found.push(version.revision);
        }
        answer.kvs = read(records, &found, request)?;
        answer.count = (seen + in_force.count()) as i64;
        return Ok(answer);
    }

    let mut count = 0;
    let mut found: Vec<(&[u8], Version)> = Vec::new();
    for (key, version) in in_force {
        count += 1;
        if within_bounds(version, request) {
            found.push((key, *version));
        }
    }
    answer.count = count;
    if let Sort::By(SortTarget::Value, order) = sort {
        let whole = RangeRequest { keys_only: false, ..Default::default() };
        let mut kvs = read(records, &revisions(&found), &whole)?;
        kvs.sort_by(|a, b| directed(a.value.cmp(&b.value), order));
        answer.more = cut(&mut kvs, limit);
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        answer.kvs = kvs;
        return Ok(answer);
    }
    if let Sort::By(target, order) = sort {
        found.sort_by(|a, b| directed(compare(target, a, b), order));
    }
    answer.more = cut(&mut found, limit);
    answer.kvs = read(records, &revisions(&found), request)?;
    Ok(answer)
}

fn revisions(found: &[(&[u8], Version)]) -> Vec<Revision> {
    found.iter().map(|(_, version)| version.revision).collect()
}

/// How an answer is ordered.
enum Sort {
    /// As the index is: by key, ascending.
    Index,
    By(SortTarget, SortOrder),
}

impl Sort {
    /// COMPAT: without an order, another target than the key sorts ascending.
    fn of(request: &RangeRequest) -> Self {
        match (request.sort_target(), request.sort_order()) {
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => Sort::Index,
            (target, SortOrder::None) => Sort::By(target, SortOrder::Ascend),
            (target, order) => Sort::By(target, order),
        }
    }
}

fn directed(ordering: Ordering, order: SortOrder) -> Ordering {
    if order == SortOrder::Descend { ordering.reverse() } else { ordering }
}

fn compare(target: SortTarget, a: &(&[u8], Version), b: &(&[u8], Version)) -> Ordering {
    match target {
        SortTarget::Key | SortTarget::Value => a.0.cmp(b.0),
        SortTarget::Version => a.1.version.cmp(&b.1.version),
        SortTarget::Create => a.1.create.cmp(&b.1.create),
        SortTarget::Mod => a.1.revision.main.cmp(&b.1.revision.main),
    }
}

fn within_bounds(version: &Version, request: &RangeRequest) -> bool {
    let bounded =
        |value: i64, low: i64, high: i64| (low == 0 || value >= low) && (high == 0 || value <= high);
    bounded(version.revision.main, request.min_mod_revision, request.max_mod_revision)
        && bounded(version.create, request.min_create_revision, request.max_create_revision)
}

fn cut<T>(found: &mut Vec<T>, limit: Option<usize>) -> bool {
    match limit {
        Some(limit) if found.len() > limit => {
            found.truncate(limit);
            true
        }
        _ => false,
    }
}

fn read(
    records: &dyn Records,
    revisions: &[Revision],
    request: &RangeRequest,
) -> Result<Vec<KeyValue>, Error> {
    let mut kvs = Vec::with_capacity(revisions.len());
    for kv in records.records(revisions)? {
        let mut kv = kv.ok_or(Error::Compacted)?;
        if request.keys_only {
            kv.value.clear();
        }
        kvs.push(kv);
    }
    Ok(kvs)
}
