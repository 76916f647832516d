//! Dependencies between the crates of the workspace point up one list, read from the manifests.

use std::collections::BTreeSet;

/// The crates from the top down. A crate may use those in the lists before its own, never one of its own list.
const ORDER: &[&[&str]] = &[
    // A stand-in for a crate of openraft's (see its own words); it knows nothing of ours.
    &["api-types-derive", "base2histogram"],
    &["api-types"],
    &["expressions"],
    &["daemon"],
    &["client"],
    &["etcd-protocol"],
    &["kvstore", "apiserver", "scheduler", "controller-manager", "kubelet", "kube-proxy", "cluster-dns"],
    &["deploy"],
    &["ferrokube-tests"],
];

struct Manifest {
    name: String,
    /// Our crates among its dependencies; those of its tests apart.
    uses: Vec<String>,
    tests_use: Vec<String>,
}

fn rank(name: &str) -> Option<usize> {
    ORDER.iter().position(|list| list.contains(&name))
}

fn manifests() -> Vec<Manifest> {
    let workspace =
        std::fs::read_to_string(super::root().join("Cargo.toml")).expect("the workspace has a manifest");
    let members = workspace.split("members = [").nth(1).and_then(|m| m.split(']').next()).expect("members");
    members.split(',').map(|m| m.trim().trim_matches('"')).filter(|m| !m.is_empty()).map(manifest).collect()
}

fn manifest(member: &str) -> Manifest {
    let text = std::fs::read_to_string(super::root().join(member).join("Cargo.toml"))
        .expect("members have manifests");
    let name =
        text.lines().find_map(|l| l.strip_prefix("name = ")).expect("a name").trim_matches('"').to_owned();
    let mut manifest = Manifest { name, uses: Vec::new(), tests_use: Vec::new() };
    let mut section = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.trim();
        }
        let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if rank(dependency).is_none() {
            continue;
        }
        match section {
            "[dependencies]" | "[build-dependencies]" => manifest.uses.push(dependency.to_owned()),
            "[dev-dependencies]" => manifest.tests_use.push(dependency.to_owned()),
            _ => {}
        }
    }
    manifest
}

#[test]
fn every_crate_has_its_place() {
    let known: BTreeSet<&str> = ORDER.iter().flat_map(|list| list.iter().copied()).collect();
    let manifests = manifests();
    let found: BTreeSet<&str> = manifests.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(found, known, "a new crate is added to ORDER here and to ARCHITECTURE.md");
}

#[test]
fn dependencies_point_up_the_list() {
    let mut offenders = Vec::new();
    for manifest in manifests() {
        for used in manifest.uses.iter().chain(&manifest.tests_use) {
            if rank(used) >= rank(&manifest.name) {
                offenders.push(format!("{} uses {used}", manifest.name));
            }
        }
    }
    super::assert_none("no crate uses one below it or beside it", &offenders);
}

#[test]
fn api_types_does_no_io() {
    let offenders: Vec<String> = super::sources()
        .iter()
        .filter(|s| s.path.starts_with("api-types/src") || s.path.starts_with("api-types/cel"))
        .filter(|s| {
            ["tokio::", "std::fs", "std::net::Tcp", "std::process"].iter().any(|io| s.code().contains(io))
        })
        .map(super::Source::name)
        .collect();
    super::assert_none("api-types does no I/O", &offenders);
}
