//! Every validator finds the fault that it is there for: a sound history is told, one thing in it is
//! made wrong, and the right guarantee must be named.

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_protocol::etcdserverpb::request_op::Request as Op;

use super::check;
use crate::history::{History, Operation, Outcome, Seen, Session, Watch};
use crate::model::{Answer, LEASE_NOT_FOUND, Model, Request};

/// A history that the model tells: requests one after the other, and a watch of everything.
struct Story {
    model: Model,
    history: History,
    now: u64,
}

impl Story {
    fn new() -> Self {
        let request = pb::WatchCreateRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            prev_kv: true,
            ..Default::default()
        };
        let watch = Watch { request, sessions: vec![Session { from: 2, seen: Vec::new() }] };
        let history = History { watches: vec![watch], ..History::default() };
        Self { model: Model::default(), history, now: 0 }
    }

    fn run(&mut self, request: Request) -> usize {
        let sent = self.now + 10;
        self.now += 20;
        let (answer, events) = self.model.apply(&request).expect("the story is a sound one");
        let revision = self.model.revision;
        let outcome = Outcome::Answered { at: self.now, revision, answer };
        self.history.operations.push(Operation { sent, request, outcome });
        if !events.is_empty() {
            self.seen().push(Seen { at: sent + 5, revision, events, fragment: false });
        }
        self.history.operations.len() - 1
    }

    fn seen(&mut self) -> &mut Vec<Seen> {
        &mut self.history.watches[0].sessions[0].seen
    }

    fn outcome(&mut self, n: usize) -> &mut Outcome {
        &mut self.history.operations[n].outcome
    }

    fn sound(&self) {
        check(&self.history).map(drop).expect("the history is sound");
    }

    fn violates(&self, guarantee: &str) {
        let violation = check(&self.history).err().expect("the history is not sound");
        assert_eq!(violation.guarantee, guarantee, "{violation}");
    }
}

fn put(key: &str, value: &str) -> Request {
    leased(key, value, 0)
}

fn leased(key: &str, value: &str, lease: i64) -> Request {
    Request::Put(pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        lease,
        ..Default::default()
    })
}

fn get(key: &str) -> Request {
    Request::Range(pb::RangeRequest { key: key.to_owned().into(), ..Default::default() })
}

fn delete(key: &str) -> Request {
    Request::Delete(pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() })
}

