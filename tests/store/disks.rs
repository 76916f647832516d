//! Disks for a member each: a small one that fills up, and one that stands still when it is told to (a file
//! system of its own in a file, frozen and thawed). They go when they are dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A file that takes room; gone when dropped.
pub struct Filler(PathBuf);

impl Filler {
    /// Leaves so many bytes of the folder's file system.
    pub fn new(folder: &Path, left: u64) -> Result<Self> {
        let filler = Self(folder.join("filler"));
        let df = Command::new("df").args(["--block-size=1", "--output=avail"]).arg(folder).output()?;
        let text = String::from_utf8(df.stdout)?;
        let free: u64 = text.lines().nth(1).context("df says what is free")?.trim().parse()?;
        if free > left {
            let length = (free - left).to_string();
            Command::new("fallocate").args(["--length", &length]).arg(&filler.0).status()?;
        }
        Ok(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // Not there when there was nothing to take.
        std::fs::remove_file(&self.0).ok();
    }
}

/// What is mounted for a test.
pub struct Mounted {
    folder: tempfile::TempDir,
    /// The file that it is in.
    _image: Option<tempfile::NamedTempFile>,
}

impl Mounted {
    /// A small disk in memory. `None` (which is said) without the right to mount.
    pub fn small(megabytes: u64) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let words = ["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"];
        let mounted = mount(&words, folder.path())?;
        Ok(mounted.then_some(Self { folder, _image: None }))
    }

    /// One that can stand still. `None` (which is said) without loop devices or the right to mount.
    pub fn stalling() -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let image = tempfile::NamedTempFile::new()?;
        image.as_file().set_len(1 << 30)?;
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image.path()).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no file system can be made");
            return Ok(None);
        }
        let path = image.path().display().to_string();
        let mounted = mount(&["-o", "loop", &path], folder.path())?;
        Ok(mounted.then_some(Self { folder, _image: Some(image) }))
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whoever writes waits until this is dropped.
    pub fn stall(folder: &Path) -> Result<Stall> {
        let frozen = Command::new("fsfreeze").arg("--freeze").arg(folder).status()?;
        ensure!(frozen.success(), "{} does not freeze", folder.display());
        Ok(Stall(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.path()).status().ok();
    }
}

pub struct Stall(PathBuf);

impl Drop for Stall {
    fn drop(&mut self) {
        Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status().ok();
    }
}

fn mount(words: &[&str], folder: &Path) -> Result<bool> {
    let mount = Command::new("mount").args(words).arg(folder).output()?;
    if !mount.status.success() {
        eprintln!("skipped: a disk cannot be mounted: {}", String::from_utf8_lossy(&mount.stderr));
    }
    Ok(mount.status.success())
}
