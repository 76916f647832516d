//! Container images made here, because a fresh machine has no registry: the pause image that every
//! pod sandbox runs, and busybox for trying things out. An image is an OCI archive ([`oci`]), which
//! containerd's `ctr` imports.

mod busybox;
mod oci;
mod pause;
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
    let output = ctr(layout).args(["images", "list", "-q"]).output().context("cannot run ctr")?;
    ensure!(output.status.success(), "ctr: {}", String::from_utf8_lossy(&output.stderr).trim());
    if String::from_utf8_lossy(&output.stdout).lines().any(|name| name == PAUSE_IMAGE) {
        return Ok(false);
    }
    load(layout, "pause", &pause::archive()?)?;
    Ok(true)
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
