//! The Node object: registering it, and keeping its status ([`status`]) and lease ([`lease`]) current.

pub mod addresses;
pub mod allocatable;
pub mod classes;
pub mod iptables;
pub mod labels;
pub mod lease;
pub mod prepare;
pub mod register;
pub mod status;
