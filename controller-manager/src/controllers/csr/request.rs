//! What a PKCS#10 request says: its names, its key, what it asks to be told in the certificate.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer as _;

/// A request, read and its signature checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub ip_addresses: usize,
    pub emails: usize,
    pub uris: usize,
    /// DER of the subject, of the public key, and of the value of the alternative names.
    pub subject: Vec<u8>,
    pub public_key: Vec<u8>,
    pub alternative_names: Option<Vec<u8>>,
}

impl Request {
    /// Reads the PEM block of a request.
    ///
    /// # Errors
    /// What is wrong with it, as upstream words it where it does.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        const BLOCK: &str = "PEM block type must be CERTIFICATE REQUEST";
        let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| BLOCK.to_owned())?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err(BLOCK.to_owned());
        }
        let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|e| e.to_string())?;
        request.verify_signature().map_err(|e| format!("the request is not signed with its own key: {e}"))?;
        let info = &request.certification_request_info;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().map(str::to_owned).map_err(|e| format!("unreadable subject: {e}"))
        };
        let mut own = Self {
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
            ..Self::default()
        };
        for name in info.subject.iter_common_name() {
            own.common_name = text(name)?;
        }
        for organization in info.subject.iter_organization() {
            own.organizations.push(text(organization)?);
        }
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(dns) => own.dns_names.push((*dns).to_owned()),
                    GeneralName::IPAddress(_) => own.ip_addresses += 1,
                    GeneralName::RFC822Name(_) => own.emails += 1,
                    GeneralName::URI(_) => own.uris += 1,
                    other => return Err(format!("the alternative name {other} is not supported")),
                }
            }
        }
        own.alternative_names = raw_alternative_names(&request);
        Ok(own)
    }
}

/// The bytes of the alternative names as they were asked for.
fn raw_alternative_names(request: &X509CertificationRequest<'_>) -> Option<Vec<u8>> {
    use x509_parser::cri_attributes::ParsedCriAttribute;
    request.certification_request_info.iter_attributes().find_map(|attribute| {
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else { return None };
        let names = asked.extensions.iter().find(|e| e.oid == OID_X509_EXT_SUBJECT_ALT_NAME)?;
        Some(names.value.to_vec())
    })
}
