//! Replication: commands are proposed to openraft, which writes them to the log (`log`), sends them to
//! the other members (`network`) and applies them in order (`state_machine`). The path of a write:
//!
//! ```text
//! propose -> log append + fdatasync (shared by all writes waiting then) -> committed -> applied -> answered
//! ```
//! Members reach each other over `peers` in the messages of `wire`; `peer_service` is the receiving end.
//! Any member takes any request: writes go to the leader (`proposer`), reads ask it how far the log is
//! committed (`reads`), leases ask its clock (`leases`), changes of the members are made by it (`members`).
//!
//! A member that returns does not disturb: it asks whether it would be voted for before it stands for
//! election (pre-vote), and nobody votes while the leader is heard, whatever the term of who asks.

mod applier;
pub mod codec;
pub mod command;
pub mod leadership;
pub mod leases;
pub mod log;
pub mod members;
pub mod network;
pub mod peer_service;
pub mod peers;
pub mod proposer;
pub mod reads;
pub mod runtime;
pub mod standing;
pub mod state_machine;
mod waiting;
mod watched;
pub mod wire;

use std::io;

pub use applier::{Applier, Shared};

openraft::declare_raft_types!(
    /// The types that this store gives openraft.
    pub TypeConfig:
        D = command::Proposal,
        R = command::Applied,
        AsyncRuntime = runtime::Runtime,
);

pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub type Membership = openraft::Membership<u64, openraft::BasicNode>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, crate::snapshot::SnapshotFile>;
pub type Raft = openraft::Raft<TypeConfig, Applier>;

/// An error of ours where openraft asks for an I/O error.
pub fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
