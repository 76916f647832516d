//! Which certificates a server may show: those that the authorities named for it vouch for.
//!
//! COMPAT: a certificate that is among them itself is trusted, authority or not: many charts make one self-signed
//! certificate and put it in both places.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Pem, TlsError};

/// See the module.
#[derive(Debug)]
pub(super) struct Bundle {
    chain: Arc<WebPkiServerVerifier>,
    members: Vec<CertificateDer<'static>>,
}

impl Bundle {
    pub fn new(pem: &Pem, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(pem.roots()?), provider)
            .build()
            .map_err(|error| TlsError::Authorities { origin: pem.origin(), message: error.to_string() })?;
        Ok(Self { chain, members: pem.certificates()? })
    }

    /// A member of the bundle vouches for itself: what is left is its name and time.
    fn own(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        let (_, cert) = x509_parser::parse_x509_certificate(shown)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = cert.validity();
        if now < validity.not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > validity.not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for Bundle {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.members.iter().any(|member| member.as_ref() == shown.as_ref()) {
            return self.own(shown, name, now);
        }
        self.chain.verify_server_cert(shown, between, name, stapled, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, signed)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate")
    }

    #[test]
    fn a_member_of_the_bundle_is_trusted_for_its_names() {
        let own = self_signed("hook.ns.svc");
        let pem = Pem::Data(own.cert.pem().into_bytes());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let bundle = Bundle::new(&pem, provider).expect("a verifier");
        let check = |cert: &CertificateDer<'_>, name: &str| {
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            bundle.verify_server_cert(cert, &[], &name, &[], UnixTime::now()).map(|_| ())
        };
        assert_eq!(check(own.cert.der(), "hook.ns.svc"), Ok(()));
        assert!(check(own.cert.der(), "other.ns.svc").is_err());
        assert!(check(self_signed("hook.ns.svc").cert.der(), "hook.ns.svc").is_err(), "another one");
    }
}
