//! Disks of other machines that pods get as files or as devices: `iscsi` and `fc`.
//!
//! A disk is attached by its kind ([`super::iscsi`], [`super::fc`]), mounted once below `plugins`, and bound to that for
//! each pod; a pod that wants a device has a file bound to it instead. All steps for one disk are under one lock, and
//! all logging in to and out of one target. What no pod has, or asks for, is let go of by [`Disks::let_go`]: after a pod
//! has ended, which does not wait for it, and now and then, for what a kubelet that was killed did not come to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{fc, iscsi, mounted};
use crate::volume::actual::entries;
use crate::volume::desired::{Kind, Wanted};
use crate::volume::host::Host;
use crate::volume::{VolumeError, block, filesystem, io, mounts};

/// A disk as a volume describes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Disk {
    Iscsi(Box<iscsi::Disk>),
    Fc(fc::Disk),
}

impl Disk {
    /// What a volume comes to; `None` for those of other kinds. `namespace` is the pod's.
    pub fn of(wanted: &Wanted, namespace: &str) -> Option<Result<Self, VolumeError>> {
        match wanted.kind {
            Kind::Iscsi => iscsi::Disk::of(wanted, namespace).map(|disk| Ok(Self::Iscsi(Box::new(disk)))),
            Kind::Fc => Some(fc::Disk::of(wanted)?.map(Self::Fc).map_err(|error| step(BEFORE, error))),
            _ => None,
        }
    }

    /// The name in a node's status.
    pub fn unique(&self) -> String {
        match self {
            Self::Iscsi(disk) => disk.unique(),
            Self::Fc(disk) => disk.unique(),
        }
    }

    fn fs_type(&self) -> &str {
        match self {
            Self::Iscsi(disk) => &disk.fs_type,
            Self::Fc(disk) => &disk.fs_type,
        }
    }

    fn place(&self, root: &Path, block: bool) -> PathBuf {
        match self {
            Self::Iscsi(disk) => disk.place(&plugin_dir(root, iscsi::PLUGIN, block)),
            Self::Fc(disk) => disk.place(&plugin_dir(root, fc::PLUGIN, block)),
        }
    }
}

/// Before anything is done.
pub const BEFORE: &str = "NewMounter initialization failed";

fn step(step: &'static str, error: impl ToString) -> VolumeError {
    VolumeError::Step { step, error: error.to_string() }
}

fn plugin_dir(root: &Path, plugin: &str, block: bool) -> PathBuf {
    let dir = root.join("plugins").join(plugin);
    if block { dir.join(DEVICES) } else { dir }
}

const DEVICES: &str = "volumeDevices";

/// A directory that stands for a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    kind: Kind,
    block: bool,
}

/// One for each disk or target that is worked on.
type Turns = HashMap<PathBuf, Arc<Mutex<()>>>;

/// The disks of this node.
pub struct Disks {
    root: PathBuf,
    host: Host,
    turns: Mutex<Turns>,
}

impl Disks {
    /// Below the kubelet's root directory.
    pub fn new(root: &Path, host: Host) -> Self {
        Self { root: root.into(), host, turns: Mutex::default() }
    }

