//! Service accounts, and the Secrets that hold tokens: only those are followed, and of their data only
//! what decisions need.

use api_types::core::v1::well_known::{annotation, namespace};
use api_types::core::v1::{ConfigMap, Secret, SecretType, ServiceAccount};
use api_types::meta::v1::ListOptions;
use client::informer::Projection;
use sha2::{Digest as _, Sha256};

/// A service account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFacts {
    pub uid: Box<str>,
    /// Names of the Secrets that it lists.
    pub secrets: Vec<Box<str>>,
}

impl Projection for AccountFacts {
    type Source = ServiceAccount;
    fn project(account: ServiceAccount) -> Option<Self> {
        let secrets = account.secrets.iter().map(|secret| secret.name.as_str().into()).collect();
        let facts = Self { uid: account.metadata.uid.as_str().into(), secrets };
        account.metadata.deletion_timestamp.is_none().then_some(facts)
    }
}

fn of_type(type_: &SecretType) -> ListOptions {
    ListOptions { field_selector: format!("type={}", type_.as_str()), ..ListOptions::default() }
}

/// A Secret that holds the token of a service account, or is to hold one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSecret {
    pub uid: Box<str>,
    pub account: Box<str>,
    /// Empty before it was first filled.
    pub account_uid: Box<str>,
    pub has_token: bool,
    pub has_namespace: bool,
    /// Digest of the authority's certificates in it.
    pub authority: Option<[u8; 32]>,
}

impl TokenSecret {
    /// As [`TokenSecret::authority`].
    pub fn digest(certificates: &[u8]) -> [u8; 32] {
        Sha256::digest(certificates).into()
    }

    pub fn of(secret: &Secret) -> Self {
        let annotated = |name: &str| secret.metadata.annotations.get(name).map_or("", String::as_str).into();
        let has = |key: &str| secret.data.get(key).is_some_and(|value| !value.is_empty());
        Self {
            uid: secret.metadata.uid.as_str().into(),
            account: annotated(annotation::SERVICE_ACCOUNT_NAME),
            account_uid: annotated(annotation::SERVICE_ACCOUNT_UID),
            has_token: has("token"),
            has_namespace: has("namespace"),
            authority: secret.data.get("ca.crt").map(|certificates| Self::digest(certificates)),
        }
    }
}

impl Projection for TokenSecret {
    type Source = Secret;
    fn project(secret: Secret) -> Option<Self> {
        (secret.type_ == SecretType::ServiceAccountToken).then(|| Self::of(&secret))
    }
    fn selection() -> ListOptions {
        of_type(&SecretType::ServiceAccountToken)
    }
}

/// A token by which nodes join.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BootstrapToken {
    pub uid: Box<str>,
    pub id: String,
    pub secret: String,
    pub expiration: String,
    /// Whether it may sign the cluster's description.
    pub signs: bool,
}

impl std::fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootstrapToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Projection for BootstrapToken {
    type Source = Secret;
    fn project(secret: Secret) -> Option<Self> {
        let text = |key: &str| {
            let value = secret.data.get(key).map(|value| String::from_utf8_lossy(value).into_owned());
            value.unwrap_or_default()
        };
        let ours =
            secret.type_ == SecretType::BootstrapToken && secret.metadata.namespace == namespace::SYSTEM;
        ours.then(|| Self {
            uid: secret.metadata.uid.as_str().into(),
            id: text("token-id"),
            secret: text("token-secret"),
            expiration: text("expiration"),
            signs: text("usage-bootstrap-signing") == "true",
        })
    }
    fn selection() -> ListOptions {
        of_type(&SecretType::BootstrapToken)
    }
}

/// The description of the cluster that joining nodes read: `cluster-info` in kube-public.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterInfo(pub ConfigMap);

impl ClusterInfo {
    pub const NAME: &str = "cluster-info";
}

impl Projection for ClusterInfo {
    type Source = ConfigMap;
    fn project(mut map: ConfigMap) -> Option<Self> {
        map.metadata.managed_fields = Vec::new();
        (map.metadata.namespace == namespace::PUBLIC).then_some(Self(map))
    }
    fn selection() -> ListOptions {
        let field_selector = format!("metadata.name={}", Self::NAME);
        ListOptions { field_selector, ..ListOptions::default() }
    }
}
