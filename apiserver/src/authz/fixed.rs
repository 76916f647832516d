//! Authorizers that do not look: AlwaysAllow and AlwaysDeny.

use super::{Authorizer, Rules};
use crate::request::{Attributes, Decision, User};
use api_types::authorization::v1::{NonResourceRule, ResourceRule};

/// Allows everything (`--authorization-mode=AlwaysAllow`).
#[derive(Debug)]
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize(&self, _: Attributes<'_>) -> Decision {
        Decision::Allow(String::new())
    }

    fn rules_for(&self, _: &User, _: &str) -> Rules {
        let all = || vec!["*".to_owned()];
        Rules {
            resource: vec![ResourceRule {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                ..Default::default()
            }],
            non_resource: vec![NonResourceRule { verbs: all(), non_resource_urls: all() }],
            ..Rules::default()
        }
    }
}

/// Allows nothing (`--authorization-mode=AlwaysDeny`).
#[derive(Debug)]
pub struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize(&self, _: Attributes<'_>) -> Decision {
        Decision::NoOpinion("Everything is forbidden.".to_owned())
    }

    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules::default()
    }
}
