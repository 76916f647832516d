//! The client's side, made of what a kubeconfig holds: an authority, a certificate and key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{MinVersion, Pem, TlsError, reload};
use crate::shutdown::Shutdown;

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

impl ClientMaterial {
    fn files(&self) -> Vec<PathBuf> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten().filter_map(Pem::path).collect()
    }

    fn build(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(MinVersion::Tls12.versions())
            .map_err(TlsError::Protocol)?;
        let builder = if self.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer { algorithms }))
        } else {
            let ca = self.ca.clone().unwrap_or_else(|| Pem::File(Path::new(SYSTEM_ROOTS).into()));
            builder.with_root_certificates(ca.roots()?)
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
#[derive(Debug)]
pub struct ClientTls {
    material: ClientMaterial,
    current: ArcSwap<ClientConfig>,
}

impl ClientTls {
    /// Reads the files once.
    ///
    /// # Errors
    /// When a file is missing, malformed or does not fit the others.
    pub fn load(material: ClientMaterial) -> Result<Arc<Self>, TlsError> {
        let config = material.build()?;
        Ok(Arc::new(Self { material, current: ArcSwap::from_pointee(config) }))
    }

    /// The configuration for the next connection.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.current.load_full()
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// As [`ClientTls::load`]; the configuration then stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(self.material.build()?));
        Ok(())
    }

    /// Follows the files until shutdown.
    pub fn watch(self: &Arc<Self>, shutdown: Shutdown) {
        let this = self.clone();
        reload::watch_files("client certificate", self.material.files(), shutdown, move || this.reload());
    }
}

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
