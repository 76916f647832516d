//! The allocator: which devices claims get on a node (KEP-4381 with KEP-4816 prioritized lists, KEP-4815 partitionable
//! devices, KEP-5018 admin access, KEP-5055 taints, KEP-5075 consumable capacity, KEP-5007 binding conditions).
//!
//! Pure: from slices, classes, what is in use and the node to allocations. `pools` says which devices a node reaches,
//! `requests` what is wanted, `search` finds it, `result` words it. What is tried first is part of the API: drivers
//! name pools and slices so that the devices that should go first do.

mod capacity;
mod constraint;
mod pools;
mod requests;
mod result;
mod search;
mod selectors;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::resource::v1::{AllocationResult, ResourceClaim};
use imbl::HashMap as Shared;

pub use selectors::Selectors;

use crate::devices::in_use::InUse;
use crate::devices::{Class, Slice};
use crate::node::NodeView;
use constraint::Constraint;
use pools::{Fault, Offer};
use search::{End, Search};

/// Why there is no allocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// On this node; others may do.
    #[error("{0}")]
    Node(String),
    /// On every node: something is wrong with a claim or class.
    #[error("{0}")]
    Claim(String),
    #[error("filter operation aborted: context deadline exceeded")]
    TimedOut,
}

impl Failure {
    pub fn claim(why: impl Into<String>) -> Self {
        Self::Claim(why.into())
    }
}

/// Devices and classes at the time of an attempt.
#[derive(Debug)]
pub struct Allocator {
    offer: Offer,
    in_use: InUse,
    classes: Shared<String, Arc<Class>>,
    selectors: Arc<Selectors>,
}

impl Allocator {
    pub fn new<'s>(
        slices: impl Iterator<Item = &'s Arc<Slice>>,
        in_use: InUse,
        classes: Shared<String, Arc<Class>>,
        selectors: Arc<Selectors>,
    ) -> Self {
        Self { offer: Offer::new(slices), in_use, classes, selectors }
    }

    /// What the claims get on the node, in their order; `None` when there is not enough. `stop` says when the search
    /// has taken too long, `share_id` makes an id.
    ///
    /// # Errors
    /// What `Failure` says.
    pub fn allocate(
        &self,
        node: &NodeView,
        claims: &[&ResourceClaim],
        stop: &dyn Fn() -> bool,
        share_id: &mut dyn FnMut() -> String,
    ) -> Result<Option<Vec<AllocationResult>>, Failure> {
        let reach = self.offer.on(node, &self.in_use);
        let mut search = Search::new(node, &reach, claims, &self.classes, &self.selectors, stop);
        for claim in claims {
            let demands = search.prepare(claim)?;
            search.demands.push(demands);
            let mut constraints = Vec::new();
            for (place, own) in claim.spec.devices.constraints.iter().enumerate() {
                constraints.push(Constraint::new(own).ok_or_else(|| {
                    Failure::claim(format!(
                        "claim {}, constraint #{place}: empty constraint (unsupported constraint type?)",
                        requests::key(claim)
                    ))
                })?);
            }
            search.constraints.push(constraints);
        }
        match search.request(0, 0)? {
            End::Found => search.results(share_id).map(Some),
            // COMPAT: for the first claim alone upstream makes an error of it.
            End::TooMany => Err(Failure::claim("allocation max size exceeded")),
            End::Nothing if reach.pools.iter().any(|pool| pool.fault == Some(Fault::Invalid)) => {
                Err(Failure::Node("invalid resource pools were encountered".into()))
            }
            End::Nothing => Ok(None),
        }
    }
}
