//! Disks of cloud providers. Read and kept; only a CSI driver can mount them.

use crate::core::v1::LocalObjectReference;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// A disk of Amazon EBS.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct AWSElasticBlockStoreVolumeSource {
    /// Identifier of the disk.
    #[api(1, required, name = "volumeID")]
    pub volume_id: String,
    /// Filesystem to mount; ext4 when not given.
    #[api(2)]
    pub fs_type: String,
    /// Partition to mount; 0 for the whole disk.
    #[api(3)]
    pub partition: i32,
    /// Whether it is mounted read-only.
    #[api(4)]
    pub read_only: bool,
}

/// A disk of Google Compute Engine.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct GCEPersistentDiskVolumeSource {
    /// Name of the disk.
    #[api(1, required)]
    pub pd_name: String,
    /// Filesystem to mount; ext4 when not given.
    #[api(2)]
    pub fs_type: String,
    /// Partition to mount; 0 for the whole disk.
    #[api(3)]
    pub partition: i32,
    /// Whether it is mounted read-only.
    #[api(4)]
    pub read_only: bool,
}

/// A disk of Azure.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct AzureDiskVolumeSource {
    /// Name of the disk.
    #[api(1, required)]
    pub disk_name: String,
    /// URI of the disk.
    #[api(2, required, name = "diskURI")]
    pub disk_uri: String,
    /// How the host caches it.
    #[api(3, default = "ReadWrite")]
    pub caching_mode: Option<AzureDataDiskCachingMode>,
    /// Filesystem to mount.
    #[api(4, default = "ext4")]
    pub fs_type: Option<String>,
    /// Whether it is mounted read-only.
    #[api(5, default = false)]
    pub read_only: Option<bool>,
    /// How the disk is kept: Shared, Dedicated or Managed.
    #[api(6, default = "Shared")]
    pub kind: Option<AzureDataDiskKind>,
}

open_enum! {
    /// How the host caches an Azure disk.
    pub enum AzureDataDiskCachingMode {
        None = "None",
        ReadOnly = "ReadOnly",
        ReadWrite = "ReadWrite",
    }
}

open_enum! {
    /// How an Azure disk is kept.
    pub enum AzureDataDiskKind {
        Shared = "Shared",
        Dedicated = "Dedicated",
        Managed = "Managed",
    }
}

/// A share of Azure Files.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct AzureFileVolumeSource {
    /// Secret with the storage account's name and key.
    #[api(1, required)]
    pub secret_name: String,
    /// Name of the share.
    #[api(2, required)]
    pub share_name: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
}

/// A disk of OpenStack.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct CinderVolumeSource {
    /// Identifier of the disk.
    #[api(1, required, name = "volumeID")]
    pub volume_id: String,
    /// Filesystem to mount; ext4 when not given.
    #[api(2)]
    pub fs_type: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
    /// Secret with parameters for OpenStack.
    #[api(4)]
    pub secret_ref: Option<Box<LocalObjectReference>>,
}

/// A disk of vSphere.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VsphereVirtualDiskVolumeSource {
    /// Path of the vmdk file.
    #[api(1, required)]
    pub volume_path: String,
    /// Filesystem to mount; ext4 when not given.
    #[api(2)]
    pub fs_type: String,
    /// Name of the storage policy.
    #[api(3)]
    pub storage_policy_name: String,
    /// Identifier of the storage policy.
    #[api(4, name = "storagePolicyID")]
    pub storage_policy_id: String,
}

/// A disk of Photon.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PhotonPersistentDiskVolumeSource {
    /// Identifier of the disk.
    #[api(1, required, name = "pdID")]
    pub pd_id: String,
    /// Filesystem to mount; ext4 when not given.
    #[api(2)]
    pub fs_type: String,
}
