//! Volumes of a pod: the union of sources, and those that live on the node or in the API.

use crate::core::v1::{
    AWSElasticBlockStoreVolumeSource, AzureDiskVolumeSource, AzureFileVolumeSource, CSIVolumeSource,
    CephFSVolumeSource, CinderVolumeSource, FCVolumeSource, FlexVolumeSource, FlockerVolumeSource,
    GCEPersistentDiskVolumeSource, GlusterfsVolumeSource, ISCSIVolumeSource, LocalObjectReference,
    NFSVolumeSource, ObjectFieldSelector, PersistentVolumeClaimTemplate, PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource, ProjectedVolumeSource, PullPolicy, QuobyteVolumeSource, RBDVolumeSource,
    ResourceFieldSelector, ScaleIOVolumeSource, StorageOSVolumeSource, VsphereVirtualDiskVolumeSource,
};
use crate::open_enum::open_enum;
use crate::value::Quantity;
use api_types_derive::Api;

/// A named volume of a pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Volume {
    /// Name, a DNS label that is unique in the pod.
    #[api(1, required)]
    pub name: String,
    /// What is behind it.
    #[api(2, inline)]
    pub source: VolumeSource,
}

/// What is behind a volume; exactly one is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VolumeSource {
    /// A path of the node.
    #[api(1)]
    pub host_path: Option<Box<HostPathVolumeSource>>,
    /// An empty folder that lives as long as the pod.
    #[api(2)]
    pub empty_dir: Option<Box<EmptyDirVolumeSource>>,
    /// A disk of Google Compute Engine, by way of its CSI driver.
    #[api(3)]
    pub gce_persistent_disk: Option<Box<GCEPersistentDiskVolumeSource>>,
    /// A disk of Amazon EBS, by way of its CSI driver.
    #[api(4)]
    pub aws_elastic_block_store: Option<Box<AWSElasticBlockStoreVolumeSource>>,
    /// A checkout of a git repository; no longer supported.
    #[api(5)]
    pub git_repo: Option<Box<GitRepoVolumeSource>>,
    /// The keys of a Secret as files.
    #[api(6)]
    pub secret: Option<Box<SecretVolumeSource>>,
    /// A share of an NFS server.
    #[api(7)]
    pub nfs: Option<Box<NFSVolumeSource>>,
    /// A disk of an iSCSI target.
    #[api(8)]
    pub iscsi: Option<Box<ISCSIVolumeSource>>,
    /// A Gluster volume; no longer supported.
    #[api(9)]
    pub glusterfs: Option<Box<GlusterfsVolumeSource>>,
    /// A PersistentVolumeClaim in the pod's namespace.
    #[api(10)]
    pub persistent_volume_claim: Option<Box<PersistentVolumeClaimVolumeSource>>,
    /// A Ceph block device; no longer supported.
    #[api(11)]
    pub rbd: Option<Box<RBDVolumeSource>>,
    /// A volume of an exec-based plugin.
    #[api(12)]
    pub flex_volume: Option<Box<FlexVolumeSource>>,
    /// A disk of OpenStack, by way of its CSI driver.
    #[api(13)]
    pub cinder: Option<Box<CinderVolumeSource>>,
    /// A CephFS; no longer supported.
    #[api(14)]
    pub cephfs: Option<Box<CephFSVolumeSource>>,
    /// A Flocker dataset; no longer supported.
    #[api(15)]
    pub flocker: Option<Box<FlockerVolumeSource>>,
    /// Facts about the pod as files.
    #[api(16, name = "downwardAPI")]
    pub downward_api: Option<Box<DownwardAPIVolumeSource>>,
    /// A Fibre Channel disk.
    #[api(17)]
    pub fc: Option<Box<FCVolumeSource>>,
    /// A share of Azure Files, by way of its CSI driver.
    #[api(18)]
    pub azure_file: Option<Box<AzureFileVolumeSource>>,
    /// The keys of a ConfigMap as files.
    #[api(19)]
    pub config_map: Option<Box<ConfigMapVolumeSource>>,
    /// A disk of vSphere, by way of its CSI driver.
    #[api(20)]
    pub vsphere_volume: Option<Box<VsphereVirtualDiskVolumeSource>>,
    /// A Quobyte volume; no longer supported.
    #[api(21)]
    pub quobyte: Option<Box<QuobyteVolumeSource>>,
    /// A disk of Azure, by way of its CSI driver.
    #[api(22)]
    pub azure_disk: Option<Box<AzureDiskVolumeSource>>,
    /// A Photon disk; no longer supported.
    #[api(23)]
    pub photon_persistent_disk: Option<Box<PhotonPersistentDiskVolumeSource>>,
    /// Several sources in one folder.
    #[api(26)]
    pub projected: Option<Box<ProjectedVolumeSource>>,
    /// A Portworx volume, by way of its CSI driver.
    #[api(24)]
    pub portworx_volume: Option<Box<PortworxVolumeSource>>,
    /// A ScaleIO volume; no longer supported.
    #[api(25, name = "scaleIO")]
    pub scale_io: Option<Box<ScaleIOVolumeSource>>,
    /// A StorageOS volume; no longer supported.
    #[api(27)]
    pub storageos: Option<Box<StorageOSVolumeSource>>,
    /// A volume of a CSI driver that lives as long as the pod.
    #[api(28)]
    pub csi: Option<Box<CSIVolumeSource>>,
    /// A claim made for the pod, which lives as long as it.
    #[api(29)]
    pub ephemeral: Option<Box<EphemeralVolumeSource>>,
    /// The content of an OCI image, read-only.
    #[api(30)]
    pub image: Option<Box<ImageVolumeSource>>,
}

