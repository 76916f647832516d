//! What the log carries: one command per entry, as etcd's own request messages in a frame of ours.
//!
//! A proposal is encoded once; the bytes go to the log, to peers, and are what the state machine
//! decodes, so that keys and values in memory share them.

use std::fmt;

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use prost::{Message, encoding};

use crate::auth::{AuthCommand, Caller};
use crate::error::Error;

/// One change of the replicated state.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 20, 21")]
    pub kind: Option<Kind>,
    /// Who asked for it; absent while authentication is off.
    #[prost(message, optional, tag = "100")]
    pub caller: Option<Caller>,
    /// By which the member that was asked for it knows it again; 0 when the leader was asked.
    #[prost(fixed64, tag = "101")]
    pub number: u64,
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
    /// A member is about to join: whether as a learner, or to vote once it has caught up.
    #[prost(message, tag = "21")]
    Admit(pb::Member),
}

/// Tags of `Command`.
const CALLER: u32 = 100;
const NUMBER: u32 = 101;

/// An encoded command: the application data of a log entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl Proposal {
    /// A command that is applied only if its caller may have it so; with the number by which the member
    /// that was asked knows it again, or 0.
    pub fn new(kind: &Kind, caller: Option<&Caller>, number: u64) -> Self {
        // What deriving `Message` for `Command` would write, without a copy of the command.
        let called = caller.map_or(0, |caller| encoding::message::encoded_len(CALLER, caller));
        let numbered = if number == 0 { 0 } else { encoding::fixed64::encoded_len(NUMBER, &number) };
        let mut bytes = Vec::with_capacity(kind.encoded_len() + called + numbered);
        kind.encode(&mut bytes);
        if let Some(caller) = caller {
            encoding::message::encode(CALLER, caller, &mut bytes);
        }
        if number != 0 {
            encoding::fixed64::encode(NUMBER, &number, &mut bytes);
        }
        Self(bytes.into())
    }

    /// The command, its caller and its number. `None`: not a command that this version knows.
    pub fn decode(&self) -> Option<(Kind, Caller, u64)> {
        let command = Command::decode(self.0.clone()).ok()?;
        Some((command.kind?, command.caller.unwrap_or_default(), command.number))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_the_message_that_it_says() {
        let root = Caller { name: "root".to_owned(), revision: 3 };
        for (number, caller) in [(0, None), (1, Some(root.clone())), (u64::MAX, None), (0, Some(root))] {
            let kind = Kind::Put(pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() });
            let proposal = Proposal::new(&kind, caller.as_ref(), number);
            let command = Command { kind: Some(kind.clone()), caller: caller.clone(), number };
            assert_eq!(proposal.0, command.encode_to_vec());
            assert_eq!(proposal.decode(), Some((kind, caller.unwrap_or_default(), number)));
        }
        assert_eq!(Proposal(Bytes::new()).decode(), None);
    }
}
