//! What is behind a PersistentVolume, where that differs from the volumes of pods.

use std::collections::BTreeMap;

use crate::core::v1::{
    AWSElasticBlockStoreVolumeSource, AzureDiskVolumeSource, FCVolumeSource, FlockerVolumeSource,
    GCEPersistentDiskVolumeSource, HostPathVolumeSource, NFSVolumeSource, ObjectReference,
    PhotonPersistentDiskVolumeSource, PortworxVolumeSource, QuobyteVolumeSource, SecretReference,
    VsphereVirtualDiskVolumeSource,
};
use api_types_derive::Api;

/// What is behind a PersistentVolume; exactly one is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PersistentVolumeSource {
    /// A disk of Google Compute Engine, by way of its CSI driver.
    #[api(1)]
    pub gce_persistent_disk: Option<Box<GCEPersistentDiskVolumeSource>>,
    /// A disk of Amazon EBS, by way of its CSI driver.
    #[api(2)]
    pub aws_elastic_block_store: Option<Box<AWSElasticBlockStoreVolumeSource>>,
    /// A path of the node; for tests on one node.
    #[api(3)]
    pub host_path: Option<Box<HostPathVolumeSource>>,
    /// A Gluster volume; no longer supported.
    #[api(4)]
    pub glusterfs: Option<Box<GlusterfsPersistentVolumeSource>>,
    /// A share of an NFS server.
    #[api(5)]
    pub nfs: Option<Box<NFSVolumeSource>>,
    /// A Ceph block device; no longer supported.
    #[api(6)]
    pub rbd: Option<Box<RBDPersistentVolumeSource>>,
    /// A disk of an iSCSI target.
    #[api(7)]
    pub iscsi: Option<Box<ISCSIPersistentVolumeSource>>,
    /// A disk of OpenStack, by way of its CSI driver.
    #[api(8)]
    pub cinder: Option<Box<CinderPersistentVolumeSource>>,
    /// A CephFS; no longer supported.
    #[api(9)]
    pub cephfs: Option<Box<CephFSPersistentVolumeSource>>,
    /// A Fibre Channel disk.
    #[api(10)]
    pub fc: Option<Box<FCVolumeSource>>,
    /// A Flocker dataset; no longer supported.
    #[api(11)]
    pub flocker: Option<Box<FlockerVolumeSource>>,
    /// A volume of an exec-based plugin.
    #[api(12)]
    pub flex_volume: Option<Box<FlexPersistentVolumeSource>>,
    /// A share of Azure Files, by way of its CSI driver.
    #[api(13)]
    pub azure_file: Option<Box<AzureFilePersistentVolumeSource>>,
    /// A disk of vSphere, by way of its CSI driver.
    #[api(14)]
    pub vsphere_volume: Option<Box<VsphereVirtualDiskVolumeSource>>,
    /// A Quobyte volume; no longer supported.
    #[api(15)]
    pub quobyte: Option<Box<QuobyteVolumeSource>>,
    /// A disk of Azure, by way of its CSI driver.
    #[api(16)]
    pub azure_disk: Option<Box<AzureDiskVolumeSource>>,
    /// A Photon disk; no longer supported.
    #[api(17)]
    pub photon_persistent_disk: Option<Box<PhotonPersistentDiskVolumeSource>>,
    /// A Portworx volume, by way of its CSI driver.
    #[api(18)]
    pub portworx_volume: Option<Box<PortworxVolumeSource>>,
    /// A ScaleIO volume; no longer supported.
    #[api(19, name = "scaleIO")]
    pub scale_io: Option<Box<ScaleIOPersistentVolumeSource>>,
    /// A disk or folder of one node.
    #[api(20)]
    pub local: Option<Box<LocalVolumeSource>>,
    /// A StorageOS volume; no longer supported.
    #[api(21)]
    pub storageos: Option<Box<StorageOSPersistentVolumeSource>>,
    /// A volume of a CSI driver.
    #[api(22)]
    pub csi: Option<Box<CSIPersistentVolumeSource>>,
}

