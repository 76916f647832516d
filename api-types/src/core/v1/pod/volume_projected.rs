//! The projected volume, which lays several sources into one folder.

use std::collections::BTreeMap;

use crate::core::v1::{DownwardAPIVolumeFile, KeyToPath, LocalObjectReference};
use crate::meta::v1::LabelSelector;
use api_types_derive::Api;

/// Several sources in one folder.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ProjectedVolumeSource {
    /// The sources; a later one wins over an earlier one.
    #[api(1, always, list = atomic)]
    pub sources: Vec<VolumeProjection>,
    /// Permissions of files that give none; 0644 when not given.
    #[api(2)]
    pub default_mode: Option<i32>,
}

/// One source of a projected volume; exactly one is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VolumeProjection {
    /// Keys of a Secret.
    #[api(1)]
    pub secret: Option<Box<SecretProjection>>,
    /// Facts about the pod.
    #[api(2, name = "downwardAPI")]
    pub downward_api: Option<Box<DownwardAPIProjection>>,
    /// Keys of a ConfigMap.
    #[api(3)]
    pub config_map: Option<Box<ConfigMapProjection>>,
    /// A token of the pod's service account, renewed before it expires.
    #[api(4)]
    pub service_account_token: Option<Box<ServiceAccountTokenProjection>>,
    /// Certificates of a ClusterTrustBundle.
    #[api(5)]
    pub cluster_trust_bundle: Option<Box<ClusterTrustBundleProjection>>,
    /// A private key and certificate for the pod, renewed before it expires.
    #[api(6)]
    pub pod_certificate: Option<Box<PodCertificateProjection>>,
}

/// Keys of a ConfigMap in a projected volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ConfigMapProjection {
    /// Name of the ConfigMap.
    #[api(1, inline)]
    pub reference: LocalObjectReference,
    /// Keys to show and under which paths; all when empty.
    #[api(2, list = atomic)]
    pub items: Vec<KeyToPath>,
    /// Whether ConfigMap or keys may be missing.
    #[api(4)]
    pub optional: Option<bool>,
}

/// Keys of a Secret in a projected volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SecretProjection {
    /// Name of the Secret.
    #[api(1, inline)]
    pub reference: LocalObjectReference,
    /// Keys to show and under which paths; all when empty.
    #[api(2, list = atomic)]
    pub items: Vec<KeyToPath>,
    /// Whether Secret or keys may be missing.
    #[api(4)]
    pub optional: Option<bool>,
}

/// Facts about the pod in a projected volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct DownwardAPIProjection {
    /// The files.
    #[api(1, list = atomic)]
    pub items: Vec<DownwardAPIVolumeFile>,
}

/// A token of the pod's service account in a projected volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ServiceAccountTokenProjection {
    /// Server that the token is for; the API server when not given.
    #[api(1)]
    pub audience: String,
    /// Lifetime in seconds, at least 600; 3600 when not given.
    #[api(2)]
    pub expiration_seconds: Option<i64>,
    /// Path of the file.
    #[api(3, required)]
    pub path: String,
}

/// Certificates of trust bundles, as one PEM file.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ClusterTrustBundleProjection {
    /// Name of one bundle; not to be combined with signerName.
    #[api(1)]
    pub name: Option<String>,
    /// Signer whose bundles are taken.
    #[api(2)]
    pub signer_name: Option<String>,
    /// Labels of the signer's bundles; none given matches nothing.
    #[api(3)]
    pub label_selector: Option<Box<LabelSelector>>,
    /// Whether the bundles may be missing.
    #[api(5)]
    pub optional: Option<bool>,
    /// Path of the file.
    #[api(4, required)]
    pub path: String,
}

/// A private key and certificate that the kubelet keeps fresh.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodCertificateProjection {
    /// Signer that is asked.
    #[api(1, required, omitempty)]
    pub signer_name: String,
    /// Type of the key, such as ED25519 or ECDSAP256.
    #[api(2, required, omitempty)]
    pub key_type: String,
    /// Longest lifetime in seconds; a day when not given.
    #[api(3)]
    pub max_expiration_seconds: Option<i32>,
    /// File that gets the key and the chain.
    #[api(4)]
    pub credential_bundle_path: String,
    /// File that gets the key alone.
    #[api(5)]
    pub key_path: String,
    /// File that gets the chain alone.
    #[api(6)]
    pub certificate_chain_path: String,
    /// Further facts for the signer.
    #[api(7)]
    pub user_annotations: BTreeMap<String, String>,
}
