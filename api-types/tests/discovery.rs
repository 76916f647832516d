//! The table of kinds against upstream's discovery documents, field by field.
//!
//! The reference folder (`K8S_REFERENCE_DIR`) holds the answers of `/api/v1` and `/apis/GROUP/VERSION`
//! as `discovery/api__v1.json` and `discovery/apis__GROUP__VERSION.json`.

use api_types::kind::Kind;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

/// The entries of an APIResourceList that a kind accounts for, in upstream's order.
fn entries(kind: &Kind) -> Vec<Json> {
    let mut own = json!({
        "name": kind.resource,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        own["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        own["categories"] = json!(kind.categories);
    }
    let mut out = vec![own];
    for sub in kind.subresources {
        let mut entry = json!({
            "name": format!("{}/{}", kind.resource, sub.name),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": sub.kind,
            "verbs": sub.verbs,
        });
        if !sub.group.is_empty() {
            entry["group"] = json!(sub.group);
            entry["version"] = json!(sub.version);
        }
        out.push(entry);
    }
    out
}

/// Upstream's entries for the resource and what is below it.
fn upstream(folder: &std::path::Path, kind: &Kind) -> Vec<Json> {
    let file = match kind.group {
        "" => format!("api__{}.json", kind.version),
        group => format!("apis__{group}__{}.json", kind.version),
    };
    let path = folder.join("discovery").join(file);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let document: Json = serde_json::from_slice(&text).expect("a discovery document is JSON");
    assert_eq!(document["groupVersion"], kind.api_version);
    let below = format!("{}/", kind.resource);
    let mut found: Vec<Json> = document["resources"]
        .as_array()
        .expect("a list of resources")
        .iter()
        .filter(|r| r["name"] == kind.resource || r["name"].as_str().is_some_and(|n| n.starts_with(&below)))
        .cloned()
        .collect();
    for entry in &mut found {
        // Computed by the server from group, version and kind.
        entry.as_object_mut().expect("an entry is an object").shift_remove("storageVersionHash");
    }
    found
}

#[test]
fn facts_are_those_of_upstream_discovery() {
    let Some(folder) = std::env::var_os("K8S_REFERENCE_DIR").map(PathBuf::from) else {
        eprintln!("skipped: K8S_REFERENCE_DIR is not set, so there are no discovery documents");
        return;
    };
    let rows = api_types::kinds::all();
    assert!(!rows.is_empty());
    for row in rows {
        assert_eq!(entries(row.kind), upstream(&folder, row.kind), "{}", row.kind.kind);
    }
}

#[test]
fn groups_are_in_discovery_order() {
    let Some(folder) = std::env::var_os("K8S_REFERENCE_DIR").map(PathBuf::from) else {
        eprintln!("skipped: K8S_REFERENCE_DIR is not set, so there are no discovery documents");
        return;
    };
    let text = std::fs::read(folder.join("discovery/apis.json")).expect("apis.json is there");
    let document: Json = serde_json::from_slice(&text).expect("a discovery document is JSON");
    let order: Vec<&str> =
        document["groups"].as_array().expect("groups").iter().filter_map(|g| g["name"].as_str()).collect();
    let mut ours: Vec<&str> = api_types::kinds::all().iter().map(|row| row.kind.group).collect();
    ours.dedup();
    assert_eq!(ours.first(), Some(&""), "the core group comes first");
    let places: Vec<Option<usize>> =
        ours[1..].iter().map(|group| order.iter().position(|name| name == group)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{ours:?} against {order:?}");
}
