//! Volumes of storage drivers that are given to pods as devices (`volumeMode: Block`).
//!
//! ```text
//! plugins/kubernetes.io/csi/volumeDevices/NAME/data/vol_data.json   whose volume it is
//!                                         NAME/dev/UID              the device, bound, for each pod
//!                                         staging/NAME              where the driver stages it
//!                                         publish/NAME/UID          where the driver publishes it for a pod
//! ```
//! COMPAT: upstream's places and files. A volume stays staged while `dev` names a pod.

use std::path::{Path, PathBuf};

use super::CsiError;
use super::proto::{NodePublishVolumeRequest, NodeStageVolumeRequest};
use super::request::{Facts, Request};
use super::volumes::{Data, Volumes, absent_is_fine, io, make, remove_mount};
use crate::volume::actual::entries;
use crate::volume::{block, mounts};

/// The places of one volume.
struct Places {
    own: PathBuf,
    staging: PathBuf,
    published: PathBuf,
}

impl Places {
    fn of(root: &Path, name: &str) -> Self {
        let all = root.join("plugins/kubernetes.io/csi/volumeDevices");
        Self {
            own: all.join(name),
            staging: all.join("staging").join(name),
            published: all.join("publish").join(name),
        }
    }

    fn data(&self) -> PathBuf {
        self.own.join("data")
    }

    fn bound(&self, uid: &str) -> PathBuf {
        self.own.join("dev").join(uid)
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn wrong(error: crate::volume::VolumeError) -> CsiError {
    CsiError::Device(error.to_string())
}

impl Volumes {
    /// Where a volume's device is published for a pod.
    pub fn device(&self, name: &str, uid: &str) -> PathBuf {
        Places::of(self.root(), name).published.join(uid)
    }

    /// Where a volume is staged whose device pods get.
    pub(super) fn device_staging(&self, name: &str) -> PathBuf {
        Places::of(self.root(), name).staging
    }

    /// Stages the volume where its driver wants that, and publishes its device for the pod.
    ///
    /// # Errors
    /// When the driver is not there or refuses, or files cannot be written.
    pub async fn set_up_device(&self, request: &Request, facts: &Facts, uid: &str) -> Result<(), CsiError> {
        let driver = self.driver(&request.driver)?;
        let _turn = self.turn(&request.driver, &request.handle).await;
        let places = Places::of(self.root(), &request.name);
        let (bound, published) = (places.bound(uid), places.published.join(uid));
        if mounts::is_mounted(&bound).map_err(io("read the mount table".into()))? {
            return Ok(());
        }
        let can = driver.capabilities().await?;
        Data {
            attachment: facts.attachment.clone(),
            driver: request.driver.clone(),
            node: facts.node.clone(),
            name: request.name.clone(),
            handle: request.handle.clone(),
            mode: String::new(),
        }
        .save(&places.data())?;
        let mut staged = String::new();
        if can.stage {
            make(&places.staging)?;
            staged = text(&places.staging);
            let call = NodeStageVolumeRequest {
                volume_id: request.handle.clone(),
                publish_context: facts.publish_context.clone().into_iter().collect(),
                staging_target_path: staged.clone(),
                volume_capability: Some(request.capability(can, None)),
                secrets: facts.stage_secrets.clone().into_iter().collect(),
                volume_context: request.attributes.clone().into_iter().collect(),
            };
            driver.stage(call).await?;
        }
        make(&places.published)?;
        let call = NodePublishVolumeRequest {
            volume_id: request.handle.clone(),
            publish_context: facts.publish_context.clone().into_iter().collect(),
            staging_target_path: staged,
            target_path: text(&published),
            volume_capability: Some(request.capability(can, None)),
            readonly: request.read_only,
            secrets: facts.publish_secrets.clone().into_iter().collect(),
            volume_context: facts.attributes.clone().into_iter().collect(),
        };
        driver.publish(call).await?;
        block::bind(&published, &bound).map_err(wrong)
    }

    /// Takes a device back from a pod, and unstages its volume when no other pod has it.
    ///
    /// # Errors
    /// When the driver is not there or refuses. Nothing is forgotten then.
    pub async fn take_device(&self, name: &str, uid: &str) -> Result<(), CsiError> {
        let places = Places::of(self.root(), name);
        let Some(data) = Data::load(&places.data())? else { return Ok(()) };
        let driver = self.driver(&data.driver)?;
        let _turn = self.turn(&data.driver, &data.handle).await;
        block::unbind(&places.bound(uid)).map_err(wrong)?;
        let published = places.published.join(uid);
        driver.unpublish(&data.handle, text(&published)).await?;
        block::unbind(&published).map_err(wrong)?;
        self.unstage_device(name).await
    }

    /// Call it with the volume's turn.
    async fn unstage_device(&self, name: &str) -> Result<(), CsiError> {
        let places = Places::of(self.root(), name);
        let Some(data) = Data::load(&places.data())? else { return Ok(()) };
        let used = entries(&places.own.join("dev")).map_err(io(format!("read {}", places.own.display())))?;
        if !used.is_empty() {
            return Ok(());
        }
        let driver = self.driver(&data.driver)?;
        if places.staging.exists() && driver.capabilities().await?.stage {
            driver.unstage(&data.handle, text(&places.staging)).await?;
        }
        remove_mount(&places.staging)?;
        let gone = |dir: &Path| {
            absent_is_fine(std::fs::remove_dir(dir)).map_err(io(format!("remove {}", dir.display())))
        };
        gone(&places.published)?;
        gone(&places.own.join("dev"))?;
        Data::remove(&places.data())?;
        gone(&places.data())?;
        gone(&places.own)
    }

    /// Driver and handle of all volumes whose devices pods have.
    pub(super) fn devices(&self) -> Vec<(String, String)> {
        let all = entries(&self.root().join("plugins/kubernetes.io/csi/volumeDevices")).unwrap_or_default();
        let known = all.iter().filter_map(|dir| Data::load(&dir.join("data")).ok().flatten());
        known.map(|data| (data.driver, data.handle)).collect()
    }
}
