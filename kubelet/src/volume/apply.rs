//! Performs the plan for one pod's volumes. Blocking: call it where blocking is fine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use api_types::core::v1::Pod;

use super::actual::{self, Found};
use super::claims::Claims;
use super::desired::{self, Kind, Wanted};
use super::kinds::disk::Disk;
use super::kinds::payload::{Materials, payload};
use super::kinds::{empty_dir, host_path, local_device, mounted};
use super::plan::{Action, plan};
use super::{VolumeError, atomic_writer, block, io, metrics, mounts, ownership};
use crate::csi::request::Request;
use crate::csi::{self, Csi};

/// A volume that a container can mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where its content is on the node.
    pub path: PathBuf,
    /// Its kind.
    pub kind: Kind,
    /// No container may write.
    pub read_only: bool,
    /// It is a device.
    pub block: bool,
    /// Where the device was bound just now, of a disk: upstream tells of it.
    pub mapped: Option<Mapped>,
}

/// A device that a pod was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The PersistentVolume.
    pub name: String,
    /// The folder with a file for each pod.
    pub place: PathBuf,
    /// The folder of the pod's link.
    pub links: PathBuf,
}

/// A volume that could not be made.
#[derive(Debug)]
pub struct Failed {
    /// Its name in the pod.
    pub volume: String,
    /// COMPAT: the name that events have: the PersistentVolume's, where there is one.
    pub name: String,
    /// Why.
    pub error: VolumeError,
    /// It is a device.
    pub block: bool,
}

/// Sets up what the pod wants below `pod_dir`, and takes down what it does not.
///
/// All volumes are tried; the ones that work are answered beside those that do not.
pub fn ensure(
    pod: &Pod,
    pod_dir: &Path,
    materials: &Materials<'_>,
    claims: &Claims,
    csi: &Csi,
) -> (BTreeMap<String, Ready>, Vec<Failed>) {
    let (mut ready, mut failed) = (BTreeMap::new(), Vec::new());
    let (mut wanted, mut plugins) = (Vec::new(), BTreeMap::new());
    let mut by_dir: BTreeMap<String, Wanted> = BTreeMap::new();
    for volume in desired::mounted(pod) {
        match desired::wanted(volume, claims) {
            Ok(one) => {
                // It stays, also where it is there already.
                if let Some(Ok(disk)) = Disk::of(&one, &pod.metadata.namespace)
                    && csi.disks.has(&disk, &one, pod_dir, &pod.metadata.uid)
                {
                    csi.claim_disk(&pod.metadata.uid, &disk);
                }
                let (path, kind, read_only, block) = (one.path(pod_dir), one.kind, one.read_only, one.block);
                let used = desired::check_use(pod, &volume.name, block).map_err(VolumeError::Unprocessed);
                let mut mapped = None;
                let result = used.and_then(|()| match block {
                    true => timed(&metrics::plugin(&one), "map_volume", || {
                        mapped = map(pod, pod_dir, &one, csi)?;
                        Ok(())
                    }),
                    false => Ok(()),
                });
                if let Err(error) = result {
                    failed.push(Failed { volume: volume.name.clone(), name: one.dir, error, block });
                    continue;
                }
                ready.insert(volume.name.clone(), Ready { path, kind, read_only, block, mapped });
                plugins.insert(volume.name.clone(), metrics::plugin(&one));
                if !block {
                    wanted.push((one.dir.clone(), kind));
                    by_dir.insert(one.dir.clone(), one);
                }
            }
            Err(error) => {
                let volume = volume.name.clone();
                failed.push(Failed { name: volume.clone(), volume, error, block: false });
            }
        }
    }
    let found = match actual::found(pod_dir) {
        Ok(found) => found,
        Err(source) => {
            let error = VolumeError::Io { what: format!("read {}", pod_dir.display()), source };
            failed.push(Failed { volume: String::new(), name: String::new(), error, block: false });
            return (ready, failed);
        }
    };
    for action in plan(&wanted, &found) {
        let (name, result) = match action {
            Action::TearDown { found } => (found.volume.clone(), tear_down(pod_dir, &found, csi)),
            Action::Refresh { volume, kind: Kind::Csi } if !republishes(pod, by_dir.get(&volume), csi) => {
                continue;
            }
            Action::SetUp { volume, kind } | Action::Refresh { volume, kind } => {
                let Some(one) = by_dir.get(&volume) else { continue };
                let set_up = || set_up(pod, pod_dir, one, kind, materials, csi);
                let result = match kind {
                    // Nothing is mounted, each time anew.
                    Kind::HostPath | Kind::Image => set_up(),
                    _ => timed(&metrics::plugin(one), "volume_mount", set_up),
                };
                let name = one.volume.name.clone();
                if result.is_err() {
                    ready.remove(&name);
                }
                (name, result)
            }
        };
        if let Err(error) = result {
            let dir = by_dir.values().find(|one| one.volume.name == name).map(|one| one.dir.clone());
            failed.push(Failed { name: dir.unwrap_or(name.clone()), volume: name, error, block: false });
        }
    }
    let there = plugins.into_iter().filter(|(name, _)| ready.contains_key(name)).map(|(_, plugin)| plugin);
    metrics::mounted(&pod.metadata.uid, there.collect());
    (ready, failed)
}

