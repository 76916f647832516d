//! Container images made here, because a fresh machine has no registry: the pause image that every
//! pod sandbox runs, those of our own programs, and busybox for trying things out. An image is an OCI archive ([`oci`]), which
//! containerd's `ctr` imports.

mod busybox;
mod oci;
mod pause;
mod program;
mod tar;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::layout::Layout;

pub use pause::NAME as PAUSE_IMAGE;

/// An OCI archive with busybox, under the usual names unless others are given.
pub fn busybox(tags: &[String]) -> anyhow::Result<Vec<u8>> {
    busybox::archive(tags)
}

/// Loads the pause image unless it is there.
pub fn ensure_pause(layout: &Layout) -> anyhow::Result<bool> {
    if is_loaded(layout, PAUSE_IMAGE)? {
        return Ok(false);
    }
    load(layout, "pause", &pause::archive()?)?;
    Ok(true)
}

/// Loads the image of one of our programs unless it is there, and says what it is called.
pub fn ensure_program(layout: &Layout, path: &Path, program: &str) -> anyhow::Result<String> {
    let binary = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = program::name(program, &binary);
    if !is_loaded(layout, &name)? {
        load(layout, program, &program::archive(path, program, &binary, &name)?)?;
    }
    Ok(name)
}

fn is_loaded(layout: &Layout, image: &str) -> anyhow::Result<bool> {
    let output = ctr(layout).args(["images", "list", "-q"]).output().context("cannot run ctr")?;
    ensure!(output.status.success(), "ctr: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).lines().any(|name| name == image))
}

/// Writes an archive into the cluster's folder and has containerd import it.
pub fn load(layout: &Layout, name: &str, archive: &[u8]) -> anyhow::Result<()> {
    let file = layout.path(&format!("images/{name}.tar"));
    let mut out = std::fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    out.write_all(archive)?;
    load_file(layout, &file)
}

/// Has the cluster's containerd import an archive.
pub fn load_file(layout: &Layout, archive: &Path) -> anyhow::Result<()> {
    let output = ctr(layout)
        .args(["images", "import", "--all-platforms", "--no-unpack"])
        .arg(archive)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ctr")?;
    ensure!(
        output.status.success(),
        "containerd did not take {}: {}",
        archive.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn ctr(layout: &Layout) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(layout.containerd_socket()).args(["--namespace", "k8s.io"]);
    command
}
