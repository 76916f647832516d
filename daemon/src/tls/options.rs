//! `--tls-min-version` and `--tls-cipher-suites`: Go's names mapped to rustls.
//! rustls has no TLS below 1.2 and no suite that Go calls insecure; asking for one is an error.
//! COMPAT: as in Go, the list governs TLS 1.2 only; TLS 1.3 suites are always on.

use std::str::FromStr;

use rustls::crypto::aws_lc_rs;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::TlsError;

/// The lowest TLS version to accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

impl MinVersion {
    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static FROM_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        static FROM_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        match self {
            Self::Tls12 => FROM_12,
            Self::Tls13 => FROM_13,
        }
    }
}

impl FromStr for MinVersion {
    type Err = TlsError;

    fn from_str(name: &str) -> Result<Self, TlsError> {
        match name {
            "" | "VersionTLS12" => Ok(Self::Tls12),
            "VersionTLS13" => Ok(Self::Tls13),
            "VersionTLS10" | "VersionTLS11" => Err(TlsError::OldVersion(name.to_owned())),
            _ => Err(TlsError::UnknownVersion(name.to_owned())),
        }
    }
}

fn go_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

/// All suites that can be asked for, by Go's names.
pub fn cipher_suite_names() -> Vec<String> {
    let mut names: Vec<String> = aws_lc_rs::ALL_CIPHER_SUITES.iter().map(go_name).collect();
    names.sort();
    names
}

/// The suites of these names, or all when there are none.
///
/// # Errors
/// [`TlsError::UnknownCipher`] in upstream's words.
pub fn parse_cipher_suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let all = aws_lc_rs::ALL_CIPHER_SUITES;
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let mut chosen: Vec<_> = all.iter().copied().filter(|s| s.tls13().is_some()).collect();
    for name in names {
        // COMPAT: names that upstream keeps from before Go added the hash.
        let name = match name.as_str() {
            n @ ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305") => {
                format!("{n}_SHA256")
            }
            n => n.to_owned(),
        };
        let suite = all.iter().find(|s| go_name(s) == name).ok_or(TlsError::UnknownCipher(name))?;
        if !chosen.contains(suite) {
            chosen.push(*suite);
        }
    }
    Ok(chosen)
}
