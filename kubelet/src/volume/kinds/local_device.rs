//! `local` volumes: a folder of the node, or a device of it that is mounted as a filesystem.
//!
//! ```text
//! plugins/kubernetes.io/local-volume/mounts/PV      the device's filesystem, once for all pods
//! pods/UID/volumes/kubernetes.io~local-volume/PV    bound to that, or to the folder
//! ```
//! COMPAT: upstream's places. A device without content is given a filesystem first; one that holds anything that is
//! known is not. What no pod uses is unmounted by [`unmount_unused`].

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::mounted::{self, make};
use crate::volume::actual::entries;
use crate::volume::desired::{Kind, Wanted};
use crate::volume::host::Host;
use crate::volume::{VolumeError, filesystem, io, mounts};

/// A device must not be unmounted between being mounted and being bound.
static STAGING: Mutex<()> = Mutex::new(());

fn staged(root: &Path) -> PathBuf {
    root.join("plugins/kubernetes.io/local-volume/mounts")
}

/// Makes the volume visible at `path`; `root` is the kubelet's.
pub fn set_up(root: &Path, path: &Path, wanted: &Wanted) -> Result<(), VolumeError> {
    let source = wanted.local.as_str();
    let meta = std::fs::metadata(source)
        .map_err(|error| VolumeError::Path(format!("path {source:?} does not exist: {error}")))?;
    if !meta.file_type().is_block_device() {
        return mounted::local(path, source, wanted.read_only);
    }
    let _staging = STAGING.lock();
    let place = staged(root).join(&wanted.dir);
    if !mounts::is_mounted(&place).map_err(io("read the mount table"))? {
        let local = wanted.behind.as_ref().and_then(|behind| behind.spec.source.local.clone());
        let kind = local.and_then(|local| local.fs_type).filter(|kind| !kind.is_empty());
        let kind = kind.as_deref().unwrap_or(filesystem::DEFAULT);
        make(&place)?;
        let (options, read_only) = (&wanted.options, wanted.read_only);
        filesystem::mount(&Host::this(), source, &place, kind, options, read_only).map_err(|error| {
            let _ = std::fs::remove_dir(&place);
            VolumeError::Path(format!(
                "local: failed to mount device {source} at {} (fstype: {kind}), error {error}",
                place.display()
            ))
        })?;
    }
    mounted::local(path, &place.to_string_lossy(), wanted.read_only)
}

/// Unmounts the devices that no pod uses.
pub fn unmount_unused(root: &Path) -> Result<(), VolumeError> {
    let _staging = STAGING.lock();
    let list = |dir: &Path| entries(dir).map_err(io(format!("open {}", dir.display())));
    for place in list(&staged(root))? {
        let name = place.file_name().unwrap_or_default();
        let used = list(&root.join("pods"))?
            .iter()
            .any(|pod| pod.join("volumes").join(Kind::Local.plugin()).join(name).exists());
        if used {
            continue;
        }
        if mounts::is_mounted(&place).map_err(io("read the mount table"))? {
            mounts::unmount(&place).map_err(io(format!("unmount {}", place.display())))?;
        }
        std::fs::remove_dir(&place).map_err(io(format!("remove {}", place.display())))?;
        tracing::info!(path = %place.display(), "unmounted a device that no pod uses");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::Volume;

    use super::*;
    use crate::volume::host::Loop;

    fn wanted(path: &str) -> Wanted {
        Wanted {
            volume: Volume::default(),
            kind: Kind::Local,
            dir: "pv".into(),
            read_only: false,
            options: Vec::new(),
            local: path.into(),
            behind: None,
            block: false,
        }
    }

    #[test]
    fn a_device_gets_a_filesystem_once_and_is_mounted_while_pods_use_it() {
        let root = std::env::temp_dir().join(format!("kubelet-device-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&root).unwrap();
        let device = nix::unistd::geteuid().is_root().then(|| Loop::new(&root.join("disk"))).flatten();
        let Some(device) = device else {
            eprintln!("skipped: needs root and a loop device");
            return;
        };
        let path = |uid: &str| root.join("pods").join(uid).join("volumes/kubernetes.io~local-volume/pv");
        let mut only_read = wanted(&device.0);
        only_read.read_only = true;
        let error = set_up(&root, &path("a"), &only_read).unwrap_err().to_string();
        assert!(error.contains("cannot mount unformatted disk"), "{error}");
        for uid in ["a", "a", "b"] {
            set_up(&root, &path(uid), &wanted(&device.0)).unwrap();
        }
        std::fs::write(path("a").join("file"), "kept").unwrap();
        assert_eq!(std::fs::read_to_string(path("b").join("file")).unwrap(), "kept");
        assert_eq!(mounts::below(&root).unwrap().len(), 3, "the device, and two pods");
        let end = |uid: &str| {
            mounts::unmount(&path(uid)).unwrap();
            std::fs::remove_dir(path(uid)).unwrap();
            unmount_unused(&root).unwrap();
        };
        end("a");
        assert_eq!(mounts::below(&root).unwrap().len(), 2, "the other pod has it still");
        end("b");
        assert_eq!(mounts::below(&root).unwrap(), Vec::<PathBuf>::new());
        set_up(&root, &path("c"), &wanted(&device.0)).unwrap();
        assert_eq!(std::fs::read_to_string(path("c").join("file")).unwrap(), "kept", "not made anew");
        end("c");
        drop(device);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_is_neither_folder_nor_device_is_refused() {
        let root = Path::new("/nowhere");
        let error = set_up(root, &root.join("x"), &wanted("/etc/hostname")).unwrap_err().to_string();
        assert!(error.contains("only directory and block device are supported"), "{error}");
        let error = set_up(root, &root.join("x"), &wanted("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }
}
