//! The way into the log, for everyone who changes the state: proposes a command and waits until it is
//! applied here, whoever leads.
//!
//! A member that does not lead gives its command a number, sends it to the leader, and answers when the
//! number comes by in the log. When the leader is lost meanwhile, the number either comes by, or an
//! entry of a later leader does: then the command is in no log that counts and may be proposed again.
//! So no command is applied twice, and a change of leaders costs time and not requests.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::ClientWriteResult;
use openraft::vote::RaftLeaderId;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::command::{Answer, Kind, Proposal};
use super::leases::Leases;
use super::members::{Members, Rules};
use super::peers::{Lane, Peers};
use super::reads::Reads;
use super::standing::{Seat, Standing};
use super::state_machine::grows;
use super::wire::{Fate, ProposeRequest};
use super::{Raft, Shared, TypeConfig};
use crate::auth::Caller;
use crate::disk_space::{DiskSpace, Room};
use crate::error::Error;
use crate::metrics;

/// What etcd gives a request beside two election timeouts. The fate of one that timed out is unknown; it
/// may still be applied.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Proposer {
    standing: Standing,
    shared: Arc<Shared>,
    reads: Reads,
    leases: Leases,
    members: Members,
    /// Rung when raft has stopped for good.
    fatal: Arc<Notify>,
    space: Arc<DiskSpace>,
    max_request_bytes: usize,
    timeout: Duration,
}

/// A command, and who asked for it.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    kind: &'a Kind,
    caller: Option<&'a Caller>,
}

/// What a proposer is made of.
pub struct Parts {
    pub raft: Raft,
    pub shared: Arc<Shared>,
    pub peers: Arc<Peers>,
    /// `--election-timeout`.
    pub election: Duration,
    pub fatal: Arc<Notify>,
    pub space: Arc<DiskSpace>,
    pub max_request_bytes: usize,
    pub strict_reconfig_check: bool,
    pub max_learners: usize,
}

impl Proposer {
    pub fn new(parts: Parts) -> Self {
        let Parts { raft, shared, peers, election, fatal, space, max_request_bytes, .. } = parts;
        let timeout = PATIENCE + election * 2;
        let standing = Standing { raft, peers, election };
        let rules = Rules { strict: parts.strict_reconfig_check, max_learners: parts.max_learners, timeout };
        Self {
            reads: Reads::start(standing.clone(), shared.clone(), timeout),
            leases: Leases { standing: standing.clone(), shared: shared.clone(), timeout },
            members: Members::new(standing.clone(), shared.clone(), rules),
            standing,
            shared,
            fatal,
            space,
            max_request_bytes,
            timeout,
        }
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
        let counted = metrics::get();
        counted.proposals_pending.inc();
        let command = Wanted { kind: &kind, caller: caller.as_ref() };
        let result = self.submit(command).await;
        counted.proposals_pending.dec();
        if matches!(result, Err(Error::Timeout | Error::LeaderChanged | Error::Stopped)) {
            counted.proposals_failed.inc();
        }
        result
    }

    /// Proposes what only the leader of this term may decide. An error may still be applied, in no later
    /// term.
    pub async fn propose_as_leader(&self, kind: Kind, caller: Caller, term: u64) -> Result<Answer, Error> {
        let proposal = self.encode(Wanted { kind: &kind, caller: Some(&caller) }, 0)?;
        let (responder, complete) =
            ProgressResponder::<TypeConfig, ClientWriteResult<TypeConfig>>::complete_only();
        let leader = LeaderId::new(term, self.standing.id());
        let write = self.standing.raft.write(proposal).responder(responder).with_leader(leader);
        write.await.map_err(|_| Error::Stopped)?;
        match tokio::time::timeout(self.timeout, complete).await {
            Ok(Ok(Ok(response))) => response.data.0,
            Ok(Ok(Err(_)) | Err(_)) => Err(Error::NotLeader),
            Err(_) => Err(Error::Timeout),
        }
    }

