//! `emptyDir`: a directory that lives as long as the pod, on disk, as a tmpfs or in huge pages ([`super::huge_pages`]).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use api_types::core::v1::{EmptyDirVolumeSource, Pod, StorageMedium};

use super::huge_pages;
use crate::resources;
use crate::volume::{VolumeError, io, mounts};

/// COMPAT: everyone may write, whatever user the container runs as.
const MODE: u32 = 0o777;

/// Makes the directory. The pod's memory limit bounds a tmpfs.
pub fn set_up(path: &Path, source: &EmptyDirVolumeSource, pod: &Pod) -> Result<(), VolumeError> {
    make(path)?;
    let memory = resources::pod_limits(pod, true).memory.unwrap_or_default();
    match &source.medium {
        StorageMedium::Unset => Ok(()),
        StorageMedium::Memory => {
            let limit = source.size_limit.map(|limit| limit.value()).filter(|limit| *limit > 0);
            let size = match (limit, memory) {
                (Some(limit), memory) if memory > 0 => limit.min(memory),
                (Some(limit), _) => limit,
                (None, memory) => memory,
            };
            in_memory(path, u64::try_from(size).unwrap_or_default())
        }
        medium if huge_pages::is(medium) => huge_pages::mount(path, medium, pod),
        medium => Err(VolumeError::Medium(format!("unknown storage medium {:?}", medium.as_str()))),
    }
}

/// Mounts a tmpfs at `path` unless one is there.
pub fn in_memory(path: &Path, size: u64) -> Result<(), VolumeError> {
    if !mounts::is_mounted(path).map_err(io("read the mount table"))? {
        mounts::tmpfs(path, size).map_err(io(format!("mount tmpfs at {}", path.display())))?;
    }
    chmod(path)
}

/// Makes the directory with the mode of an emptyDir.
pub fn make(path: &Path) -> Result<(), VolumeError> {
    std::fs::create_dir_all(path).map_err(io(format!("mkdir {}", path.display())))?;
    chmod(path)
}

/// COMPAT: a tmpfs comes with its sticky bit, which stays; so a sub-path that is made in it has it too.
fn chmod(path: &Path) -> Result<(), VolumeError> {
    let meta = std::fs::metadata(path).map_err(io(format!("stat {}", path.display())))?;
    if meta.permissions().mode() & 0o777 == MODE {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
        .map_err(io(format!("chmod {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_may_write_and_a_sticky_bit_stays() {
        let dir = std::env::temp_dir().join(format!("kubelet-empty-{}", uuid::Uuid::new_v4()));
        let mode = || std::fs::metadata(&dir).unwrap().permissions().mode() & 0o7777;
        make(&dir).unwrap();
        assert_eq!(mode(), 0o777);
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o1777)).unwrap();
        make(&dir).unwrap();
        assert_eq!(mode(), 0o1777);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
