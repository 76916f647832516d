//! One simulated run: members, clients, watches and a nemesis, in one thread and virtual time, all from
//! one seed; then the validators over what was recorded.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use etcd_protocol::etcdserverpb as pb;
use fastrand::Rng;
use kvstore::mvcc;
use kvstore::raft::command;
use kvstore::watch::watchers::{Delivery, Watchers};
use openraft::ReadPolicy;
use tokio::time::{Instant, sleep, timeout};

use super::member::{Member, Running};
use super::network::Network;
use super::operator::Operator;
use crate::history::{History, Micros, Operation, Outcome, Seen, Session, Watch};
use crate::model::{Answer, Request};
use crate::traffic::Dice;

/// What clients and watches of a run share.
pub struct World {
    began: Instant,
    /// The processes that run now, by their place in the cluster.
    running: Mutex<Vec<Option<Running>>>,
    operations: Mutex<Vec<Operation>>,
    stop: AtomicBool,
    pub watched: Vec<AtomicI64>,
    /// Revision that watches go on to; unknown until the end.
    end: AtomicI64,
}

/// Counted over a run.
#[derive(Clone, Debug, Default)]
pub struct Count {
    pub operations: usize,
    pub unknown: usize,
    pub revisions: usize,
    pub disk_calls: u64,
    pub crashes: usize,
    pub faults: usize,
    /// Of the members.
    pub changes: usize,
    /// The same for the same seed.
    pub fingerprint: u32,
}

impl World {
    fn now(&self) -> Micros {
        self.began.elapsed().as_micros() as Micros
    }

    fn member(&self, n: usize) -> Option<Running> {
        let running = self.running.lock().expect("nobody panics with it");
        running[n].clone().filter(|running| running.life.goes_on())
    }

    /// One more member has started.
    pub fn enter(&self, running: Option<Running>) {
        self.running.lock().expect("nobody panics with it").push(running);
    }

    pub fn set(&self, n: usize, running: Option<Running>) {
        self.running.lock().expect("nobody panics with it")[n] = running;
    }

