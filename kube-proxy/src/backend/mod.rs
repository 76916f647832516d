//! How traffic is forwarded: one folder for each mode.

pub mod nftables;
