//! Whom a certificate names, in Kubernetes' reading: the common name is the user, each organization
//! a group.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::TlsError;

/// A certificate's subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
}

impl Subject {
    /// Of a certificate in DER.
    ///
    /// # Errors
    /// [`TlsError::Untrusted`] when it is no X.509 certificate.
    pub fn of(certificate: &[u8]) -> Result<Self, TlsError> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|e| TlsError::Untrusted(e.to_string()))?;
        let subject = certificate.subject();
        let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().ok().map(str::to_owned);
        Ok(Self {
            common_name: subject.iter_common_name().find_map(text).unwrap_or_default(),
            organizations: subject.iter_organization().filter_map(text).collect(),
        })
    }
}
