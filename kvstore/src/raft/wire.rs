//! What members say to each other: messages of ours over gRPC, made from openraft's types and etcd's.
//! Service `kvstore.Peer` (build.rs lists its methods) is served on the peer URLs.
//!
//! Every call but those to `kvstore.Directory` carries three headers: the cluster's id and who is meant
//! (a member that finds another id refuses), and who speaks (one that was removed is told so).

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message;

use super::TypeConfig;
use super::codec::{AppliedRecord, BrokenMembership, EntryRecord, LogIdRecord, VoteRecord};

/// Headers of a call, in hex.
pub const CLUSTER: &str = "kvstore-cluster";
pub const TO: &str = "kvstore-to";
pub const FROM: &str = "kvstore-from";

#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
mod service {
    include!(concat!(env!("OUT_DIR"), "/kvstore.Peer.rs"));
    include!(concat!(env!("OUT_DIR"), "/kvstore.Directory.rs"));
}

pub use service::directory_client::DirectoryClient;
pub use service::directory_server::{Directory, DirectoryServer};
pub use service::peer_client::PeerClient;
pub use service::peer_server::{Peer, PeerServer};

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub struct AppendRequest {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteRecord>,
    /// The entry before the first of these.
    #[prost(message, optional, tag = "2")]
    pub previous: Option<LogIdRecord>,
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<EntryRecord>,
    #[prost(message, optional, tag = "4")]
    pub committed: Option<LogIdRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AppendReply {
    #[prost(oneof = "AppendOutcome", tags = "1, 2, 3")]
    pub outcome: Option<AppendOutcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AppendOutcome {
    #[prost(message, tag = "1")]
    Accepted(Upto),
    /// The entry before the first is not there.
    #[prost(message, tag = "2")]
    Conflict(LogIdRecord),
    #[prost(message, tag = "3")]
    HigherVote(VoteRecord),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Upto {
    #[prost(message, optional, tag = "1")]
    pub last: Option<LogIdRecord>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct BallotRequest {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteRecord>,
    #[prost(message, optional, tag = "2")]
    pub last: Option<LogIdRecord>,
    /// The leader itself has asked for this election.
    #[prost(bool, tag = "3")]
    pub transfer: bool,
    /// Whether it would be voted for; nothing is promised.
    #[prost(bool, tag = "4")]
    pub pre_vote: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct BallotReply {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteRecord>,
    #[prost(bool, tag = "2")]
    pub granted: bool,
    #[prost(message, optional, tag = "3")]
    pub last: Option<LogIdRecord>,
}

/// The first part carries the offer, the others the file.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotPart {
    #[prost(message, optional, tag = "1")]
    pub offer: Option<SnapshotOffer>,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct SnapshotOffer {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteRecord>,
    #[prost(message, optional, tag = "2")]
    pub applied: Option<AppliedRecord>,
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct SnapshotReply {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteRecord>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct TransferRequest {
    #[prost(message, optional, tag = "1")]
    pub from: Option<VoteRecord>,
    #[prost(uint64, tag = "2")]
    pub to: u64,
    #[prost(message, optional, tag = "3")]
    pub last: Option<LogIdRecord>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct TransferReply {
    /// None: accepted.
    #[prost(oneof = "TransferRefusal", tags = "1, 2")]
    pub refusal: Option<TransferRefusal>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum TransferRefusal {
    /// The vote that stands now.
    #[prost(message, tag = "1")]
    VoteChanged(VoteRecord),
    /// How far the log is on disk.
    #[prost(message, tag = "2")]
    NotFlushed(Upto),
}

/// A command that another member was asked for.
#[derive(Clone, PartialEq, Message)]
pub struct ProposeRequest {
    /// For the leader of this term alone: a proposal that comes late must not be taken twice.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub command: Bytes,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct ProposeReply {
    #[prost(enumeration = "Fate", tag = "1")]
    pub fate: i32,
}

/// What became of a forwarded command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
pub enum Fate {
    /// It is not in the log and will not be.
    Refused = 0,
    /// It was applied by the leader: whoever asked will come to it.
    Applied = 1,
    /// The leader lost its place meanwhile.
    Unknown = 2,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct ReadIndexReply {
    #[prost(uint64, tag = "1")]
    pub index: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ChangeRequest {
    #[prost(oneof = "Change", tags = "1, 2, 3, 4")]
    pub change: Option<Change>,
}

/// A change of the members, as etcd's API asks for it.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Change {
    #[prost(message, tag = "1")]
    Add(pb::MemberAddRequest),
    #[prost(message, tag = "2")]
    Remove(pb::MemberRemoveRequest),
    #[prost(message, tag = "3")]
    Update(pb::MemberUpdateRequest),
    #[prost(message, tag = "4")]
    Promote(pb::MemberPromoteRequest),
}

#[derive(Clone, PartialEq, Message)]
pub struct ChangeReply {
    /// Who was added.
    #[prost(message, optional, tag = "1")]
    pub member: Option<pb::Member>,
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<pb::Member>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MembersReply {
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<pb::Member>,
}

/// A message lacks what it must carry.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("a message carries no vote")]
    NoVote,
    #[error("a message says nothing")]
    Empty,
    #[error(transparent)]
    Membership(#[from] BrokenMembership),
}

fn vote(record: Option<VoteRecord>) -> Result<super::Vote, WireError> {
    record.map(Into::into).ok_or(WireError::NoVote)
}

impl From<AppendEntriesRequest<TypeConfig>> for AppendRequest {
    fn from(request: AppendEntriesRequest<TypeConfig>) -> Self {
        Self {
            vote: Some(request.vote.into()),
            previous: request.prev_log_id.map(Into::into),
            entries: request.entries.iter().map(EntryRecord::from).collect(),
            committed: request.leader_commit.map(Into::into),
        }
    }
}

impl TryFrom<AppendRequest> for AppendEntriesRequest<TypeConfig> {
    type Error = WireError;

    fn try_from(request: AppendRequest) -> Result<Self, WireError> {
        Ok(Self {
            vote: vote(request.vote)?,
            prev_log_id: request.previous.map(Into::into),
            entries: request
                .entries
                .into_iter()
                .map(EntryRecord::into_entry)
                .collect::<Result<_, BrokenMembership>>()?,
            leader_commit: request.committed.map(Into::into),
        })
    }
}

impl From<StreamAppendResult<TypeConfig>> for AppendReply {
    fn from(result: StreamAppendResult<TypeConfig>) -> Self {
        let outcome = match result {
            Ok(last) => AppendOutcome::Accepted(Upto { last: last.map(Into::into) }),
            Err(StreamAppendError::Conflict(id)) => AppendOutcome::Conflict(id.into()),
            Err(StreamAppendError::HigherVote(vote)) => AppendOutcome::HigherVote(vote.into()),
        };
        Self { outcome: Some(outcome) }
    }
}

impl AppendReply {
    pub fn result(self) -> Result<StreamAppendResult<TypeConfig>, WireError> {
        Ok(match self.outcome.ok_or(WireError::Empty)? {
            AppendOutcome::Accepted(upto) => Ok(upto.last.map(Into::into)),
            AppendOutcome::Conflict(id) => Err(StreamAppendError::Conflict(id.into())),
            AppendOutcome::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote.into())),
        })
    }
}

impl BallotRequest {
    pub fn new(request: VoteRequest<TypeConfig>, pre_vote: bool) -> Self {
        Self {
            vote: Some(request.vote.into()),
            last: request.last_log_id.map(Into::into),
            transfer: request.leadership_transfer,
            pre_vote,
        }
    }

    pub fn request(self) -> Result<VoteRequest<TypeConfig>, WireError> {
        let mut request = VoteRequest::new(vote(self.vote)?, self.last.map(Into::into));
        request.leadership_transfer = self.transfer;
        Ok(request)
    }
}

impl From<VoteResponse<TypeConfig>> for BallotReply {
    fn from(response: VoteResponse<TypeConfig>) -> Self {
        Self {
            vote: Some(response.vote.into()),
            granted: response.vote_granted,
            last: response.last_log_id.map(Into::into),
        }
    }
}

impl BallotReply {
    pub fn response(self) -> Result<VoteResponse<TypeConfig>, WireError> {
        Ok(VoteResponse::new(vote(self.vote)?, self.last.map(Into::into), self.granted))
    }
}

impl SnapshotReply {
    pub fn vote(self) -> Result<super::Vote, WireError> {
        vote(self.vote)
    }
}

impl SnapshotOffer {
    pub fn vote(&self) -> Result<super::Vote, WireError> {
        vote(self.vote)
    }
}

impl From<TransferLeaderRequest<TypeConfig>> for TransferRequest {
    fn from(request: TransferLeaderRequest<TypeConfig>) -> Self {
        Self {
            from: Some((*request.from_leader()).into()),
            to: *request.to_node_id(),
            last: request.last_log_id().map(|id| (*id).into()),
        }
    }
}

impl TransferRequest {
    pub fn request(self) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
        Ok(TransferLeaderRequest::new(vote(self.from)?, self.to, self.last.map(Into::into)))
    }
}

impl From<TransferLeaderResponse<TypeConfig>> for TransferReply {
    fn from(response: TransferLeaderResponse<TypeConfig>) -> Self {
        let refusal = response.err().map(|error| match error {
            TransferLeaderError::VoteChanged { actual, .. } => TransferRefusal::VoteChanged(actual.into()),
            TransferLeaderError::LogNotFlushed { actual, .. } => {
                TransferRefusal::NotFlushed(Upto { last: actual.map(Into::into) })
            }
        });
        Self { refusal }
    }
}

impl TransferReply {
    /// As openraft puts it, with what was asked for.
    pub fn response(self, asked: &TransferLeaderRequest<TypeConfig>) -> TransferLeaderResponse<TypeConfig> {
        match self.refusal {
            None => Ok(()),
            Some(TransferRefusal::VoteChanged(actual)) => Err(TransferLeaderError::VoteChanged {
                expected: *asked.from_leader(),
                actual: actual.into(),
            }),
            Some(TransferRefusal::NotFlushed(upto)) => Err(TransferLeaderError::LogNotFlushed {
                expected: asked.last_log_id().copied(),
                actual: upto.last.map(Into::into),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{LogId, Vote};

    #[test]
    fn what_openraft_says_arrives_as_it_was() {
        let id = |index| LogId::from(LogIdRecord { term: 3, node: 9, index });
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(4, 1),
            prev_log_id: Some(id(6)),
            entries: vec![openraft::Entry { log_id: id(7), payload: openraft::EntryPayload::Blank }],
            leader_commit: Some(id(5)),
        };
        let bytes = AppendRequest::from(request.clone()).encode_to_vec();
        let back: AppendEntriesRequest<TypeConfig> =
            AppendRequest::decode(bytes.as_slice()).unwrap().try_into().unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));

        let higher = Vote::new(9, 2);
        for result in [
            Ok(None),
            Ok(Some(id(8))),
            Err(StreamAppendError::Conflict(id(2))),
            Err(StreamAppendError::HigherVote(higher)),
        ] {
            assert_eq!(AppendReply::from(result.clone()).result().unwrap(), result);
        }
        let mut ballot = VoteRequest::new(higher, Some(id(1)));
        ballot.leadership_transfer = true;
        assert_eq!(BallotRequest::new(ballot.clone(), false).request().unwrap(), ballot);
        let answer = VoteResponse::new(higher, Some(id(1)), true);
        assert_eq!(BallotReply::from(answer.clone()).response().unwrap(), answer);
        let transfer = TransferLeaderRequest::new(higher, 2, Some(id(3)));
        assert_eq!(TransferRequest::from(transfer.clone()).request().unwrap(), transfer);
        for response in [
            Ok(()),
            Err(TransferLeaderError::VoteChanged { expected: higher, actual: Vote::new(10, 1) }),
            Err(TransferLeaderError::LogNotFlushed { expected: Some(id(3)), actual: None }),
        ] {
            assert_eq!(TransferReply::from(response.clone()).response(&transfer), response);
        }
        assert!(AppendReply::default().result().is_err());
        assert!(BallotRequest::default().request().is_err());
    }
}
