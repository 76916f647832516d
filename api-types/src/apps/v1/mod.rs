//! Version v1 of the group apps.

pub mod controller_revision;
pub mod deployment;
pub mod replica_set;
mod workload;

pub use controller_revision::*;
pub use deployment::*;
pub use replica_set::*;
