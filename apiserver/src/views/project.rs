//! The projections: which fields of an object each view keeps.

use api_types::core::v1::{
    Container, LocalObjectReference, Namespace, NamespacePhase, Node, ObjectReference, PersistentVolume, Pod,
    PodSpec, PreemptionPolicy, Secret, SecretType, ServiceAccount, Volume,
};
use api_types::meta::v1::ObjectMeta;
use api_types::networking::v1::IngressClass;
use api_types::resource::v1::ResourceSlice;
use api_types::scheduling::v1::PriorityClass;
use api_types::storage::v1::{StorageClass, VolumeAttachment};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

use crate::storage::skim::Keep;

/// Which object of its name this is, and whether it is on its way out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    pub uid: String,
    pub deleted_at: Option<Timestamp>,
}

impl From<&ObjectMeta> for Life {
    fn from(meta: &ObjectMeta) -> Self {
        Self { uid: meta.uid.clone(), deleted_at: meta.deletion_timestamp.map(|time| time.0) }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamespaceView {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub terminating: bool,
}

impl From<Namespace> for NamespaceView {
    fn from(namespace: Namespace) -> Self {
        Self {
            terminating: namespace.metadata.deletion_timestamp.is_some()
                || namespace.status.phase == NamespacePhase::Terminating,
            labels: namespace.metadata.labels,
            annotations: namespace.metadata.annotations,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceAccountView {
    pub life: Life,
    pub annotations: BTreeMap<String, String>,
    pub automount: Option<bool>,
    pub secrets: Vec<ObjectReference>,
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

impl From<ServiceAccount> for ServiceAccountView {
    fn from(account: ServiceAccount) -> Self {
        Self {
            life: Life::from(&account.metadata),
            annotations: account.metadata.annotations,
            automount: account.automount_service_account_token,
            secrets: account.secrets,
            image_pull_secrets: account.image_pull_secrets,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretView {
    pub life: Life,
    /// Digest of the token that it holds for a service account.
    pub token: Option<[u8; 32]>,
    /// Whether that token is not to be used any more.
    pub is_invalidated: bool,
}

/// The label of Secrets whose token is not to be used any more.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// As [`SecretView::token`].
pub fn token_digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl From<Secret> for SecretView {
    fn from(secret: Secret) -> Self {
        let token = secret.data.get("token").filter(|token| !token.is_empty());
        Self {
            life: Life::from(&secret.metadata),
            token: token.filter(|_| secret.type_ == SecretType::ServiceAccountToken).map(|t| token_digest(t)),
            is_invalidated: secret.metadata.labels.get(INVALID_SINCE).is_some_and(|since| !since.is_empty()),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    pub life: Life,
    /// Its zone and region, as labels.
    pub topology: BTreeMap<String, String>,
}

/// The labels of a node that its pods get, too.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

impl From<Node> for NodeView {
    fn from(node: Node) -> Self {
        let topology = TOPOLOGY.iter().filter_map(|label| node.metadata.labels.get_key_value(*label));
        Self {
            life: Life::from(&node.metadata),
            topology: topology.map(|(label, value)| (label.clone(), value.clone())).collect(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PriorityClassView {
    pub value: i32,
    pub global_default: bool,
    pub preemption_policy: Option<PreemptionPolicy>,
}

impl From<PriorityClass> for PriorityClassView {
    fn from(class: PriorityClass) -> Self {
        Self {
            value: class.value,
            global_default: class.global_default,
            preemption_policy: class.preemption_policy,
        }
    }
}

/// Whose a PersistentVolume is, and the secrets that a kubelet needs for it, each by namespace and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersistentVolumeView {
    /// Its claim.
    pub claim: Option<(String, String)>,
    /// What its driver is given on a node.
    pub secrets: Vec<(String, String)>,
}

impl From<PersistentVolume> for PersistentVolumeView {
    fn from(volume: PersistentVolume) -> Self {
        let claim = volume.spec.claim_ref.map(|claim| (claim.namespace.clone(), claim.name.clone()));
        let of_claim = claim.as_ref().map(|(namespace, _)| namespace.clone()).unwrap_or_default();
        let source = volume.spec.source;
        // Those for attaching and for growing from outside are the controllers' alone.
        let csi = source.csi.iter().flat_map(|csi| {
            [&csi.node_stage_secret_ref, &csi.node_publish_secret_ref, &csi.node_expand_secret_ref]
        });
        let iscsi = source.iscsi.iter().map(|iscsi| &iscsi.secret_ref);
        let secrets = csi.chain(iscsi).flatten().filter(|secret| !secret.name.is_empty());
        // COMPAT: one without a namespace is in that of the claim.
        let secrets = secrets.map(|secret| match secret.namespace.as_str() {
            "" => (of_claim.clone(), secret.name.clone()),
            namespace => (namespace.to_owned(), secret.name.clone()),
        });
        Self { secrets: secrets.collect(), claim }
    }
}

/// Which node a volume is, or shall be, attached to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeAttachmentView {
    pub node: String,
}

impl From<VolumeAttachment> for VolumeAttachmentView {
    fn from(attachment: VolumeAttachment) -> Self {
        Self { node: attachment.spec.node_name }
    }
}

/// The one node that reaches a slice's devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceSliceView {
    /// Empty when several may.
    pub node: String,
}

impl From<ResourceSlice> for ResourceSliceView {
    fn from(slice: ResourceSlice) -> Self {
        Self { node: slice.spec.node_name.unwrap_or_default() }
    }
}

/// A class that may be the default one of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultClassView {
    pub is_default: bool,
    pub created: Option<Timestamp>,
    /// Whether claims of the class may grow.
    pub expandable: bool,
}

impl From<IngressClass> for DefaultClassView {
    fn from(class: IngressClass) -> Self {
        Self {
            is_default: class.is_default(),
            created: class.metadata.creation_timestamp.map(|at| at.0),
            expandable: false,
        }
    }
}

impl From<StorageClass> for DefaultClassView {
    fn from(class: StorageClass) -> Self {
        Self {
            is_default: class.is_default(),
            created: class.metadata.creation_timestamp.map(|at| at.0),
            expandable: class.allow_volume_expansion == Some(true),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodView {
    pub life: Life,
    pub node_name: String,
    pub service_account: String,
    pub is_mirror: bool,
    pub references: PodReferences,
}

/// Objects of its namespace that a pod needs, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodReferences {
    pub secrets: BTreeSet<String>,
    pub config_maps: BTreeSet<String>,
    pub claims: BTreeSet<String>,
    pub resource_claims: BTreeSet<String>,
    /// Audiences of tokens that its volumes ask for.
    pub token_audiences: BTreeSet<String>,
}

/// Marks the pods that a kubelet made from its own files (API doc "Static Pods").
pub const MIRROR: &str = "kubernetes.io/config.mirror";

impl PodView {
    /// The members of a pod that the view is made of.
    pub fn reads(member: &str) -> Option<Keep> {
        const METADATA: &[(&str, Keep)] = &[
            ("name", Keep::All),
            ("uid", Keep::All),
            ("deletionTimestamp", Keep::All),
            ("annotations", Keep::All),
        ];
        const STATUS: &[(&str, Keep)] =
            &[("resourceClaimStatuses", Keep::All), ("extendedResourceClaimStatus", Keep::All)];
        match member {
            "metadata" => Some(Keep::Members(METADATA)),
            "spec" => Some(Keep::All),
            "status" => Some(Keep::Members(STATUS)),
            _ => None,
        }
    }
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> Self {
        let mut references = PodReferences::of(&pod.spec, &pod.metadata.name);
        references.resource_claims.extend(
            pod.status.resource_claim_statuses.iter().filter_map(|claim| claim.resource_claim_name.clone()),
        );
        references.resource_claims.extend(
            pod.status.extended_resource_claim_status.iter().map(|claim| claim.resource_claim_name.clone()),
        );
        Self {
            life: Life::from(&pod.metadata),
            node_name: pod.spec.node_name,
            service_account: pod.spec.service_account_name,
            is_mirror: pod.metadata.annotations.contains_key(MIRROR),
            references,
        }
    }
}

impl PodReferences {
    /// Everything that the spec of the pod `name` refers to.
    pub fn of(spec: &PodSpec, name: &str) -> Self {
        let mut found = Self::default();
        found.secrets.extend(spec.image_pull_secrets.iter().map(|secret| secret.name.clone()));
        let ephemeral = spec.ephemeral_containers.iter().map(|container| &container.common);
        for container in spec.init_containers.iter().chain(&spec.containers).chain(ephemeral) {
            found.environment(container);
        }
        for volume in &spec.volumes {
            found.volume(volume, name);
        }
        for claim in &spec.resource_claims {
            found.resource_claims.extend(claim.resource_claim_name.clone());
        }
        for names in [&mut found.secrets, &mut found.config_maps, &mut found.claims] {
            names.remove("");
        }
        found
    }

    fn environment(&mut self, container: &Container) {
        for source in &container.env_from {
            self.secrets.extend(source.secret_ref.iter().map(|s| s.reference.name.clone()));
            self.config_maps.extend(source.config_map_ref.iter().map(|c| c.reference.name.clone()));
        }
        for source in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
            self.secrets.extend(source.secret_key_ref.iter().map(|s| s.reference.name.clone()));
            self.config_maps.extend(source.config_map_key_ref.iter().map(|c| c.reference.name.clone()));
        }
    }

    fn volume(&mut self, volume: &Volume, pod: &str) {
        let source = &volume.source;
        self.secrets.extend(source.secret.iter().map(|secret| secret.secret_name.clone()));
        self.config_maps.extend(source.config_map.iter().map(|map| map.reference.name.clone()));
        self.claims.extend(source.persistent_volume_claim.iter().map(|claim| claim.claim_name.clone()));
        if source.ephemeral.is_some() {
            self.claims.insert(format!("{pod}-{}", volume.name));
        }
        let referred = [
            source.csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_deref()),
            source.cephfs.as_ref().and_then(|cephfs| cephfs.secret_ref.as_deref()),
            source.cinder.as_ref().and_then(|cinder| cinder.secret_ref.as_deref()),
            source.flex_volume.as_ref().and_then(|flex| flex.secret_ref.as_deref()),
            source.iscsi.as_ref().and_then(|iscsi| iscsi.secret_ref.as_deref()),
            source.rbd.as_ref().and_then(|rbd| rbd.secret_ref.as_deref()),
            source.scale_io.as_ref().and_then(|scale_io| scale_io.secret_ref.as_deref()),
            source.storageos.as_ref().and_then(|storageos| storageos.secret_ref.as_deref()),
        ];
        self.secrets.extend(referred.into_iter().flatten().map(|secret| secret.name.clone()));
        self.secrets.extend(source.azure_file.iter().map(|file| file.secret_name.clone()));
        for projection in source.projected.iter().flat_map(|projected| &projected.sources) {
            self.secrets.extend(projection.secret.iter().map(|s| s.reference.name.clone()));
            self.config_maps.extend(projection.config_map.iter().map(|c| c.reference.name.clone()));
            self.token_audiences
                .extend(projection.service_account_token.iter().map(|token| token.audience.clone()));
        }
    }
}
