//! The nftables mode (KEP-3866): `plan.rs` decides what the table holds, `ruleset.rs` is that table
//! and its differences as `nft` scripts, `apply.rs` runs them. One table in each family, named
//! kube-proxy, with the chains, sets and maps of upstream's, so that what people know of one helps
//! with the other.

pub mod apply;
#[cfg(test)]
mod netns_tests;
pub mod plan;
pub mod ruleset;
