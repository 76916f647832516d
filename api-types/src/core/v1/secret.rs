//! Secret: as ConfigMap, for what must not be shown.

use std::collections::BTreeMap;

use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
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
