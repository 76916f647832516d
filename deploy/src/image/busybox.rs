//! A busybox image from Debian's static busybox: one binary, a link per applet, the few files that
//! programs expect in /etc.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::oci;
use super::tar::Archive;
use crate::host::packages;

/// What it is called unless told otherwise: the names that people type, and the one that upstream's
/// tests use.
fn usual_tags(version: &str) -> Vec<String> {
    let series = version.rsplit_once('.').map_or(version, |(series, _)| series);
    ["latest", version, series]
        .iter()
        .map(|tag| format!("docker.io/library/busybox:{tag}"))
        .chain(["registry.k8s.io/e2e-test-images/busybox:1.37.0-1".to_owned()])
        .collect()
}

pub fn archive(tags: &[String]) -> anyhow::Result<Vec<u8>> {
    let program =
        packages::program("busybox").context("busybox is missing: apt-get install busybox-static")?;
    let binary = std::fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    ensure!(is_static(&binary), "{} is not static: apt-get install busybox-static", program.display());
    let run = |args: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(&program).args(args).output().context("cannot run busybox")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // "BusyBox v1.35.0 (Debian 1:1.35.0-4+b3) multi-call binary."
    let banner = run(&[])?;
    let version =
        banner.split_whitespace().nth(1).and_then(|v| v.strip_prefix('v')).unwrap_or("1").to_owned();
    let applets = run(&["--list"])?;
    let process = oci::Process {
        cmd: vec!["sh".into()],
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
        ..Default::default()
    };
    let tags = if tags.is_empty() { usual_tags(&version) } else { tags.to_vec() };
    Ok(oci::archive(layer(&binary, applets.lines()), &process, &tags))
}

fn layer<'a>(binary: &[u8], applets: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut tar = Archive::default();
    for (folder, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("sbin", 0o755),
        ("var", 0o755),
        ("var/tmp", 0o1777),
        ("var/www", 0o755),
    ] {
        tar.folder(folder, mode);
    }
    tar.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    );
    tar.file("etc/group", 0o644, b"root:x:0:\nnobody:x:65534:\n");
    tar.file("bin/busybox", 0o755, binary);
    for applet in applets.filter(|a| !a.is_empty() && *a != "busybox") {
        tar.link(&format!("bin/{applet}"), "busybox");
    }
    tar.link("usr/bin/env", "../../bin/busybox");
    tar.finish()
}

/// A dynamic program names its loader in a program header of type PT_INTERP.
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |offset: usize, size: usize| -> Option<usize> {
        let bytes = elf.get(offset..offset + size)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    };
    let headers = || -> Option<Vec<usize>> {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|i| number(table + i * size, 4)).collect()
    };
    elf.starts_with(b"\x7fELF\x02\x01")
        && headers().is_some_and(|types| !types.contains(&(PT_INTERP as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_programs_are_told_from_static_ones() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_static(&own));
        assert!(!is_static(b"#!/bin/sh\n"));
    }

    #[test]
    fn tags_cover_what_people_type() {
        let tags = usual_tags("1.35.0");
        assert!(tags.contains(&"docker.io/library/busybox:1.35".to_owned()), "{tags:?}");
        assert!(tags.contains(&"docker.io/library/busybox:latest".to_owned()));
    }
}
