//! The file of `--encryption-provider-config`: apiserver.config.k8s.io/v1, EncryptionConfiguration.
//! Providers of the kind kms are refused by name.

use api_types::codec::yaml;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::seal::{Cipher, NamedKey, Provider};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("error reading encryption provider configuration file {path:?}")]
    Read { path: String, source: std::io::Error },
    #[error("error decoding encryption provider configuration file: {0}")]
    Decode(String),
    #[error("invalid configuration: {0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    kind: String,
    api_version: String,
    resources: Vec<Resources>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    resources: Vec<String>,
    providers: Vec<Providers>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Providers {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Identity>,
    kms: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {}

/// Resources and their providers.
pub struct Rule {
    resources: Vec<String>,
    pub providers: Vec<Provider>,
}

impl Rule {
    /// Whether the rule is about this resource: `secrets`, `deployments.apps`, `*.apps`, `*.` for the
    /// core group, `*.*` for everything.
    pub fn names(&self, group: &str, resource: &str) -> bool {
        self.resources.iter().any(|own| match own.split_once('.') {
            Some(("*", "*")) => true,
            Some(("*", of)) => of == group,
            Some((name, of)) => name == resource && of == group,
            None => own == resource && group.is_empty(),
        })
    }
}

/// Reads a configuration.
pub fn parse(text: &str) -> Result<Vec<Rule>, ConfigError> {
    let value = yaml::to_value(text).map_err(|error| ConfigError::Decode(error.to_string()))?;
    let file: File = serde_json::from_value(value).map_err(|error| ConfigError::Decode(error.to_string()))?;
    if (file.kind.as_str(), file.api_version.as_str())
        != ("EncryptionConfiguration", "apiserver.config.k8s.io/v1")
    {
        let text = format!("no kind {:?} is registered for version {:?}", file.kind, file.api_version);
        return Err(ConfigError::Decode(text));
    }
    let invalid = |text: String| Err(ConfigError::Invalid(text));
    if file.resources.is_empty() {
        return invalid("resources: Required value: at least one of resources is required".to_owned());
    }
    let mut rules = Vec::new();
    for (n, rule) in file.resources.into_iter().enumerate() {
        let path = format!("resources[{n}]");
        if rule.resources.is_empty() {
            return invalid(format!("{path}.resources: Required value: at least one resource is required"));
        }
        if rule.providers.is_empty() {
            return invalid(format!("{path}.providers: Required value: at least one provider is required"));
        }
        for (m, resource) in rule.resources.iter().enumerate() {
            if let Some(wrong) = wrong_resource(resource) {
                return invalid(format!("{path}.resources[{m}]: Invalid value: {resource:?}: {wrong}"));
            }
        }
        let mut providers = Vec::new();
        for (m, provider) in rule.providers.into_iter().enumerate() {
            let path = format!("{path}.providers[{m}]");
            providers.push(read(provider, &path).map_err(ConfigError::Invalid)?);
        }
        rules.push(Rule { resources: rule.resources, providers });
    }
    Ok(rules)
}

fn wrong_resource(resource: &str) -> Option<&'static str> {
    match resource {
        "*" => {
            Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources")
        }
        "events.events.k8s.io" | "events.events" => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        ),
        "" => Some("empty resource"),
        _ if resource.chars().any(char::is_uppercase) => {
            Some("resource name should not contain capital letters")
        }
        _ => None,
    }
}

fn read(provider: Providers, path: &str) -> Result<Provider, String> {
    let Providers { aesgcm, aescbc, secretbox, identity, kms } = provider;
    if kms.is_some() {
        return Err(format!("{path}.kms: Forbidden: kms providers are not supported by this server"));
    }
    let given = [aesgcm.is_some(), aescbc.is_some(), secretbox.is_some(), identity.is_some()];
    match given.iter().filter(|given| **given).count() {
        1 => {}
        0 => {
            return Err(format!(
                "{path}: Required value: provider does not contain any of the expected providers: KMS, AESGCM, \
                 AESCBC, Secretbox, Identity"
            ));
        }
        _ => {
            return Err(format!(
                "{path}: Invalid value: more than one provider specified in a single element"
            ));
        }
    }
    if identity.is_some() {
        return Ok(Provider::Identity);
    }
    for (cipher, name, keys) in [
        (Cipher::AesGcm, "aesgcm", aesgcm),
        (Cipher::AesCbc, "aescbc", aescbc),
        (Cipher::Secretbox, "secretbox", secretbox),
    ] {
        let Some(keys) = keys else { continue };
        let path = format!("{path}.{name}.keys");
        if keys.keys.is_empty() {
            return Err(format!("{path}: Required value: at least one key is required"));
        }
        let mut read: Vec<NamedKey> = Vec::new();
        for (n, key) in keys.keys.into_iter().enumerate() {
            let path = format!("{path}[{n}]");
            if key.name.is_empty() {
                return Err(format!("{path}.name: Required value: key name is required"));
            }
            if read.iter().any(|own| own.name == key.name) {
                return Err(format!("{path}.name: Duplicate value: {:?}", key.name));
            }
            let secret = STANDARD.decode(key.secret.trim()).map_err(|_| {
                format!("{path}.secret: Invalid value: \"REDACTED\": secrets must be base64 encoded")
            })?;
            if !cipher.sizes().contains(&secret.len()) {
                return Err(format!(
                    "{path}.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got {}, \
                     expected one of {:?}",
                    secret.len(),
                    cipher.sizes()
                ));
            }
            read.push(NamedKey { name: key.name, secret });
        }
        return Ok(Provider::Keys { cipher, keys: read });
    }
    Ok(Provider::Identity)
}
