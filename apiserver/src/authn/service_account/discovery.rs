//! The documents by which others check our tokens: `/.well-known/openid-configuration` and
//! `/openid/v1/jwks` (OpenID Connect Discovery; RFC 7517).

use super::keys::{Algorithm, VerifyingKey, VerifyingKeys};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
pub const KEYS_PATH: &str = "/openid/v1/jwks";
pub const KEYS_MEDIA_TYPE: &str = "application/jwk-set+json";
/// Of both documents.
pub const CACHE_CONTROL: &str = "public, max-age=3600";

/// Why the documents cannot be served. As upstream, the server runs without them then.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DiscoveryError {
    #[error("issuer URL must use https scheme, got: {0}")]
    Scheme(String),
    #[error("issuer URL may not include a query, got: {0}")]
    Query(String),
    #[error("issuer URL may not include a fragment, got: {0}")]
    Fragment(String),
    #[error("jwksURI requires https scheme, parsed as: {0}")]
    KeysScheme(String),
}

/// Both documents, as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenIdDocuments {
    pub configuration: Vec<u8>,
    pub keys: Vec<u8>,
}

impl OpenIdDocuments {
    /// `issuer` is the first `--service-account-issuer`, `keys_uri` is `--service-account-jwks-uri`
    /// (may be empty), `external` is host and port under which others reach this server.
    ///
    /// # Errors
    /// When issuer or URI are not what OpenID demands.
    pub fn new(
        issuer: &str,
        keys_uri: &str,
        external: &str,
        keys: &VerifyingKeys,
    ) -> Result<Self, DiscoveryError> {
        if !issuer.starts_with("https://") {
            return Err(DiscoveryError::Scheme(issuer.to_owned()));
        }
        if issuer.contains('#') {
            return Err(DiscoveryError::Fragment(issuer.to_owned()));
        }
        if issuer.contains('?') {
            return Err(DiscoveryError::Query(issuer.to_owned()));
        }
        let keys_uri = if keys_uri.is_empty() {
            format!("https://{external}{KEYS_PATH}")
        } else if keys_uri.starts_with("https://") {
            keys_uri.to_owned()
        } else {
            return Err(DiscoveryError::KeysScheme(keys_uri.to_owned()));
        };
        let algorithms: BTreeSet<Algorithm> = keys.keys.iter().map(|key| key.algorithm).collect();
        let algorithms: Vec<&str> = algorithms.into_iter().map(Algorithm::name).collect();
        let configuration = json!({
            "issuer": issuer,
            "jwks_uri": keys_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        });
        let keys: Vec<Value> = keys.keys.iter().filter_map(web_key).collect();
        Ok(Self {
            configuration: configuration.to_string().into_bytes(),
            keys: json!({ "keys": keys }).to_string().into_bytes(),
        })
    }
}

fn web_key(key: &VerifyingKey) -> Option<Value> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (_, spki) = SubjectPublicKeyInfo::from_der(&key.spki).ok()?;
    match spki.parsed().ok()? {
        PublicKey::RSA(rsa) => {
            let unsigned =
                |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().skip_while(|b| *b == 0).collect() };
            Some(json!({
                "use": "sig",
                "kty": "RSA",
                "kid": key.id,
                "alg": key.algorithm.name(),
                "n": encode(&unsigned(rsa.modulus)),
                "e": encode(&unsigned(rsa.exponent)),
            }))
        }
        PublicKey::EC(point) => {
            // 0x04, then both coordinates.
            let coordinates = point.data().get(1..)?;
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            let curve = match key.algorithm {
                Algorithm::Es256 => "P-256",
                Algorithm::Es384 => "P-384",
                _ => "P-521",
            };
            Some(json!({
                "use": "sig",
                "kty": "EC",
                "kid": key.id,
                "crv": curve,
                "alg": key.algorithm.name(),
                "x": encode(x),
                "y": encode(y),
            }))
        }
        _ => None,
    }
}
