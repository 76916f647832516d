//! A throw-away serving certificate, for status servers that were given none, as upstream makes one.

use rcgen::{CertificateParams, DnType, KeyPair};

use super::{Pem, TlsError};

/// A fresh self-signed certificate and its key, for `host` and these names or addresses, valid for a year.
///
/// # Errors
/// [`TlsError::SelfSigned`] for names that no certificate can carry.
pub fn self_signed(host: &str, names: &[String]) -> Result<(Pem, Pem), TlsError> {
    let failed = |e: rcgen::Error| TlsError::SelfSigned(e.to_string());
    let key = KeyPair::generate().map_err(failed)?;
    let mut all = vec![host.to_owned()];
    all.extend(names.iter().filter(|n| *n != host).cloned());
    let mut params = CertificateParams::new(all).map_err(failed)?;
    let now = jiff::Timestamp::now().as_second();
    let at =
        |secs: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(secs.unsigned_abs());
    params.not_before = at(now - 3600);
    params.not_after = at(now + 365 * 86_400);
    params.distinguished_name.push(DnType::CommonName, format!("{host}@{now}"));
    let cert = params.self_signed(&key).map_err(failed)?;
    Ok((Pem::Data(cert.pem().into_bytes()), Pem::Data(key.serialize_pem().into_bytes())))
}
