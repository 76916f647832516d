//! Certificate signing requests: approved where a node asks for itself, signed by the cluster's
//! authority, cleaned away when old.
//!
//! `request` reads the PKCS#10 inside, `signer` has the rules of the four built-in signers,
//! `certificate` writes the X.509; the three controllers are beside them
//! (API doc "Certificates and Certificate Signing Requests").

mod approving;
mod certificate;
mod cleaner;
mod request;
mod signer;
mod signing;

pub use approving::Approving;
pub use certificate::Authority;
pub use cleaner::Cleaner;
pub use signing::Signing;

use api_types::certificates::v1::{CertificateSigningRequest, RequestConditionType};

fn has(csr: &CertificateSigningRequest, condition: RequestConditionType) -> bool {
    csr.status.conditions.iter().any(|c| c.type_ == condition)
}

#[cfg(test)]
mod tests;
