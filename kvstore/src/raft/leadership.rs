//! What changes with the leader and with the members: whose clock ends leases, which peers there are,
//! whether there is anyone to hear from, and whether this member still is one. Also handing over.

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant as _, RaftMetrics, ServerState};
use tokio::sync::Notify;

use super::standing::{Metrics, Standing};
use super::{Shared, TypeConfig, runtime};
use crate::error::Error;
use crate::metrics;

/// Follows openraft's view of the cluster, for ever; rings `fatal` when raft has stopped.
pub async fn follow(standing: Standing, shared: Arc<Shared>, fatal: Arc<Notify>) -> anyhow::Result<()> {
    let mut changes = standing.raft.server_metrics();
    let mut before = Seen::default();
    loop {
        let now = changes.borrow_watched().clone();
        before = take_note(&standing, &shared, before, &now);
        if changes.changed().await.is_err() {
            // Whoever is rung says why.
            fatal.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Default)]
struct Seen {
    /// The term that this member leads in.
    leads: Option<u64>,
    leader: Option<u64>,
    members: BTreeSet<u64>,
}

fn take_note(standing: &Standing, shared: &Shared, before: Seen, metrics: &Metrics) -> Seen {
    let id = standing.id();
    let membership = metrics.membership_config.membership();
    let members: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
    for (member, node) in membership.nodes().filter(|(member, _)| **member != id) {
        standing.peers.note(*member, &node.addr);
    }
    if members != before.members {
        let committed = metrics.committed_membership_config.membership();
        let known = committed.nodes().map(|(id, _)| *id).chain(members.iter().copied()).collect();
        standing.peers.retain(&known);
        // Alone, there is no one to hear from and no one to tell: no clock is needed.
        standing.raft.runtime_config().tick(members.len() > 1);
    }
    let committed = metrics.committed_membership_config.membership();
    if before.members.contains(&id) && !members.contains(&id) && committed.get_node(&id).is_none() {
        standing.peers.say_removed();
    }

    let term = metrics.vote.leader_id.term;
    let leads = (metrics.state == ServerState::Leader).then_some(term);
    match leads {
        // In another term than before, somebody else may have led in between.
        Some(term) if leads != before.leads => {
            // Kept until the end: a lease that is granted meanwhile would be forgotten.
            let machine = shared.machine.lock();
            let leases = machine.leases.ids().map(|id| (id, machine.leases.ttl(id).unwrap_or(0)));
            shared.lessor.promote(term, leases, standing.election, runtime::now());
            tracing::info!(term, "this member leads");
        }
        None if before.leads.is_some() => {
            shared.lessor.demote();
            tracing::info!(term, "this member leads no more");
        }
        _ => {}
    }
    // COMPAT: etcd counts each time that a leader is known anew.
    if metrics.current_leader.is_some() && metrics.current_leader != before.leader {
        metrics::get().leader_changes.inc();
    }
    Seen { leads, leader: metrics.current_leader, members }
}

/// Hands the leadership to another voter; returns when that one leads.
pub async fn transfer(standing: &Standing, to: u64) -> Result<(), Error> {
    if !standing.is_leader() {
        return Err(Error::NotLeader);
    }
    if !standing.raft.voter_ids().any(|voter| voter == to) {
        return Err(Error::BadLeaderTransferee);
    }
    if to == standing.id() {
        return Ok(());
    }
    standing.raft.trigger().transfer_leader(to).await.map_err(|_| Error::Stopped)?;
    let mut changes = standing.raft.server_metrics();
    let done = async {
        while changes.borrow_watched().current_leader != Some(to) {
            if changes.changed().await.is_err() {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    };
    let timeout = standing.election * 3;
    tokio::time::timeout(timeout, done).await.unwrap_or(Err(Error::TimeoutLeaderTransfer))
}

/// Before this member stops: hands the leadership, if it has it, to the voter that is furthest.
pub async fn hand_over(standing: &Standing) {
    let successor = successor(&standing.raft.metrics().borrow_watched(), standing);
    let Some(to) = successor else { return };
    match transfer(standing, to).await {
        Ok(()) => tracing::info!(to = format!("{to:x}"), "handed the leadership over"),
        Err(error) => tracing::warn!(%error, to = format!("{to:x}"), "could not hand the leadership over"),
    }
}

fn successor(metrics: &RaftMetrics<TypeConfig>, standing: &Standing) -> Option<u64> {
    let voters: BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
    let heard = |id: &u64| {
        let at = metrics.heartbeat.as_ref()?.get(id)?.as_ref()?;
        Some(at.elapsed() < standing.election)
    };
    let progress = metrics.replication.as_ref()?.iter();
    let others = progress.filter(|(id, _)| **id != standing.id() && voters.contains(id));
    others.filter(|(id, _)| heard(id) == Some(true)).max_by_key(|(_, last)| **last).map(|(id, _)| *id)
}
