//! Secret: as ConfigMap, for what must not be shown.

use std::collections::BTreeMap;

use crate::core::v1::config_map::{IMMUTABLE_WHEN_SET, MAX_DATA_BYTES};
use crate::core::v1::well_known::annotation;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use crate::names;
use crate::open_enum::open_enum;
use crate::value::ByteString;
use api_types_derive::Api;

/// Small confidential data such as passwords, tokens or keys.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Secret {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Whether the data may never change again.
    #[api(5)]
    pub immutable: Option<bool>,
    /// Values by key.
    #[api(2)]
    pub data: BTreeMap<String, ByteString>,
    /// Values as plain text, for writing only; they are moved into data.
    #[api(4)]
    pub string_data: BTreeMap<String, String>,
    /// What the data is, so that programs can rely on its keys.
    #[api(3)]
    pub type_: SecretType,
}

open_enum! {
    /// What a Secret's data is.
    pub enum SecretType {
        Opaque = "Opaque",
        ServiceAccountToken = "kubernetes.io/service-account-token",
        Dockercfg = "kubernetes.io/dockercfg",
        DockerConfigJson = "kubernetes.io/dockerconfigjson",
        BasicAuth = "kubernetes.io/basic-auth",
        SSHAuth = "kubernetes.io/ssh-auth",
        Tls = "kubernetes.io/tls",
        BootstrapToken = "bootstrap.kubernetes.io/token",
    }
}

resource!(Secret, Kind::namespaced("v1", "Secret", "secrets", "secret"));

impl Secret {
    /// Keys that the type requires; `path` is that of the data.
    fn validate_type(&self, path: &Path, errors: &mut Errors) {
        let mut require = |keys: &[&str]| {
            for key in keys.iter().filter(|key| !self.data.contains_key(**key)) {
                errors.required(&path.key(key), "");
            }
        };
        match self.type_ {
            SecretType::ServiceAccountToken => {
                let key = annotation::SERVICE_ACCOUNT_NAME;
                if self.metadata.annotations.get(key).is_none_or(String::is_empty) {
                    errors.required(&Path::new("metadata").child("annotations").key(key), "");
                }
            }
            SecretType::Dockercfg => self.validate_json(".dockercfg", path, errors),
            SecretType::DockerConfigJson => self.validate_json(".dockerconfigjson", path, errors),
            SecretType::BasicAuth
                if !self.data.contains_key("username") && !self.data.contains_key("password") =>
            {
                require(&["username", "password"]);
            }
            SecretType::SSHAuth if self.data.get("ssh-privatekey").is_none_or(|key| key.is_empty()) => {
                errors.required(&path.key("ssh-privatekey"), "");
            }
            SecretType::Tls => require(&["tls.crt", "tls.key"]),
            _ => {}
        }
    }

    fn validate_json(&self, key: &str, path: &Path, errors: &mut Errors) {
        let Some(bytes) = self.data.get(key) else { return errors.required(&path.key(key), "") };
        if let Err(e) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes) {
            // Go's words for the two mistakes that are made.
            let text = if bytes.is_empty() || e.is_eof() {
                "unexpected end of JSON input".to_owned()
            } else {
                e.to_string()
            };
            errors.invalid(&path.key(key), "<secret contents redacted>", text);
        }
    }
}

impl Strategy for Secret {
    fn set_defaults(&mut self) {
        if self.type_.is_unset() {
            self.type_ = SecretType::Opaque;
        }
        // stringData is for writing only; its keys win.
        for (key, text) in std::mem::take(&mut self.string_data) {
            self.data.insert(key, text.into_bytes().into());
        }
    }

    fn prepare_for_update(&mut self, old: &Self) {
        if self.type_.is_unset() {
            self.type_ = old.type_.clone();
        }
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("data");
        for key in self.data.keys() {
            errors.wrong(&path.key(key), key, names::config_key(key));
        }
        if self.data.values().map(|bytes| bytes.len()).sum::<usize>() > MAX_DATA_BYTES {
            errors.too_long(&path, MAX_DATA_BYTES);
        }
        self.validate_type(&path, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.type_, &old.type_, &Path::new("type"), errors);
        if old.immutable != Some(true) {
            return;
        }
        for (changed, name) in [(self.immutable != Some(true), "immutable"), (self.data != old.data, "data")]
        {
            if changed {
                errors.forbidden(&Path::new(name), IMMUTABLE_WHEN_SET);
            }
        }
    }

    fn selectable_names() -> &'static [&'static str] {
        &["type"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("type", self.type_.to_string())]
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Type", "What the secret is used for.", |secret, _| {
                    secret.type_.as_str().into()
                }),
                Column::text("Data", "Number of keys.", |secret, _| secret.data.len().into()),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{defaulted, refused, refused_update};

    fn secret(type_: &str, data: &[(&str, &str)]) -> Secret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().into())).collect();
        Secret { type_: type_.into(), data, ..Secret::default() }
    }

    #[test]
    fn texts_become_data() {
        let mut own = secret("", &[("a", "old"), ("b", "kept")]);
        own.string_data.insert("a".into(), "new".into());
        let own = defaulted(own);
        assert_eq!(own.type_, SecretType::Opaque);
        assert_eq!((own.data["a"].as_slice(), own.data["b"].as_slice()), (&b"new"[..], &b"kept"[..]));
        assert!(own.string_data.is_empty());
    }

    #[test]
    fn types_require_their_keys() {
        for (type_, data, expected) in [
            ("Opaque", vec![], vec![]),
            ("example.com/own", vec![], vec![]),
            ("kubernetes.io/tls", vec![("tls.crt", "")], vec!["data[tls.key]: Required value"]),
            (
                "kubernetes.io/basic-auth",
                vec![],
                vec!["data[username]: Required value", "data[password]: Required value"],
            ),
            ("kubernetes.io/ssh-auth", vec![], vec!["data[ssh-privatekey]: Required value"]),
            ("kubernetes.io/dockerconfigjson", vec![], vec!["data[.dockerconfigjson]: Required value"]),
            (
                "kubernetes.io/dockerconfigjson",
                vec![(".dockerconfigjson", "{")],
                vec![
                    r#"data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": unexpected end of JSON input"#,
                ],
            ),
            (
                "kubernetes.io/service-account-token",
                vec![],
                vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
        ] {
            assert_eq!(refused(secret(type_, &data)), expected, "{type_}");
        }
    }

    #[test]
    fn the_type_stays() {
        assert_eq!(
            refused_update(secret("a/b", &[]), secret("Opaque", &[])),
            [r#"type: Invalid value: "a/b": field is immutable"#]
        );
    }
}
