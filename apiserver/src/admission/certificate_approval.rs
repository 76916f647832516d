//! CertificateApproval: who approves or denies a request must be allowed to for its signer.

use super::certificate_signing::may;
use super::{Context, Operation, Plugin, Refusal, Request};
use api_types::certificates::v1::CertificateSigningRequest;

pub struct CertificateApproval;

impl Plugin for CertificateApproval {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("certificates.k8s.io", "certificatesigningrequests", "approval") {
            return Ok(());
        }
        // The old one: an approver must not choose the signer that suits them.
        let Some(old) = request.old::<CertificateSigningRequest>() else { return Ok(()) };
        let signer = &old.spec.signer_name;
        if may(request, context, "approve", signer) {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {signer:?}");
        Err(Refusal::missing(request.forbidden(why)))
    }
}
