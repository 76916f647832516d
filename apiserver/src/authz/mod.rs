//! Authorization: may this user do that?
//!
//! `Union` asks the authorizers of `--authorization-mode` in the flag's order, after the members of
//! system:masters were let through. The first that allows or denies decides; if none does, the
//! answer is no, with everyone's reasons. Answers come from views and never wait for I/O.

mod fixed;
mod forbidden;
pub mod metrics;
pub mod node;
pub mod rbac;
#[cfg(test)]
mod tests;
mod union;

pub use fixed::{AlwaysAllow, AlwaysDeny};
pub use forbidden::forbidden;
pub use union::{Mode, Union, parse_modes};

use crate::request::{Attributes, Decision, User};
use api_types::authorization::v1::{NonResourceRule, ResourceRule};

/// Decides what users may do.
pub trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: Attributes<'_>) -> Decision;

    /// Everything `user` may do in `namespace`, as far as it can be listed.
    fn rules_for(&self, user: &User, namespace: &str) -> Rules;
}

/// What an authorizer allows a user in a namespace.
#[derive(Debug, Default, PartialEq)]
pub struct Rules {
    pub resource: Vec<ResourceRule>,
    pub non_resource: Vec<NonResourceRule>,
    /// Whether there is more than could be listed.
    pub incomplete: bool,
    pub errors: Vec<String>,
}
