//! The members and their changes. The leader makes them (`plan` says whether), one at a time; other
//! members pass on what they are asked.
//!
//! A member that is added as a voter joins without a vote and gets it once it has caught up: until then
//! the quorum is the old one, so that adding a member never stops a cluster. `member list` shows it as
//! the voter that it is going to be. A change that a leader left half done is finished by the next.
//!
//! A leader that has been removed makes no change any more, though openraft lets it lead for another while:
//! its successor does (decision 10).

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_protocol::etcdserverpb as pb;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, Instant as _, ServerState};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::command::{Kind, Proposal};
use super::peers::Lane;
use super::standing::Standing;
use super::wire::{Change, ChangeReply, ChangeRequest, Nothing};
use super::{Shared, StoredMembership, TypeConfig, runtime};
use crate::data_dir;
use crate::error::Error;
use crate::flags::urls;
use crate::metrics;
use plan::View;

/// Between two attempts while another change is being made.
const PAUSE: Duration = Duration::from_millis(50);

/// What the flags say about changes.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub strict: bool,
    pub max_learners: usize,
    /// How long a change may take.
    pub timeout: Duration,
}

#[derive(Clone)]
pub struct Members {
    pub standing: Standing,
    pub shared: Arc<Shared>,
    pub rules: Rules,
    /// Held by whoever makes a change, or finishes one.
    turn: Arc<Mutex<()>>,
}

impl Members {
    pub fn new(standing: Standing, shared: Arc<Shared>, rules: Rules) -> Self {
        Self { standing, shared, rules, turn: Arc::default() }
    }

    /// All members, as the applied log has them.
    pub fn list(&self) -> Vec<pb::Member> {
        let machine = self.shared.machine.lock();
        let membership = machine.membership.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let listed = membership.nodes().map(|(id, node)| {
            let known = machine.members.get(id).cloned().unwrap_or_default();
            pb::Member {
                id: *id,
                peer_urls: node.addr.split(',').map(str::to_owned).collect(),
                is_learner: known.is_learner && !voters.contains(id),
                ..known
            }
        });
        listed.collect()
    }

    /// Has a change made by the leader, whoever that is.
    pub async fn change(&self, change: Change) -> Result<ChangeReply, Status> {
        let deadline = Instant::now() + self.rules.timeout;
        loop {
            let seat = self.standing.await_leader(deadline).await?;
            let result = if seat.leader == self.standing.id() {
                self.change_here(change.clone()).await
            } else {
                self.pass_on(seat.leader, change.clone(), deadline).await
            };
            match result {
                Err(status) if status.code() == Code::FailedPrecondition && is_not_leader(&status) => {
                    if !self.standing.pause(seat, deadline).await {
                        return Err(Error::Timeout.into());
                    }
                }
                other => return other,
            }
        }
    }

