//! CertificateSubjectRestriction: the signer of client certificates makes no members of system:masters.

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::request::User;
use api_types::certificates::v1::CertificateSigningRequest;
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn validate(&self, request: &Request<'_>, _: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("certificates.k8s.io", "certificatesigningrequests", "") {
            return Ok(());
        }
        let Some(csr) = request.object::<CertificateSigningRequest>() else { return Ok(()) };
        if csr.spec.signer_name != CLIENT_SIGNER {
            return Ok(());
        }
        let subject = Subject::read(&csr.spec.request)
            .map_err(|why| request.forbidden(format!("failed to parse CSR: {why}")))?;
        if subject.organizations.iter().any(|group| group == User::MASTERS) {
            let why = format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed");
            return Err(request.forbidden(why).into());
        }
        Ok(())
    }
}

/// Who a PKCS#10 request wants a certificate for.
pub(super) struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
}

impl Subject {
    /// Reads the PEM block of a request.
    pub(super) fn read(pem: &[u8]) -> Result<Self, String> {
        let der = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
            .filter_map(Result::ok)
            .find(|(kind, _)| *kind == SectionKind::Csr)
            .map(|(_, der)| der)
            .ok_or("PEM block type must be CERTIFICATE REQUEST")?;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
        let subject = &request.certification_request_info.subject;
        let texts = |oid: &str| -> Vec<String> {
            subject
                .iter_attributes()
                .filter(|attribute| attribute.attr_type().to_id_string() == oid)
                .filter_map(|attribute| attribute.as_str().ok().map(str::to_owned))
                .collect()
        };
        Ok(Self { common_name: texts("2.5.4.3").pop().unwrap_or_default(), organizations: texts("2.5.4.10") })
    }
}
