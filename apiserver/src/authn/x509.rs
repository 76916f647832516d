//! Client certificates: the common name is the user, the organizations are the groups
//! (API doc "Authenticating", X509 client certificates).
//!
//! The TLS handshake proved that the peer holds the key; whether the certificate is of our
//! authority and still good is asked here. That costs signatures, so a connection remembers the
//! answer for a few seconds: expiry, and a change of authorities, take effect within them.

use super::{AuthnError, metrics};
use crate::request::User;
use daemon::clock::SharedClock;
use daemon::tls::ClientCa;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a connection's verified identity is taken as such.
const REMEMBERED: Duration = Duration::from_secs(10);
/// An element of the subject with the user's UID (KEP-4601's sibling, Kubernetes' own arc).
const UID_OID: &str = "1.3.6.1.4.1.57683.2";
/// Tells in audit logs which credential was used.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

type Verdict = Result<Option<User>, String>;

/// What a connection's client has shown of itself. One per connection.
#[derive(Debug, Default)]
pub struct ConnectionIdentity {
    /// The client's certificate first; empty without one.
    chain: Vec<CertificateDer<'static>>,
    remembered: Mutex<Option<Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    /// On the monotonic clock.
    at: Duration,
    /// The certificate's last second, if it can be read.
    expires: Option<i64>,
    verdict: Verdict,
}

impl ConnectionIdentity {
    /// `chain` as rustls gives it (`peer_certificates`), in the DER of the handshake.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, remembered: Mutex::default() }
    }

    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// Recognizes users by certificates of `--client-ca-file`.
pub struct X509 {
    ca: Arc<ClientCa>,
    clock: SharedClock,
}

impl X509 {
    pub fn new(ca: Arc<ClientCa>, clock: SharedClock) -> Self {
        Self { ca, clock }
    }

    /// The user of the connection's certificate; `None` without one, or when it names nobody.
    ///
    /// # Errors
    /// When the certificate is not to be trusted or cannot be read.
    pub fn authenticate(&self, connection: &ConnectionIdentity) -> Result<Option<User>, AuthnError> {
        let Some(leaf) = connection.chain.first() else { return Ok(None) };
        let now = self.clock.monotonic();
        let mut remembered = connection.remembered.lock();
        let known = match remembered.take() {
            Some(known) if now.saturating_sub(known.at) < REMEMBERED => known,
            _ => {
                let verdict = match self.ca.verify(&connection.chain) {
                    Ok(()) => user_of(leaf),
                    Err(error) => Err(error.to_string()),
                };
                Remembered { at: now, expires: last_second(leaf), verdict }
            }
        };
        if let Some(expires) = known.expires {
            metrics::certificate((expires - self.clock.now().as_second()) as f64);
        }
        let verdict = known.verdict.clone();
        *remembered = Some(known);
        verdict.map_err(|reason| AuthnError::Untrusted { certificate: identifier(leaf), reason })
    }
}

/// Name, groups and UID in the subject of a certificate that was verified.
fn user_of(leaf: &CertificateDer<'_>) -> Verdict {
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|e| e.to_string())?;
    let (mut name, mut groups, mut uids) = (String::new(), Vec::new(), Vec::new());
    for attribute in certificate.subject().iter_attributes() {
        let text = attribute.as_str();
        match attribute.attr_type().to_id_string().as_str() {
            // As Go does, the last common name counts.
            "2.5.4.3" => name = text.unwrap_or_default().to_owned(),
            "2.5.4.10" => groups.extend(text.ok().map(str::to_owned)),
            UID_OID => uids.push(text.map_err(|_| "unable to parse UID into a string")?.to_owned()),
            _ => {}
        }
    }
    if name.is_empty() {
        return Ok(None);
    }
    let uid = match uids.as_slice() {
        [] => String::new(),
        [uid] if uid.is_empty() => return Err("UID cannot be an empty string".to_owned()),
        [uid] => uid.clone(),
        many => return Err(format!("expected 1 UID, but found multiple: [{}]", many.join(" "))),
    };
    let credential = format!("X509SHA256={}", hex::encode(Sha256::digest(leaf)));
    let extra = [(CREDENTIAL_ID.to_owned(), vec![credential])].into();
    Ok(Some(User { name, uid, groups, extra }))
}

/// When a certificate ends, in seconds since 1970.
fn last_second(leaf: &CertificateDer<'_>) -> Option<i64> {
    X509Certificate::from_der(leaf).ok().map(|(_, certificate)| certificate.validity().not_after.timestamp())
}

/// The common name of a certificate, for the front proxy's list of names.
pub(super) fn common_name(leaf: &CertificateDer<'_>) -> Result<String, AuthnError> {
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|e| AuthnError::Certificate(e.to_string()))?;
    let names = certificate.subject().iter_common_name().filter_map(|cn| cn.as_str().ok());
    Ok(names.last().unwrap_or_default().to_owned())
}

/// A certificate as log lines name it.
fn identifier(leaf: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(leaf) {
        Ok((_, certificate)) => format!("SN={}", certificate.serial),
        Err(_) => "SN=?".to_owned(),
    }
}
