//! The controllers, a folder each; `crate::table` says which run and with what rights.

pub mod deployment;
pub mod replica_set;
