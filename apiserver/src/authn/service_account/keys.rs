//! The keys behind service account tokens: `--service-account-signing-key-file` signs,
//! `--service-account-key-file` verifies.
//!
//! A key's id is the hash of its public half, so that a token says which key made it and several
//! keys can be valid while they are exchanged. RS256 and ES256/384/512, as upstream.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::{PemObject, SectionKind};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: data does not contain a valid RSA or ECDSA {what} key")]
    None { path: PathBuf, what: &'static str },
    #[error("unknown private key curve, must be 256, 384, or 521")]
    Curve,
    #[error("unknown public key type, must be RSA or ECDSA")]
    Type,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Algorithm {
    Es256,
    Es384,
    Es512,
    Rs256,
}

impl Algorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

enum Private {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// The key that signs new tokens.
pub struct SigningKey {
    private: Private,
    algorithm: Algorithm,
    id: String,
}

impl SigningKey {
    /// Reads the first private key of a PEM file (PKCS#1, PKCS#8 or SEC1).
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        sections(path)?
            .into_iter()
            .find_map(|(kind, der)| Self::from_der(kind, &der))
            .unwrap_or_else(|| Err(KeyError::None { path: path.into(), what: "private" }))
    }

    /// `None` for sections that are no private keys.
    fn from_der(kind: SectionKind, der: &[u8]) -> Option<Result<Self, KeyError>> {
        let (private, spki) = match kind {
            SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
                private_of(der)?
            }
            _ => return None,
        };
        Some(algorithm_of(&spki).map(|algorithm| Self { private, algorithm, id: key_id(&spki) }))
    }

    /// A JWT of these claims, which are JSON.
    ///
    /// # Errors
    /// The library's, which only a broken key or no randomness can cause.
    pub(super) fn sign(&self, claims: &[u8]) -> Result<String, aws_lc_rs::error::Unspecified> {
        let header = format!(r#"{{"alg":"{}","kid":"{}"}}"#, self.algorithm.name(), self.id);
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let random = SystemRandom::new();
        let signature = match &self.private {
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)?;
                signature
            }
            Private::Ecdsa(pair) => pair.sign(&random, token.as_bytes())?.as_ref().to_vec(),
        };
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }
}

/// A key pair and the DER of its public half (SubjectPublicKeyInfo).
fn private_of(der: &[u8]) -> Option<(Private, Vec<u8>)> {
    if let Ok(pair) = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)) {
        let spki = AsDer::<PublicKeyX509Der>::as_der(pair.public_key());
        return spki.ok().map(|spki| spki.as_ref().to_vec()).map(|spki| (Private::Rsa(pair), spki));
    }
    let curves: [&'static EcdsaSigningAlgorithm; 3] = [
        &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
    ];
    curves.into_iter().find_map(|curve| {
        let pair =
            EcdsaKeyPair::from_pkcs8(curve, der).or_else(|_| EcdsaKeyPair::from_private_key_der(curve, der));
        let pair = pair.ok()?;
        let spki = pair.public_key().as_der().ok()?.as_ref().to_vec();
        Some((Private::Ecdsa(pair), spki))
    })
}

/// A key whose tokens are good.
pub(super) struct VerifyingKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    /// SubjectPublicKeyInfo.
    pub(super) spki: Vec<u8>,
    /// What the verifying library takes: PKCS#1 for RSA, the point for ECDSA.
    raw: Vec<u8>,
}

/// All keys whose tokens are good.
pub struct VerifyingKeys {
    pub(super) keys: Vec<VerifyingKey>,
}

impl VerifyingKeys {
    /// Reads all keys of PEM files: public keys, certificates, and private keys for their public half.
    ///
    /// # Errors
    /// When a file holds none.
    pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Self, KeyError> {
        let mut keys: Vec<VerifyingKey> = Vec::new();
        for path in paths.iter().map(AsRef::as_ref) {
            let before = keys.len();
            for (kind, der) in sections(path)? {
                let spki = match kind {
                    SectionKind::PublicKey => Some(der),
                    SectionKind::Certificate => X509Certificate::from_der(&der)
                        .ok()
                        .map(|(_, certificate)| certificate.public_key().raw.to_vec()),
                    SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
                        private_of(&der).map(|(_, spki)| spki)
                    }
                    _ => None,
                };
                if let Some(spki) = spki {
                    keys.push(VerifyingKey::new(spki)?);
                }
            }
            if keys.len() == before {
                return Err(KeyError::None { path: path.into(), what: "public" });
            }
        }
        Ok(Self { keys })
    }

    /// Whether `signature` over `message` is by the key of this id, or by any when the id is empty.
    /// `None` when there is no such key.
    pub(super) fn verify(&self, id: &str, algorithm: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
        let mut candidates = self.keys.iter().filter(|key| id.is_empty() || key.id == id).peekable();
        candidates.peek()?;
        Some(candidates.any(|key| {
            // The key says how it signs; a token that says otherwise is not by it.
            key.algorithm.name() == algorithm
                && UnparsedPublicKey::new(key.algorithm.verification(), &key.raw)
                    .verify(message, signature)
                    .is_ok()
        }))
    }
}

impl VerifyingKey {
    fn new(spki: Vec<u8>) -> Result<Self, KeyError> {
        let algorithm = algorithm_of(&spki)?;
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| KeyError::Type)?;
        let raw = parsed.subject_public_key.data.to_vec();
        Ok(Self { id: key_id(&spki), algorithm, raw, spki })
    }
}

fn algorithm_of(spki: &[u8]) -> Result<Algorithm, KeyError> {
    let (_, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| KeyError::Type)?;
    match parsed.parsed().map_err(|_| KeyError::Type)? {
        PublicKey::RSA(_) => Ok(Algorithm::Rs256),
        PublicKey::EC(_) => {
            let curve = parsed.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
            match curve.map(|oid| oid.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => Ok(Algorithm::Es256),
                Some("1.3.132.0.34") => Ok(Algorithm::Es384),
                Some("1.3.132.0.35") => Ok(Algorithm::Es512),
                _ => Err(KeyError::Curve),
            }
        }
        _ => Err(KeyError::Type),
    }
}

/// COMPAT: upstream derives key ids so; tokens of either verify with the other.
fn key_id(spki: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(spki))
}

fn sections(path: &Path) -> Result<Vec<(SectionKind, Vec<u8>)>, KeyError> {
    let text = std::fs::read(path).map_err(|source| KeyError::Read { path: path.into(), source })?;
    // What is no PEM section is skipped: files begin with comments and EC PARAMETERS.
    Ok(<(SectionKind, Vec<u8>)>::pem_slice_iter(&text).filter_map(Result::ok).collect())
}
