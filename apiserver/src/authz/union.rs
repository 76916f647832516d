//! The authorizers of `--authorization-mode`, asked one after another.

use super::{Authorizer, Rules};
use crate::request::{Attributes, Decision, User};
use std::sync::Arc;

/// A value of `--authorization-mode` that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Node,
    Rbac,
    AlwaysAllow,
    AlwaysDeny,
}

/// What is wrong with `--authorization-mode`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModeError {
    #[error("at least one authorization-mode must be passed")]
    None,
    #[error("authorization-mode {0:?} is not a valid mode")]
    Unknown(String),
    #[error("authorization-mode {0:?} has mode specified more than once")]
    Repeated(String),
    #[error("authorization-mode {0:?} is not supported yet")]
    Unsupported(String),
}

/// Reads the flag's values; the order is kept.
///
/// # Errors
/// For no, unknown, repeated and not yet supported modes.
pub fn parse_modes<S: AsRef<str>>(names: &[S]) -> Result<Vec<Mode>, ModeError> {
    let mut modes = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let mode = match name {
            "Node" => Mode::Node,
            "RBAC" => Mode::Rbac,
            "AlwaysAllow" => Mode::AlwaysAllow,
            "AlwaysDeny" => Mode::AlwaysDeny,
            "ABAC" | "Webhook" => return Err(ModeError::Unsupported(name.to_owned())),
            _ => return Err(ModeError::Unknown(name.to_owned())),
        };
        if modes.contains(&mode) {
            return Err(ModeError::Repeated(name.to_owned()));
        }
        modes.push(mode);
    }
    if modes.is_empty() { Err(ModeError::None) } else { Ok(modes) }
}

/// All authorizers of this server.
pub struct Union {
    authorizers: Vec<Arc<dyn Authorizer>>,
}

impl Union {
    /// `authorizers` in the order in which they are asked.
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { authorizers }
    }
}

impl Authorizer for Union {
    fn authorize(&self, attributes: Attributes<'_>) -> Decision {
        // Before all others: a broken policy must not lock the administrators out.
        if attributes.user.is_in(User::MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for authorizer in &self.authorizers {
            match authorizer.authorize(attributes) {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided @ Decision::Allow(_) => return decided,
                Decision::Deny(reason) => {
                    reasons.push(reason);
                    return Decision::Deny(reasons.join("\n"));
                }
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for authorizer in &self.authorizers {
            let rules = authorizer.rules_for(user, namespace);
            all.resource.extend(rules.resource);
            all.non_resource.extend(rules.non_resource);
            all.incomplete |= rules.incomplete;
            all.errors.extend(rules.errors);
        }
        all
    }
}
