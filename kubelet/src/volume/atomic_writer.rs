//! Writes a set of files so that readers see all of the old or all of the new.
//!
//! ```text
//! ..2026_11_21_10_40_00.123456789/   the files, written once and never changed
//! ..data -> ..2026_11_21_…           swapped by a rename
//! config.yaml -> ..data/config.yaml  what containers open; one link per first path element
//! ```
//! COMPAT: containers and their tools watch `..data` being replaced; the names are upstream's.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};

use jiff::Timestamp;

use super::{VolumeError, io};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// A file to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Its owner, when it is not root.
    pub owner: Option<u32>,
}

/// Files by path relative to the volume.
pub type Payload = BTreeMap<String, File>;

/// Makes `target` hold exactly `payload`; `finish` is called on the new files before they are shown.
///
/// Answers whether anything changed.
pub fn write(
    target: &Path,
    payload: &Payload,
    finish: impl FnOnce(&Path) -> Result<(), VolumeError>,
) -> Result<bool, VolumeError> {
    for path in payload.keys() {
        check_path(path)?;
    }
    let current = std::fs::read_link(target.join(DATA)).ok();
    let old_dir = current.as_ref().map(|name| target.join(name));
    let unchanged = match &old_dir {
        Some(dir) => same(dir, payload)?,
        None => false,
    };
    if unchanged {
        remove_strays(target, payload, current.as_deref())?;
        link(target, payload)?;
        return Ok(false);
    }
    let name = fresh_name(target);
    let dir = target.join(&name);
    make_dir(&dir, 0o755)?;
    for (path, file) in payload {
        let full = dir.join(path);
        if let Some(parent) = full.parent() {
            make_dirs(&dir, parent)?;
        }
        std::fs::write(&full, &file.data).map_err(io(format!("write {}", full.display())))?;
        std::fs::set_permissions(&full, std::fs::Permissions::from_mode(file.mode & 0o7777))
            .map_err(io(format!("chmod {}", full.display())))?;
        if file.owner.is_some() {
            std::os::unix::fs::lchown(&full, file.owner, None)
                .map_err(io(format!("chown {}", full.display())))?;
        }
    }
    finish(&dir)?;
    let new = target.join(DATA_NEW);
    let _ = std::fs::remove_file(&new);
    symlink(&name, &new).map_err(io(format!("symlink {}", new.display())))?;
    std::fs::rename(&new, target.join(DATA)).map_err(io(format!("rename {}", new.display())))?;
    link(target, payload)?;
    remove_strays(target, payload, Some(Path::new(&name)))?;
    Ok(true)
}

/// Refuses paths that leave the volume or look like the writer's own.
fn check_path(path: &str) -> Result<(), VolumeError> {
    let bad = |why: &str| Err(VolumeError::Path(format!("invalid path: {why}: {path}")));
    if path.is_empty() {
        return bad("must not be empty");
    }
    let path = Path::new(path);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return bad("must be relative and must not contain '..'");
    }
    if path.to_string_lossy().starts_with("..") {
        return bad("must not start with '..'");
    }
    Ok(())
}

/// The name of the directory of a new generation, free in `target`.
fn fresh_name(target: &Path) -> String {
    loop {
        let name = format!(
            "{}.{:09}",
            Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S"),
            fastrand::u32(0..1_000_000_000)
        );
        if !target.join(&name).exists() {
            return name;
        }
    }
}

fn make_dir(dir: &Path, mode: u32) -> Result<(), VolumeError> {
    std::fs::create_dir(dir).map_err(io(format!("mkdir {}", dir.display())))?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
        .map_err(io(format!("chmod {}", dir.display())))
}

fn make_dirs(base: &Path, dir: &Path) -> Result<(), VolumeError> {
    if dir == base || dir.exists() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dirs(base, parent)?;
    }
    make_dir(dir, 0o755)
}