/// A path of the node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct HostPathVolumeSource {
    /// The path; links are followed.
    #[api(1, required)]
    pub path: String,
    /// What must be there before it is mounted.
    #[api(2)]
    pub type_: Option<HostPathType>,
}

open_enum! {
    /// What must be at a path of the node.
    pub enum HostPathType {
        DirectoryOrCreate = "DirectoryOrCreate",
        Directory = "Directory",
        FileOrCreate = "FileOrCreate",
        File = "File",
        Socket = "Socket",
        CharDevice = "CharDevice",
        BlockDevice = "BlockDevice",
    }
}

/// An empty folder that lives as long as the pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EmptyDirVolumeSource {
    /// Where it lies: the node's disk, memory or huge pages.
    #[api(1)]
    pub medium: StorageMedium,
    /// Size past which the pod is evicted; with medium Memory, that of the filesystem.
    #[api(2)]
    pub size_limit: Option<Quantity>,
}

open_enum! {
    /// Where an empty folder lies.
    pub enum StorageMedium {
        Memory = "Memory",
        HugePages = "HugePages",
    }
}

/// The keys of a ConfigMap as files.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ConfigMapVolumeSource {
    /// Name of the ConfigMap.
    #[api(1, inline)]
    pub reference: LocalObjectReference,
    /// Keys to show and under which paths; all when empty.
    #[api(2, list = atomic)]
    pub items: Vec<KeyToPath>,
    /// Permissions of files that give none; 0644 when not given.
    #[api(3)]
    pub default_mode: Option<i32>,
    /// Whether ConfigMap or keys may be missing.
    #[api(4)]
    pub optional: Option<bool>,
}

/// The keys of a Secret as files.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SecretVolumeSource {
    /// Name of the Secret.
    #[api(1)]
    pub secret_name: String,
    /// Keys to show and under which paths; all when empty.
    #[api(2, list = atomic)]
    pub items: Vec<KeyToPath>,
    /// Permissions of files that give none; 0644 when not given.
    #[api(3)]
    pub default_mode: Option<i32>,
    /// Whether Secret or keys may be missing.
    #[api(4)]
    pub optional: Option<bool>,
}

/// Facts about the pod as files.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct DownwardAPIVolumeSource {
    /// The files.
    #[api(1, list = atomic)]
    pub items: Vec<DownwardAPIVolumeFile>,
    /// Permissions of files that give none; 0644 when not given.
    #[api(2)]
    pub default_mode: Option<i32>,
}

/// One file with a fact about the pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct DownwardAPIVolumeFile {
    /// Path of the file; relative, without dot-dot.
    #[api(1, required)]
    pub path: String,
    /// A field of the pod: labels, annotations, name, namespace or UID.
    #[api(2)]
    pub field_ref: Option<Box<ObjectFieldSelector>>,
    /// A limit or request of a container.
    #[api(3)]
    pub resource_field_ref: Option<Box<ResourceFieldSelector>>,
    /// Permissions of the file.
    #[api(4)]
    pub mode: Option<i32>,
}

/// A key and the file that it becomes.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct KeyToPath {
    /// The key.
    #[api(1, required)]
    pub key: String,
    /// Path of the file; relative, without dot-dot.
    #[api(2, required)]
    pub path: String,
    /// Permissions of the file.
    #[api(3)]
    pub mode: Option<i32>,
}

/// A claim used as a volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeClaimVolumeSource {
    /// Name of the claim in the pod's namespace.
    #[api(1, required)]
    pub claim_name: String,
    /// Whether all mounts are read-only.
    #[api(2)]
    pub read_only: bool,
}

/// A claim made for the pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EphemeralVolumeSource {
    /// What the claim looks like; it is named POD-VOLUME.
    #[api(1)]
    pub volume_claim_template: Option<Box<PersistentVolumeClaimTemplate>>,
}

/// An OCI image used as a volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ImageVolumeSource {
    /// Name of the image.
    #[api(1)]
    pub reference: String,
    /// When it is pulled.
    #[api(2)]
    pub pull_policy: PullPolicy,
}

/// A checkout of a git repository.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct GitRepoVolumeSource {
    /// URL of the repository.
    #[api(1, required)]
    pub repository: String,
    /// Commit to check out.
    #[api(2)]
    pub revision: String,
    /// Folder to check out into; not dot-dot.
    #[api(3)]
    pub directory: String,
}
