//! Volumes that are reached over the network: CSI, NFS, iSCSI and the like.

use std::collections::BTreeMap;

use crate::core::v1::LocalObjectReference;
use api_types_derive::Api;

/// A volume of a CSI driver that lives as long as the pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct CSIVolumeSource {
    /// Name of the driver.
    #[api(1, required)]
    pub driver: String,
    /// Whether it is mounted read-only.
    #[api(2)]
    pub read_only: Option<bool>,
    /// Filesystem to mount; the driver's choice when not given.
    #[api(3)]
    pub fs_type: Option<String>,
    /// Parameters for the driver.
    #[api(4)]
    pub volume_attributes: BTreeMap<String, String>,
    /// Secret that the driver gets when it mounts.
    #[api(5)]
    pub node_publish_secret_ref: Option<Box<LocalObjectReference>>,
}

/// A share of an NFS server.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NFSVolumeSource {
    /// Name or address of the server.
    #[api(1, required)]
    pub server: String,
    /// Path that the server exports.
    #[api(2, required)]
    pub path: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
}

/// A disk of an iSCSI target.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ISCSIVolumeSource {
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
    pub secret_ref: Option<Box<LocalObjectReference>>,
    /// Name of this side, instead of the node's.
    #[api(12)]
    pub initiator_name: Option<String>,
}

/// A Fibre Channel disk; given by targets and LUN, or by WWIDs.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct FCVolumeSource {
    /// World-wide names of the target.
    #[api(1, name = "targetWWNs", list = atomic)]
    pub target_wwns: Vec<String>,
    /// Number of the logical unit.
    #[api(2)]
    pub lun: Option<i32>,
    /// Filesystem to mount; ext4 when not given.
    #[api(3)]
    pub fs_type: String,
    /// Whether it is mounted read-only.
    #[api(4)]
    pub read_only: bool,
    /// World-wide identifiers of the disk.
    #[api(5, list = atomic)]
    pub wwids: Vec<String>,
}

/// A CephFS.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct CephFSVolumeSource {
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
    pub secret_ref: Option<Box<LocalObjectReference>>,
    /// Whether it is mounted read-only.
    #[api(6)]
    pub read_only: bool,
}

/// A Ceph block device.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct RBDVolumeSource {
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
    pub secret_ref: Option<Box<LocalObjectReference>>,
    /// Whether it is mounted read-only.
    #[api(8)]
    pub read_only: bool,
}

/// A Gluster volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct GlusterfsVolumeSource {
    /// Endpoints object that names the servers.
    #[api(1, required)]
    pub endpoints: String,
    /// Name of the volume.
    #[api(2, required)]
    pub path: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
}

/// A volume of an exec-based plugin.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct FlexVolumeSource {
    /// Name of the plugin.
    #[api(1, required)]
    pub driver: String,
    /// Filesystem to mount; the plugin's choice when not given.
    #[api(2)]
    pub fs_type: String,
    /// Secret handed to the plugin.
    #[api(3)]
    pub secret_ref: Option<Box<LocalObjectReference>>,
    /// Whether it is mounted read-only.
    #[api(4)]
    pub read_only: bool,
    /// Further parameters for the plugin.
    #[api(5)]
    pub options: BTreeMap<String, String>,
}

/// A Quobyte volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct QuobyteVolumeSource {
    /// Addresses of the registry services, HOST:PORT, separated by commas.
    #[api(1, required)]
    pub registry: String,
    /// Name of the volume.
    #[api(2, required)]
    pub volume: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
    /// User to map accesses to.
    #[api(4)]
    pub user: String,
    /// Group to map accesses to.
    #[api(5)]
    pub group: String,
    /// Tenant that owns the volume.
    #[api(6)]
    pub tenant: String,
}

/// A ScaleIO volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ScaleIOVolumeSource {
    /// Address of the gateway.
    #[api(1, required)]
    pub gateway: String,
    /// Name of the storage system.
    #[api(2, required)]
    pub system: String,
    /// Secret with the login.
    #[api(3, required)]
    pub secret_ref: Option<Box<LocalObjectReference>>,
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
pub struct StorageOSVolumeSource {
    /// Name of the volume.
    #[api(1)]
    pub volume_name: String,
    /// Scope of the volume; the pod's namespace when not given.
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
    pub secret_ref: Option<Box<LocalObjectReference>>,
}

/// A Flocker dataset, by name or UUID.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct FlockerVolumeSource {
    /// Name of the dataset.
    #[api(1)]
    pub dataset_name: String,
    /// UUID of the dataset.
    #[api(2, name = "datasetUUID")]
    pub dataset_uuid: String,
}

/// A Portworx volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PortworxVolumeSource {
    /// Identifier of the volume.
    #[api(1, required, name = "volumeID")]
    pub volume_id: String,
    /// Filesystem to mount; ext4 when not given.
    #[api(2)]
    pub fs_type: String,
    /// Whether it is mounted read-only.
    #[api(3)]
    pub read_only: bool,
}
