//! Signed tokens (RFC 7519), with etcd's options `sign-method`, `priv-key`, `pub-key` and `ttl`. A member
//! with a public key alone verifies what others have signed.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use daemon::flags::GoDuration;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::Caller;
use crate::error::Error;

const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error("auth: invalid auth signature method")]
    Method,
    #[error("auth: signature method {0} is not supported")]
    Unsupported(String),
    #[error("auth: missing key data")]
    MissingKey,
    #[error("auth: public and private keys don't match")]
    Mismatch,
    #[error("ttl: {0}")]
    Ttl(String),
    #[error("read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("key {path} cannot be used for {method}")]
    Key { path: String, method: String, source: jsonwebtoken::errors::Error },
}

#[derive(Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    exp: u64,
}

pub struct Jwt {
    header: Header,
    /// `None`: this member only verifies.
    signing: Option<EncodingKey>,
    verifying: DecodingKey,
    validation: Validation,
    ttl: Duration,
}

impl Jwt {
    pub fn load(options: &HashMap<&str, &str>) -> Result<Self, JwtError> {
        for name in options.keys() {
            if !["sign-method", "priv-key", "pub-key", "ttl"].contains(name) {
                tracing::warn!(option = name, "unknown JWT option");
            }
        }
        let ttl = match options.get("ttl") {
            Some(text) => text.parse::<GoDuration>().map_err(|error| JwtError::Ttl(error.to_string()))?.0,
            None => DEFAULT_TTL,
        };
        let method = *options.get("sign-method").ok_or(JwtError::Method)?;
        if method == "ES512" {
            return Err(JwtError::Unsupported(method.to_owned()));
        }
        let algorithm: Algorithm = method.parse().map_err(|_| JwtError::Method)?;
        let private = read(options.get("priv-key"))?;
        let public = read(options.get("pub-key"))?;
        let broken = |path: &str| {
            let (path, method) = (path.to_owned(), method.to_owned());
            move |source| JwtError::Key { path, method, source }
        };
        let signing = match &private {
            Some((path, pem)) => Some(signing_key(algorithm, pem).map_err(broken(path))?),
            None => None,
        };
        let verifying = match (&public, &signing) {
            // COMPAT: a shared secret stands in priv-key.
            _ if algorithm_family(algorithm) == AlgorithmFamily::Hmac => {
                let (_, secret) = private.as_ref().ok_or(JwtError::MissingKey)?;
                DecodingKey::from_secret(secret)
            }
            (Some((path, pem)), _) => verifying_key(algorithm, pem).map_err(broken(path))?,
            (None, Some(key)) => Jwk::from_encoding_key(key, algorithm)
                .and_then(|jwk| DecodingKey::from_jwk(&jwk))
                .map_err(broken("priv-key"))?,
            (None, None) => return Err(JwtError::MissingKey),
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.validate_aud = false;
        let jwt = Self { header: Header::new(algorithm), signing, verifying, validation, ttl };
        if jwt.signing.is_some() {
            let probe = jwt.sign_until("probe", 1, u64::MAX / 2).map_err(|_| JwtError::Mismatch)?;
            jwt.verify(&probe).ok_or(JwtError::Mismatch)?;
        }
        Ok(jwt)
    }

    /// A token for a user, from now on.
    pub fn sign(&self, user: &str, revision: u64) -> Result<String, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.sign_until(user, revision, (now + self.ttl).as_secs())
    }

    fn sign_until(&self, user: &str, revision: u64, exp: u64) -> Result<String, Error> {
        let key = self.signing.as_ref().ok_or(Error::VerifyOnly)?;
        let claims = Claims { username: user.to_owned(), revision, exp };
        jsonwebtoken::encode(&self.header, &claims, key).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Who a token stands for, if it is good and not out of date.
    pub fn verify(&self, token: &str) -> Option<Caller> {
        match jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation) {
            Ok(data) => Some(Caller { name: data.claims.username, revision: data.claims.revision }),
            Err(error) => {
                tracing::debug!(%error, "a JWT token does not verify");
                None
            }
        }
    }
}