    async fn submit(&self, command: Wanted<'_>) -> Result<Answer, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let seat = self.standing.await_leader(deadline).await?;
            let tried = if seat.leader == self.standing.id() {
                self.write(command, deadline).await?
            } else {
                self.forward(seat, command, deadline).await?
            };
            if let Some(answer) = tried {
                return Ok(answer);
            }
            if !self.standing.pause(seat, deadline).await {
                return Err(Error::Timeout);
            }
        }
    }

    fn encode(&self, command: Wanted<'_>, number: u64) -> Result<Proposal, Error> {
        let proposal = Proposal::new(command.kind, command.caller, number);
        if proposal.0.len() > self.max_request_bytes {
            return Err(Error::RequestTooLarge);
        }
        Ok(proposal)
    }

    /// As the leader. None: it is not in the log, and may be tried again.
    async fn write(&self, command: Wanted<'_>, deadline: Instant) -> Result<Option<Answer>, Error> {
        let proposal = self.encode(command, 0)?;
        let written = tokio::time::timeout_at(deadline, self.standing.raft.client_write(proposal));
        match written.await.map_err(|_| Error::Timeout)? {
            Ok(response) => response.data.0.map(Some),
            Err(RaftError::Fatal(_)) => {
                self.fatal.notify_one();
                Err(Error::Stopped)
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Ok(None),
            Err(RaftError::APIError(_)) => Err(Error::LeaderChanged),
        }
    }

    /// By way of the leader. None: it is in no log that counts, and may be tried again.
    async fn forward(
        &self,
        seat: Seat,
        command: Wanted<'_>,
        deadline: Instant,
    ) -> Result<Option<Answer>, Error> {
        let Some(link) = self.standing.peers.link_to(seat.leader) else { return Ok(None) };
        let number = fastrand::u64(1..);
        let command = self.encode(command, number)?.0;
        let (mut answered, _waiting) = self.shared.waiting.register(number);
        let mut client = link.client(Lane::Bulk);
        // A task of its own: the log is often faster than the reply, and a call that is dropped resets its
        // stream. After a thousand of these HTTP/2 ends the connection, with all that is under way on it.
        let call = tokio::spawn(async move {
            let call = client.propose(ProposeRequest { term: seat.id.term, command });
            tokio::time::timeout_at(deadline, call).await
        });
        let fate = tokio::select! {
            biased;
            answer = &mut answered => return lost_or(answer).map(Some),
            reply = call => match reply {
                Ok(Ok(Ok(reply))) => reply.into_inner().fate(),
                Ok(Ok(Err(status))) => {
                    self.standing.peers.examine(&status);
                    Fate::Unknown
                }
                Ok(Err(_)) => return Err(Error::Timeout),
                Err(_) => Fate::Unknown,
            },
        };
        match fate {
            Fate::Refused => Ok(None),
            Fate::Applied => match tokio::time::timeout_at(deadline, answered).await {
                Ok(answer) => lost_or(answer).map(Some),
                Err(_) => Err(Error::Timeout),
            },
            Fate::Unknown => self.decided(seat, answered, deadline).await,
        }
    }

    /// Waits until a command whose leader was lost has come by, or cannot any more.
    async fn decided(
        &self,
        seat: Seat,
        mut answered: oneshot::Receiver<Result<Answer, Error>>,
        deadline: Instant,
    ) -> Result<Option<Answer>, Error> {
        let mut applied = self.shared.applied.subscribe();
        let later = applied.wait_for(|applied| applied.is_some_and(|id| id.leader_id > seat.id));
        tokio::select! {
            biased;
            answer = &mut answered => lost_or(answer).map(Some),
            _ = later => match answered.try_recv() {
                Ok(answer) => answer.map(Some),
                Err(oneshot::error::TryRecvError::Empty) => Ok(None),
                Err(oneshot::error::TryRecvError::Closed) => Err(Error::LeaderChanged),
            },
            () = tokio::time::sleep_until(deadline) => Err(Error::TimeoutConnectionLost),
        }
    }

    /// Waits until everything acknowledged before now can be read here. Writes nothing to the log.
    pub async fn read_barrier(&self) -> Result<(), Error> {
        self.reads.barrier().await
    }

    /// The leader as far as this member knows, and the last index of its log.
    pub fn leader_and_last_index(&self) -> (Option<u64>, u64) {
        let last = self.standing.raft.metrics().borrow_watched().last_log_index;
        (self.standing.leader(), last.unwrap_or(0))
    }

    /// The last entry that is known to be committed.
    pub fn committed_index(&self) -> u64 {
        let metrics = self.standing.raft.metrics();
        metrics.borrow_watched().local_committed.map_or(0, |id| id.index)
    }

    pub fn is_leader(&self) -> bool {
        self.standing.is_leader()
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    pub fn space(&self) -> &DiskSpace {
        &self.space
    }

    pub fn raft(&self) -> &Raft {
        &self.standing.raft
    }
}

/// A number that was dropped came by within a snapshot: it may have been applied or not.
fn lost_or(answer: Result<Result<Answer, Error>, oneshot::error::RecvError>) -> Result<Answer, Error> {
    answer.unwrap_or(Err(Error::LeaderChanged))
}