    fn members(&self) -> usize {
        self.running.lock().expect("nobody panics with it").len()
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends a request to a member; `None` when that is sure not to take anything.
    async fn send(&self, member: &Running, request: Request) -> Option<Outcome> {
        let sent = self.now();
        let outcome = match &request {
            Request::Range(range) => self.read(member, range).await?,
            write => self.write(member, write).await?,
        };
        let outcome = if member.life.goes_on() { outcome } else { Outcome::Unknown };
        let operation = Operation { sent, request, outcome: outcome.clone() };
        self.operations.lock().expect("nobody panics with it").push(operation);
        Some(outcome)
    }

    async fn read(&self, member: &Running, range: &pb::RangeRequest) -> Option<Outcome> {
        if !range.serializable {
            let barrier = member.raft.ensure_linearizable(ReadPolicy::ReadIndex);
            timeout(Duration::from_secs(2), barrier).await.ok()?.ok()?;
        }
        let reader = &member.shared.reader;
        let view = reader.view();
        let answer = mvcc::range(&view.index, view.revision, view.compacted, reader, range);
        Some(self.outcome(view.revision, answer.map(Answer::Range)))
    }

    fn outcome(&self, revision: i64, answer: Result<Answer, kvstore::error::Error>) -> Outcome {
        let at = self.now();
        match answer {
            Ok(answer) => Outcome::Answered { at, revision, answer },
            Err(error) => Outcome::Refused { at, message: error.to_string() },
        }
    }

    async fn write(&self, member: &Running, request: &Request) -> Option<Outcome> {
        use command::Kind;
        // Who does not lead does not take it; who leads and then does not any more may have.
        if !member.raft.is_leader() {
            return None;
        }
        let kind = match request.clone() {
            Request::Put(put) => Kind::Put(put),
            Request::Delete(delete) => Kind::DeleteRange(delete),
            Request::Txn(txn) => Kind::Txn(txn),
            Request::Compact(revision) => Kind::Compact(pb::CompactionRequest { revision, physical: false }),
            Request::Grant { lease, ttl } => Kind::LeaseGrant(pb::LeaseGrantRequest { id: lease, ttl }),
            Request::Revoke { lease } => Kind::LeaseRevoke(pb::LeaseRevokeRequest { id: lease }),
            Request::Range(_) | Request::KeepAlive { .. } => return None,
        };
        let written = member.raft.client_write(command::Proposal::new(&kind, None, 0));
        let Ok(Ok(response)) = timeout(Duration::from_secs(2), written).await else {
            return Some(Outcome::Unknown);
        };
        let revision = |header: &Option<pb::ResponseHeader>| header.as_ref().map_or(0, |h| h.revision);
        let (revision, answer) = match response.data.0 {
            Err(error) => (0, Err(error)),
            Ok(command::Answer::Put(put)) => (revision(&put.header), Ok(Answer::Put(put))),
            Ok(command::Answer::DeleteRange(delete)) => {
                (revision(&delete.header), Ok(Answer::Delete(delete)))
            }
            Ok(command::Answer::Txn(txn)) => (revision(&txn.header), Ok(Answer::Txn(txn))),
            Ok(command::Answer::LeaseGrant(grant)) => {
                (revision(&grant.header), Ok(Answer::Grant { ttl: grant.ttl }))
            }
            Ok(command::Answer::Revision(revision)) => match request {
                Request::Compact(_) => (revision, Ok(Answer::Compact)),
                _ => (revision, Ok(Answer::Revoke)),
            },
            Ok(other) => panic!("{request:?} was answered {other:?}"),
        };
        Some(self.outcome(revision, answer))
    }
}

/// Reads and writes until told to stop, now and then with a lease.
async fn client(world: Arc<World>, seed: u64, client: usize) {
    let mut dice = Dice::new(seed, client);
    let mut turn = client;
    let mut leases = 0;
    let mut open = Vec::new();
    while !world.stopped() {
        let request = match dice.rng.u32(..100) {
            0..2 => {
                leases += 1;
                let lease = (client as i64 + 1) << 32 | leases;
                open.push(lease);
                Request::Grant { lease, ttl: 1_000_000 }
            }
            2..6 if !open.is_empty() => {
                let lease = open[dice.rng.usize(..open.len())];
                dice.leased(lease)
            }
            6..8 if open.len() > 1 => Request::Revoke { lease: open.swap_remove(0) },
            8..10 => {
                let seen = world.watched.iter().map(|seen| seen.load(Ordering::Relaxed)).min().unwrap_or(0);
                Request::Compact((seen - 30).max(1))
            }
            _ => dice.next(),
        };
        let mut outcome = None;
        if let Some(member) = world.member(turn % world.members()) {
            outcome = world.send(&member, request).await;
        }
        match &outcome {
            Some(outcome) if *outcome != Outcome::Unknown => dice.learn(outcome),
            _ => turn += 1,
        }
        sleep(Duration::from_millis(dice.rng.u64(1..30))).await;
    }
}

/// Watches through one member after the other until the end was seen.
async fn watch(world: Arc<World>, n: usize, request: pb::WatchCreateRequest) -> Watch {
    let mut next = request.start_revision;
    let mut watch = Watch { request, sessions: Vec::new() };
    let mut turn = n;
    while next <= world.end.load(Ordering::Relaxed) {
        turn += 1;
        let Some(member) = world.member(turn % world.members()) else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut session = Session { from: next, seen: Vec::new() };
        follow(&world, n, &member, &watch.request, &mut session, &mut next).await;
        if !session.seen.is_empty() {
            watch.sessions.push(session);
        }
    }
    watch
}

/// As `kvstore::api::watch` does it, until the process ends.
async fn follow(
    world: &World,
    n: usize,
    member: &Running,
    request: &pb::WatchCreateRequest,
    session: &mut Session,
    next: &mut i64,
) {
    let shared = &member.shared;
    let mut watchers = Watchers::default();
    let create = pb::WatchCreateRequest { start_revision: *next, ..request.clone() };
    watchers.create(create, shared.reader.view().revision).expect("the range is a good one");
    let until = Instant::now() + Duration::from_millis(fastrand::u64(200..4000));
    while Instant::now() < until && *next <= world.end.load(Ordering::Relaxed) {
        let deliveries = watchers.advance(&shared.events, &shared.reader).unwrap_or_default();
        if !member.life.goes_on() {
            return;
        }
        let at = world.now();
        for delivery in deliveries {
            let Delivery::Events { revision, events, .. } = delivery else { return };
            let last = events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            *next = (*next).max(last + 1);
            session.seen.push(Seen { at, revision, events, fragment: false });
        }
        let revision = shared.reader.view().revision;
        if watchers.synced(revision) && revision >= *next {
            session.seen.push(Seen { at, revision, events: Vec::new(), fragment: false });
            *next = revision + 1;
        }
        world.watched[n].store(*next, Ordering::Relaxed);
        sleep(Duration::from_millis(fastrand::u64(1..40))).await;
    }
}

/// One run, from nothing but its seed; in half of the runs the members change, if they may.
pub async fn run(seed: u64, changes: bool, folder: &std::path::Path) -> Result<Count> {
    let mut rng = Rng::with_seed(seed);
    let size = [1, 1, 3, 3, 5][rng.usize(..5)];
    let ids: Vec<u64> = (1..=size).collect();
    let network = Network::default();
    network.heal();
    let founding = |id: &u64| Member::founding(*id, &ids, folder, rng.u64(..));
    let mut members: Vec<Member> = ids.iter().map(founding).collect();
    let mut operator = (rng.bool() && changes).then(Operator::default);
    let requests = crate::campaign::watches();
    let world = Arc::new(World {
        began: Instant::now(),
        running: Mutex::new(ids.iter().map(|_| None).collect()),
        operations: Mutex::default(),
        stop: AtomicBool::new(false),
        watched: requests.iter().map(|_| AtomicI64::new(0)).collect(),
        end: AtomicI64::new(i64::MAX),
    });
    for (n, member) in members.iter_mut().enumerate() {
        member.start(&network).await?;
        world.set(n, member.running.clone());
    }
    let watching: Vec<_> = requests
        .into_iter()
        .enumerate()
        .map(|(n, request)| tokio::spawn(watch(world.clone(), n, request)))
        .collect();
    let clients: Vec<_> = (0..4).map(|n| tokio::spawn(client(world.clone(), seed, n))).collect();

    let mut count = Count::default();
    let end = Instant::now() + Duration::from_secs(rng.u64(4..12));
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.u64(50..900))).await;
        strike(&mut rng, &network, &mut members, &mut count).await;
        mend(&mut rng, &world, &network, &mut members, &mut count).await?;
        if let Some(operator) = &mut operator {
            operator.turn(&mut rng, &world, &network, &mut members, folder).await?;
        }
    }

    // Peace.
    network.heal();
    for member in &members {
        member.disk.disarm();
        member.state.fail_after(u64::MAX);
    }
    world.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?;
    }
    for _ in 0..20 {
        mend(&mut rng, &world, &network, &mut members, &mut count).await?;
        sleep(Duration::from_millis(100)).await;
    }
    if let Some(operator) = &mut operator {
        let list = operator.settle(&mut rng, &world, &network, &mut members, folder).await;
        if let (Err(_), true) = (&list, crate::simulation::alone()) {
            members.iter().for_each(|member| eprintln!("member {}: {}", member.id, member.log()));
        }
        list?;
        count.changes = operator.made;
    }
    let last = settle(&world).await?;
    world.end.store(last, Ordering::Relaxed);
    let mut history = History::default();
    for watch in watching {
        let watch =
            timeout(Duration::from_secs(60), watch).await.context("a watch does not come to its end")?;
        history.watches.push(watch?);
    }
    history.operations = world.operations.lock().expect("nobody panics with it").clone();
    let checked = match crate::validators::check(&history) {
        Ok(timeline) => agreement(&members, &timeline.model).await.map(|()| timeline),
        Err(violation) => Err(violation.into()),
    };
    if let (Err(error), true) = (&checked, crate::simulation::alone()) {
        eprintln!("{error}");
        members.iter().for_each(|member| eprintln!("member {}: {}", member.id, member.log()));
        for operation in &history.operations {
            eprintln!("{operation:?}");
        }
    }
    let timeline = checked?;
    for member in &mut members {
        count.disk_calls += member.disk.calls();
        member.crash(&network, false).await;
    }
    count.operations = history.operations.len();
    count.unknown = history.operations.iter().filter(|o| o.outcome == Outcome::Unknown).count();
    count.revisions = timeline.moments.len();
    count.fingerprint = crc32fast::hash(format!("{history:?} {}", count.disk_calls).as_bytes());
    Ok(count)
}

