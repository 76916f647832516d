//! The ciphers. Prefixes, layouts and what a value is bound to are upstream's, so that a store that
//! upstream has encrypted can be read, and the other way round.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{Aead, KeyInit};

use super::SealError;

/// What every sealed value begins with.
const SEALED: &[u8] = b"k8s:enc:";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    AesGcm,
    AesCbc,
    Secretbox,
}

/// A key under its name, which sealed values carry.
pub struct NamedKey {
    pub name: String,
    pub secret: Vec<u8>,
}

pub enum Provider {
    /// Plain values.
    Identity,
    /// Seals with the first key, opens with any.
    Keys { cipher: Cipher, keys: Vec<NamedKey> },
}

impl Cipher {
    /// Bytes that a key may have.
    pub fn sizes(self) -> &'static [usize] {
        match self {
            Self::AesGcm | Self::AesCbc => &[16, 24, 32],
            Self::Secretbox => &[32],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "AES-GCM",
            Self::AesCbc => "AES-CBC",
            Self::Secretbox => "Secretbox",
        }
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            Self::AesGcm => b"k8s:enc:aesgcm:v1:",
            Self::AesCbc => b"k8s:enc:aescbc:v1:",
            Self::Secretbox => b"k8s:enc:secretbox:v1:",
        }
    }

    fn seal(self, secret: &[u8], bound_to: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        let broken = |_| SealError::Broken;
        match self {
            Self::AesGcm => {
                let nonce: [u8; 12] = random()?;
                let mut sealed = value.to_vec();
                gcm(secret)?
                    .seal_in_place_append_tag(
                        Nonce::assume_unique_for_key(nonce),
                        Aad::from(bound_to),
                        &mut sealed,
                    )
                    .map_err(broken)?;
                Ok([&nonce[..], &sealed].concat())
            }
            Self::AesCbc => {
                let iv: [u8; 16] = random()?;
                let mut sealed = value.to_vec();
                let key = PaddedBlockEncryptingKey::cbc_pkcs7(cbc(secret)?).map_err(broken)?;
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                key.less_safe_encrypt(&mut sealed, context).map_err(broken)?;
                Ok([&iv[..], &sealed].concat())
            }
            Self::Secretbox => {
                let nonce: [u8; 24] = random()?;
                let sealed =
                    secretbox(secret)?.encrypt(&nonce.into(), value).map_err(|_| SealError::Broken)?;
                Ok([&nonce[..], &sealed].concat())
            }
        }
    }

    fn open(self, secret: &[u8], bound_to: &[u8], stored: &[u8]) -> Result<Vec<u8>, SealError> {
        let broken = |_| SealError::Broken;
        match self {
            Self::AesGcm => {
                let (nonce, sealed) = stored.split_first_chunk::<12>().ok_or(SealError::Short)?;
                let (mut value, nonce) = (sealed.to_vec(), Nonce::assume_unique_for_key(*nonce));
                let opened = gcm(secret)?.open_in_place(nonce, Aad::from(bound_to), &mut value);
                let length = opened.map_err(broken)?.len();
                value.truncate(length);
                Ok(value)
            }
            Self::AesCbc => {
                let (iv, sealed) = stored.split_first_chunk::<16>().ok_or(SealError::Short)?;
                let mut value = sealed.to_vec();
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(cbc(secret)?).map_err(broken)?;
                let context = DecryptionContext::Iv128(FixedLength::from(*iv));
                let length = key.decrypt(&mut value, context).map_err(broken)?.len();
                value.truncate(length);
                Ok(value)
            }
            Self::Secretbox => {
                let (nonce, sealed) = stored.split_first_chunk::<24>().ok_or(SealError::Short)?;
                secretbox(secret)?.decrypt(&(*nonce).into(), sealed).map_err(|_| SealError::Broken)
            }
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| SealError::Broken)?;
    Ok(bytes)
}

fn gcm(secret: &[u8]) -> Result<LessSafeKey, SealError> {
    let algorithm = match secret.len() {
        16 => &aead::AES_128_GCM,
        24 => &aead::AES_192_GCM,
        _ => &aead::AES_256_GCM,
    };
    UnboundKey::new(algorithm, secret).map(LessSafeKey::new).map_err(|_| SealError::Broken)
}

fn cbc(secret: &[u8]) -> Result<UnboundCipherKey, SealError> {
    let algorithm = match secret.len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        _ => &cipher::AES_256,
    };
    UnboundCipherKey::new(algorithm, secret).map_err(|_| SealError::Broken)
}

fn secretbox(secret: &[u8]) -> Result<XSalsa20Poly1305, SealError> {
    XSalsa20Poly1305::new_from_slice(secret).map_err(|_| SealError::Broken)
}

impl Provider {
    /// Whether a stored value is this provider's.
    pub fn made(&self, stored: &[u8]) -> bool {
        match self {
            Self::Identity => !stored.starts_with(SEALED),
            Self::Keys { cipher, .. } => stored.starts_with(cipher.prefix()),
        }
    }

    /// The value as it is stored under `key`.
    pub fn seal(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Identity => Ok(value.to_vec()),
            Self::Keys { cipher, keys } => {
                let own = keys.first().ok_or(SealError::Key(cipher.name()))?;
                let sealed = cipher.seal(&own.secret, key, value)?;
                Ok([cipher.prefix(), own.name.as_bytes(), b":", &sealed].concat())
            }
        }
    }

    /// The value behind a stored one of this provider's.
    pub fn open(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Identity => Ok(stored.to_vec()),
            Self::Keys { cipher, keys } => {
                let rest = stored.strip_prefix(cipher.prefix()).ok_or(SealError::Prefix)?;
                let named = keys.iter().find_map(|own| {
                    let sealed = rest.strip_prefix(own.name.as_bytes())?.strip_prefix(b":")?;
                    Some((own, sealed))
                });
                let (own, sealed) = named.ok_or(SealError::Key(cipher.name()))?;
                cipher.open(&own.secret, key, sealed)
            }
        }
    }
}
