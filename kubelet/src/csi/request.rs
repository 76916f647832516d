//! What a pod's volume asks of a storage driver. Pure.

use std::collections::BTreeMap;

use api_types::core::v1::{PersistentVolumeAccessMode, Pod, SecretReference};
use api_types::storage::v1::{CSIDriverSpec, FSGroupPolicy, VolumeLifecycleMode};

use super::driver::Capabilities;
use super::proto::VolumeCapability;
use super::proto::volume_capability::access_mode::Mode;
use super::proto::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use super::{CsiError, sha256};
use crate::volume::desired::Wanted;

/// A volume as its spec describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The driver.
    pub driver: String,
    /// What the driver calls the volume.
    pub handle: String,
    /// It lives as long as the pod.
    pub ephemeral: bool,
    /// The PersistentVolume's name, or the volume's in the pod.
    pub name: String,
    /// Pods get it as a device.
    pub block: bool,
    /// No one may write.
    pub read_only: bool,
    /// How the volume may be used; empty where nothing is said.
    pub access_modes: Vec<PersistentVolumeAccessMode>,
    /// The filesystem; the driver's choice when empty.
    pub fs_type: String,
    /// Parameters for the driver.
    pub attributes: BTreeMap<String, String>,
    /// Options for mounting.
    pub options: Vec<String>,
    /// For publishing.
    pub publish_secret: Option<SecretReference>,
    /// For staging.
    pub stage_secret: Option<SecretReference>,
}

/// What else the driver is told; from the API.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The node's name.
    pub node: String,
    /// Name of the object that says that the volume is attached.
    pub attachment: String,
    /// What the attaching side had to say.
    pub publish_context: BTreeMap<String, String>,
    /// The request's attributes, with those about pod and tokens.
    pub attributes: BTreeMap<String, String>,
    /// Secrets for publishing.
    pub publish_secrets: BTreeMap<String, String>,
    /// Secrets for staging.
    pub stage_secrets: BTreeMap<String, String>,
    /// When files are given to the pod's group.
    pub group_policy: Option<FSGroupPolicy>,
}

impl Request {
    /// What the volume of a pod comes to; `None` for volumes that no driver serves.
    pub fn of(pod: &Pod, wanted: &Wanted) -> Option<Self> {
        if let Some(volume) = &wanted.behind {
            let source = volume.spec.source.csi.as_ref()?;
            return Some(Self {
                driver: source.driver.clone(),
                handle: source.volume_handle.clone(),
                ephemeral: false,
                name: volume.metadata.name.clone(),
                block: wanted.block,
                read_only: wanted.read_only,
                access_modes: volume.spec.access_modes.clone(),
                fs_type: source.fs_type.clone(),
                attributes: source.volume_attributes.clone(),
                options: volume.spec.mount_options.clone(),
                publish_secret: source.node_publish_secret_ref.as_deref().cloned(),
                stage_secret: source.node_stage_secret_ref.as_deref().cloned(),
            });
        }
        let source = wanted.volume.source.csi.as_ref()?;
        let name = &wanted.volume.name;
        Some(Self {
            driver: source.driver.clone(),
            handle: format!("csi-{}", sha256(&format!("{}{name}", pod.metadata.uid))),
            ephemeral: true,
            name: name.clone(),
            read_only: source.read_only == Some(true),
            fs_type: source.fs_type.clone().unwrap_or_default(),
            attributes: source.volume_attributes.clone(),
            publish_secret: source.node_publish_secret_ref.as_ref().map(|reference| SecretReference {
                name: reference.name.clone(),
                namespace: pod.metadata.namespace.clone(),
            }),
            ..Default::default()
        })
    }

    /// `Persistent` or `Ephemeral`.
    pub fn mode(&self) -> VolumeLifecycleMode {
        if self.ephemeral { VolumeLifecycleMode::Ephemeral } else { VolumeLifecycleMode::Persistent }
    }

