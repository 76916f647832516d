//! Service accounts as users: their names and groups, and the tokens that prove them
//! (API doc "Managing Service Accounts"; KEP-1205 bound tokens).
//!
//! `keys` reads and uses the signing keys, `claims` says what stands in a token, `check` decides
//! whether a token is good, `legacy` knows those in Secrets, `issue` answers TokenRequests, `discovery` makes the OpenID documents.

mod check;
mod claims;
pub mod discovery;
mod issue;
mod keys;
mod legacy;
#[cfg(test)]
mod tests;

pub use check::ServiceAccountTokens;
pub use discovery::OpenIdDocuments;
pub use issue::{Bound, IssueOptions, Issuer, cannot_bind};
pub use keys::{SigningKey, VerifyingKeys};

/// `system:serviceaccount:NAMESPACE:NAME`
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The groups of every service account of a namespace.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}