    async fn pass_on(&self, leader: u64, change: Change, deadline: Instant) -> Result<ChangeReply, Status> {
        let link = self.standing.peers.link_to(leader).ok_or(Error::NotLeader)?;
        let mut client = link.client(Lane::Bulk);
        let call = client.change_members(ChangeRequest { change: Some(change) });
        match tokio::time::timeout_at(deadline, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) if status.message().starts_with("etcdserver: ") => Err(status),
            // It did not come through, or its answer did not.
            Ok(Err(_)) | Err(_) => Err(Error::Timeout.into()),
        }
    }

    /// Makes a change as the leader. It is finished also when nobody waits for it any more.
    pub async fn change_here(&self, change: Change) -> Result<ChangeReply, Status> {
        let this = self.clone();
        let work = tokio::spawn(async move {
            let turn = tokio::time::timeout(this.rules.timeout, this.turn.lock()).await;
            let _turn = turn.map_err(|_| Error::Timeout)?;
            if this.is_leaving() {
                return Err(Error::NotLeader);
            }
            let member = match change {
                Change::Add(request) => Some(this.add(request).await?),
                Change::Remove(request) => this.remove(request.id).await.map(|()| None)?,
                Change::Update(request) => this.update(request).await.map(|()| None)?,
                Change::Promote(request) => this.promote(request.id).await.map(|()| None)?,
            };
            Ok(ChangeReply { member, members: this.list() })
        });
        work.await.map_err(|error| Error::Internal(error.to_string()))?.map_err(|error: Error| error.into())
    }

    fn view(&self) -> View {
        let metrics = self.standing.raft.metrics();
        let metrics = metrics.borrow_watched();
        let lately = self.standing.election * 2;
        let heard = metrics.heartbeat.iter().flatten();
        let heard = heard.filter(|(_, at)| at.as_ref().is_some_and(|at| at.elapsed() < lately));
        View {
            members: self.list(),
            active: heard.map(|(id, _)| *id).chain([self.standing.id()]).collect(),
            leader: self.standing.id(),
            strict: self.rules.strict,
            max_learners: self.rules.max_learners,
        }
    }

    async fn add(&self, request: pb::MemberAddRequest) -> Result<pb::Member, Error> {
        let peer_urls = valid(&request.peer_urls)?;
        let id = data_dir::member_id(&peer_urls, &runtime::since_epoch().as_nanos().to_string());
        self.view().add(id, &peer_urls, request.is_learner)?;
        let addresses = peer_urls.join(",");
        let member = pb::Member { id, peer_urls, is_learner: request.is_learner, ..Default::default() };
        let admission = self.standing.raft.client_write(Proposal::new(&Kind::Admit(member.clone()), None, 0));
        self.within(async { admission.await.map(drop) }).await?;
        let nodes = BTreeMap::from([(id, BasicNode::new(addresses))]);
        self.reconfigure(ChangeMembers::AddNodes(nodes)).await?;
        tracing::info!(member = format!("{id:x}"), learner = request.is_learner, "added a member");
        Ok(member)
    }

    async fn remove(&self, id: u64) -> Result<(), Error> {
        self.view().remove(id)?;
        let link = self.standing.peers.link_to(id);
        let ids = BTreeSet::from([id]);
        let votes = self.standing.raft.voter_ids().any(|voter| voter == id);
        let change = if votes { ChangeMembers::RemoveVoters(ids) } else { ChangeMembers::RemoveNodes(ids) };
        self.reconfigure(change).await?;
        tracing::info!(member = format!("{id:x}"), "removed a member");
        if let Some(link) = link {
            // It may be down, and then learns it from whom it asks for a vote.
            tokio::spawn(async move { link.client(Lane::Urgent).farewell(Nothing {}).await.ok() });
        }
        Ok(())
    }

    async fn update(&self, request: pb::MemberUpdateRequest) -> Result<(), Error> {
        let peer_urls = valid(&request.peer_urls)?;
        self.view().update(request.id, &peer_urls)?;
        let nodes = BTreeMap::from([(request.id, BasicNode::new(peer_urls.join(",")))]);
        self.reconfigure(ChangeMembers::SetNodes(nodes)).await
    }

    async fn promote(&self, id: u64) -> Result<(), Error> {
        let (matched, last) = self.progress(id);
        let counted = metrics::get();
        let result = match self.view().promote(id, matched, last) {
            Ok(()) => self.reconfigure(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await,
            Err(error) => Err(error),
        };
        match &result {
            Ok(()) => {
                counted.learner_promotions.inc();
                tracing::info!(member = format!("{id:x}"), "promoted a learner");
            }
            Err(error) => counted.learner_promotion_failures.with_label_values(&[&error.to_string()]).inc(),
        }
        result
    }

    /// How far the log of a member goes, and the leader's.
    fn progress(&self, id: u64) -> (Option<u64>, u64) {
        let metrics = self.standing.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
        (matched.map(|id| id.index), metrics.last_log_index.unwrap_or(0))
    }

    /// The last configuration that is known here: answers may come before openraft's metrics show it.
    fn newest(&self) -> StoredMembership {
        let seen = self.standing.metrics().membership_config;
        let applied = self.shared.machine.lock().membership.clone();
        if applied.log_id() > seen.log_id() { applied } else { (*seen).clone() }
    }

    /// Whether this member has no vote in the configuration that is, or is to come.
    fn is_leaving(&self) -> bool {
        let newest = self.newest();
        let last = newest.membership().get_joint_config().last();
        last.is_none_or(|voters| !voters.contains(&self.standing.id()))
    }

    /// Ends a joint configuration. The last step of a change, also where it leaves this member out.
    async fn finish(&self, joint: &super::Membership) {
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have done it.
        if self.newest().membership() == joint && self.standing.is_leader() {
            tracing::info!("finishing a change of the members that another leader began");
            let change = ChangeMembers::AddVoterIds(BTreeSet::new());
            let asked = self.standing.raft.change_membership(change, false);
            // Tried again as long as it is not done.
            tokio::time::timeout(self.rules.timeout, asked).await.ok();
        }
    }

    /// Gives a new member its vote.
    async fn enfranchise(&self, id: u64) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        self.reconfigure(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
    }

    /// Changes the configuration; waits while another change is being made. A leader that loses its place
    /// meanwhile may never be told how it ended.
    async fn reconfigure(&self, change: ChangeMembers<u64, BasicNode>) -> Result<(), Error> {
        let deadline = Instant::now() + self.rules.timeout;
        loop {
            if self.is_leaving() {
                return Err(Error::NotLeader);
            }
            let asked = self.standing.raft.change_membership(change.clone(), false);
            match tokio::time::timeout_at(deadline, asked).await {
                Err(_) => return Err(Error::Timeout),
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) if is_busy(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Err(error)) => return Err(refusal(error)),
            }
        }
    }

    async fn within(
        &self,
        work: impl Future<Output = Result<(), RaftError<TypeConfig, ClientWriteError<TypeConfig>>>>,
    ) -> Result<(), Error> {
        match tokio::time::timeout(self.rules.timeout, work).await {
            Ok(result) => result.map_err(refusal),
            Err(_) => Err(Error::Timeout),
        }
    }

    /// Finishes what an earlier leader began, and gives members their vote that wait for it. For ever;
    /// does nothing while another leads.
    pub async fn settle(self) -> anyhow::Result<()> {
        let mut standing = self.standing.raft.server_metrics();
        let mut applied = self.shared.applied.subscribe();
        loop {
            // From here on, whatever changes is looked at: what follows goes by these two alone.
            let now = standing.borrow_and_update().clone();
            let applied_to = *applied.borrow_and_update();
            if now.state != ServerState::Leader {
                if standing.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            let membership = now.membership_config.membership().clone();
            if membership.get_joint_config().len() > 1 {
                // By whoever began it, as a rule; after a change of leaders by us.
                tokio::time::sleep(self.standing.election).await;
                self.finish(&membership).await;
                continue;
            }
            let waiting = self.waiting(&membership);
            if waiting.is_empty() {
                // Who is to vote is told by the log, and a new leader may not have applied it that far.
                let behind = applied_to < *now.membership_config.log_id();
                tokio::select! {
                    changed = standing.changed() => if changed.is_err() {
                        std::future::pending::<()>().await;
                    },
                    // The sender is ours: it does not go.
                    Ok(()) = applied.changed(), if behind => {}
                }
                continue;
            }
            // Only while someone waits: these change with every entry.
            let mut progress = self.standing.raft.metrics();
            // What it shows now has been seen: a fresh receiver would take it for a change, for ever.
            progress.borrow_and_update();
            let ready = waiting.into_iter().find(|id| {
                let (matched, last) = self.progress(*id);
                plan::caught_up(matched, last)
            });
            match ready {
                Some(id) => match self.enfranchise(id).await {
                    Ok(()) => tracing::info!(member = format!("{id:x}"), "a new member has its vote"),
                    Err(error) => {
                        tracing::warn!(%error, member = format!("{id:x}"), "could not give a vote");
                        tokio::time::sleep(self.standing.election).await;
                    }
                },
                None => {
                    // Whatever changed, it is looked at anew.
                    if let Ok(Err(_)) = tokio::time::timeout(self.standing.election, progress.changed()).await
                    {
                        // raft has ended: nothing changes any more.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// Members that are to vote and do not.
    fn waiting(&self, membership: &super::Membership) -> Vec<u64> {
        let machine = self.shared.machine.lock();
        let to_vote = |id: &u64| machine.members.get(id).is_some_and(|member| !member.is_learner);
        membership.learner_ids().filter(to_vote).collect()
    }
}

fn is_not_leader(status: &Status) -> bool {
    status.message() == Error::NotLeader.to_string()
}

/// Peer URLs in order, each once; refuses what is none.
fn valid(given: &[String]) -> Result<Vec<String>, Error> {
    let parsed = urls("peer-urls", &given.join(",")).map_err(|_| Error::MemberBadUrls)?;
    if parsed.is_empty() {
        return Err(Error::MemberBadUrls);
    }
    let sorted: BTreeSet<String> = parsed.iter().map(ToString::to_string).collect();
    Ok(sorted.into_iter().collect())
}

type Refused = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

fn is_busy(error: &Refused) -> bool {
    use ChangeMembershipError::{InProgress, UncommittedLeaderLog};
    matches!(
        error,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(InProgress(_) | UncommittedLeaderLog(_)))
    )
}

fn refusal(error: Refused) -> Error {
    match error {
        RaftError::Fatal(_) => Error::Stopped,
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Error::NotLeader,
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Error::LeaderChanged,
        RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => Error::LeaderChanged,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::EmptyMembership(_) => Error::MemberNotEnoughStarted,
            ChangeMembershipError::LearnerNotFound(_) => Error::MemberNotFound,
            _ => Error::Timeout,
        },
    }
}