/// A disk or folder of one node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct LocalVolumeSource {
    /// Path of the folder or block device on the node.
    #[api(1, required)]
    pub path: String,
    /// Filesystem of a block device; found out when not given.
    #[api(2)]
    pub fs_type: Option<String>,
}

/// A volume of a CSI driver.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct CSIPersistentVolumeSource {
    /// Name of the driver.
    #[api(1, required)]
    pub driver: String,
    /// What the driver calls the volume.
    #[api(2, required)]
    pub volume_handle: String,
    /// Whether all mounts are read-only.
    #[api(3)]
    pub read_only: bool,
    /// Filesystem to mount.
    #[api(4)]
    pub fs_type: String,
    /// Properties that the driver gave the volume.
    #[api(5)]
    pub volume_attributes: BTreeMap<String, String>,
    /// Secret for attaching and detaching.
    #[api(6)]
    pub controller_publish_secret_ref: Option<Box<SecretReference>>,
    /// Secret for staging on a node.
    #[api(7)]
    pub node_stage_secret_ref: Option<Box<SecretReference>>,
    /// Secret for mounting into a pod.
    #[api(8)]
    pub node_publish_secret_ref: Option<Box<SecretReference>>,
    /// Secret for growing the volume.
    #[api(9)]
    pub controller_expand_secret_ref: Option<Box<SecretReference>>,
    /// Secret for growing the filesystem on a node.
    #[api(10)]
    pub node_expand_secret_ref: Option<Box<SecretReference>>,
}

/// A disk of an iSCSI target.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ISCSIPersistentVolumeSource {
    /// Address of the target, HOST or HOST:PORT.
    #[api(1, required)]
    pub target_portal: String,
    /// Name of the target.
    #[api(2, required)]
    pub iqn: String,
    /// Number of the logical unit.
    #[api(3, required)]
    pub lun: i32,
    /// Interface to use; tcp is the default transport.
    #[api(4, default = "default")]
    pub iscsi_interface: String,
    /// Filesystem to mount.
    #[api(5)]
    pub fs_type: String,
    /// Whether it is mounted read-only.
    #[api(6)]
    pub read_only: bool,
    /// Further addresses of the target.
    #[api(7, list = atomic)]
    pub portals: Vec<String>,
    /// Whether discovery authenticates with CHAP.
    #[api(8)]
    pub chap_auth_discovery: bool,
    /// Whether the session authenticates with CHAP.
    #[api(11)]
    pub chap_auth_session: bool,
    /// Secret for CHAP.
    #[api(10)]
    pub secret_ref: Option<Box<SecretReference>>,
    /// Name of this side, instead of the node's.
    #[api(12)]
    pub initiator_name: Option<String>,
}

/// A volume of an exec-based plugin.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct FlexPersistentVolumeSource {
    /// Name of the plugin.
    #[api(1, required)]
    pub driver: String,
    /// Filesystem to mount; the plugin's choice when not given.
    #[api(2)]
    pub fs_type: String,
    /// Secret handed to the plugin.
    #[api(3)]
    pub secret_ref: Option<Box<SecretReference>>,
    /// Whether it is mounted read-only.
    #[api(4)]
    pub read_only: bool,
    /// Further parameters for the plugin.
    #[api(5)]
    pub options: BTreeMap<String, String>,
}

/// A Gluster volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct GlusterfsPersistentVolumeSource {
    /// Endpoints object that names the servers.
    #[api(1, required)]
    pub endpoints: String,
    /// Name of the volume.
    #[api(2, required)]
    pub path: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
    /// Namespace of the Endpoints; the claim's when not given.
    #[api(4)]
    pub endpoints_namespace: Option<String>,
}

