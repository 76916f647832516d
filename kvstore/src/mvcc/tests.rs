//! Reads and transactions on a keyspace in memory.

use std::collections::BTreeMap;

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_protocol::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_protocol::etcdserverpb::request_op::Request;
use proptest::prelude::*;

use super::*;
use crate::lease::Table;

/// A keyspace whose records are a map.
#[derive(Default)]
struct Fixture {
    keyspace: Keyspace,
    leases: Table,
    records: Kept,
}

#[derive(Default)]
struct Kept(BTreeMap<Revision, KeyValue>);

impl Records for Kept {
    fn record(&self, revision: Revision) -> Result<Option<KeyValue>, Error> {
        Ok(self.0.get(&revision).cloned())
    }
}

impl Fixture {
    fn new() -> Self {
        Self { keyspace: Keyspace::empty(), ..Self::default() }
    }

    fn run<T>(&mut self, run: impl FnOnce(&mut Txn<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut txn = Txn::new(&mut self.keyspace, &self.records, &mut self.leases);
        let answer = run(&mut txn);
        for change in txn.commit() {
            self.records.0.insert(change.revision, change.kv);
        }
        answer
    }

    fn put(&mut self, key: &str, value: &str) -> i64 {
        self.run(|txn| txn.put(&put(key, value))).unwrap().header.unwrap().revision
    }

    fn delete(&mut self, key: &str, end: &str) -> i64 {
        let request = pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() };
        self.run(|txn| txn.delete_range(&request)).unwrap().deleted
    }

    fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let keyspace = &self.keyspace;
        range(&keyspace.index, keyspace.revision, keyspace.compacted, &self.records, request)
    }

    fn txn(&mut self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        self.run(|txn| txn.txn(request))
    }

    /// Keys of an answer, joined.
    fn keys(&self, request: &pb::RangeRequest) -> String {
        let kvs = self.range(request).unwrap().kvs;
        kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect::<Vec<_>>().join(" ")
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() }
}

fn one(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), ..Default::default() }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn if_mod(key: &str, result: CompareResult, revision: i64) -> pb::Compare {
    pb::Compare {
        key: bytes(key),
        target: CompareTarget::Mod.into(),
        result: result.into(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    }
}

#[test]
fn a_deleted_key_starts_over() {
    let mut store = Fixture::new();
    assert_eq!([store.put("a", "1"), store.put("a", "2")], [2, 3]);
    assert_eq!([store.delete("a", ""), store.delete("a", "")], [1, 0]);
    assert_eq!(store.put("a", "3"), 5);
    let kv = store.range(&one("a")).unwrap().kvs.pop().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn limits_bounds_and_orders() {
    let mut store = Fixture::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("a", "0")] {
        store.put(key, value);
    }
    let sorted = |target: SortTarget, order: SortOrder| pb::RangeRequest {
        sort_target: target.into(),
        sort_order: order.into(),
        ..all()
    };
    assert_eq!(store.keys(&all()), "a b c");
    assert_eq!(store.keys(&sorted(SortTarget::Key, SortOrder::Descend)), "c b a");
    assert_eq!(store.keys(&sorted(SortTarget::Mod, SortOrder::None)), "b c a");
    assert_eq!(store.keys(&sorted(SortTarget::Create, SortOrder::Descend)), "c b a");
    assert_eq!(store.keys(&sorted(SortTarget::Version, SortOrder::Descend)), "a b c");
    assert_eq!(store.keys(&sorted(SortTarget::Value, SortOrder::Ascend)), "a b c");
    assert_eq!(store.keys(&sorted(SortTarget::Value, SortOrder::Descend)), "c b a");
    let limited = store.range(&pb::RangeRequest { limit: 2, ..all() }).unwrap();
    assert_eq!((limited.kvs.len(), limited.more, limited.count), (2, true, 3));
    let exact = store.range(&pb::RangeRequest { limit: 3, ..all() }).unwrap();
    assert_eq!((exact.more, exact.count), (false, 3));
    let bounded = store.range(&pb::RangeRequest { min_mod_revision: 4, limit: 1, ..all() }).unwrap();
    assert_eq!((bounded.kvs[0].key.as_ref(), bounded.more, bounded.count), (&b"a"[..], true, 3));
    assert_eq!(store.keys(&pb::RangeRequest { max_create_revision: 3, ..all() }), "a b");
    assert!(store.range(&pb::RangeRequest { keys_only: true, ..all() }).unwrap().kvs[0].value.is_empty());
    let counted = store.range(&pb::RangeRequest { count_only: true, ..all() }).unwrap();
    assert_eq!((counted.count, counted.kvs.len()), (3, 0));
}

#[test]
fn later_operations_of_a_transaction_see_earlier_ones() {
    let mut store = Fixture::new();
    store.put("a", "1");
    let nested = pb::TxnRequest {
        // Evaluated before anything changes: still at revision 2.
        compare: vec![if_mod("a", CompareResult::Equal, 2)],
        success: vec![op(Request::RequestPut(put("c", "nested")))],
        ..Default::default()
    };
    let request = pb::TxnRequest {
        success: vec![
            op(Request::RequestPut(put("a", "2"))),
            op(Request::RequestRange(all())),
            op(Request::RequestTxn(nested)),
            op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key: bytes("b"), ..Default::default() })),
        ],
        ..Default::default()
    };
    let answer = store.txn(&request).unwrap();
    assert_eq!((answer.header.unwrap().revision, answer.responses.len()), (3, 4));
    match &answer.responses[1].response {
        Some(pb::response_op::Response::ResponseRange(range)) => assert_eq!(range.kvs[0].value, "2"),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.keys(&all()), "a c");
    assert_eq!(store.records.0.keys().filter(|revision| revision.main == 3).count(), 2);
}

