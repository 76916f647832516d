//! PEM material from a file or from memory (a kubeconfig's `*-data`), read into rustls' types.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Where PEM text comes from. Files are read again at each reload.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    File(PathBuf),
    Data(Vec<u8>),
}

// Not derived: the data may be a private key and must not reach a log.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin())
    }
}

impl Pem {
    /// The file, or a placeholder: for messages.
    pub fn origin(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Data(_) => "inline data".to_owned(),
        }
    }

    /// The PEM text.
    ///
    /// # Errors
    /// [`TlsError::Read`].
    pub fn bytes(&self) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::File(path) => {
                std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source })
            }
            Self::Data(bytes) => Ok(bytes.clone()),
        }
    }

    /// All certificates, at least one.
    ///
    /// # Errors
    /// When it cannot be read, is malformed, or holds no certificate.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certs = CertificateDer::pem_slice_iter(&self.bytes()?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| TlsError::Pem { origin: self.origin(), message: e.to_string() })?;
        if certs.is_empty() {
            return Err(TlsError::Missing { origin: self.origin(), what: "certificate" });
        }
        Ok(certs)
    }

    /// The first private key, in any of the formats that rustls knows.
    ///
    /// # Errors
    /// When it cannot be read, is malformed, or holds no key.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes()?).map_err(|e| match e {
            rustls_pki_types::pem::Error::NoItemsFound => {
                TlsError::Missing { origin: self.origin(), what: "private key" }
            }
            e => TlsError::Pem { origin: self.origin(), message: e.to_string() },
        })
    }

    /// The certificates as trust anchors.
    ///
    /// # Errors
    /// As [`Pem::certificates`], and when one cannot be an authority.
    pub fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for cert in self.certificates()? {
            roots
                .add(cert)
                .map_err(|e| TlsError::Authorities { origin: self.origin(), message: e.to_string() })?;
        }
        Ok(roots)
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Data(_) => None,
        }
    }
}