/// Does one bad thing.
async fn strike(rng: &mut Rng, network: &Network, members: &mut [Member], count: &mut Count) {
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let mut present: Vec<&mut Member> = members.iter_mut().filter(|member| !member.retired).collect();
    if present.is_empty() {
        return;
    }
    count.faults += 1;
    let n = rng.usize(..present.len());
    let member = &mut *present[n];
    let fault = rng.u32(..100);
    if crate::simulation::alone() {
        eprintln!("{:?}: fault {fault} for member {}, {}", Instant::now(), member.id, member.log());
    }
    match fault {
        0..12 => member.crash(network, false).await,
        12..24 => member.crash(network, true).await,
        24..45 => member.disk.crash_in(rng.u64(..60)),
        45..55 => member.disk.fail_sync_in(rng.u64(..5)),
        55..62 => member.disk.fill(),
        62..67 => member.state.fail_after(rng.u64(..5)),
        67..82 => {
            let side: BTreeSet<u64> = ids.iter().filter(|_| rng.bool()).copied().collect();
            let others = ids.iter().filter(|id| !side.contains(*id)).copied().collect();
            network.part(&side, &others);
        }
        82..92 => network.disturb(rng.u8(..100), rng.u64(1..200)),
        _ => {
            // The whole room goes dark.
            for member in present {
                member.crash(network, true).await;
            }
        }
    }
}