#[test]
fn a_transaction_that_cannot_finish_changes_nothing() {
    let mut store = Fixture::new();
    store.put("a", "1");
    let check = |store: &mut Fixture, failing: Request, expected| {
        let request = pb::TxnRequest {
            success: vec![op(Request::RequestPut(put("a", "2"))), op(failing)],
            ..Default::default()
        };
        assert_eq!(store.txn(&request).unwrap_err(), expected);
        assert_eq!((store.keyspace.revision, store.records.0.len()), (2, 1));
    };
    let leased = pb::PutRequest { lease: 9, ..put("b", "") };
    check(&mut store, Request::RequestPut(leased), Error::LeaseNotFound);
    let kept = pb::PutRequest { ignore_value: true, ..put("b", "") };
    check(&mut store, Request::RequestPut(kept), Error::KeyNotFound);
    let future = pb::RangeRequest { revision: 3, ..one("a") };
    check(&mut store, Request::RequestRange(future), Error::FutureRevision);
}

#[test]
fn conditions_over_a_range_hold_for_every_key() {
    let mut store = Fixture::new();
    for key in ["a1", "a2", "b"] {
        store.put(key, "v");
    }
    let mut check = |compare: pb::Compare, expected| {
        let request = pb::TxnRequest { compare: vec![compare.clone()], ..Default::default() };
        assert_eq!(store.txn(&request).unwrap().succeeded, expected, "{compare:?}");
    };
    let over = |compare: pb::Compare, end: &str| pb::Compare { range_end: bytes(end), ..compare };
    check(over(if_mod("a", CompareResult::Less, 4), "b"), true);
    check(over(if_mod("a", CompareResult::Less, 4), "c"), false);
    check(if_mod("absent", CompareResult::Equal, 0), true);
    check(if_mod("absent", CompareResult::NotEqual, 0), false);
    let value = |wanted: &str, result: CompareResult| pb::Compare {
        key: bytes("absent"),
        target: CompareTarget::Value.into(),
        result: result.into(),
        target_union: Some(TargetUnion::Value(bytes(wanted))),
        ..Default::default()
    };
    check(value("", CompareResult::Equal), false);
    check(value("", CompareResult::NotEqual), false);
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let puts = |keys: &[&str]| -> Vec<pb::RequestOp> {
        keys.iter().map(|key| op(Request::RequestPut(put(key, "")))).collect()
    };
    let delete = |key: &str, end: &str| {
        let request = pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() };
        op(Request::RequestDeleteRange(request))
    };
    let txn = |success: Vec<pb::RequestOp>| pb::TxnRequest { success, ..Default::default() };
    let both =
        |success, failure| op(Request::RequestTxn(pb::TxnRequest { success, failure, ..Default::default() }));
    let check = |request: pb::TxnRequest, expected| assert_eq!(check_txn(&request, 3), expected);
    check(txn(puts(&["a", "b"])), Ok(()));
    check(txn(puts(&["a", "a"])), Err(Error::DuplicateKey));
    check(txn(vec![delete("a", "c"), puts(&["b"]).remove(0)]), Err(Error::DuplicateKey));
    check(txn(vec![delete("a", ""), puts(&["b"]).remove(0)]), Ok(()));
    check(txn(vec![both(puts(&["a"]), puts(&["a"]))]), Ok(()));
    check(txn(vec![both(puts(&["a"]), vec![]), puts(&["a"]).remove(0)]), Err(Error::DuplicateKey));
    check(txn(puts(&["a", "b", "c", "d"])), Err(Error::TooManyOps));
    check(txn(vec![pb::RequestOp { request: None }]), Err(Error::KeyNotFound));
    check(txn(puts(&[""])), Err(Error::EmptyKey));
}