/// Puts a value to two keys if the first has this revision.
fn both(revision: i64, value: &str) -> Request {
    let op = |key: &str| {
        let put = pb::PutRequest {
            key: key.to_owned().into(),
            value: format!("{value}{key}").into(),
            ..Default::default()
        };
        pb::RequestOp { request: Some(Op::RequestPut(put)) }
    };
    let compare = pb::Compare {
        key: "a".into(),
        target: CompareTarget::Mod.into(),
        result: CompareResult::Equal.into(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    };
    Request::Txn(pb::TxnRequest { compare: vec![compare], success: vec![op("a"), op("b")], failure: vec![] })
}

/// a=1 (2), a=2 b=2 by a transaction (3), one that fails, b gone (4), a read.
fn told() -> Story {
    let mut story = Story::new();
    story.run(put("a", "1"));
    story.run(both(2, "2"));
    story.run(both(2, "3"));
    story.run(delete("b"));
    story.run(get("a"));
    story.sound();
    story
}

#[test]
fn a_lost_write_is_found() {
    let mut story = told();
    story.run(put("c", "4"));
    story.seen().pop();
    story.violates("what was acknowledged is not lost");
    let mut story = told();
    story.seen().remove(0);
    story.violates("every revision is there");
}

#[test]
fn a_write_without_answer_may_be_there_or_not_but_once() {
    let mut story = told();
    let n = story.run(put("c", "4"));
    *story.outcome(n) = Outcome::Unknown;
    story.sound();
    let seen = story.seen().pop().expect("it was seen");
    story.sound();
    let mut again = seen.clone();
    again.revision = 6;
    let kv = again.events[0].kv.as_mut().expect("a put has a key");
    (kv.mod_revision, kv.version) = (6, 2);
    story.seen().extend([seen, again]);
    story.violates("requests are linearizable");
}

#[test]
fn a_write_that_nobody_asked_for_is_found() {
    let mut story = told();
    story.run(put("c", "4"));
    story.history.operations.pop();
    story.violates("nothing changes without a request");
    let mut story = told();
    story.run(delete("a"));
    story.history.operations.pop();
    story.violates("nothing changes without a request");
    let mut story = told();
    let n = story.run(put("c", "4"));
    *story.outcome(n) = Outcome::Refused { at: 1000, message: LEASE_NOT_FOUND.into() };
    story.violates("nothing changes without a request");
}

#[test]
fn a_stale_read_is_found() {
    let mut story = told();
    let n = story.run(get("b"));
    // What was true one revision ago, under that revision's number.
    let answer = story.model.answer_at(3, &get("b")).expect("a read").expect("it is kept");
    *story.outcome(n) = Outcome::Answered { at: story.now, revision: 3, answer: answer.clone() };
    story.violates("requests are linearizable");
    // The same under the present number.
    *story.outcome(n) = Outcome::Answered { at: story.now, revision: 4, answer: answer.clone() };
    story.violates("requests are linearizable");
    // One that was sent before the change may be answered so.
    *story.outcome(n) = Outcome::Answered { at: story.now, revision: 3, answer: answer.clone() };
    story.history.operations[n].sent = 25;
    story.sound();
    // A client that does not ask for the latest may get it later, but never a state that did not exist.
    let Request::Range(range) = &mut story.history.operations[n].request else { panic!("it is a read") };
    range.serializable = true;
    story.history.operations[n].sent = story.now;
    story.sound();
    *story.outcome(n) = Outcome::Answered { at: story.now, revision: 4, answer };
    story.violates("requests are linearizable");
}

#[test]
fn a_write_in_the_past_is_found() {
    let mut story = told();
    // Answered before the first was sent, says its clock, but ordered after it.
    story.history.operations[1].sent = 1;
    *story.outcome(1) = match story.outcome(1).clone() {
        Outcome::Answered { revision, answer, .. } => Outcome::Answered { at: 5, revision, answer },
        other => other,
    };
    story.violates("requests are linearizable");
}

#[test]
fn a_wrong_answer_to_a_write_is_found() {
    let mut story = told();
    if let Outcome::Answered { revision, .. } = story.outcome(0) {
        *revision = 3;
    }
    story.violates("requests are linearizable");
    let mut story = told();
    if let Outcome::Answered { answer: Answer::Txn(txn), .. } = story.outcome(2) {
        txn.succeeded = true;
    }
    story.violates("requests are linearizable");
}

#[test]
fn half_a_transaction_is_found() {
    let mut story = told();
    story.seen()[1].events.pop();
    story.violates("a transaction is atomic");
    let mut story = told();
    story.seen()[1].events.swap(0, 1);
    story.violates("a transaction is atomic");
}

#[test]
fn faults_of_a_watch_are_found() {
    // A second watch, of which one thing each is wrong.
    let told = || {
        let mut story = told();
        let copy = story.history.watches[0].clone();
        story.history.watches.push(copy);
        story.sound();
        story
    };
    fn seen(story: &mut Story) -> &mut Vec<Seen> {
        &mut story.history.watches[1].sessions[0].seen
    }
    let mut story = told();
    seen(&mut story).remove(1);
    story.violates("a watch leaves nothing out");
    let mut story = told();
    let twice = seen(&mut story)[1].clone();
    seen(&mut story).insert(2, twice);
    story.violates("a watch shows no event twice");
    let mut story = told();
    let again = seen(&mut story)[1].clone();
    seen(&mut story).push(again);
    story.violates("a watch is ordered");
    let mut story = told();
    seen(&mut story).swap(1, 2);
    story.violates("a watch leaves nothing out");
    let mut story = told();
    let first = seen(&mut story).remove(0);
    seen(&mut story).push(first);
    story.violates("a watch leaves nothing out");
    let mut story = told();
    seen(&mut story)[1].events.swap(0, 1);
    story.violates("a watch shows what happened");
    let mut story = told();
    seen(&mut story)[2].events[0].prev_kv = None;
    story.violates("a watch shows what happened");
    let mut story = told();
    let mut rest = seen(&mut story)[1].clone();
    seen(&mut story)[1].events.truncate(1);
    rest.events.remove(0);
    seen(&mut story).insert(2, rest);
    story.violates("a watch shows a revision as a whole");
    seen(&mut story)[1].fragment = true;
    story.sound();
    let mut story = told();
    let bookmark = Seen { at: 99, revision: 3, events: Vec::new(), fragment: false };
    seen(&mut story).insert(1, bookmark.clone());
    story.violates("a bookmark covers what came before");
    let mut story = told();
    seen(&mut story).insert(2, bookmark);
    story.sound();
}

#[test]
fn a_resumed_watch_goes_on_where_it_was() {
    let mut story = told();
    let rest = story.seen().split_off(1);
    story.history.watches[0].sessions.push(Session { from: 3, seen: rest });
    story.sound();
    story.history.watches[0].sessions[1].from = 2;
    story.violates("a watch resumes where it ended");
    // A filter and a range are part of what is to be seen.
    let mut story = told();
    let mut watch = story.history.watches[0].clone();
    watch.request = pb::WatchCreateRequest { key: "b".into(), prev_kv: true, ..Default::default() };
    watch.request.filters = vec![pb::watch_create_request::FilterType::Nodelete.into()];
    watch.sessions[0].seen = vec![watch.sessions[0].seen[1].clone()];
    watch.sessions[0].seen[0].events.remove(0);
    story.history.watches.push(watch);
    story.sound();
    story.history.watches[1].request.filters.clear();
    story.sound();
    let bookmark = Seen { at: 99, revision: 4, events: Vec::new(), fragment: false };
    story.history.watches[1].sessions[0].seen.push(bookmark);
    story.violates("a bookmark covers what came before");
}

/// A lease of two seconds with two keys.
fn with_lease() -> Story {
    let mut story = told();
    story.run(Request::Grant { lease: 7, ttl: 2 });
    story.run(leased("x", "5", 7));
    story.run(leased("y", "6", 7));
    story
}

/// Its end, without a request, seen `after` microseconds.
fn ended(mut story: Story, after: u64) -> Story {
    story.now += after;
    let n = story.run(Request::Revoke { lease: 7 });
    story.history.operations.remove(n);
    story
}

#[test]
fn a_lease_that_ends_early_late_or_in_parts_is_found() {
    ended(with_lease(), 2_000_000).sound();
    ended(with_lease(), 1_900_000).violates("a lease does not end before its time");
    with_lease().violates("a lease ends");
    let mut story = with_lease();
    story.now += 1_500_000;
    story.run(Request::KeepAlive { lease: 7 });
    ended(story, 1_500_000).violates("a lease does not end before its time");
    let mut story = ended(with_lease(), 2_000_000);
    story.seen().last_mut().expect("its end was seen").events.pop();
    story.violates("nothing changes without a request");
    // By a request: at any time.
    let mut story = with_lease();
    let n = story.run(Request::Revoke { lease: 7 });
    story.sound();
    *story.outcome(n) = Outcome::Unknown;
    story.sound();
}

#[test]
fn a_lease_is_not_denied_before_its_end() {
    let deny = |after: u64| {
        let mut story = with_lease();
        story.now += after;
        let outcome = Outcome::Refused { at: story.now, message: LEASE_NOT_FOUND.into() };
        let request = leased("z", "7", 7);
        story.history.operations.push(Operation { sent: story.now - 1, request, outcome });
        ended(story, 2_000_000)
    };
    deny(1_000_000).violates("a lease does not end before its time");
    deny(2_500_000).sound();
    let mut story = ended(with_lease(), 2_000_000);
    story.model.leases.insert(7, 2);
    story.run(leased("z", "7", 7));
    story.violates("a lease that ended is gone");
}

#[test]
fn reads_of_compacted_revisions_are_found() {
    let at =
        |revision: i64| Request::Range(pb::RangeRequest { key: "a".into(), revision, ..Default::default() });
    let mut story = told();
    story.run(at(2));
    let n = story.run(Request::Compact(3));
    story.run(at(3));
    story.sound();
    let sent = story.now + 10;
    story.now += 20;
    let refused = Outcome::Refused { at: story.now, message: crate::model::COMPACTED.into() };
    story.history.operations.push(Operation { sent, request: at(2), outcome: refused });
    story.sound();
    *story.outcome(n) = Outcome::Unknown;
    story.sound();
    story.history.operations.remove(n);
    story.violates("what was not compacted can be read");
    let mut story = told();
    let answered = story.model.clone();
    story.run(Request::Compact(3));
    let answer = answered.answer_at(4, &at(2)).expect("a read").expect("it was kept");
    let sent = story.now + 10;
    let outcome = Outcome::Answered { at: sent + 5, revision: 4, answer };
    story.history.operations.push(Operation { sent, request: at(2), outcome });
    story.violates("what was compacted is refused");
}