    /// Whether the driver has volumes of this sort, as far as its definition says.
    pub fn check_mode(&self, object: Option<&CSIDriverSpec>) -> Result<(), CsiError> {
        let (mode, driver) = (self.mode(), &self.driver);
        let text = mode.as_str().to_owned();
        match object {
            None if !self.ephemeral => Ok(()),
            None => Err(CsiError::Mode(format!(
                "volume mode {text:?} not supported by driver {driver} (no CSIDriver object)"
            ))),
            // Without a word only persistent volumes; the API fills that in.
            Some(object) if object.volume_lifecycle_modes.is_empty() && !self.ephemeral => Ok(()),
            Some(object) if object.volume_lifecycle_modes.contains(&mode) => Ok(()),
            Some(object) => {
                let modes: Vec<String> =
                    object.volume_lifecycle_modes.iter().map(|mode| format!("{:?}", mode.as_str())).collect();
                Err(CsiError::Mode(format!(
                    "volume mode {text:?} not supported by driver {driver} (only supports [{}])",
                    modes.join(" ")
                )))
            }
        }
    }

    /// How the driver is to mount the volume; `group` is the pod's, for drivers that see to it themselves.
    pub fn capability(&self, can: Capabilities, group: Option<u32>) -> VolumeCapability {
        let mode = match self.access_modes.first() {
            Some(PersistentVolumeAccessMode::ReadOnlyMany) => Mode::MultiNodeReaderOnly,
            Some(PersistentVolumeAccessMode::ReadWriteMany) => Mode::MultiNodeMultiWriter,
            Some(PersistentVolumeAccessMode::ReadWriteOncePod) if can.multi_writer => {
                Mode::SingleNodeSingleWriter
            }
            Some(PersistentVolumeAccessMode::ReadWriteOncePod) => Mode::SingleNodeWriter,
            _ if can.multi_writer => Mode::SingleNodeMultiWriter,
            _ => Mode::SingleNodeWriter,
        };
        let group = group.filter(|_| can.mount_group).map(|group| group.to_string());
        let mount = MountVolume {
            fs_type: self.fs_type.clone(),
            mount_flags: self.options.clone(),
            volume_mount_group: group.unwrap_or_default(),
        };
        VolumeCapability {
            access_type: Some(match self.block {
                true => AccessType::Block(BlockVolume {}),
                false => AccessType::Mount(mount),
            }),
            access_mode: Some(AccessMode { mode: mode as i32 }),
        }
    }

    /// Whether the kubelet gives the files to the pod's group.
    pub fn gives_to_group(&self, can: Capabilities, policy: Option<&FSGroupPolicy>) -> bool {
        if can.mount_group || self.read_only {
            return false;
        }
        match policy {
            Some(FSGroupPolicy::None) => false,
            Some(FSGroupPolicy::File) => true,
            // Where the volume is a filesystem of this node's alone.
            _ => {
                let once = |mode: &PersistentVolumeAccessMode| {
                    matches!(
                        mode,
                        PersistentVolumeAccessMode::ReadWriteOnce
                            | PersistentVolumeAccessMode::ReadWriteOncePod
                    )
                };
                !self.fs_type.is_empty() && (self.ephemeral || self.access_modes.iter().any(once))
            }
        }
    }
}

/// What drivers that ask for it are told about the pod.
pub fn pod_info(pod: &Pod, ephemeral: bool) -> [(String, String); 5] {
    let meta = &pod.metadata;
    [
        ("csi.storage.k8s.io/pod.name".into(), meta.name.clone()),
        ("csi.storage.k8s.io/pod.namespace".into(), meta.namespace.clone()),
        ("csi.storage.k8s.io/pod.uid".into(), meta.uid.clone()),
        ("csi.storage.k8s.io/serviceAccount.name".into(), pod.spec.service_account_name.clone()),
        ("csi.storage.k8s.io/ephemeral".into(), ephemeral.to_string()),
    ]
}