/// Does something for a volume and counts it.
fn timed(
    plugin: &str,
    operation: &str,
    work: impl FnOnce() -> Result<(), VolumeError>,
) -> Result<(), VolumeError> {
    let began = Instant::now();
    let result = work();
    // Waiting for others to do their part is no failure of this one.
    if !result.as_ref().is_err_and(VolumeError::is_waiting) {
        metrics::done(plugin, operation, began.elapsed(), result.is_ok());
    }
    result
}

/// Gives the pod a device.
fn map(pod: &Pod, pod_dir: &Path, wanted: &Wanted, csi: &Csi) -> Result<Option<Mapped>, VolumeError> {
    let uid = &pod.metadata.uid;
    if wanted.kind == Kind::Local {
        return block::local(csi.volumes.root(), pod_dir, uid, wanted).map(|()| None);
    }
    if let Some(disk) = Disk::of(wanted, &pod.metadata.namespace) {
        let mut disk = disk?;
        if !csi.disks.has(&disk, wanted, pod_dir, uid) {
            Csi::wait(csi.prepare_disk(pod, &mut disk))?;
        }
        let place = csi.disks.map(&disk, wanted, pod_dir, uid)?;
        let links = wanted.path(pod_dir).parent().unwrap_or(pod_dir).to_path_buf();
        return Ok(place.map(|place| Mapped { name: wanted.dir.clone(), place, links }));
    }
    let Some(request) = Request::of(pod, wanted) else { return Ok(None) };
    // Before anything is asked of the driver.
    block::point(&wanted.path(pod_dir), &csi.volumes.device(&request.name, uid))?;
    Csi::wait(async {
        let facts = csi.facts(pod, &request).await?;
        csi.volumes.set_up_device(&request, &facts, uid).await
    })?;
    Ok(None)
}

/// Takes all devices back from a pod.
fn unmap_all(pod_dir: &Path, csi: &Csi) -> Result<(), VolumeError> {
    let uid = pod_dir.file_name().unwrap_or_default().to_string_lossy();
    block::take_local(csi.volumes.root(), pod_dir, &uid)?;
    csi.disks.take(pod_dir, &uid)?;
    for (name, link) in block::links(pod_dir, Kind::Csi)? {
        Csi::wait(csi.volumes.take_device(&name, &uid))?;
        block::unlink(&link)?;
    }
    Ok(())
}

fn set_up(
    pod: &Pod,
    pod_dir: &Path,
    wanted: &Wanted,
    kind: Kind,
    materials: &Materials<'_>,
    csi: &Csi,
) -> Result<(), VolumeError> {
    let (volume, path) = (&wanted.volume, wanted.path(pod_dir));
    let context = pod.spec.security_context.as_ref();
    let group = context.and_then(|context| context.fs_group).and_then(|group| u32::try_from(group).ok());
    let policy = context.and_then(|context| context.fs_group_change_policy.as_ref());
    let own = |path: &Path, read_only: bool| match group {
        Some(group) => ownership::set(path, group, read_only, policy)
            .map_err(io(format!("applyFSGroup failed for vol {}", volume.name))),
        None => Ok(()),
    };
    match kind {
        // With the container: pulled, and mounted by the runtime.
        Kind::Image => return Ok(()),
        // Nothing on disk says that it is ready: it is checked each time.
        Kind::HostPath => {
            return volume.source.host_path.as_ref().map_or(Ok(()), |source| host_path::set_up(source));
        }
        Kind::EmptyDir | Kind::MountedEmptyDir => {
            let source = volume.source.empty_dir.clone().unwrap_or_default();
            empty_dir::set_up(&path, &source, pod)?;
            own(&path, false)?;
        }
        Kind::Local => {
            local_device::set_up(csi.volumes.root(), &path, wanted)?;
            if !wanted.read_only {
                own(&path, false)?;
            }
        }
        Kind::Iscsi | Kind::Fc => {
            let Some(disk) = Disk::of(wanted, &pod.metadata.namespace) else { return Ok(()) };
            let mut disk = disk?;
            Csi::wait(csi.prepare_disk(pod, &mut disk))?;
            csi.disks.set_up(&disk, wanted, &path)?;
            // COMPAT: the pod starts nonetheless.
            if !wanted.read_only
                && let Err(error) = own(&path, false)
            {
                tracing::warn!(volume = volume.name, %error, "cannot give files to the pod's group");
            }
        }
        // The server says who may do what there.
        Kind::Nfs => {
            if let Some(source) = &volume.source.nfs {
                mounted::nfs(&path, source, &wanted.options, wanted.read_only)?;
            }
        }
        Kind::Csi => {
            let Some(request) = Request::of(pod, wanted) else { return Ok(()) };
            let work = async {
                let facts = csi.facts(pod, &request).await?;
                csi.volumes.set_up(&request, &facts, &path, group).await
            };
            if Csi::wait(work)? {
                own(&path, false)?;
            }
        }
        Kind::ConfigMap | Kind::Secret | Kind::DownwardApi | Kind::Projected => {
            let payload = payload(pod, volume, materials)?;
            empty_dir::make(&path)?;
            if kind.in_memory() {
                empty_dir::in_memory(&path, 0)?;
            }
            if let Some(group) = group {
                // The volume itself, but not what is in it: the new files get theirs before they show.
                std::os::unix::fs::chown(&path, None, Some(group))
                    .map_err(io(format!("chown {}", path.display())))?;
            }
            atomic_writer::write(&path, &payload, |files| own(files, true))?;
        }
    }
    let mark = actual::ready_file(pod_dir, kind.plugin(), &wanted.dir);
    if !mark.exists() {
        if let Some(parent) = mark.parent() {
            std::fs::create_dir_all(parent).map_err(io(format!("mkdir {}", parent.display())))?;
        }
        std::fs::write(&mark, "").map_err(io(format!("create {}", mark.display())))?;
    }
    Ok(())
}

