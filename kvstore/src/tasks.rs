//! What runs beside the serving of clients: the sweep after compactions, the end of leases, snapshots,
//! automatic compaction, the quota's alarm. Each sleeps until it is told or due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::alarm_request::AlarmAction;
use futures::StreamExt;
use tokio::task::JoinSet;

use crate::api::Context;
use crate::error::Error;
use crate::flags::AutoCompaction;
use crate::metrics;
use crate::raft::command::Kind;
use crate::raft::runtime;

/// Leases revoked at a time.
const REVOCATIONS: usize = 64;
/// After a proposal failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How often history is looked at when a number of revisions is kept.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);

pub fn spawn(work: &mut JoinSet<anyhow::Result<()>>, context: &Context, compaction: AutoCompaction) {
    let shared = context.shared.clone();
    work.spawn(async move { shared.sweep().await.context("sweep after a compaction") });
    work.spawn(expire_leases(context.clone()));
    work.spawn(snapshots(context.clone()));
    if context.quota.is_some() {
        work.spawn(clear_alarm(context.clone()));
    }
    match compaction {
        AutoCompaction::Off => {}
        AutoCompaction::Periodic(period) => {
            work.spawn(compact_by_time(context.clone(), period));
        }
        AutoCompaction::Revision(kept) => {
            work.spawn(compact_by_revision(context.clone(), kept));
        }
    }
}

async fn expire_leases(context: Context) -> anyhow::Result<()> {
    let lessor = &context.shared.lessor;
    loop {
        lessor.wait().await;
        let Some((term, expired)) = lessor.expired(runtime::now(), REVOCATIONS) else { continue };
        let revocations = futures::stream::iter(expired).map(|id| {
            let context = &context;
            async move { context.expire_lease(id, term).await }
        });
        let mut results = revocations.buffer_unordered(REVOCATIONS);
        let mut failed = None;
        while let Some(result) = results.next().await {
            match result {
                // A client was quicker.
                Ok(_) | Err(Error::LeaseNotFound) => metrics::get().leases_expired.inc(),
                // Nor a leader any more: the next one gives all leases their time.
                Err(Error::NotLeader) => tokio::time::sleep(PAUSE).await,
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::warn!(%error, "could not end expired leases");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Writes a snapshot whenever enough log has come together.
async fn snapshots(context: Context) -> anyhow::Result<()> {
    loop {
        context.shared.snapshot_due.notified().await;
        let (needed, free) = (context.shared.live_bytes() + (8 << 20), context.proposer.space().free());
        if free < needed {
            tracing::warn!(needed, free, "not enough disk for a snapshot: the log grows until there is");
            continue;
        }
        context.proposer.raft().trigger().snapshot().await.context("write a snapshot")?;
    }
}

/// Takes NOSPACE back once a compaction has made room: a tenth of the quota.
async fn clear_alarm(context: Context) -> anyhow::Result<()> {
    let mut swept = context.shared.swept.subscribe();
    loop {
        swept.changed().await.context("the sweep has ended")?;
        let room = context.quota.is_none_or(|quota| context.shared.live_bytes() < quota / 10 * 9);
        if !room || !context.shared.machine.lock().no_space() || !context.proposer.is_leader() {
            continue;
        }
        let request = pb::AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: 0,
            alarm: pb::AlarmType::Nospace.into(),
        };
        match context.proposer.propose(Kind::Alarm(request)).await {
            Ok(_) => {
                tracing::info!(used = context.shared.live_bytes(), "there is room again: cleared NOSPACE")
            }
            Err(error) => tracing::warn!(%error, "could not clear NOSPACE"),
        }
    }
}

/// Keeps `period` of history: looks ten times in a period (or hour, if that is shorter) and compacts
/// once in it.
async fn compact_by_time(context: Context, period: Duration) -> anyhow::Result<()> {
    let step = period.min(HOUR) / 10;
    let mut seen: VecDeque<(Instant, i64)> = VecDeque::new();
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        seen.push_back((now, context.shared.reader.view().revision));
        let mut target = None;
        while seen.front().is_some_and(|(at, _)| now.duration_since(*at) >= period) {
            target = seen.pop_front().map(|(_, revision)| revision);
        }
        if let Some(revision) = target {
            if now.duration_since(last) >= period.min(HOUR) - step / 2 {
                last = now;
                compact(&context, revision).await;
            } else {
                seen.push_front((now.checked_sub(period).unwrap_or(now), revision));
            }
        }
        tokio::time::sleep(step).await;
    }
}

async fn compact_by_revision(context: Context, kept: i64) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(REVISION_INTERVAL).await;
        compact(&context, context.shared.reader.view().revision - kept).await;
    }
}

async fn compact(context: &Context, revision: i64) {
    if !context.proposer.is_leader() || revision <= context.shared.reader.view().compacted.max(1) {
        return;
    }
    let request = pb::CompactionRequest { revision, physical: false };
    match context.proposer.propose(Kind::Compact(request)).await {
        Ok(_) => tracing::info!(revision, "compacted automatically"),
        // A client was quicker.
        Err(Error::Compacted) => {}
        Err(error) => tracing::warn!(%error, revision, "could not compact"),
    }
}