/// Undoes some of it: starts what has ended, sometimes later.
async fn mend(
    rng: &mut Rng,
    world: &World,
    network: &Network,
    members: &mut [Member],
    count: &mut Count,
) -> Result<()> {
    if rng.u8(..) < 100 {
        network.heal();
    }
    for (n, member) in members.iter_mut().enumerate() {
        if member.is_well().await {
            continue;
        }
        world.set(n, None);
        if member.retired {
            member.crash(network, false).await;
            continue;
        }
        if !world.stopped() && rng.u8(..) < 80 {
            continue;
        }
        // Ended by itself, or by a fault that it could not outlive.
        if member.running.is_some() || member.disk.stopped() || member.disk.failed() {
            member.crash(network, rng.u8(..) < 60).await;
        }
        count.crashes += 1;
        let id = member.id;
        if let Err(error) = member.start(network).await {
            // So is the state's disk, in these words.
            let told = format!("{error:#}").contains("told to fail");
            let meant = told || member.disk.stopped() || member.disk.is_full() || member.disk.failed();
            ensure!(meant, "member {id} does not start: {error:#}");
            if told {
                member.crash(network, false).await;
            }
            continue;
        }
        world.set(n, member.running.clone());
        if crate::simulation::alone() {
            eprintln!("{:?}: member {id} starts: {}", Instant::now(), member.log());
        }
    }
    Ok(())
}

/// Ends all leases, changes something that every watch sees, and reads everything.
async fn settle(world: &World) -> Result<i64> {
    let all = || pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    for round in 0..2000 {
        sleep(Duration::from_millis(20)).await;
        let Some(member) = world.member(round % world.members()) else { continue };
        let read = world.send(&member, Request::Range(all())).await;
        let Some(Outcome::Answered { revision, answer: Answer::Range(range), .. }) = read else { continue };
        if let Some(kv) = range.kvs.iter().find(|kv| kv.lease != 0) {
            world.send(&member, Request::Revoke { lease: kv.lease }).await;
            continue;
        }
        let put =
            pb::PutRequest { key: "k1".into(), value: format!("end {round}").into(), ..Default::default() };
        let delete = pb::DeleteRangeRequest { key: "k1".into(), ..Default::default() };
        let put = world.send(&member, Request::Put(put)).await;
        let delete = world.send(&member, Request::Delete(delete)).await;
        if let (Some(Outcome::Answered { .. }), Some(Outcome::Answered { revision: last, .. })) =
            (put, delete)
        {
            ensure!(last >= revision + 2, "{last} after {revision} and two changes");
            world.send(&member, Request::Range(all())).await;
            return Ok(last);
        }
    }
    bail!("nothing is answered any more")
}

/// In the end all members hold the same, and it is what the model holds; and they agree on who they are.
async fn agreement(members: &[Member], model: &crate::model::Model) -> Result<()> {
    let present = members.iter().filter(|member| !member.retired);
    let present: Vec<(u64, &Running)> = present
        .map(|member| Ok((member.id, member.running.as_ref().context("everything was started")?)))
        .collect::<Result<_>>()?;
    let lists = || present.iter().map(|(_, running)| running.members.list()).collect::<Vec<_>>();
    // Entries that name members may still be on their way, to each of them at another time.
    for _ in 0..500 {
        let lists = lists();
        let alike = lists.iter().all(|list| *list == lists[0]);
        let there = |(_, running): &(u64, &Running)| running.shared.reader.view().revision >= model.revision;
        if alike && present.iter().all(there) {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    for (id, running) in &present {
        let reader = &running.shared.reader;
        let view = reader.view();
        let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        let found = mvcc::range(&view.index, view.revision, view.compacted, reader, &all)?.kvs;
        let expected: Vec<_> = model.keys().values().cloned().collect();
        ensure!(
            (view.revision, &found) == (model.revision, &expected),
            "member {id} holds {found:?} at {}, not {expected:?} at {}",
            view.revision,
            model.revision,
        );
    }
    let lists = lists();
    for ((id, _), list) in present.iter().zip(&lists) {
        ensure!(
            *list == lists[0],
            "for member {id} the members are {list:?}, for member {} {:?}",
            present[0].0,
            lists[0]
        );
    }
    Ok(())
}
