//! This machine: whether it is fit for a cluster, and what is done to it (packages, kernel
//! settings, cgroups, the node's nftables rule). What is done here, teardown.rs undoes.

pub mod cni;
pub mod facts;
pub mod kernel;
pub mod namespace;
pub mod network;
pub mod packages;
pub mod ports;
pub mod processes;