fn read(path: Option<&&str>) -> Result<Option<(String, Vec<u8>)>, JwtError> {
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = (*path).to_owned();
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some((path, bytes))),
        Err(source) => Err(JwtError::Read { path, source }),
    }
}

fn algorithm_family(algorithm: Algorithm) -> AlgorithmFamily {
    let families = [AlgorithmFamily::Hmac, AlgorithmFamily::Rsa, AlgorithmFamily::Ec, AlgorithmFamily::Ed];
    let found = families.into_iter().find(|family| family.algorithms().contains(&algorithm));
    found.expect("every algorithm is of a family")
}

fn signing_key(algorithm: Algorithm, pem: &[u8]) -> jsonwebtoken::errors::Result<EncodingKey> {
    match algorithm_family(algorithm) {
        AlgorithmFamily::Hmac => Ok(EncodingKey::from_secret(pem)),
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(pem),
    }
}

fn verifying_key(algorithm: Algorithm, pem: &[u8]) -> jsonwebtoken::errors::Result<DecodingKey> {
    match algorithm_family(algorithm) {
        AlgorithmFamily::Hmac => Ok(DecodingKey::from_secret(pem)),
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(options: &[(&str, &str)]) -> Result<Jwt, JwtError> {
        Jwt::load(&options.iter().copied().collect())
    }

    #[test]
    fn signs_and_verifies_in_every_family() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let openssl = |arguments: &str| {
            let done = std::process::Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
        };
        openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa");
        openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec");
        openssl("genpkey -algorithm ED25519 -out ed");
        std::fs::write(path("secret"), "shared").unwrap();
        for key in ["rsa", "ec", "ed"] {
            openssl(&format!("pkey -in {key} -pubout -out {key}.pub"));
        }
        for (method, key) in
            [("RS256", "rsa"), ("PS512", "rsa"), ("ES256", "ec"), ("EdDSA", "ed"), ("HS256", "secret")]
        {
            let jwt = load(&[("sign-method", method), ("priv-key", &path(key))]).unwrap();
            let token = jwt.sign("alice", 7).unwrap();
            let alice = Caller { name: "alice".into(), revision: 7 };
            assert_eq!(jwt.verify(&token), Some(alice.clone()), "{method}");
            assert_eq!(jwt.verify(&jwt.sign_until("alice", 7, 1).unwrap()), None, "out of date");
            assert_eq!(jwt.verify(&token[..token.len() - 4]), None);
            if key == "secret" {
                continue;
            }
            let public = path(&format!("{key}.pub"));
            let verifier = load(&[("sign-method", method), ("pub-key", &public)]).unwrap();
            assert_eq!(verifier.verify(&token), Some(alice), "{method} by public key");
            assert_eq!(verifier.sign("alice", 7), Err(Error::VerifyOnly));
            load(&[("sign-method", method), ("pub-key", &public), ("priv-key", &path(key))]).unwrap();
        }
        openssl("genpkey -algorithm ED25519 -out other");
        let mixed = [("sign-method", "EdDSA"), ("pub-key", &path("ed.pub")), ("priv-key", &path("other"))];
        assert!(matches!(load(&mixed), Err(JwtError::Mismatch)));
    }

    #[test]
    fn bad_options_are_named() {
        let error = |options: &[(&str, &str)]| load(options).err().unwrap().to_string();
        assert_eq!(error(&[]), "auth: invalid auth signature method");
        assert_eq!(error(&[("sign-method", "RS1")]), "auth: invalid auth signature method");
        assert_eq!(error(&[("sign-method", "ES512")]), "auth: signature method ES512 is not supported");
        assert_eq!(error(&[("sign-method", "RS256")]), "auth: missing key data");
        assert_eq!(error(&[("sign-method", "HS256")]), "auth: missing key data");
        assert!(error(&[("sign-method", "RS256"), ("priv-key", "/no/such")]).contains("/no/such"));
        assert!(error(&[("sign-method", "RS256"), ("ttl", "x")]).starts_with("ttl: "));
    }
}
