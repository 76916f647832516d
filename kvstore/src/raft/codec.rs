//! openraft's types as they go to disk and to peers: messages of ours, so that no release of openraft
//! changes a byte of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use openraft::{BasicNode, EntryPayload};
use prost::Message;

use super::command::Proposal;
use super::{Entry, LogId, Membership, StoredMembership, Vote};

#[derive(Clone, Copy, PartialEq, Message)]
pub struct LogIdRecord {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub node: u64,
    #[prost(uint64, tag = "3")]
    pub index: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct VoteRecord {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub node: u64,
    #[prost(bool, tag = "3")]
    pub committed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct MembershipRecord {
    /// One configuration; two while changing from one to the other.
    #[prost(message, repeated, tag = "1")]
    pub configs: Vec<VotersRecord>,
    /// Members and how to reach them, learners too.
    #[prost(btree_map = "uint64, string", tag = "2")]
    pub nodes: BTreeMap<u64, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct VotersRecord {
    #[prost(uint64, repeated, tag = "1")]
    pub voters: Vec<u64>,
}

/// How far the log has been applied, and the membership in force then.
#[derive(Clone, PartialEq, Message)]
pub struct AppliedRecord {
    #[prost(message, optional, tag = "1")]
    pub last: Option<LogIdRecord>,
    #[prost(message, optional, tag = "2")]
    pub membership_at: Option<LogIdRecord>,
    #[prost(message, optional, tag = "3")]
    pub membership: Option<MembershipRecord>,
}

/// An entry of the log.
#[derive(Clone, PartialEq, Message)]
pub struct EntryRecord {
    #[prost(message, optional, tag = "1")]
    pub id: Option<LogIdRecord>,
    #[prost(oneof = "PayloadRecord", tags = "2, 3")]
    pub payload: Option<PayloadRecord>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum PayloadRecord {
    /// An encoded `Command`.
    #[prost(bytes = "bytes", tag = "2")]
    Command(Bytes),
    #[prost(message, tag = "3")]
    Membership(MembershipRecord),
}

impl From<LogId> for LogIdRecord {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        LogId {
            leader_id: openraft::impls::leader_id_adv::LeaderId::new(record.term, record.node),
            index: record.index,
        }
    }
}

impl From<Vote> for VoteRecord {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        if record.committed {
            Vote::new_committed(record.term, record.node)
        } else {
            Vote::new(record.term, record.node)
        }
    }
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        let configs = membership.get_joint_config().iter();
        Self {
            configs: configs.map(|set| VotersRecord { voters: set.iter().copied().collect() }).collect(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

/// A record decodes but makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("a membership names voters that are no members")]
pub struct BrokenMembership;

impl TryFrom<MembershipRecord> for Membership {
    type Error = BrokenMembership;

    fn try_from(record: MembershipRecord) -> Result<Self, BrokenMembership> {
        if record.configs.is_empty() {
            return Ok(Self::default());
        }
        let configs: Vec<BTreeSet<u64>> =
            record.configs.into_iter().map(|config| config.voters.into_iter().collect()).collect();
        let nodes: BTreeMap<u64, BasicNode> =
            record.nodes.into_iter().map(|(id, addr)| (id, BasicNode::new(addr))).collect();
        Membership::new(configs, nodes).map_err(|_| BrokenMembership)
    }
}

impl AppliedRecord {
    pub fn new(last: Option<LogId>, membership: &StoredMembership) -> Self {
        Self {
            last: last.map(Into::into),
            membership_at: membership.log_id().map(Into::into),
            membership: Some(membership.membership().into()),
        }
    }

    pub fn last(&self) -> Option<LogId> {
        self.last.map(Into::into)
    }

    pub fn membership(&self) -> Result<StoredMembership, BrokenMembership> {
        let membership = self.membership.clone().unwrap_or_default();
        Ok(StoredMembership::new(self.membership_at.map(Into::into), membership.try_into()?))
    }
}

impl From<&Entry> for EntryRecord {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(proposal) => Some(PayloadRecord::Command(proposal.0.clone())),
            EntryPayload::Membership(membership) => Some(PayloadRecord::Membership(membership.into())),
        };
        Self { id: Some(entry.log_id.into()), payload }
    }
}

impl EntryRecord {
    pub fn into_entry(self) -> Result<Entry, BrokenMembership> {
        let payload = match self.payload {
            None => EntryPayload::Blank,
            Some(PayloadRecord::Command(bytes)) => EntryPayload::Normal(Proposal(bytes)),
            Some(PayloadRecord::Membership(membership)) => EntryPayload::Membership(membership.try_into()?),
        };
        Ok(Entry { log_id: self.id.unwrap_or_default().into(), payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_went() {
        let id = LogId::from(LogIdRecord { term: 3, node: 9, index: 12 });
        let nodes = BTreeMap::from([(1, BasicNode::new("a")), (2, BasicNode::new("b"))]);
        let membership = Membership::new(vec![BTreeSet::from([1])], nodes).unwrap();
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"put"))),
            EntryPayload::Membership(membership),
        ];
        for payload in payloads {
            let entry = Entry { log_id: id, payload };
            let bytes = EntryRecord::from(&entry).encode_to_vec();
            assert_eq!(EntryRecord::decode(bytes.as_slice()).unwrap().into_entry().unwrap(), entry);
        }
        for vote in [Vote::new(4, 1), Vote::new_committed(5, 2)] {
            assert_eq!(Vote::from(VoteRecord::from(vote)), vote);
        }
    }
}
