//! The server's side: certificate and key, optional client certificates, reload.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::followed::{Followed, Material};
use super::{MinVersion, Pem, TlsError, parse_cipher_suites, reload};
use crate::shutdown::Shutdown;

/// What to ask of clients.
#[derive(Clone, Debug, Default)]
pub enum ClientAuth {
    /// No client certificates.
    #[default]
    Off,
    /// Ask for one and complete the handshake whatever comes; the caller verifies with [`ClientCa`].
    /// The authorities are hints, by which clients choose their certificate.
    Request(Pem),
    /// Refuse connections without a certificate of these authorities (kvstore's peers and clients).
    Require(Pem),
}

/// What a server's TLS is made of.
#[derive(Clone, Debug)]
pub struct ServerTlsOptions {
    /// The certificate, followed by its intermediates.
    pub cert: Pem,
    pub key: Pem,
    pub client_auth: ClientAuth,
    pub min_version: MinVersion,
    /// Go's names; empty means all.
    pub cipher_suites: Vec<String>,
    /// Protocols offered, in order of preference: `["h2", "http/1.1"]`.
    pub alpn: Vec<&'static str>,
}

impl ServerTlsOptions {
    /// The defaults around a certificate and key: no client certificates, TLS 1.2, HTTP/2 and 1.1.
    pub fn new(cert: Pem, key: Pem) -> Self {
        Self {
            cert,
            key,
            client_auth: ClientAuth::Off,
            min_version: MinVersion::default(),
            cipher_suites: Vec::new(),
            alpn: vec!["h2", "http/1.1"],
        }
    }
}

impl Material for ServerTlsOptions {
    type Config = ServerConfig;
    const NAME: &'static str = "serving certificate";

    fn files(&self) -> Vec<PathBuf> {
        let ca = match &self.client_auth {
            ClientAuth::Off => None,
            ClientAuth::Request(ca) | ClientAuth::Require(ca) => ca.path(),
        };
        [self.cert.path(), self.key.path(), ca].into_iter().flatten().collect()
    }

    fn build(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: parse_cipher_suites(&self.cipher_suites)?,
            ..aws_lc_rs::default_provider()
        });
        let verifier: Arc<dyn ClientCertVerifier> = match &self.client_auth {
            ClientAuth::Off => WebPkiClientVerifier::no_client_auth(),
            ClientAuth::Request(ca) => Arc::new(AnyCertificate::hinting(&ca.roots()?)),
            ClientAuth::Require(ca) => web_pki(ca)?,
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.min_version.versions())
            .map_err(TlsError::Protocol)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.cert.certificates()?, self.key.private_key()?)
            .map_err(|source| TlsError::KeyPair { origin: self.cert.origin(), source })?;
        config.alpn_protocols = self.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

/// A server's TLS configuration that follows its files.
pub type ServerTls = Followed<ServerTlsOptions>;

fn web_pki(ca: &Pem) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(
        Arc::new(ca.roots()?),
        Arc::new(aws_lc_rs::default_provider()),
    )
    .build()
    .map_err(|e| TlsError::Authorities { origin: ca.origin(), message: e.to_string() })
}

/// Verifies client certificates outside the handshake, against authorities that follow their file.
#[derive(Debug)]
pub struct ClientCa {
    ca: Pem,
    verifier: ArcSwap<Arc<dyn ClientCertVerifier>>,
}

impl ClientCa {
    /// # Errors
    /// When the authorities cannot be read.
    pub fn load(ca: Pem) -> Result<Arc<Self>, TlsError> {
        let verifier = ArcSwap::from_pointee(web_pki(&ca)?);
        Ok(Arc::new(Self { ca, verifier }))
    }

    /// Whether `chain` (the client's certificate first) leads to an authority and is meant for
    /// client authentication.
    ///
    /// # Errors
    /// [`TlsError::Untrusted`] with the reason: expired, unknown issuer, wrong usage.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
        let (leaf, intermediates) =
            chain.split_first().ok_or(TlsError::Untrusted("no certificate".into()))?;
        self.verifier
            .load()
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .map(|_| ())
            .map_err(|e| TlsError::Untrusted(e.to_string()))
    }

    /// Follows the file until shutdown.
    pub fn watch(self: &Arc<Self>, shutdown: Shutdown) {
        let this = self.clone();
        reload::watch_files("client certificate authorities", self.ca.path(), shutdown, move || {
            this.verifier.store(Arc::new(web_pki(&this.ca)?));
            Ok::<(), TlsError>(())
        });
    }
}

/// Completes the handshake with any certificate, having checked that the peer holds its key.
struct AnyCertificate {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    fn hinting(roots: &RootCertStore) -> Self {
        Self {
            hints: roots.subjects(),
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        }
    }
}

impl fmt::Debug for AnyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyCertificate")
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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
