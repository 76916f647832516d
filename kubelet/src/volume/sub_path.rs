//! Sub-paths of volumes, safe against links that point out of the volume.
//!
//! The path is resolved by the kernel beneath the volume's root (`openat2`), so a link that a container
//! plants, even while we look, cannot lead outside. What was opened is bind-mounted from its
//! descriptor, and the container gets that mount.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::{VolumeError, io, mounts};

fn open_beneath(root: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn open_root(root: &Path) -> Result<OwnedFd, VolumeError> {
    rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY, Mode::empty())
        .map_err(std::io::Error::from)
        .map_err(io(format!("open {}", root.display())))
}

/// Makes the directories of `sub_path` that are missing below `root`.
pub fn make(root: &Path, sub_path: &Path, mode: u32) -> Result<(), VolumeError> {
    let shown = || root.join(sub_path).display().to_string();
    let mut fd = open_root(root)?;
    let mut seen = PathBuf::new();
    for part in sub_path.components() {
        seen.push(part);
        let step = Path::new(part.as_os_str());
        let root_fd = open_root(root)?;
        let mut made_here = false;
        let next = match open_beneath(&root_fd, &seen) {
            Err(rustix::io::Errno::NOENT) => {
                let made = rustix::fs::mkdirat(&fd, step, Mode::from_raw_mode(mode));
                if !matches!(made, Ok(()) | Err(rustix::io::Errno::EXIST)) {
                    return made.map_err(std::io::Error::from).map_err(io(format!("mkdir {}", shown())));
                }
                made_here = made.is_ok();
                open_beneath(&root_fd, &seen)
            }
            other => other,
        };
        fd = next.map_err(std::io::Error::from).map_err(io(format!("open {}", shown())))?;
        if made_here {
            // What mkdir made is less by our umask. By the descriptor: the name may be another's by now.
            std::fs::set_permissions(
                format!("/proc/self/fd/{}", fd.as_raw_fd()),
                std::fs::Permissions::from_mode(mode),
            )
            .map_err(io(format!("chmod {}", shown())))?;
        }
    }
    Ok(())
}

/// Bind-mounts `sub_path` of the volume at `root` to `target`, which is made as file or directory.
pub fn mount(root: &Path, sub_path: &Path, target: &Path) -> Result<(), VolumeError> {
    let root_fd = open_root(root)?;
    let shown = root.join(sub_path);
    let fd = match open_beneath(&root_fd, sub_path) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => {
            return Err(VolumeError::Path(format!(
                "subpath {:?} not within volume path {:?}",
                shown.display().to_string(),
                root.display().to_string()
            )));
        }
        Err(error) => return Err(io(format!("open {}", shown.display()))(error.into())),
    };
    let directory = rustix::fs::fstat(&fd)
        .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
        .map_err(std::io::Error::from)
        .map_err(io(format!("stat {}", shown.display())))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if mounts::is_mounted(target).map_err(io("read the mount table"))? {
        // A container that is made again must see what the path is now.
        mounts::unmount(target).map_err(io(format!("unmount {}", target.display())))?;
    }
    let parent = if directory { Some(target) } else { target.parent() };
    if let Some(parent) = parent {
        std::fs::create_dir_all(parent).map_err(io(format!("mkdir {}", parent.display())))?;
    }
    if !directory && !target.exists() {
        std::fs::File::create(target).map_err(io(format!("open {}", target.display())))?;
    }
    mounts::bind(&source, target).map_err(io(format!("bind {} to {}", shown.display(), target.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_volume_are_refused() {
        let root = std::env::temp_dir().join(format!("kubelet-subpath-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(root.join("volume/inside")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("volume/out")).unwrap();
        std::os::unix::fs::symlink("../..", root.join("volume/inside/up")).unwrap();
        let volume = root.join("volume");
        let target = root.join("target");
        for path in ["out", "inside/up", "out/passwd"] {
            assert!(mount(&volume, Path::new(path), &target).is_err(), "{path}");
            assert!(make(&volume, &Path::new(path).join("new"), 0o755).is_err(), "{path}");
        }
        make(&volume, Path::new("a/b/c"), 0o2777).unwrap();
        for dir in ["a", "a/b", "a/b/c"] {
            let mode = std::fs::metadata(volume.join(dir)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o2777, "{dir}");
        }
        assert!(!Path::new("/etc/new").exists());
        std::fs::remove_dir_all(root).unwrap();
    }
}
