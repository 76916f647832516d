//! `fsGroup`: the files of a volume belong to the pod's group and are usable by it.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use api_types::core::v1::PodFSGroupChangePolicy;

/// Bits that the group gets on files it may write.
const READ_WRITE: u32 = 0o660;
/// Bits that the group gets on files it may read.
const READ_ONLY: u32 = 0o440;
/// Bits that directories get beside: search, and their group inherited.
const DIRECTORY: u32 = 0o110;
const SETGID: u32 = 0o2000;

/// Gives the tree at `root` to `group`.
pub fn set(
    root: &Path,
    group: u32,
    read_only: bool,
    policy: Option<&PodFSGroupChangePolicy>,
) -> io::Result<()> {
    if policy == Some(&PodFSGroupChangePolicy::OnRootMismatch) && matches(root, group, read_only)? {
        return Ok(());
    }
    one(root, group, read_only)?;
    walk(root, group, read_only)?;
    Ok(())
}

fn bits(directory: bool, read_only: bool) -> u32 {
    let access = if read_only { READ_ONLY } else { READ_WRITE };
    if directory { access | DIRECTORY | SETGID } else { access }
}

fn matches(root: &Path, group: u32, read_only: bool) -> io::Result<bool> {
    let meta = std::fs::metadata(root)?;
    let wanted = bits(true, read_only);
    Ok(meta.gid() == group && meta.mode() & wanted == wanted)
}

fn walk(dir: &Path, group: u32, read_only: bool) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        one(&entry.path(), group, read_only)?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), group, read_only)?;
        }
    }
    Ok(())
}

/// COMPAT: a link changes its group and keeps its mode; its target is not touched through it.
fn one(path: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    std::os::unix::fs::lchown(path, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mode = (meta.mode() & 0o7777) | bits(meta.is_dir(), read_only);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
