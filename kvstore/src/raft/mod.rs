//! Replication: commands are proposed to openraft, which writes them to the log (`log`), sends them to
//! the other members (`network`) and applies them in order (`state_machine`). The path of a write:
//!
//! ```text
//! propose -> log append + fdatasync (shared by all writes waiting then) -> committed -> applied -> answered
//! ```

mod applier;
pub mod codec;
pub mod command;
pub mod log;
pub mod network;
pub mod proposer;
pub mod runtime;
pub mod state_machine;

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