/// Whether the directory holds the payload's files with their content, and no others.
fn same(dir: &Path, payload: &Payload) -> Result<bool, VolumeError> {
    let mut there = BTreeSet::new();
    if !dir.is_dir() {
        return Ok(false);
    }
    list(dir, Path::new(""), &mut there).map_err(io(format!("open {}", dir.display())))?;
    if there.len() != payload.len() || !payload.keys().all(|path| there.contains(path)) {
        return Ok(false);
    }
    for (path, file) in payload {
        let content = std::fs::read(dir.join(path)).map_err(io(format!("read {path}")))?;
        if content != file.data {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(dir: &Path, prefix: &Path, found: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = prefix.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &path, found)?;
        } else {
            found.insert(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn roots(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().filter_map(|path| path.split('/').next()).collect()
}

fn link(target: &Path, payload: &Payload) -> Result<(), VolumeError> {
    for root in roots(payload) {
        let visible = target.join(root);
        if std::fs::read_link(&visible).is_err() {
            symlink(Path::new(DATA).join(root), &visible)
                .map_err(io(format!("symlink {}", visible.display())))?;
        }
    }
    Ok(())
}

/// Removes links to files that are no more, and generations other than the current one.
fn remove_strays(target: &Path, payload: &Payload, current: Option<&Path>) -> Result<(), VolumeError> {
    let keep = roots(payload);
    for path in super::actual::entries(target).map_err(io(format!("read {}", target.display())))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == DATA || Some(Path::new(&name)) == current || keep.contains(name.as_str()) {
            continue;
        }
        let removed = if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(io(format!("remove {}", path.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(std::path::PathBuf);

    impl Dir {
        fn new() -> Self {
            let dir = std::env::temp_dir().join(format!("kubelet-writer-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn names(&self) -> Vec<String> {
            super::super::actual::entries(&self.0)
                .unwrap()
                .iter()
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .filter(|name| !name.starts_with("..2"))
                .collect()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(path, data)| {
                ((*path).to_owned(), File { data: data.as_bytes().into(), mode: 0o644, owner: None })
            })
            .collect()
    }

    #[test]
    fn generations_are_swapped_and_strays_removed() {
        let dir = Dir::new();
        let read = |path: &str| std::fs::read_to_string(dir.0.join(path)).unwrap();
        assert!(write(&dir.0, &payload(&[("a", "1"), ("d/b", "2")]), |_| Ok(())).unwrap());
        assert_eq!((read("a"), read("d/b")), ("1".into(), "2".into()));
        let first = std::fs::read_link(dir.0.join(DATA)).unwrap();
        assert!(!write(&dir.0, &payload(&[("a", "1"), ("d/b", "2")]), |_| Ok(())).unwrap());
        assert_eq!(std::fs::read_link(dir.0.join(DATA)).unwrap(), first);
        assert!(write(&dir.0, &payload(&[("a", "3"), ("c", "4")]), |_| Ok(())).unwrap());
        assert_eq!((read("a"), read("c")), ("3".into(), "4".into()));
        assert_eq!(dir.names(), ["..data", "a", "c"]);
        assert!(!dir.0.join(first).exists());
    }

    #[test]
    fn a_failure_before_the_swap_leaves_the_old_files() {
        let dir = Dir::new();
        write(&dir.0, &payload(&[("a", "1")]), |_| Ok(())).unwrap();
        let failed = write(&dir.0, &payload(&[("a", "2")]), |_| Err(VolumeError::Unsupported("x")));
        assert!(failed.is_err());
        assert_eq!(std::fs::read_to_string(dir.0.join("a")).unwrap(), "1");
    }

    #[test]
    fn paths_must_stay_inside() {
        let dir = Dir::new();
        for path in ["../a", "/a", "..a", "a/../../b", ""] {
            assert!(write(&dir.0, &payload(&[(path, "")]), |_| Ok(())).is_err(), "{path}");
        }
    }
}
