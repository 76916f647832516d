//! `--bind-address`, `--secure-port`, `--tls-*`: the secure serving flags of upstream's daemons.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::ServeError;
use crate::tls::{self, ClientAuth, Pem, ServerTls, ServerTlsOptions};

/// Flatten into a daemon's flags. `--secure-port` has no default here: each daemon has its own, and
/// gives it to [`ServingFlags::address`].
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Secure serving flags")]
pub struct ServingFlags {
    /// The IP address on which to listen for the --secure-port port. An unspecified address (0.0.0.0 or ::) means all interfaces
    #[arg(long, value_name = "ip", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port on which to serve HTTPS with authentication and authorization. If 0, don't serve HTTPS at all
    #[arg(long, value_name = "int")]
    pub secure_port: Option<u16>,
    /// File with the x509 certificate for HTTPS, followed by intermediates. If this and --tls-private-key-file are not given, a self-signed certificate is made and held in memory
    #[arg(long, value_name = "file", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// File with the private key that matches --tls-cert-file
    #[arg(long, value_name = "file", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Minimum TLS version supported: VersionTLS12 or VersionTLS13
    #[arg(long, value_name = "string", default_value = "")]
    pub tls_min_version: String,
    /// Comma-separated list of cipher suites for TLS 1.2; all secure ones when omitted
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
}

impl ServingFlags {
    /// Where to listen; `None` when `--secure-port=0`.
    pub fn address(&self, default_port: u16) -> Option<SocketAddr> {
        match self.secure_port.unwrap_or(default_port) {
            0 => None,
            port => Some(SocketAddr::new(self.bind_address, port)),
        }
    }

    /// TLS from the flags' files, or self-signed for this host.
    ///
    /// # Errors
    /// When files or names cannot be used.
    pub fn tls(&self, client_auth: ClientAuth) -> Result<Arc<ServerTls>, ServeError> {
        let (cert, key) = match (&self.tls_cert_file, &self.tls_private_key_file) {
            (Some(cert), Some(key)) => (Pem::File(cert.clone()), Pem::File(key.clone())),
            _ => tls::self_signed("localhost", &["127.0.0.1".to_owned(), "::1".to_owned()])?,
        };
        let options = ServerTlsOptions {
            client_auth,
            min_version: self.tls_min_version.parse()?,
            cipher_suites: self.tls_cipher_suites.clone(),
            ..ServerTlsOptions::new(cert, key)
        };
        Ok(ServerTls::load(options)?)
    }
}
