//! What the log carries: one command per entry, as etcd's own request messages in a frame of ours.
//!
//! A proposal is encoded once; the bytes go to the log, to peers, and are what the state machine
//! decodes, so that keys and values in memory share them.

use std::fmt;

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use prost::Message;

use crate::auth::{AuthCommand, Caller};
use crate::error::Error;

/// One change of the replicated state.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 20")]
    pub kind: Option<Kind>,
    /// Who asked for it; absent while authentication is off.
    #[prost(message, optional, tag = "100")]
    pub caller: Option<Caller>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    #[prost(message, tag = "1")]
    Put(pb::PutRequest),
    #[prost(message, tag = "2")]
    DeleteRange(pb::DeleteRangeRequest),
    #[prost(message, tag = "3")]
    Txn(pb::TxnRequest),
    #[prost(message, tag = "4")]
    Compact(pb::CompactionRequest),
    #[prost(message, tag = "5")]
    LeaseGrant(pb::LeaseGrantRequest),
    #[prost(message, tag = "6")]
    LeaseRevoke(pb::LeaseRevokeRequest),
    #[prost(message, tag = "7")]
    Alarm(pb::AlarmRequest),
    /// A member tells its name and client URLs.
    #[prost(message, tag = "8")]
    Publish(pb::Member),
    /// Users and roles.
    #[prost(message, tag = "20")]
    Auth(AuthCommand),
}

/// An encoded command: the application data of a log entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl Proposal {
    pub fn new(kind: Kind) -> Self {
        Self::by(kind, None)
    }

    /// A command that is applied only if its caller may have it so.
    pub fn by(kind: Kind, caller: Option<Caller>) -> Self {
        Self(Command { kind: Some(kind), caller }.encode_to_vec().into())
    }

    /// `None`: not a command that this version knows.
    pub fn decode(&self) -> Option<(Kind, Caller)> {
        let command = Command::decode(self.0.clone()).ok()?;
        Some((command.kind?, command.caller.unwrap_or_default()))
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying a command answers. Headers carry the revision only.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Of an entry that holds no command.
    None,
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    Alarm(pb::AlarmResponse),
    /// A simple token.
    Token(String),
    /// Compactions and revocations: nothing but the revision.
    Revision(i64),
}

/// The response type of the raft log.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied(pub Result<Answer, Error>);