#[test]
fn keys_follow_their_lease() {
    let mut store = Fixture::new();
    store.leases.grant(7, 10).unwrap();
    store.leases.grant(8, 10).unwrap();
    let on = |lease| pb::PutRequest { lease, ..put("a", "") };
    let held = |store: &Fixture, lease| store.leases.keys(lease).unwrap().len();
    store.run(|txn| txn.put(&on(7))).unwrap();
    store.run(|txn| txn.put(&on(8))).unwrap();
    assert_eq!((held(&store, 7), held(&store, 8)), (0, 1));
    store.run(|txn| txn.put(&pb::PutRequest { ignore_lease: true, ..put("a", "2") })).unwrap();
    assert_eq!(held(&store, 8), 1);
    store.put("a", "3");
    assert_eq!(held(&store, 8), 0);
}

/// What happens to a store in the model test.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    Compact(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..6_u8, 0..7_u8).prop_map(|(from, to)| Step::Delete(from, to)),
        1 => any::<u8>().prop_map(Step::Compact),
    ];
    proptest::collection::vec(step, 0..60)
}

fn key(n: u8) -> String {
    format!("k{n}")
}

proptest! {
    /// Every revision since the last compaction reads as it was written, whatever was swept.
    #[test]
    fn history_reads_as_it_was(steps in steps()) {
        let state = crate::state::MemoryState::default();
        let mut store = Fixture::new();
        let mut model: Vec<BTreeMap<String, u8>> = vec![BTreeMap::new(), BTreeMap::new()];
        for step in steps {
            let mut now = model.last().cloned().unwrap_or_default();
            match step {
                Step::Put(n, value) => {
                    store.put(&key(n), &value.to_string());
                    now.insert(key(n), value);
                    model.push(now);
                }
                Step::Delete(from, to) => {
                    let before = now.len();
                    now.retain(|k, _| !(*k >= key(from) && *k < key(to)));
                    let deleted = if from < to { store.delete(&key(from), &key(to)) } else { 0 };
                    prop_assert_eq!(deleted as usize, before - now.len());
                    if deleted > 0 {
                        model.push(now);
                    }
                }
                Step::Compact(percent) => {
                    let at = store.keyspace.revision * i64::from(percent) / 255;
                    if compact::check(&store.keyspace, at).is_ok() {
                        store.keyspace.compacted = at;
                        let found = compact::look(&store.keyspace.index, None, at);
                        for key in &found.keys {
                            let gone = store.keyspace.index.history(key).unwrap().compact(at).unwrap().1;
                            gone.iter().for_each(|revision| drop(store.records.0.remove(revision)));
                        }
                        compact::sweep(&mut store.keyspace, &found.keys, &state).unwrap();
                    }
                }
            }
        }
        prop_assert_eq!(store.keyspace.revision as usize, model.len() - 1);
        for (revision, expected) in model.iter().enumerate().skip(1) {
            let answer = store.range(&pb::RangeRequest { revision: revision as i64, ..all() });
            if (revision as i64) < store.keyspace.compacted {
                prop_assert_eq!(answer.unwrap_err(), Error::Compacted);
                continue;
            }
            let found: BTreeMap<String, u8> = answer.unwrap().kvs.iter().map(|kv| {
                let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                (text(&kv.key), text(&kv.value).parse().unwrap())
            }).collect();
            prop_assert_eq!(&found, expected);
        }
    }
}

/// A walk along the state finds what a search for each finds: close together, far apart, with some gone,
/// with some in memory only.
#[test]
fn many_records_are_what_each_of_them_is() {
    let kv = |revision: Revision| KeyValue {
        key: bytes("k"),
        mod_revision: revision.main,
        value: format!("{revision:?}").into(),
        version: 1,
        ..Default::default()
    };
    let revisions: Vec<Revision> = (2..1500)
        .flat_map(|main| (0..1 + main as u32 % 3).map(move |sub| Revision::new(main, sub)))
        .collect();
    let state = Arc::new(crate::state::MemoryState::default());
    let events = Arc::new(EventLog::new(1400));
    let mut batch = Batch::default();
    for revision in &revisions {
        // Nothing is gone at first, then every third, then nearly all.
        let gone = match revision.main {
            ..300 => false,
            300..800 => revision.main % 3 == 0,
            main => main % 40 != 0,
        };
        if revision.main > 1400 {
            if revision.sub == 0 {
                events.append(revision.main, vec![Change { revision: *revision, kv: kv(*revision) }]);
            }
        } else if !gone {
            batch.put(schema::record(*revision), kv(*revision).encode_to_vec());
        }
    }
    state.write(batch).unwrap();
    let reader = Reader::new(state, events, View::default());
    for step in [1, 2, 5, 9, 10, 30, 500] {
        for reversed in [false, true] {
            let mut wanted: Vec<Revision> = revisions.iter().copied().step_by(step).collect();
            if reversed {
                wanted.reverse();
            }
            let each: Vec<_> = wanted.iter().map(|revision| reader.record(*revision).unwrap()).collect();
            assert!(reader.records(&wanted).unwrap() == each, "every {step}");
            assert!(step > 30 || each.iter().flatten().count() > 20);
        }
    }
}
