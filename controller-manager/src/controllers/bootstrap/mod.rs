//! The controllers of bootstrap tokens, by which nodes join (kubeadm): one signs the cluster's
//! description with them, one deletes those that have expired. Both are off unless they are named.

mod cleaner;
mod signer;

pub use cleaner::TokenCleaner;
pub use signer::BootstrapSigner;

use jiff::Timestamp;

use crate::cached::BootstrapToken;

/// What is left of a token's time.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Forever,
    Until(Timestamp),
    Nothing,
}

fn left(token: &BootstrapToken, now: Timestamp) -> Left {
    if token.expiration.is_empty() {
        return Left::Forever;
    }
    // COMPAT: what cannot be read has expired.
    match token.expiration.parse::<Timestamp>() {
        Ok(end) if end > now => Left::Until(end),
        _ => Left::Nothing,
    }
}
