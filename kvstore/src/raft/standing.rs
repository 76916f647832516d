//! Where this member stands in the cluster: who leads, whether anyone does, whether it votes. Seen from
//! openraft's metrics, and from when the leader was last heard: openraft names a leader until there is
//! another, also when it has long been gone.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::metrics::RaftServerMetrics;
use openraft::{Instant as _, ServerState};
use tokio::time::Instant;

use super::peers::Peers;
use super::{Raft, TypeConfig};
use crate::error::Error;

/// How long an unchanged leader is given before it is asked again.
const PAUSE: Duration = Duration::from_millis(50);

pub type Metrics = RaftServerMetrics<TypeConfig>;

#[derive(Clone)]
pub struct Standing {
    pub raft: Raft,
    pub peers: Arc<Peers>,
    /// `--election-timeout`.
    pub election: Duration,
}

/// Who leads, in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub leader: u64,
    pub id: LeaderId<u64, u64>,
}

impl Standing {
    pub fn id(&self) -> u64 {
        *self.raft.node_id()
    }

    pub fn metrics(&self) -> Metrics {
        self.raft.server_metrics().borrow_watched().clone()
    }

    /// The leader that openraft names, whether it lives or not.
    pub fn seat(&self) -> Option<Seat> {
        seat(&self.raft.server_metrics().borrow_watched())
    }

    /// The leader, when there are signs of it.
    pub fn leader(&self) -> Option<u64> {
        let seat = self.seat()?;
        let alive = if seat.leader == self.id() {
            self.votes_alone()
                || self.raft.as_leader().is_ok_and(|leader| {
                    // None: it has not been heard by anyone yet.
                    leader.last_quorum_acked().is_some_and(|at| at.elapsed() < self.election * 2)
                })
        } else {
            self.peers.silence().is_some_and(|silence| silence < self.election * 2)
        };
        alive.then_some(seat.leader)
    }

    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// Whether this member's voice is the only one.
    pub fn votes_alone(&self) -> bool {
        let mut voters = self.raft.voter_ids();
        voters.next().is_some_and(|id| id == self.id()) && voters.next().is_none()
    }

    /// Whether it has no vote, being a member.
    pub fn is_learner(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        membership.get_node(&self.id()).is_some() && !membership.voter_ids().any(|id| id == self.id())
    }

    /// Waits for a leader.
    pub async fn await_leader(&self, deadline: Instant) -> Result<Seat, Error> {
        let mut metrics = self.raft.server_metrics();
        loop {
            if let Some(seat) = seat(&metrics.borrow_watched()) {
                return Ok(seat);
            }
            match tokio::time::timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Error::Stopped),
                Err(_) => return Err(Error::Timeout),
            }
        }
    }

    /// Waits until a leader shows signs of life: the vote of before a restart names one as well.
    pub async fn await_living_leader(&self, deadline: Instant) -> bool {
        while self.leader().is_none() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
    }

    /// After a leader has refused: waits for another one, or a moment. False: the time is up.
    pub async fn pause(&self, before: Seat, deadline: Instant) -> bool {
        let mut metrics = self.raft.server_metrics();
        let until = deadline.min(Instant::now() + PAUSE);
        let other = async {
            while seat(&metrics.borrow_watched()) == Some(before) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        // Elapsed or changed: both mean to try again.
        tokio::time::timeout_at(until, other).await.ok();
        Instant::now() < deadline
    }
}

fn seat(metrics: &Metrics) -> Option<Seat> {
    let leader = metrics.current_leader?;
    // A follower's vote names the leader that it follows, once it has been heard.
    let established = metrics.vote.committed && metrics.state != ServerState::Candidate;
    (established && metrics.vote.leader_id.node_id == leader)
        .then_some(Seat { leader, id: metrics.vote.leader_id })
}