    fn turn(&self, key: &Path) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(key.into()).or_default())
    }

    /// Finds the device, and writes down how to let go of it. Call it with the disk's turn.
    fn attach(&self, disk: &Disk, place: &Path) -> Result<String, VolumeError> {
        let failed = |error: String| step("WaitForAttach failed", error);
        match disk {
            Disk::Fc(disk) => fc::attach(&self.host, disk).map_err(failed),
            Disk::Iscsi(disk) => {
                let turn = self.turn(Path::new(&disk.iqn));
                let _turn = turn.lock();
                let device = iscsi::attach::attach(&self.host, disk).map_err(failed)?;
                mounted::make(place).map_err(|error| failed(error.to_string()))?;
                // Below what is mounted it is written already.
                if !is_mounted(place)? {
                    disk.save(place).map_err(failed)?;
                }
                Ok(device)
            }
        }
    }

    /// Makes the disk's filesystem visible at `path`.
    pub fn set_up(&self, disk: &Disk, wanted: &Wanted, path: &Path) -> Result<(), VolumeError> {
        let place = disk.place(&self.root, false);
        let turn = self.turn(&place);
        let _turn = turn.lock();
        let device = self.attach(disk, &place)?;
        if !is_mounted(&place)? {
            let failed = |error: String| step("MountDevice failed", error);
            mounted::make(&place).map_err(|error| failed(error.to_string()))?;
            let (kind, options) = (disk.fs_type(), &wanted.options);
            filesystem::mount(&self.host, &device, &place, kind, options, wanted.read_only).map_err(
                |error| {
                    let _ = std::fs::remove_dir(&place);
                    failed(error)
                },
            )?;
        }
        mounted::local(path, &place.to_string_lossy(), wanted.read_only)
    }

    /// Gives the device to a pod. Answers with the disk's directory, unless the pod has it already.
    pub fn map(
        &self,
        disk: &Disk,
        wanted: &Wanted,
        pod_dir: &Path,
        uid: &str,
    ) -> Result<Option<PathBuf>, VolumeError> {
        let place = disk.place(&self.root, true);
        let (link, bound) = (block::link(pod_dir, wanted.kind, &wanted.dir), place.join(uid));
        if link.is_symlink() && is_mounted(&bound)? {
            return Ok(None);
        }
        let turn = self.turn(&place);
        let _turn = turn.lock();
        let device = self.attach(disk, &place)?;
        let device = self.host.resolve(&device).map_err(|error| step("EvalHostSymlinks failed", error))?;
        let failed = |error: VolumeError| step("MapBlockVolume failed", error);
        block::point(&link, Path::new(&device)).map_err(failed)?;
        block::bind(&self.host.real(&device), &bound).map_err(failed)?;
        Ok(Some(place))
    }

    /// A pod has the disk.
    pub fn has(&self, disk: &Disk, wanted: &Wanted, pod_dir: &Path, uid: &str) -> bool {
        match wanted.block {
            true => disk.place(&self.root, true).join(uid).exists(),
            false => is_mounted(&wanted.path(pod_dir)).unwrap_or_default(),
        }
    }

    /// Takes all devices back from a pod.
    pub fn take(&self, pod_dir: &Path, uid: &str) -> Result<(), VolumeError> {
        for kind in [Kind::Iscsi, Kind::Fc] {
            let links = block::links(pod_dir, kind)?;
            if links.is_empty() {
                continue;
            }
            for place in self.places()?.iter().filter(|place| place.block && place.kind == kind) {
                let bound = place.path.join(uid);
                if bound.exists() {
                    self.free_loop(&bound);
                    block::unbind(&bound)?;
                }
            }
            for (_, link) in links {
                block::unlink(&link)?;
            }
        }
        Ok(())
    }

    /// COMPAT: upstream's kubelet holds a device by a loop device, which may be left to this one.
    fn free_loop(&self, bound: &Path) {
        for name in self.host.any_names("/sys/block").into_iter().filter(|name| name.starts_with("loop")) {
            let backing = self.host.read(&format!("/sys/block/{name}/loop/backing_file"));
            if backing.is_ok_and(|path| Path::new(&path) == bound)
                && let Err(error) = self.host.run("losetup", &["-d", &format!("/dev/{name}")])
            {
                tracing::warn!(name, error, "cannot let go of a loop device");
            }
        }
    }

    fn places(&self) -> Result<Vec<Place>, VolumeError> {
        let list = |dir: &Path| entries(dir).map_err(io(format!("open {}", dir.display())));
        let mut all = Vec::new();
        for (kind, plugin) in [(Kind::Iscsi, iscsi::PLUGIN), (Kind::Fc, fc::PLUGIN)] {
            for block in [false, true] {
                for path in list(&plugin_dir(&self.root, plugin, block))? {
                    if path.ends_with(DEVICES) || !path.is_dir() {
                        continue;
                    }
                    let place = |path| Place { path, kind, block };
                    match kind {
                        // Below its interface.
                        Kind::Iscsi => all.extend(list(&path)?.into_iter().map(place)),
                        _ => all.push(place(path)),
                    }
                }
            }
        }
        Ok(all)
    }

    /// The names that each of the disks that are here may have in a node's status.
    pub fn uniques(&self) -> Vec<Vec<String>> {
        let places = self.places().unwrap_or_default();
        places.iter().map(names).filter(|names| !names.is_empty()).collect()
    }

    /// The disks that no pod asks for; `asked` says so of a name.
    pub fn unasked(&self, asked: impl Fn(&str) -> bool) -> Result<Vec<Place>, VolumeError> {
        let mut places = self.places()?;
        places.retain(|place| !names(place).iter().any(|name| asked(name)));
        Ok(places)
    }

    /// Lets go of a disk, unless some pod has it. That may take minutes when nobody answers.
    pub fn let_go(&self, place: &Place) -> Result<(), VolumeError> {
        let turn = self.turn(&place.path);
        // What is just being attached is not unused; one try at a time.
        let Some(_turn) = turn.try_lock() else { return Ok(()) };
        let done = match place.block {
            true => self.let_go_of_device(place)?,
            false => self.let_go_of_filesystem(place)?,
        };
        if done {
            tracing::info!(path = %place.path.display(), "let go of a disk that no pod uses");
        }
        Ok(())
    }

    fn log_out(&self, place: &Place) -> Result<(), VolumeError> {
        let turn = self.turn(Path::new(&iscsi::detach::target(&place.path)));
        let _turn = turn.lock();
        iscsi::detach::detach(&self.host, &self.root, &place.path, place.block)
            .map_err(|error| detached(place, &error))?;
        iscsi::Disk::forget(&place.path);
        // With the target's turn: its directories are counted.
        std::fs::remove_dir(&place.path).map_err(io(format!("remove {}", place.path.display())))
    }

    fn let_go_of_device(&self, place: &Place) -> Result<bool, VolumeError> {
        if !place.path.exists() {
            return Ok(false);
        }
        let pods = entries(&place.path).map_err(io(format!("open {}", place.path.display())))?;
        if pods.iter().any(|path| !path.ends_with("iscsi.json")) {
            return Ok(false);
        }
        if place.kind == Kind::Iscsi {
            return self.log_out(place).map(|()| true);
        }
        fc::detach_by_name(&self.host, &place.path).map_err(|error| detached(place, &error))?;
        std::fs::remove_dir(&place.path).map_err(io(format!("remove {}", place.path.display())))?;
        Ok(true)
    }

    fn let_go_of_filesystem(&self, place: &Place) -> Result<bool, VolumeError> {
        if !place.path.exists() {
            return Ok(false);
        }
        let read = || mounts::at(&place.path).map_err(io("read the mount table"));
        let mut device = None;
        if let Some(mount) = read()? {
            if mounts::others(&mount, &place.path).map_err(io("read the mount table"))? {
                return Ok(false);
            }
            // Not lazily: then something could still write to a disk that is gone.
            mounts::unmount_now(&place.path).map_err(io(format!("unmount {}", place.path.display())))?;
            device = Some(mount.source);
        }
        if place.kind == Kind::Iscsi {
            return self.log_out(place).map(|()| true);
        }
        let done = match device {
            Some(device) => fc::detach(&self.host, &device),
            None => fc::detach_by_name(&self.host, &place.path),
        };
        // While the directory is there it is tried again.
        done.map_err(|error| detached(place, &error))?;
        std::fs::remove_dir(&place.path).map_err(io(format!("remove {}", place.path.display())))?;
        Ok(true)
    }
}

fn names(place: &Place) -> Vec<String> {
    match place.kind {
        Kind::Iscsi => iscsi::Disk::uniques(&place.path),
        _ => fc::Disk::uniques(&place.path),
    }
}

fn detached(place: &Place, error: &str) -> VolumeError {
    let plugin = if place.kind == Kind::Iscsi { "iscsi" } else { "fc" };
    VolumeError::Path(format!("{plugin}: failed to detach disk: {}\nError: {error}", place.path.display()))
}

fn is_mounted(path: &Path) -> Result<bool, VolumeError> {
    mounts::is_mounted(path).map_err(io("read the mount table"))
}
