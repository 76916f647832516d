//! Mounting volumes of storage drivers, and what is kept on disk about them.
//!
//! ```text
//! pods/UID/volumes/kubernetes.io~csi/NAME/vol_data.json   whose volume it is; written before the driver
//! pods/UID/volumes/kubernetes.io~csi/NAME/mount           is asked, removed after it took it back
//! plugins/kubernetes.io/csi/DRIVER/SHA256/vol_data.json   the same for a volume that is staged
//! plugins/kubernetes.io/csi/DRIVER/SHA256/globalmount
//! ```
//! COMPAT: upstream's places and files, so that either kubelet takes down what the other set up. A volume
//! stays staged while any pod's directory names it. All steps for one volume are under one lock. Nothing
//! below a mount is ever removed: directories go only when they are empty.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::driver::{Capabilities, Driver};
use super::proto::volume_usage::Unit;
use super::proto::{
    CapacityRange, NodeExpandVolumeRequest, NodeGetVolumeStatsRequest, NodePublishVolumeRequest,
    NodeStageVolumeRequest,
};
use super::request::{Facts, Request};
use super::{CsiError, sha256};
use crate::volume::actual::entries;
use crate::volume::mounts;
use crate::volume::space::{Amount, Space};

/// The directory below a pod's `volumes`.
pub const PLUGIN: &str = "kubernetes.io~csi";
const DATA: &str = "vol_data.json";

/// What is written down about a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Data {
    #[serde(rename = "attachmentID", skip_serializing_if = "String::is_empty")]
    pub attachment: String,
    #[serde(rename = "driverName")]
    pub driver: String,
    #[serde(rename = "nodeName", skip_serializing_if = "String::is_empty")]
    pub node: String,
    #[serde(rename = "specVolID", skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(rename = "volumeHandle")]
    pub handle: String,
    #[serde(rename = "volumeLifecycleMode", skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

impl Data {
    /// `None` when nothing is written down, or only half of it: then the driver was not asked yet.
    pub fn load(dir: &Path) -> Result<Option<Self>, CsiError> {
        let path = dir.join(DATA);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(io(format!("read {}", path.display()))(error)),
        }
    }

    pub fn save(&self, dir: &Path) -> Result<(), CsiError> {
        make(dir)?;
        let text = serde_json::to_vec(self).expect("strings have a JSON form");
        let (beside, path) = (dir.join(format!(".{DATA}")), dir.join(DATA));
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(io(format!("write {}", path.display())))
    }

    pub fn remove(dir: &Path) -> Result<(), CsiError> {
        let _ = std::fs::remove_file(dir.join(format!(".{DATA}")));
        let path = dir.join(DATA);
        absent_is_fine(std::fs::remove_file(&path)).map_err(io(format!("remove {}", path.display())))
    }
}

pub(super) fn io(what: String) -> impl FnOnce(std::io::Error) -> CsiError {
    move |source| CsiError::Io { what, source }
}

pub(super) fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn make(dir: &Path) -> Result<(), CsiError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .map_err(io(format!("mkdir {}", dir.display())))
}

/// Removes a place where something was mounted; what a driver left mounted is unmounted first.
pub(super) fn remove_mount(dir: &Path) -> Result<(), CsiError> {
    if mounts::is_mounted(dir).map_err(io("read the mount table".into()))? {
        mounts::unmount(dir).map_err(io(format!("unmount {}", dir.display())))?;
    }
    absent_is_fine(std::fs::remove_dir(dir)).map_err(io(format!("remove {}", dir.display())))
}

/// One for each volume that is worked on, by driver and handle.
type Turns = HashMap<(String, String), Arc<Turn<()>>>;

/// The volumes of all drivers on this node.
pub struct Volumes {
    root: PathBuf,
    drivers: RwLock<BTreeMap<String, Driver>>,
    turns: Mutex<Turns>,
}

