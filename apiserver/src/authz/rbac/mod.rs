//! RBAC: what the bindings of a user's name and groups allow (API doc "Using RBAC Authorization").
//!
//! Rules only add up: the first that allows ends the search, and nothing denies. `rules` matches one
//! rule, `Policy` finds the rules of a user, `escalation` keeps users from granting what they do not have.

pub mod escalation;
mod policy;
mod rules;
#[cfg(test)]
mod tests;

pub use policy::Policy;
pub use rules::rule_allows;

use super::{Authorizer, Rules};
use crate::request::{Attributes, Decision, User};
use api_types::authorization::v1::{NonResourceRule, ResourceRule};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The authorizer for mode RBAC.
pub struct Rbac {
    policy: Arc<Policy>,
}

impl Rbac {
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { policy }
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: Attributes<'_>) -> Decision {
        let mut errors = Vec::new();
        let found = self.policy.visit(attributes.user, &attributes.info.namespace, |rule| match rule {
            Ok((source, rule)) if rule_allows(attributes.info, rule) => {
                ControlFlow::Break(format!("RBAC: allowed by {source}"))
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                errors.push(error);
                ControlFlow::Continue(())
            }
        });
        match found {
            ControlFlow::Break(reason) => Decision::Allow(reason),
            ControlFlow::Continue(()) if errors.is_empty() => Decision::NoOpinion(String::new()),
            ControlFlow::Continue(()) => Decision::NoOpinion(format!("RBAC: {}", aggregate(&errors))),
        }
    }

    fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        let (rules, errors) = self.policy.rules_for(user, namespace);
        let mut listed = Rules { errors, ..Rules::default() };
        for rule in rules {
            if !rule.resources.is_empty() {
                listed.resource.push(ResourceRule {
                    verbs: rule.verbs.clone(),
                    api_groups: rule.api_groups,
                    resources: rule.resources,
                    resource_names: rule.resource_names,
                });
            }
            if !rule.non_resource_urls.is_empty() {
                listed
                    .non_resource
                    .push(NonResourceRule { verbs: rule.verbs, non_resource_urls: rule.non_resource_urls });
            }
        }
        listed
    }
}

/// Several errors as one text: one as it is, more in brackets, repeats left out.
pub(super) fn aggregate(errors: &[String]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for error in errors {
        if !seen.contains(&error.as_str()) {
            seen.push(error);
        }
    }
    match seen.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}