/// The driver of a volume that is set up wants to be asked again.
fn republishes(pod: &Pod, wanted: Option<&Wanted>, csi: &Csi) -> bool {
    wanted.and_then(|one| Request::of(pod, one)).is_some_and(|request| csi.republishes(&request.driver))
}

fn tear_down(pod_dir: &Path, found: &Found, csi: &Csi) -> Result<(), VolumeError> {
    let plugin = found.plugin.replacen('~', "/", 1);
    timed(&plugin, "volume_unmount", || take_down(pod_dir, found, csi))
}

fn take_down(pod_dir: &Path, found: &Found, csi: &Csi) -> Result<(), VolumeError> {
    if found.plugin == csi::volumes::PLUGIN {
        Csi::wait(csi.volumes.tear_down(&found.path))?;
        let _ = std::fs::remove_file(actual::ready_file(pod_dir, &found.plugin, &found.volume));
        return Ok(());
    }
    let _ = std::fs::remove_file(actual::ready_file(pod_dir, &found.plugin, &found.volume));
    mounts::unmount(&found.path).map_err(io(format!("unmount {}", found.path.display())))?;
    std::fs::remove_dir_all(&found.path).map_err(io(format!("remove {}", found.path.display())))
}

/// Unmounts everything below a pod's directory and removes it, volumes included.
pub fn remove_pod_dir(pod_dir: &Path, csi: &Csi) -> Result<(), VolumeError> {
    unmount_all(pod_dir, csi)?;
    match std::fs::remove_dir_all(pod_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io(format!("remove {}", pod_dir.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Unmounts everything below a pod's directory and removes its volumes; the rest stays.
pub fn remove_volumes(pod_dir: &Path, csi: &Csi) -> Result<(), VolumeError> {
    unmount_all(pod_dir, csi)?;
    for part in ["volumes", "volume-subpaths", "volumeDevices", "plugins"] {
        let dir = pod_dir.join(part);
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(format!("remove {}", dir.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn unmount_all(pod_dir: &Path, csi: &Csi) -> Result<(), VolumeError> {
    let found = actual::found(pod_dir).unwrap_or_default();
    let began = Instant::now();
    let result = unmount_each(pod_dir, csi);
    // All of a pod's are unmounted as one.
    for one in found {
        let plugin = one.plugin.replacen('~', "/", 1);
        metrics::done(&plugin, "volume_unmount", began.elapsed(), result.is_ok());
    }
    if result.is_ok() {
        metrics::unmounted(&pod_dir.file_name().unwrap_or_default().to_string_lossy());
    }
    result
}

fn unmount_each(pod_dir: &Path, csi: &Csi) -> Result<(), VolumeError> {
    Csi::wait(csi.volumes.tear_down_pod(pod_dir))?;
    unmap_all(pod_dir, csi)?;
    for point in mounts::below(pod_dir).map_err(io("read the mount table"))? {
        mounts::unmount(&point).map_err(io(format!("unmount {}", point.display())))?;
    }
    // Removing a tree into which something is still mounted would remove what is mounted.
    if let Some(point) = mounts::below(pod_dir).map_err(io("read the mount table"))?.first() {
        return Err(VolumeError::Path(format!("{} is still mounted", point.display())));
    }
    Ok(())
}
