//! Clients: what they ask for, by dice. Few keys, so that they are in each other's way; every value is
//! its own, so that it tells who put it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_protocol::etcdserverpb::request_op::Request as Op;
use fastrand::Rng;

use crate::history::Outcome;
use crate::model::{Answer, Request};
use crate::recorder::{Connection, Recorder};

const KEYS: usize = 6;

/// Makes the requests of one client; the same seed makes the same.
pub struct Dice {
    pub rng: Rng,
    client: usize,
    made: usize,
    /// Revisions of keys as last seen: what guarded updates go by.
    seen: [i64; KEYS],
    /// The latest revision and the one that history was last known to reach back to.
    latest: i64,
}

impl Dice {
    pub fn new(seed: u64, client: usize) -> Self {
        let rng = Rng::with_seed(seed ^ (client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { rng, client, made: 0, seen: [0; KEYS], latest: 1 }
    }

    fn value(&mut self) -> Bytes {
        self.made += 1;
        // Some are longer than a page.
        let padding = if self.rng.u8(..) < 8 { 6000 } else { self.rng.usize(..100) };
        format!("{}-{}-{}", self.client, self.made, "x".repeat(padding)).into()
    }

    pub fn next(&mut self) -> Request {
        let n = self.rng.usize(..KEYS);
        let key = key(n);
        match self.rng.u32(..100) {
            0..25 => {
                let prev_kv = self.rng.bool();
                Request::Put(pb::PutRequest { key, value: self.value(), prev_kv, ..Default::default() })
            }
            25..40 => {
                let serializable = self.rng.u8(..) < 50;
                Request::Range(pb::RangeRequest { key, serializable, ..Default::default() })
            }
            40..48 => {
                let limit = self.rng.i64(0..4);
                Request::Range(pb::RangeRequest { limit, ..all() })
            }
            48..53 => {
                let revision = (self.latest - self.rng.i64(0..200)).max(1);
                Request::Range(pb::RangeRequest { key, revision, ..Default::default() })
            }
            53..61 => {
                let prev_kv = self.rng.bool();
                Request::Delete(pb::DeleteRangeRequest { key, prev_kv, ..Default::default() })
            }
            61..82 => self.guarded(n),
            _ => self.several(n),
        }
    }

    /// The apiserver's update: put if nobody else has since, else read what is there.
    fn guarded(&mut self, n: usize) -> Request {
        let put = pb::PutRequest { key: key(n), value: self.value(), ..Default::default() };
        Request::Txn(pb::TxnRequest {
            compare: vec![if_revision(n, self.seen[n])],
            success: vec![op(Op::RequestPut(put))],
            failure: vec![op(Op::RequestRange(pb::RangeRequest { key: key(n), ..Default::default() }))],
        })
    }

    /// Several keys at once, in either branch; sometimes one transaction within another.
    fn several(&mut self, n: usize) -> Request {
        let (other, third) = (key((n + 1) % KEYS), key((n + 2) % KEYS));
        let put = |key, value| {
            op(Op::RequestPut(pb::PutRequest { key, value, prev_kv: true, ..Default::default() }))
        };
        let delete = op(Op::RequestDeleteRange(pb::DeleteRangeRequest { key: third, ..Default::default() }));
        let mut success = vec![put(key(n), self.value()), put(other.clone(), self.value()), delete];
        if self.rng.u8(..) < 60 {
            let last = success.pop().expect("it was made with three");
            let nested = pb::TxnRequest {
                compare: vec![if_revision((n + 2) % KEYS, self.seen[(n + 2) % KEYS])],
                success: vec![last],
                failure: vec![],
            };
            success.push(op(Op::RequestTxn(nested)));
        }
        success.push(op(Op::RequestRange(all())));
        let mut condition = if_revision(n, self.seen[n]);
        condition.result =
            if self.rng.bool() { CompareResult::Equal } else { CompareResult::NotEqual }.into();
        Request::Txn(pb::TxnRequest {
            compare: vec![condition],
            success,
            failure: vec![put(other, self.value())],
        })
    }

    /// Hangs a key on a lease.
    pub fn leased(&mut self, lease: i64) -> Request {
        let key = key(self.rng.usize(..KEYS));
        Request::Put(pb::PutRequest { key, value: self.value(), lease, ..Default::default() })
    }

    /// Takes note of what an answer says about revisions.
    pub fn learn(&mut self, outcome: &Outcome) {
        let Outcome::Answered { revision, answer, .. } = outcome else { return };
        self.latest = self.latest.max(*revision);
        if let Answer::Range(range) = answer {
            for kv in &range.kvs {
                if let Some(n) = (0..KEYS).find(|n| key(*n) == kv.key) {
                    self.seen[n] = kv.mod_revision;
                }
            }
        }
    }
}

fn key(n: usize) -> Bytes {
    format!("k{n}").into()
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn if_revision(n: usize, revision: i64) -> pb::Compare {
    pb::Compare {
        key: key(n),
        target: CompareTarget::Mod.into(),
        result: CompareResult::Equal.into(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    }
}

/// What the clients of a run share.
pub struct Shared {
    pub recorder: Recorder,
    pub connections: Vec<Connection>,
    pub seed: u64,
    pub stop: AtomicBool,
    /// Whether to ask watches how far they have come. etcd before 3.4.25 may claim too much then
    /// (etcd issue 15220): with it, the validators say so.
    pub bookmarks: bool,
    /// What every watch has seen.
    pub watched: Vec<AtomicI64>,
}

impl Shared {
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn send(&self, connection: &mut usize, request: Request) -> Outcome {
        let outcome = self.recorder.send(&self.connections[*connection], request).await;
        if outcome == Outcome::Unknown {
            *connection = (*connection + 1) % self.connections.len();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        outcome
    }
}

/// Reads and writes until told to stop.
pub async fn client(shared: Arc<Shared>, client: usize) {
    let mut dice = Dice::new(shared.seed, client);
    let mut connection = client % shared.connections.len();
    while !shared.stopped() {
        let outcome = shared.send(&mut connection, dice.next()).await;
        dice.learn(&outcome);
        if dice.rng.u8(..) < 20 {
            tokio::time::sleep(Duration::from_millis(dice.rng.u64(..20))).await;
        }
    }
}

/// Grants leases, hangs keys on them, keeps them alive for a while, lets them end or revokes them.
pub async fn lessee(shared: Arc<Shared>, client: usize) {
    let mut dice = Dice::new(shared.seed, client);
    let mut connection = client % shared.connections.len();
    let mut round = 0;
    while !shared.stopped() {
        round += 1;
        let lease = (client as i64) << 32 | round;
        shared.send(&mut connection, Request::Grant { lease, ttl: 2 }).await;
        for n in 0..1 + dice.rng.usize(..3) {
            let key = format!("l/{client}/{round}/{n}").into();
            let put = pb::PutRequest { key, value: dice.value(), lease, ..Default::default() };
            shared.send(&mut connection, Request::Put(put)).await;
        }
        for _ in 0..dice.rng.usize(..5) {
            tokio::time::sleep(Duration::from_millis(300 + dice.rng.u64(..1000))).await;
            shared.send(&mut connection, Request::KeepAlive { lease }).await;
        }
        if dice.rng.bool() {
            shared.send(&mut connection, Request::Revoke { lease }).await;
        }
    }
}

/// Cuts history off, well behind what every watch has seen.
pub async fn compactor(shared: Arc<Shared>, client: usize) {
    let mut connection = client % shared.connections.len();
    let mut last = 1;
    while !shared.stopped() {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let seen = shared.watched.iter().map(|seen| seen.load(Ordering::Relaxed)).min().unwrap_or(0);
        if seen - 100 > last {
            last = seen - 100;
            shared.send(&mut connection, Request::Compact(last)).await;
        }
    }
}
