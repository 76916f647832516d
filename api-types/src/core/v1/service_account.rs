//! ServiceAccount: the identity that a pod acts under.

use crate::core::v1::{LocalObjectReference, ObjectReference};
use crate::kind::{Column, Kind, Strategy, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use api_types_derive::Api;

/// An identity for pods.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ServiceAccount {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Secrets that pods of this account may use.
    #[api(2, list = map("name"), patch = merge_key("name"))]
    pub secrets: Vec<ObjectReference>,
    /// Registry credentials given to pods of this account.
    #[api(3, list = atomic)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Whether pods get a token as files, unless they say otherwise.
    #[api(4)]
    pub automount_service_account_token: Option<bool>,
}

resource!(
    ServiceAccount,
    Kind {
        short_names: &["sa"],
        subresources: &[Subresource {
            group: "authentication.k8s.io",
            version: "v1",
            ..Subresource::own("token", "TokenRequest", &["create"])
        }],
        ..Kind::namespaced("v1", "ServiceAccount", "serviceaccounts", "serviceaccount")
    }
);

impl Strategy for ServiceAccount {
    fn prepare_for_create(&mut self) {
        names_only(&mut self.secrets);
    }

    fn prepare_for_update(&mut self, _old: &Self) {
        names_only(&mut self.secrets);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        const KEY: &str = "kubernetes.io/enforce-mountable-secrets";
        let set = |account: &Self| account.metadata.annotations.contains_key(KEY);
        if !set(self) || old.is_some_and(set) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{KEY}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }

    fn columns() -> &'static [Column<Self>] {
        const { &[Column::name(), Column::age()] }
    }
}

/// Secrets are meant by their name alone.
fn names_only(secrets: &mut [ObjectReference]) {
    for secret in secrets {
        *secret = ObjectReference { name: std::mem::take(&mut secret.name), ..ObjectReference::default() };
    }
}
