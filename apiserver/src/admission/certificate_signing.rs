//! CertificateSigning: who writes a certificate into a request must be allowed to sign for its signer.

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::request::{Attributes, Decision, RequestInfo};
use api_types::certificates::v1::CertificateSigningRequest;

pub struct CertificateSigning;

impl Plugin for CertificateSigning {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("certificates.k8s.io", "certificatesigningrequests", "status") {
            return Ok(());
        }
        let (Some(old), Some(new)) =
            (request.old::<CertificateSigningRequest>(), request.object::<CertificateSigningRequest>())
        else {
            return Ok(());
        };
        let unchanged = old.status.certificate == new.status.certificate
            && old.status.conditions == new.status.conditions;
        let signer = &old.spec.signer_name;
        if unchanged || may(request, context, "sign", signer) {
            return Ok(());
        }
        let why = format!("user not permitted to sign requests with signerName {signer:?}");
        Err(Refusal::missing(request.forbidden(why)))
    }
}

/// Whether the user may do `verb` for the signer, or for all of the signer's domain.
pub(super) fn may(request: &Request<'_>, context: Context<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let info = RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            group: "certificates.k8s.io".to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            ..RequestInfo::default()
        };
        let attributes = Attributes { user: request.user, info: &info };
        matches!(context.authorizer.authorize(attributes), Decision::Allow(_))
    })
}
