//! A run: clients, watches and a nemesis against real processes for a while, then peace, then every
//! validator over what was recorded.
//!
//! `STORE_SECONDS` and `STORE_SEED` set how long and which dice. What clients ask and what the nemesis
//! does follows from the seed; when it meets what, does not: that is what the simulation is for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use etcd_protocol::etcdserverpb as pb;
use fastrand::Rng;

use crate::disks::Mounted;
use crate::history::{History, Outcome};
use crate::members::{Member, server};
use crate::model::{Answer, Request};
use crate::nemesis::{Fault, Nemesis};
use crate::recorder::{Connection, Recorder};
use crate::traffic::{self, Shared};
use crate::validators;
use crate::watching::watch;
use crate::wires::{Wires, on_loopback};

/// Until watches and leases must have come to their end after the last fault.
const SETTLE: Duration = Duration::from_secs(60);

pub struct Campaign {
    pub members: usize,
    pub clients: usize,
    pub seconds: u64,
    pub seed: u64,
    pub faults: Vec<Fault>,
    pub flags: Vec<&'static str>,
    /// Where the data directories are made, for one member after the other; a temporary folder when there are
    /// none.
    pub disks: Vec<Mounted>,
    /// What members are joined by, if they are to be parted.
    pub wires: Option<Wires>,
}

/// What happened in a run that violated nothing.
#[derive(Debug, Default)]
pub struct Report {
    pub answered: usize,
    pub refused: usize,
    pub unknown: usize,
    pub revisions: usize,
    pub watch_answers: usize,
    pub watch_sessions: usize,
    pub faults: BTreeMap<&'static str, usize>,
}

impl Campaign {
    pub fn new(faults: Vec<Fault>) -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        Self {
            members: 1,
            clients: 8,
            seconds: number("STORE_SECONDS").unwrap_or(15),
            seed: number("STORE_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000)),
            faults,
            // Small snapshots and often, so that faults meet them as well.
            flags: vec!["--snapshot-count=500"],
            disks: Vec::new(),
            wires: None,
        }
    }

    /// Runs it; says on standard error what was run, and fails with the seed.
    pub async fn run(self) -> Result<Report> {
        let seed = self.seed;
        let folder = tempfile::tempdir()?;
        let result = self.run_in(folder.path()).await;
        if let Ok(report) = &result {
            eprintln!("seed {seed}: {report:?}, no violation");
        }
        result.with_context(|| format!("STORE_SEED={seed}"))
    }

    async fn run_in(self, folder: &std::path::Path) -> Result<Report> {
        let (program, ours) = server()?;
        let places = match &self.wires {
            Some(wires) => wires.places(),
            None => on_loopback(self.members)?,
        };
        let member = |n: usize| {
            let disk = self.disks.get(n % self.disks.len().max(1)).map_or(folder, Mounted::path);
            Member::new(&program, folder, disk, &places, n, &self.flags)
        };
        let mut members: Vec<Member> = (0..places.len()).map(member).collect();
        for member in &mut members {
            member.start()?;
        }
        for member in &mut members {
            member.ready().await?;
        }
        let requests = watches();
        let shared = Arc::new(Shared {
            recorder: Recorder::new(),
            connections: members.iter().map(Connection::to).collect::<Result<_>>()?,
            seed: self.seed,
            stop: AtomicBool::new(false),
            bookmarks: ours,
            watched: requests.iter().map(|_| AtomicI64::new(0)).collect(),
        });
        let end = Arc::new(AtomicI64::new(i64::MAX));
        let mut watching = Vec::new();
        for (n, request) in requests.into_iter().enumerate() {
            let channels = members.iter().map(Member::endless_channel).collect::<Result<_>>()?;
            watching.push(tokio::spawn(watch(shared.clone(), n, channels, request, end.clone())));
        }
        let mut clients = Vec::new();
        for client in 0..self.clients {
            clients.push(tokio::spawn(traffic::client(shared.clone(), client)));
        }
        clients.push(tokio::spawn(traffic::lessee(shared.clone(), self.clients)));
        clients.push(tokio::spawn(traffic::lessee(shared.clone(), self.clients + 1)));
        clients.push(tokio::spawn(traffic::compactor(shared.clone(), self.clients + 2)));

        let mut nemesis = Nemesis::new(self.faults.clone(), Rng::with_seed(self.seed), ours);
        let deadline = Instant::now() + Duration::from_secs(self.seconds);
        while Instant::now() < deadline {
            nemesis.strike(&mut members, self.wires.as_ref()).await?;
        }
        shared.stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await?;
        }
        for member in &mut members {
            if let Some(ended) = member.ended()? {
                bail!("{} has ended by itself ({ended}):\n{}", member.name, member.last_words());
            }
        }
        let last = settle(&shared).await?;
        end.store(last, Ordering::Relaxed);
        let mut history = History { operations: shared.recorder.operations(), watches: Vec::new() };
        for watch in watching {
            let watch =
                tokio::time::timeout(SETTLE, watch).await.context("a watch does not come to its end")?;
            history.watches.push(watch?);
        }
        let timeline = validators::check(&history)?;
        Ok(report(&history, timeline.moments.len(), nemesis.done))
    }
}

/// What is watched: everything, from the start; a range; one key without its puts; in small fragments.
pub fn watches() -> Vec<pb::WatchCreateRequest> {
    let from_start = pb::WatchCreateRequest { start_revision: 2, prev_kv: true, ..Default::default() };
    let range = |key: &'static str, end: &'static str| pb::WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        ..from_start.clone()
    };
    let no_puts = pb::watch_create_request::FilterType::Noput.into();
    vec![
        range("\0", "\0"),
        pb::WatchCreateRequest { progress_notify: true, ..range("k", "l") },
        pb::WatchCreateRequest { filters: vec![no_puts], ..range("k1", "") },
        pb::WatchCreateRequest { fragment: true, prev_kv: false, ..range("k0", "k3") },
    ]
}

/// Waits until no lease is left, changes something that every watch sees, and reads everything once
/// more. Returns the revision of the last event.
async fn settle(shared: &Shared) -> Result<i64> {
    let put = pb::PutRequest { key: "k1".into(), value: "the end".into(), ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: "k1".into(), ..Default::default() };
    let all = || {
        Request::Range(pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() })
    };
    let deadline = Instant::now() + SETTLE;
    loop {
        let outcome = shared.recorder.send(&shared.connections[0], all()).await;
        if let Outcome::Answered { revision, answer: Answer::Range(range), .. } = &outcome
            && range.kvs.iter().all(|kv| kv.lease == 0)
        {
            for request in [Request::Put(put), Request::Delete(delete), all()] {
                shared.recorder.send(&shared.connections[0], request).await;
            }
            return Ok(*revision + 2);
        }
        if Instant::now() > deadline {
            bail!("leases do not end, or nothing is answered any more: {outcome:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn report(history: &History, revisions: usize, faults: BTreeMap<&'static str, usize>) -> Report {
    let mut report = Report { revisions, faults, ..Report::default() };
    for operation in &history.operations {
        match operation.outcome {
            Outcome::Answered { .. } => report.answered += 1,
            Outcome::Refused { .. } => report.refused += 1,
            Outcome::Unknown => report.unknown += 1,
        }
    }
    for watch in &history.watches {
        report.watch_sessions += watch.sessions.len();
        report.watch_answers += watch.seen().count();
    }
    report
}
