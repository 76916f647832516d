//! Volumes that a container gets as a device (`volumeMode: Block`).
//!
//! ```text
//! pods/UID/volumeDevices/PLUGIN/NAME            link to the device; the container is given what it points to
//! plugins/kubernetes.io/…/NAME/…/UID            the device once more, bound: it is in use by this pod
//! ```
//! COMPAT: upstream's places. The link is made first and removed last: while it is there, something of the
//! volume may be left, so a kubelet that was killed finds all that it has to take back.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::actual::entries;
use super::desired::{Kind, Wanted};
use super::{VolumeError, io, mounts};

/// The directory below a pod's with its devices.
const DEVICES: &str = "volumeDevices";

/// Where a pod's device is linked.
pub fn link(pod_dir: &Path, kind: Kind, name: &str) -> PathBuf {
    pod_dir.join(DEVICES).join(kind.plugin()).join(name)
}

/// Name and link of the devices of a kind that a pod has, or may have.
pub fn links(pod_dir: &Path, kind: Kind) -> Result<Vec<(String, PathBuf)>, VolumeError> {
    let dir = pod_dir.join(DEVICES).join(kind.plugin());
    let found = entries(&dir).map_err(io(format!("open {}", dir.display())))?;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(found.into_iter().map(|path| (name(&path), path)).collect())
}

/// Where a `local` volume's device is bound for a pod.
fn local_place(root: &Path, name: &str, uid: &str) -> PathBuf {
    root.join("plugins/kubernetes.io~local-volume").join(DEVICES).join(name).join(uid)
}

/// Gives a device of the node to a pod.
pub fn local(root: &Path, pod_dir: &Path, uid: &str, wanted: &Wanted) -> Result<(), VolumeError> {
    let device = Path::new(&wanted.local);
    let meta = std::fs::metadata(device)
        .map_err(|error| VolumeError::Path(format!("path {:?} does not exist: {error}", wanted.local)))?;
    if !meta.file_type().is_block_device() {
        return Err(VolumeError::Path(format!("path {:?} is not a block device", wanted.local)));
    }
    point(&link(pod_dir, Kind::Local, &wanted.dir), device)?;
    bind(device, &local_place(root, &wanted.dir, uid))
}

/// Takes all devices of `local` volumes back from a pod.
pub fn take_local(root: &Path, pod_dir: &Path, uid: &str) -> Result<(), VolumeError> {
    for (name, link) in links(pod_dir, Kind::Local)? {
        let place = local_place(root, &name, uid);
        unbind(&place)?;
        if let Some(dir) = place.parent() {
            // Another pod may have it still.
            let _ = std::fs::remove_dir(dir);
        }
        unlink(&link)?;
    }
    Ok(())
}

/// Makes a link; one that points elsewhere is replaced.
pub fn point(link: &Path, device: &Path) -> Result<(), VolumeError> {
    if std::fs::read_link(link).is_ok_and(|target| target == device) {
        return Ok(());
    }
    if let Some(dir) = link.parent() {
        make(dir)?;
    }
    unlink(link)?;
    std::os::unix::fs::symlink(device, link).map_err(io(format!("symlink {}", link.display())))
}

/// Removes a link.
pub fn unlink(link: &Path) -> Result<(), VolumeError> {
    match std::fs::remove_file(link) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(io(format!("remove {}", link.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Binds a device to a file.
pub fn bind(device: &Path, place: &Path) -> Result<(), VolumeError> {
    if mounts::is_mounted(place).map_err(io("read the mount table"))? {
        return Ok(());
    }
    if let Some(dir) = place.parent() {
        make(dir)?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(place)
        .map_err(io(format!("open {}", place.display())))?;
    mounts::bind(device, place).map_err(io(format!("bind {}", place.display())))
}

/// Takes a device away from a file, and removes that.
pub fn unbind(place: &Path) -> Result<(), VolumeError> {
    if mounts::is_mounted(place).map_err(io("read the mount table"))? {
        mounts::unmount(place).map_err(io(format!("unmount {}", place.display())))?;
    }
    unlink(place)
}

fn make(dir: &Path) -> Result<(), VolumeError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .map_err(io(format!("mkdir {}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::Volume;

    #[test]
    fn a_device_is_linked_and_bound_until_it_is_taken_back() {
        let root = std::env::temp_dir().join(format!("kubelet-block-{}", uuid::Uuid::new_v4()));
        let pod_dir = root.join("pods/u");
        let device = std::fs::read_dir("/dev")
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .find(|path| std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device()));
        let wanted = |path: &Path| Wanted {
            volume: Volume::default(),
            kind: Kind::Local,
            dir: "pv".into(),
            read_only: false,
            options: Vec::new(),
            local: path.to_string_lossy().into_owned(),
            behind: None,
            block: true,
        };
        let error = local(&root, &pod_dir, "u", &wanted(Path::new("/dev/null"))).unwrap_err().to_string();
        assert_eq!(error, "path \"/dev/null\" is not a block device");
        assert_eq!(links(&pod_dir, Kind::Local).unwrap(), []);
        let Some(device) = device.filter(|_| nix::unistd::geteuid().is_root()) else {
            eprintln!("skipped: needs root and a block device");
            return;
        };
        for _ in 0..2 {
            local(&root, &pod_dir, "u", &wanted(&device)).unwrap();
        }
        let link = pod_dir.join("volumeDevices/kubernetes.io~local-volume/pv");
        assert_eq!(std::fs::read_link(&link).unwrap(), device);
        assert_eq!(mounts::below(&root).unwrap().len(), 1, "bound once");
        take_local(&root, &pod_dir, "u").unwrap();
        assert_eq!(mounts::below(&root).unwrap(), Vec::<PathBuf>::new());
        assert!(!link.is_symlink() && device.exists());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