impl Volumes {
    /// Below the kubelet's root directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into(), drivers: RwLock::default(), turns: Mutex::default() }
    }

    /// A driver that made itself known.
    pub fn add_driver(&self, name: &str, driver: Driver) {
        self.drivers.write().insert(name.into(), driver);
    }

    /// It went away. Its volumes stay until it is back.
    pub fn remove_driver(&self, name: &str) {
        self.drivers.write().remove(name);
    }

    pub(super) fn driver(&self, name: &str) -> Result<Driver, CsiError> {
        self.drivers.read().get(name).cloned().ok_or_else(|| CsiError::NotRegistered(name.into()))
    }

    /// Waits until no one else works on the volume.
    pub(super) async fn turn(&self, driver: &str, handle: &str) -> OwnedMutexGuard<()> {
        let key = (driver.to_owned(), handle.to_owned());
        let turn = {
            let mut turns = self.turns.lock();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key).or_default())
        };
        turn.lock_owned().await
    }

    /// The kubelet's root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn staged_dir(&self, driver: &str, handle: &str) -> PathBuf {
        self.root.join("plugins/kubernetes.io/csi").join(driver).join(sha256(handle))
    }

    /// Stages the volume where its driver wants that, and publishes it at `target`, which ends in `mount`.
    /// Answers whether the kubelet is to give the files to `group`.
    ///
    /// # Errors
    /// When the driver is not there or refuses, or files cannot be written.
    pub async fn set_up(
        &self,
        request: &Request,
        facts: &Facts,
        target: &Path,
        group: Option<u32>,
    ) -> Result<bool, CsiError> {
        let driver = self.driver(&request.driver)?;
        let _turn = self.turn(&request.driver, &request.handle).await;
        let can = driver.capabilities().await?;
        let dir = target.parent().unwrap_or(target);
        Data {
            attachment: facts.attachment.clone(),
            driver: request.driver.clone(),
            node: facts.node.clone(),
            name: request.name.clone(),
            handle: request.handle.clone(),
            mode: request.mode().as_str().to_owned(),
        }
        .save(dir)?;
        let mut staged = String::new();
        if can.stage && !request.ephemeral {
            staged = self.stage(&driver, request, facts, can, group).await?;
        }
        let published = mounts::is_mounted(target).map_err(io("read the mount table".into()))?;
        let publish = NodePublishVolumeRequest {
            volume_id: request.handle.clone(),
            publish_context: facts.publish_context.clone().into_iter().collect(),
            staging_target_path: staged,
            target_path: target.to_string_lossy().into_owned(),
            volume_capability: Some(request.capability(can, group)),
            readonly: request.read_only,
            secrets: facts.publish_secrets.clone().into_iter().collect(),
            volume_context: facts.attributes.clone().into_iter().collect(),
        };
        if let Err(error) = driver.publish(publish).await {
            // A driver that ran out of time may still be at it.
            if !published && !error.is_timeout() {
                remove_mount(target)?;
            }
            return Err(error.into());
        }
        Ok(request.gives_to_group(can, facts.group_policy.as_ref()))
    }

    async fn stage(
        &self,
        driver: &Driver,
        request: &Request,
        facts: &Facts,
        can: Capabilities,
        group: Option<u32>,
    ) -> Result<String, CsiError> {
        let dir = self.staged_dir(&request.driver, &request.handle);
        let target = dir.join("globalmount");
        let path = target.to_string_lossy().into_owned();
        // A driver that mounts nothing there is asked each time; it answers the same each time.
        if mounts::is_mounted(&target).map_err(io("read the mount table".into()))? {
            return Ok(path);
        }
        make(&target)?;
        Data { driver: request.driver.clone(), handle: request.handle.clone(), ..Default::default() }
            .save(&dir)?;
        driver
            .stage(NodeStageVolumeRequest {
                volume_id: request.handle.clone(),
                publish_context: facts.publish_context.clone().into_iter().collect(),
                staging_target_path: path.clone(),
                volume_capability: Some(request.capability(can, group)),
                secrets: facts.stage_secrets.clone().into_iter().collect(),
                volume_context: request.attributes.clone().into_iter().collect(),
            })
            .await?;
        Ok(path)
    }

    /// The volume is there for a pod at `path`, mounted or as a device, and its driver can make more of a volume that has grown.
    ///
    /// # Errors
    /// When the driver does not answer, or the mount table cannot be read.
    pub async fn can_expand(&self, request: &Request, path: &Path) -> Result<bool, CsiError> {
        // One that is not there (yet) has nothing mounted for sure.
        let Ok(driver) = self.driver(&request.driver) else { return Ok(false) };
        let there = match request.block {
            true => path.exists(),
            false => mounts::is_mounted(path).map_err(io("read the mount table".into()))?,
        };
        Ok(there && driver.capabilities().await?.expand)
    }

    /// Makes what a pod has of the volume at `path`, its filesystem or its device, as large as the volume now is.
    ///
    /// # Errors
    /// When the driver is not there or refuses.
    pub async fn expand(
        &self,
        request: &Request,
        path: &Path,
        bytes: i64,
        secrets: BTreeMap<String, String>,
    ) -> Result<(), CsiError> {
        let driver = self.driver(&request.driver)?;
        let _turn = self.turn(&request.driver, &request.handle).await;
        let can = driver.capabilities().await?;
        let staged = match request.block {
            true => self.device_staging(&request.name),
            false => self.staged_dir(&request.driver, &request.handle).join("globalmount"),
        };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let call = NodeExpandVolumeRequest {
            volume_id: request.handle.clone(),
            volume_path: text(path),
            staging_target_path: if can.stage { text(&staged) } else { String::new() },
            capacity_range: Some(CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            volume_capability: Some(request.capability(can, None)),
            secrets: secrets.into_iter().collect(),
        };
        Ok(driver.expand(call).await?)
    }

    /// How full the volume that is mounted at `path` is, if its driver says so.
    pub async fn space(&self, request: &Request, path: &Path) -> Option<Space> {
        let driver = self.driver(&request.driver).ok()?;
        let can = driver.capabilities().await.ok().filter(|can| can.stats)?;
        let staged = self.staged_dir(&request.driver, &request.handle).join("globalmount");
        let staged = (can.stage && !request.ephemeral).then(|| staged.to_string_lossy().into_owned());
        let answer = driver
            .stats(NodeGetVolumeStatsRequest {
                volume_id: request.handle.clone(),
                volume_path: path.to_string_lossy().into_owned(),
                staging_target_path: staged.unwrap_or_default(),
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, driver = request.driver, volume = request.name, "no figures");
                return None;
            }
        };
        let of = |unit: Unit| {
            let usage = answer.usage.iter().find(|usage| usage.unit == unit as i32)?;
            let positive = |value: i64| u64::try_from(value).unwrap_or_default();
            let (total, available, used) = (usage.total, usage.available, usage.used);
            Some(Amount { total: positive(total), available: positive(available), used: positive(used) })
        };
        let condition = answer.volume_condition.as_ref().filter(|_| can.condition);
        Some(Space {
            bytes: of(Unit::Bytes),
            inodes: of(Unit::Inodes),
            abnormal: condition.map(|condition| condition.abnormal),
        })
    }

    /// Takes down the volume in `dir`, a directory below a pod's `volumes/kubernetes.io~csi`, and unstages
    /// it when no other pod has it.
    ///
    /// # Errors
    /// When the driver is not there or refuses. Nothing is forgotten then.
    pub async fn tear_down(&self, dir: &Path) -> Result<(), CsiError> {
        let Some(data) = Data::load(dir)? else { return remove_all(dir) };
        let driver = self.driver(&data.driver)?;
        let _turn = self.turn(&data.driver, &data.handle).await;
        let target = dir.join("mount");
        driver.unpublish(&data.handle, target.to_string_lossy().into_owned()).await?;
        remove_all(dir)?;
        self.unstage(&driver, &data).await
    }

    /// Takes down all volumes in a pod's directory.
    ///
    /// # Errors
    /// The first that came; the others are tried nonetheless.
    pub async fn tear_down_pod(&self, pod_dir: &Path) -> Result<(), CsiError> {
        let dir = pod_dir.join("volumes").join(PLUGIN);
        let mut result = Ok(());
        for volume in entries(&dir).map_err(io(format!("read {}", dir.display())))? {
            result = result.and(self.tear_down(&volume).await);
        }
        result
    }

    /// Driver and handle of all volumes that live longer than a pod and are mounted or staged, as far as the
    /// disk says.
    pub fn mounted(&self) -> Vec<(String, String)> {
        let below = |dir: &Path| entries(dir).unwrap_or_default();
        let pods = below(&self.root.join("pods"));
        let published = pods.iter().flat_map(|pod| below(&pod.join("volumes").join(PLUGIN)));
        let drivers = below(&self.root.join("plugins/kubernetes.io/csi"));
        let staged = drivers.iter().flat_map(|driver| below(driver));
        let known = published.chain(staged).filter_map(|dir| Data::load(&dir).ok().flatten());
        let lasting = known.filter(|data| data.mode != "Ephemeral");
        let files = lasting.map(|data| (data.driver, data.handle));
        files.chain(self.devices()).collect()
    }

    /// Some pod's directory names the volume.
    fn is_used(&self, data: &Data) -> Result<bool, CsiError> {
        let read = |dir: &Path| entries(dir).map_err(io(format!("read {}", dir.display())));
        for pod in read(&self.root.join("pods"))? {
            for volume in read(&pod.join("volumes").join(PLUGIN))? {
                let other = Data::load(&volume)?;
                if other.is_some_and(|other| other.driver == data.driver && other.handle == data.handle) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Call it with the volume's turn.
    async fn unstage(&self, driver: &Driver, data: &Data) -> Result<(), CsiError> {
        let dir = self.staged_dir(&data.driver, &data.handle);
        if !dir.exists() || self.is_used(data)? {
            return Ok(());
        }
        let target = dir.join("globalmount");
        if Data::load(&dir)?.is_some() && driver.capabilities().await?.stage {
            driver.unstage(&data.handle, target.to_string_lossy().into_owned()).await?;
        }
        remove_mount(&target)?;
        Data::remove(&dir)?;
        absent_is_fine(std::fs::remove_dir(&dir)).map_err(io(format!("remove {}", dir.display())))
    }

    /// Unstages what no pod has (any more): what a kubelet that was killed did not come to.
    pub async fn unstage_unused(&self) {
        let drivers = entries(&self.root.join("plugins/kubernetes.io/csi")).unwrap_or_default();
        for dir in drivers.iter().flat_map(|driver| entries(driver).unwrap_or_default()) {
            let Ok(Some(data)) = Data::load(&dir) else { continue };
            let Ok(driver) = self.driver(&data.driver) else { continue };
            let _turn = self.turn(&data.driver, &data.handle).await;
            if let Err(error) = self.unstage(&driver, &data).await {
                tracing::warn!(%error, driver = data.driver, volume = data.handle, "cannot unstage a volume");
            }
        }
    }
}

/// Removes what is left of a pod's volume once its driver took it back.
fn remove_all(dir: &Path) -> Result<(), CsiError> {
    remove_mount(&dir.join("mount"))?;
    Data::remove(dir)?;
    absent_is_fine(std::fs::remove_dir(dir)).map_err(io(format!("remove {}", dir.display())))
}
