//! The way into the log, for everyone who changes the state: proposes a command and waits until it is
//! applied.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::sync::Notify;

use super::Raft;
use super::command::{Answer, Kind, Proposal};
use super::state_machine::grows;
use crate::auth::Caller;
use crate::disk_space::{DiskSpace, Room};
use crate::error::Error;

/// How long a proposal may take before its client is told that it timed out: etcd's five seconds and
/// twice the election timeout. Its fate is unknown then; it may still be applied.
const TIMEOUT: Duration = Duration::from_secs(7);

#[derive(Clone)]
pub struct Proposer {
    raft: Raft,
    /// Rung when raft has stopped for good.
    fatal: Arc<Notify>,
    space: Arc<DiskSpace>,
    max_request_bytes: usize,
}

impl Proposer {
    pub fn new(raft: Raft, fatal: Arc<Notify>, space: Arc<DiskSpace>, max_request_bytes: usize) -> Self {
        Self { raft, fatal, space, max_request_bytes }
    }

    /// Proposes a command of this store itself.
    pub async fn propose(&self, kind: Kind) -> Result<Answer, Error> {
        self.propose_by(kind, None).await
    }

    /// Proposes a client's command.
    pub async fn propose_by(&self, kind: Kind, caller: Option<Caller>) -> Result<Answer, Error> {
        match self.space.room() {
            Room::Enough => {}
            Room::Scarce if !grows(&kind) => {}
            Room::Scarce | Room::None => return Err(Error::NoSpace),
        }
        let proposal = Proposal::by(kind, caller);
        if proposal.0.len() > self.max_request_bytes {
            return Err(Error::RequestTooLarge);
        }
        let written = tokio::time::timeout(TIMEOUT, self.raft.client_write(proposal));
        match written.await.map_err(|_| Error::Timeout)? {
            Ok(response) => response.data.0,
            Err(RaftError::Fatal(_)) => {
                self.fatal.notify_one();
                Err(Error::Stopped)
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(Error::NoLeader),
            Err(RaftError::APIError(_)) => Err(Error::LeaderChanged),
        }
    }

    /// Waits until everything acknowledged before now can be read here. Writes nothing to the log.
    pub async fn read_barrier(&self) -> Result<(), Error> {
        // The only voter knows without asking: an answer is sent only once its change can be read.
        let mut voters = self.raft.voter_ids();
        if voters.next().is_some_and(|id| id == *self.raft.node_id()) && voters.next().is_none() {
            return Ok(());
        }
        let barrier = tokio::time::timeout(TIMEOUT, self.raft.ensure_linearizable(ReadPolicy::ReadIndex));
        match barrier.await.map_err(|_| Error::Timeout)? {
            Ok(_) => Ok(()),
            Err(RaftError::Fatal(_)) => Err(Error::Stopped),
            Err(RaftError::APIError(_)) => Err(Error::NoLeader),
        }
    }

    /// The leader as far as this member knows, and the last index of its log.
    pub fn leader_and_last_index(&self) -> (Option<u64>, u64) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.current_leader, metrics.last_log_index.unwrap_or(0))
    }

    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    pub fn space(&self) -> &DiskSpace {
        &self.space
    }

    pub fn raft(&self) -> &Raft {
        &self.raft
    }
}
