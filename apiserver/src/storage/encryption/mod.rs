//! Encryption at rest (API doc "Encrypting Confidential Data at Rest"): which values are sealed on
//! their way to the store, and opened on their way back.
//!
//! A value is sealed by the first provider of its resource and opened by the one whose prefix it
//! carries, so that providers and keys can be changed while old values are still there:
//!
//! ```text
//! k8s:enc:aesgcm:v1:KEYNAME: nonce(12) ciphertext tag(16)     bound to the value's key in the store
//! k8s:enc:aescbc:v1:KEYNAME: iv(16) ciphertext                PKCS#7 padding
//! k8s:enc:secretbox:v1:KEYNAME: nonce(24) tag(16) ciphertext  XSalsa20-Poly1305
//! ```

mod config;
mod seal;
#[cfg(test)]
mod tests;

use std::path::Path;

use api_types::kinds;

use super::paths;

pub use config::ConfigError;
use config::Rule;
use seal::Provider;

/// Why a value cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("no matching prefix found")]
    Prefix,
    #[error("no matching key was found for the provided {0} transformer")]
    Key(&'static str),
    #[error("the stored data was shorter than the required size")]
    Short,
    #[error("the stored data could not be decrypted")]
    Broken,
}

/// The configured providers.
pub struct Encryption {
    rules: Vec<Rule>,
    /// What comes before a resource's path in a key, such as `/registry/`.
    root: String,
}

impl Encryption {
    /// Reads an EncryptionConfiguration. `root` is the prefix of all keys.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(path: &Path, root: &str) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
        Self::parse(&text, root)
    }

    fn parse(text: &str, root: &str) -> Result<Self, ConfigError> {
        Ok(Self { rules: config::parse(text)?, root: format!("{}/", root.trim_end_matches('/')) })
    }

    /// The value as it is stored under `key`.
    ///
    /// # Errors
    /// When the cipher fails.
    pub fn seal(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        match self.providers(key).first() {
            Some(provider) => provider.seal(key, value),
            None => Ok(value.to_vec()),
        }
    }

    /// The value behind a stored one.
    ///
    /// # Errors
    /// When no provider knows its prefix or key, and when it has been tampered with.
    pub fn open(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, SealError> {
        let providers = self.providers(key);
        if providers.is_empty() {
            return Ok(stored.to_vec());
        }
        let provider = providers.iter().find(|provider| provider.made(stored)).ok_or(SealError::Prefix)?;
        provider.open(key, stored)
    }

    /// The providers of the key's resource, the first of the rules that name it.
    fn providers(&self, key: &[u8]) -> &[Provider] {
        let Some((group, resource)) = std::str::from_utf8(key)
            .ok()
            .and_then(|key| key.strip_prefix(self.root.as_str()))
            .and_then(resource_of)
        else {
            return &[];
        };
        let rule = self.rules.iter().find(|rule| rule.names(&group, &resource));
        rule.map_or(&[], |rule| rule.providers.as_slice())
    }
}

/// The group and resource that a path such as `secrets/default/s` is of; `None` for what is no object.
fn resource_of(path: &str) -> Option<(String, String)> {
    let mut best: Option<(usize, &'static api_types::Kind)> = None;
    for row in kinds::all().iter().filter(|row| row.kind.is_stored()) {
        let own = paths::storage_path(row.kind);
        let below = path.strip_prefix(own).is_some_and(|rest| rest.starts_with('/'));
        if below && best.is_none_or(|(length, _)| own.len() > length) {
            best = Some((own.len(), paths::storage_row(row).kind));
        }
    }
    if let Some((_, kind)) = best {
        return Some((kind.group.to_owned(), kind.resource.to_owned()));
    }
    // Custom resources lie under GROUP/RESOURCE, and groups of theirs have dots.
    let mut parts = path.split('/');
    let (group, resource) = (parts.next()?, parts.next()?);
    (group.contains('.') && parts.next().is_some()).then(|| (group.to_owned(), resource.to_owned()))
}