/// A Ceph block device.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct RBDPersistentVolumeSource {
    /// Addresses of the Ceph monitors.
    #[api(1, required, list = atomic)]
    pub monitors: Vec<String>,
    /// Name of the image.
    #[api(2, required)]
    pub image: String,
    /// Filesystem to mount.
    #[api(3)]
    pub fs_type: String,
    /// Pool of the image.
    #[api(4, default = "rbd")]
    pub pool: String,
    /// Ceph user.
    #[api(5, default = "admin")]
    pub user: String,
    /// Key ring file on the node.
    #[api(6, default = "/etc/ceph/keyring")]
    pub keyring: String,
    /// Secret with the key; wins over keyring.
    #[api(7)]
    pub secret_ref: Option<Box<SecretReference>>,
    /// Whether it is mounted read-only.
    #[api(8)]
    pub read_only: bool,
}

/// A disk of OpenStack.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct CinderPersistentVolumeSource {
    /// Identifier of the disk.
    #[api(1, required, name = "volumeID")]
    pub volume_id: String,
    /// Filesystem to mount.
    #[api(2)]
    pub fs_type: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
    /// Secret for OpenStack.
    #[api(4)]
    pub secret_ref: Option<Box<SecretReference>>,
}

/// A CephFS.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct CephFSPersistentVolumeSource {
    /// Addresses of the Ceph monitors.
    #[api(1, required, list = atomic)]
    pub monitors: Vec<String>,
    /// Folder to mount; the root when not given.
    #[api(2)]
    pub path: String,
    /// Ceph user; admin when not given.
    #[api(3)]
    pub user: String,
    /// Key ring file on the node.
    #[api(4)]
    pub secret_file: String,
    /// Secret with the key; wins over secretFile.
    #[api(5)]
    pub secret_ref: Option<Box<SecretReference>>,
    /// Whether it is mounted read-only.
    #[api(6)]
    pub read_only: bool,
}

/// A share of Azure Files.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct AzureFilePersistentVolumeSource {
    /// Secret with the account's name and key.
    #[api(1, required)]
    pub secret_name: String,
    /// Name of the share.
    #[api(2, required)]
    pub share_name: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
    /// Namespace of the Secret; the claim's when not given.
    #[api(4, always)]
    pub secret_namespace: Option<String>,
}

/// A ScaleIO volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ScaleIOPersistentVolumeSource {
    /// Address of the gateway.
    #[api(1, required)]
    pub gateway: String,
    /// Name of the storage system.
    #[api(2, required)]
    pub system: String,
    /// Secret with the login.
    #[api(3, required)]
    pub secret_ref: Option<Box<SecretReference>>,
    /// Whether to talk TLS to the gateway.
    #[api(4)]
    pub ssl_enabled: bool,
    /// Protection domain of the storage.
    #[api(5)]
    pub protection_domain: String,
    /// Pool in that domain.
    #[api(6)]
    pub storage_pool: String,
    /// ThickProvisioned or ThinProvisioned.
    #[api(7, default = "ThinProvisioned")]
    pub storage_mode: String,
    /// Name of the volume.
    #[api(8)]
    pub volume_name: String,
    /// Filesystem to mount.
    #[api(9, default = "xfs")]
    pub fs_type: String,
    /// Whether it is mounted read-only.
    #[api(10)]
    pub read_only: bool,
}

/// A StorageOS volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct StorageOSPersistentVolumeSource {
    /// Name of the volume.
    #[api(1)]
    pub volume_name: String,
    /// Scope of the volume; the claim's namespace when not given.
    #[api(2)]
    pub volume_namespace: String,
    /// Filesystem to mount; ext4 when not given.
    #[api(3)]
    pub fs_type: String,
    /// Whether it is mounted read-only.
    #[api(4)]
    pub read_only: bool,
    /// Secret with the login.
    #[api(5)]
    pub secret_ref: Option<Box<ObjectReference>>,
}
