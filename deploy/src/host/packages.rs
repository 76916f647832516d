//! The Debian packages that a node needs: looked for by what they provide, installed through apt-get.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::progress::Progress;

/// A package and the file by which we know that it (or another source of the same tool) is there.
const NEEDED: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("nftables", "nft"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("iproute2", "ip"),
    ("util-linux", "nsenter"),
    ("mount", "mount"),
    ("busybox-static", "busybox"),
    ("ca-certificates", "/etc/ssl/certs/ca-certificates.crt"),
];

const PATH: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where a program is, in the places where daemons look for it.
pub fn program(name: &str) -> Option<std::path::PathBuf> {
    PATH.iter().map(|dir| Path::new(dir).join(name)).find(|p| p.is_file())
}

fn present(evidence: &str) -> bool {
    if evidence.starts_with('/') { Path::new(evidence).exists() } else { program(evidence).is_some() }
}

fn missing() -> Vec<&'static str> {
    NEEDED.iter().filter(|(_, evidence)| !present(evidence)).map(|(package, _)| *package).collect()
}

/// Installs what is missing, or says what that is when it may not.
pub fn ensure_installed(progress: &Progress, may_install: bool) -> anyhow::Result<()> {
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(());
    }
    let list = wanted.join(" ");
    if !may_install {
        bail!(
            "missing Debian packages: {list} (install them with: apt-get install --no-install-recommends {list})"
        );
    }
    ensure!(
        program("apt-get").is_some(),
        "missing: {list}. This machine has no apt-get to install them with; only Debian 12 is supported so far"
    );
    progress.say(format_args!("installing Debian packages: {list}"));
    apt_get(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&wanted);
    apt_get(&install)?;
    let still = missing();
    ensure!(still.is_empty(), "apt-get succeeded, but these are still missing: {}", still.join(" "));
    Ok(())
}

fn apt_get(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run apt-get")?;
    ensure!(status.success(), "apt-get {} failed ({status}); its messages are above", args.join(" "));
    Ok(())
}
