//! Version v1 of the group policy.

pub mod eviction;

pub use eviction::*;
