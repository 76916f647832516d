//! `iscsi` volumes: a logical unit of a target that the node logs in to with `iscsiadm`.
//!
//! ```text
//! plugins/kubernetes.io/iscsi/iface-IFACE/PORTAL-IQN-lun-LUN                  the filesystem, once for all pods
//! plugins/kubernetes.io/iscsi/iface-IFACE/PORTAL-IQN-lun-LUN/iscsi.json       how to log out; below the mount
//! plugins/kubernetes.io/iscsi/volumeDevices/iface-IFACE/PORTAL-IQN-lun-LUN/   the same of devices, with a file for each pod
//! ```
//! COMPAT: upstream's places and file, so that either kubelet takes down what the other set up. Logging in is in
//! [`attach`], logging out in [`detach`], what the kernel says of sessions in [`sessions`]; mounting is others' work
//! ([`super::disk`]).

pub mod attach;
pub mod detach;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api_types::core::v1::SecretReference;
use serde::{Deserialize, Serialize};

use crate::volume::desired::Wanted;

/// Its directory below `plugins`.
pub const PLUGIN: &str = "kubernetes.io/iscsi";
/// What is written down about a disk.
const DATA: &str = "iscsi.json";

/// A disk. COMPAT: what has a JSON form is `iscsi.json`, field by field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Disk {
    /// The volume's name in the pod, or the PersistentVolume's.
    pub vol_name: String,
    /// HOST:PORT; the first names the disk.
    pub portals: Vec<String>,
    pub iqn: String,
    pub lun: String,
    /// The interface that is there.
    pub init_iface: String,
    /// The one that is used: with an initiator's name of its own a copy.
    pub iface: String,
    pub initiator_name: String,
    metrics_provider: Option<serde_json::Value>,
    /// The portal as the volume has it.
    #[serde(skip)]
    pub target: String,
    #[serde(skip)]
    pub chap_discovery: bool,
    #[serde(skip)]
    pub chap_session: bool,
    /// Names and passwords for CHAP, and where they are.
    #[serde(skip)]
    pub secret: BTreeMap<String, String>,
    #[serde(skip)]
    pub secret_at: Option<SecretReference>,
    #[serde(skip)]
    pub fs_type: String,
}

/// With the port that is not said.
fn with_port(portal: &str) -> String {
    if portal.contains(':') { portal.to_owned() } else { format!("{portal}:3260") }
}

impl Disk {
    /// What a volume comes to; `namespace` is the pod's.
    pub fn of(wanted: &Wanted, namespace: &str) -> Option<Self> {
        let mut disk = Self { vol_name: wanted.dir.clone(), ..Self::default() };
        let (target, portals, lun, initiator);
        if let Some(volume) = &wanted.behind {
            let source = volume.spec.source.iscsi.as_ref()?;
            (target, portals, lun) = (&source.target_portal, &source.portals, source.lun);
            initiator = &source.initiator_name;
            disk.iqn.clone_from(&source.iqn);
            disk.init_iface.clone_from(&source.iscsi_interface);
            disk.fs_type.clone_from(&source.fs_type);
            (disk.chap_discovery, disk.chap_session) = (source.chap_auth_discovery, source.chap_auth_session);
            disk.secret_at = source.secret_ref.as_deref().cloned();
        } else {
            let source = wanted.volume.source.iscsi.as_ref()?;
            (target, portals, lun) = (&source.target_portal, &source.portals, source.lun);
            initiator = &source.initiator_name;
            disk.iqn.clone_from(&source.iqn);
            disk.init_iface.clone_from(&source.iscsi_interface);
            disk.fs_type.clone_from(&source.fs_type);
            (disk.chap_discovery, disk.chap_session) = (source.chap_auth_discovery, source.chap_auth_session);
            disk.secret_at = source
                .secret_ref
                .as_ref()
                .map(|secret| SecretReference { name: secret.name.clone(), namespace: String::new() });
        }
        if let Some(secret) = disk.secret_at.as_mut().filter(|secret| secret.namespace.is_empty()) {
            secret.namespace = namespace.into();
        }
        if !disk.chap_discovery && !disk.chap_session {
            disk.secret_at = None;
        }
        disk.secret_at = disk.secret_at.filter(|secret| !secret.name.is_empty());
        disk.target.clone_from(target);
        disk.lun = lun.to_string();
        disk.portals = std::iter::once(target).chain(portals).map(|portal| with_port(portal)).collect();
        disk.initiator_name = initiator.clone().unwrap_or_default();
        disk.iface = match disk.initiator_name.is_empty() {
            true => disk.init_iface.clone(),
            // COMPAT: an interface of the volume's own.
            false => format!("{}:{}", disk.portals[0], disk.vol_name),
        };
        Some(disk)
    }

    /// COMPAT: the name in a node's status.
    pub fn unique(&self) -> String {
        format!("{PLUGIN}/{}:{}:{}", self.target, self.iqn, self.lun)
    }

    /// Its directory below the plugin's, or below the plugin's `volumeDevices`.
    pub fn place(&self, below: &Path) -> PathBuf {
        let portal = self.portals.first().map_or("", String::as_str);
        below.join(format!("iface-{}", self.iface)).join(format!("{portal}-{}-lun-{}", self.iqn, self.lun))
    }

    /// The disk that a directory holds: as it is written down, else as far as the directory's name says it.
    fn load(place: &Path) -> Option<Self> {
        let written = std::fs::read(place.join(DATA)).ok();
        written.and_then(|bytes| serde_json::from_slice(&bytes).ok()).or_else(|| Self::by_name(place))
    }

    fn by_name(place: &Path) -> Option<Self> {
        let name = place.file_name()?.to_str()?;
        let (portal, _) = name.split_once('-')?;
        let at = name.find("iqn.").or_else(|| name.find("eui."))?;
        let (iqn, lun) = name[at..].rsplit_once("-lun-")?;
        let iface = place.parent()?.file_name()?.to_str()?.strip_prefix("iface-")?;
        Some(Self {
            portals: vec![portal.into()],
            iqn: iqn.into(),
            lun: lun.into(),
            iface: iface.into(),
            ..Self::default()
        })
    }

    /// The names that a disk in this directory may have in a node's status: the port need not have been said.
    pub fn uniques(place: &Path) -> Vec<String> {
        let Some(disk) = Self::by_name(place) else { return Vec::new() };
        let name = |portal: &str| format!("{PLUGIN}/{portal}:{}:{}", disk.iqn, disk.lun);
        let portal = &disk.portals[0];
        let short = portal.strip_suffix(":3260").filter(|host| !host.contains(':')).map(name);
        std::iter::once(name(portal)).chain(short).collect()
    }

    /// Writes down how to log out.
    pub fn save(&self, place: &Path) -> Result<(), String> {
        let path = place.join(DATA);
        let mut text = serde_json::to_string(self).expect("strings have a JSON form");
        text.push('\n');
        std::fs::write(&path, text).map_err(|error| format!("iscsi: create {} err {error}", path.display()))
    }

    /// Forgets it.
    pub fn forget(place: &Path) {
        let _ = std::fs::remove_file(place.join(DATA));
    }
}
