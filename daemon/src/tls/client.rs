//! The client's side, made of what a kubeconfig holds: an authority, a certificate and key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::bundle::Bundle;
use super::followed::{Followed, Material};
use super::{MinVersion, Pem, TlsError};

/// Debian's bundle of public authorities, for clients that name none of their own.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What a client's TLS is made of.
#[derive(Clone, Debug, Default)]
pub struct ClientMaterial {
    /// Authorities that may vouch for the server; the system's when absent.
    pub ca: Option<Pem>,
    /// Client certificate and key: both or neither.
    pub cert: Option<Pem>,
    pub key: Option<Pem>,
    /// kubeconfig's `insecure-skip-tls-verify`.
    pub insecure_skip_verify: bool,
    /// Protocols offered; empty offers none (HTTP/1.1).
    pub alpn: Vec<&'static str>,
}

impl Material for ClientMaterial {
    type Config = ClientConfig;
    const NAME: &'static str = "client certificate";

    fn files(&self) -> Vec<PathBuf> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten().filter_map(Pem::path).collect()
    }

    fn build(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(MinVersion::Tls12.versions())
            .map_err(TlsError::Protocol)?;
        let builder = if self.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer { algorithms }))
        } else {
            match &self.ca {
                Some(ca) => {
                    let verifier = Bundle::new(ca, provider)?;
                    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
                }
                None => builder.with_root_certificates(Pem::File(Path::new(SYSTEM_ROOTS).into()).roots()?),
            }
        };
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(cert.certificates()?, key.private_key()?)
                .map_err(|source| TlsError::KeyPair { origin: cert.origin(), source })?,
            (None, None) => builder.with_no_client_auth(),
            _ => return Err(TlsError::HalfKeyPair),
        };
        config.alpn_protocols = self.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

/// A client's TLS configuration that follows its files.
pub type ClientTls = Followed<ClientMaterial>;

/// `insecure-skip-tls-verify`: any server, as long as it holds the key of what it shows.
struct AnyServer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for AnyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyServer")
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
