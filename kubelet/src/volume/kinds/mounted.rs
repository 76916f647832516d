//! Volumes that are mounted from elsewhere: folders of the node ([`super::local_device`]) and `nfs`.

use std::path::Path;

use api_types::core::v1::NFSVolumeSource;

use crate::volume::host::Host;
use crate::volume::{VolumeError, io, mounts};

/// Makes a folder of the node visible at `path`.
pub fn local(path: &Path, source: &str, read_only: bool) -> Result<(), VolumeError> {
    let meta = std::fs::metadata(source)
        .map_err(|error| VolumeError::Path(format!("path {source:?} does not exist: {error}")))?;
    if !meta.is_dir() {
        return Err(VolumeError::Path(format!(
            "local volume {source:?}: only directory and block device are supported"
        )));
    }
    make(path)?;
    if mounts::is_mounted(path).map_err(io("read the mount table"))? {
        return Ok(());
    }
    mounts::bind(Path::new(source), path).map_err(io(format!("bind {source} to {}", path.display())))?;
    if read_only {
        mounts::remount_read_only(path).map_err(io(format!("remount {} read-only", path.display())))?;
    }
    Ok(())
}

/// Mounts an export with the node's own mount helper.
pub fn nfs(
    path: &Path,
    source: &NFSVolumeSource,
    options: &[String],
    read_only: bool,
) -> Result<(), VolumeError> {
    make(path)?;
    if mounts::is_mounted(path).map_err(io("read the mount table"))? {
        return Ok(());
    }
    let arguments = nfs_arguments(path, source, options, read_only);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = Host::this().run("mount", &words).map_err(VolumeError::Path)?;
    if said.is_fine() {
        return Ok(());
    }
    Err(VolumeError::Path(format!(
        "mount failed: {}\nMounting command: mount\nMounting arguments: {}\nOutput: {}\n",
        said.end(),
        arguments.join(" "),
        said.text
    )))
}

fn nfs_arguments(path: &Path, source: &NFSVolumeSource, options: &[String], read_only: bool) -> Vec<String> {
    let mut all: Vec<String> = options.to_vec();
    if read_only && !all.iter().any(|option| option == "ro") {
        all.insert(0, "ro".into());
    }
    let mut arguments = vec!["-t".to_owned(), "nfs".to_owned()];
    if !all.is_empty() {
        arguments.extend(["-o".to_owned(), all.join(",")]);
    }
    let server = if source.server.contains(':') && !source.server.starts_with('[') {
        format!("[{}]", source.server)
    } else {
        source.server.clone()
    };
    arguments.extend([format!("{server}:{}", source.path), path.display().to_string()]);
    arguments
}

/// Makes a mount point.
pub fn make(path: &Path) -> Result<(), VolumeError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(io(format!("mkdir {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_mount() {
        let source = NFSVolumeSource { server: "fd00::1".into(), path: "/x".into(), ..Default::default() };
        let made = nfs_arguments(Path::new("/p"), &source, &["vers=4".into()], true);
        assert_eq!(made, ["-t", "nfs", "-o", "ro,vers=4", "[fd00::1]:/x", "/p"]);
    }
}
