//! `hostPath`: a path of the node. Nothing is made but what the type says; nothing is ever removed.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use api_types::core::v1::{HostPathType, HostPathVolumeSource};

use crate::volume::{VolumeError, io};

/// Checks that the path is what the volume says, and makes it where the type asks for that.
pub fn set_up(source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    let meta = std::fs::metadata(path).ok();
    let is =
        |test: &dyn Fn(&std::fs::FileType) -> bool| meta.as_ref().is_some_and(|meta| test(&meta.file_type()));
    let must_be = |right: bool, what: &str| {
        if right { Ok(()) } else { Err(VolumeError::HostPath(format!("{} is not {what}", source.path))) }
    };
    match source.type_.as_ref().unwrap_or(&HostPathType::Unset) {
        HostPathType::Unset => Ok(()),
        HostPathType::DirectoryOrCreate => {
            if meta.is_none() {
                make_directories(path)?;
                return Ok(());
            }
            must_be(is(&|kind| kind.is_dir()), "a directory")
        }
        HostPathType::Directory => must_be(is(&|kind| kind.is_dir()), "a directory"),
        HostPathType::FileOrCreate => {
            if meta.is_none() {
                std::fs::File::create(path).map_err(io(format!("open {}", source.path)))?;
                chmod(path, 0o644)?;
                return Ok(());
            }
            must_be(is(&|kind| kind.is_file()), "a file")
        }
        HostPathType::File => must_be(is(&|kind| kind.is_file()), "a file"),
        HostPathType::Socket => must_be(is(&|kind| kind.is_socket()), "a socket file"),
        HostPathType::CharDevice => must_be(is(&|kind| kind.is_char_device()), "a character device"),
        HostPathType::BlockDevice => must_be(is(&|kind| kind.is_block_device()), "a block device"),
        HostPathType::Other(other) => {
            Err(VolumeError::HostPath(format!("{other} is an invalid volume type")))
        }
    }
}

fn make_directories(path: &Path) -> Result<(), VolumeError> {
    std::fs::create_dir_all(path).map_err(io(format!("mkdir {}", path.display())))?;
    chmod(path, 0o755)
}

fn chmod(path: &Path, mode: u32) -> Result<(), VolumeError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(io(format!("chmod {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, type_: HostPathType, expected: Option<&str>) {
        let source = HostPathVolumeSource { path: path.into(), type_: Some(type_) };
        let error = set_up(&source).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected);
    }

    #[test]
    fn types_are_checked() {
        check("/nowhere", HostPathType::Unset, None);
        check("/etc", HostPathType::Directory, None);
        check("/etc", HostPathType::File, Some("hostPath type check failed: /etc is not a file"));
        check(
            "/nowhere",
            HostPathType::Directory,
            Some("hostPath type check failed: /nowhere is not a directory"),
        );
        check("/dev/null", HostPathType::CharDevice, None);
        check(
            "/dev/null",
            HostPathType::Socket,
            Some("hostPath type check failed: /dev/null is not a socket file"),
        );
    }
}
