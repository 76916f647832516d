//! An image of one of the project's programs: the binary and the libraries that it is linked with,
//! taken from this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use super::oci;
use super::tar::Archive;

/// The full name of a program's image; another binary has another name, so that a new one is rolled
/// out.
pub fn name(program: &str, binary: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(binary));
    format!("localhost/ferrokube/{program}:{}", &digest[..12])
}

/// The image as an OCI archive.
pub fn archive(path: &Path, program: &str, binary: &[u8], name: &str) -> anyhow::Result<Vec<u8>> {
    let mut layer = Archive::default();
    let libraries = libraries(path)?;
    for folder in folders(&libraries) {
        layer.folder(&folder, 0o755);
    }
    for library in &libraries {
        let content = std::fs::read(library).with_context(|| format!("cannot read {}", library.display()))?;
        layer.file(&library.to_string_lossy()[1..], 0o755, &content);
    }
    layer.file(program, 0o755, binary);
    let process = oci::Process { entrypoint: vec![format!("/{program}")], ..Default::default() };
    Ok(oci::archive(layer.finish(), &process, &[name.to_owned()]))
}

/// What the dynamic loader would load, itself included.
fn libraries(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(path).output().context("cannot run ldd")?;
    ensure!(
        output.status.success(),
        "ldd {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let listed = String::from_utf8_lossy(&output.stdout);
    ensure!(!listed.contains("not found"), "{} lacks a library:\n{listed}", path.display());
    // `libm.so.6 => /lib/…/libm.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`, `linux-vdso.so.1 (0x…)`
    Ok(listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

/// The folders that files lie in, outer ones first.
fn folders(files: &[PathBuf]) -> BTreeSet<String> {
    files
        .iter()
        .flat_map(|file| file.ancestors().skip(1))
        .map(|folder| folder.to_string_lossy().trim_start_matches('/').to_owned())
        .filter(|folder| !folder.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_with_its_libraries() {
        let own = std::env::current_exe().unwrap();
        let libraries = libraries(&own).unwrap();
        assert!(libraries.iter().any(|l| l.to_string_lossy().contains("libc.so")), "{libraries:?}");
        assert!(libraries.iter().any(|l| l.to_string_lossy().contains("/ld-linux")), "{libraries:?}");
        let folders = folders(&[PathBuf::from("/lib/x/liba.so"), PathBuf::from("/lib64/ld.so")]);
        assert_eq!(folders.into_iter().collect::<Vec<_>>(), ["lib", "lib/x", "lib64"]);
    }
}
