//! kvstore: an MVCC key-value store that speaks etcd's v3 gRPC API, replicated by raft.
//!
//! ```text
//! api -> raft::proposer -> log (fdatasync) -> raft::state_machine -> state, views, watchers -> answer
//! api -> mvcc::Reader (an immutable view) -> answer
//! ```
//! An answer to a write follows an fdatasync of the log. The applied state (`state`) is a cache of
//! snapshot and log. Reads never wait for the disk's sync or for the writer.

pub mod api;
pub mod auth;
pub mod bolt;
pub mod bootstrap;
pub mod corruption;
pub mod data_dir;
pub mod disk;
pub mod disk_space;
pub mod environment;
pub mod error;
pub mod etcd_flags;
pub mod export;
pub mod flags;
pub mod import;
pub mod lease;
pub mod listeners;
pub mod metrics;
pub mod migrate;
pub mod mvcc;
pub mod raft;
pub mod recovery;
pub mod restore;
pub mod server;
pub mod snapshot;
pub mod state;
pub mod tasks;
pub mod watch;
