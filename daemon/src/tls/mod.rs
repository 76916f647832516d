//! TLS for servers and clients: rustls over aws-lc-rs, TLS 1.2 and up, files reloaded when they change.
//!
//! [`ServerTls`] and [`ClientTls`] hold the current rustls configuration; take it anew for each
//! connection (`config()`), and call `watch` once to have it follow its files. A reload that fails
//! keeps the last good configuration and logs. [`ClientCa`] verifies client certificates after the
//! handshake, as upstream's x509 authenticator does: a bad certificate then is a 401 and not a
//! broken connection.

mod bundle;
mod client;
mod followed;
mod options;
mod pem;
mod reload;
mod self_signed;
mod server;
mod subject;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use client::{ClientMaterial, ClientTls};
pub use options::{MinVersion, cipher_suite_names, parse_cipher_suites};
pub use pem::Pem;
pub use reload::watch_files;
pub use self_signed::self_signed;
pub use server::{ClientAuth, ClientCa, ServerTls, ServerTlsOptions};
pub use subject::Subject;

/// Why TLS could not be set up. Display names the step and the file; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{origin}: no {what} found in PEM data")]
    Missing { origin: String, what: &'static str },
    #[error("{origin}: malformed PEM data: {message}")]
    Pem { origin: String, message: String },
    #[error("certificate and private key of {origin} cannot be used")]
    KeyPair { origin: String, source: rustls::Error },
    #[error("certificate authorities of {origin} cannot be used: {message}")]
    Authorities { origin: String, message: String },
    #[error("client certificate requires both a certificate and a private key")]
    HalfKeyPair,
    #[error("unknown tls version {0:?}")]
    UnknownVersion(String),
    #[error("tls version {0:?} is not supported, the lowest is VersionTLS12")]
    OldVersion(String),
    #[error("Cipher suite {0} not supported or doesn't exist")]
    UnknownCipher(String),
    #[error("the chosen cipher suites do not serve the minimum TLS version")]
    Protocol(#[source] rustls::Error),
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(String),
    #[error("certificate is not trusted: {0}")]
    Untrusted(String),
}

/// Makes aws-lc-rs the provider for everything in this process that uses rustls. Repeating it is harmless.
pub fn install_default_provider() {
    // Err means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
