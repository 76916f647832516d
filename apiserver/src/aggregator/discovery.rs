//! The remote groups in discovery: beside the server's own groups, in both forms. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Remote;

/// The groups with their versions, in order of priority.
fn groups(remotes: &[Arc<Remote>]) -> Vec<(&str, Vec<&Remote>)> {
    let mut found: Vec<(&str, Vec<&Remote>)> = Vec::new();
    for remote in remotes {
        match found.iter_mut().find(|(group, _)| *group == remote.group) {
            Some((_, versions)) => versions.push(remote),
            None => found.push((&remote.group, vec![remote])),
        }
    }
    found
}

/// An APIGroup as it stands in the list.
fn entry(group: &str, versions: &[&Remote]) -> Value {
    let version = |remote: &Remote| json!({"groupVersion": format!("{group}/{}", remote.version), "version": remote.version});
    json!({
        "name": group,
        "versions": versions.iter().map(|remote| version(remote)).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(|remote| version(remote)),
    })
}

/// What is added to the list of groups.
pub fn entries(remotes: &[Arc<Remote>]) -> Vec<Value> {
    groups(remotes).iter().map(|(group, versions)| entry(group, versions)).collect()
}

/// The document of /apis/GROUP.
pub fn group(remotes: &[Arc<Remote>], name: &str) -> Option<Value> {
    let groups = groups(remotes);
    let (group, versions) = groups.iter().find(|(group, _)| *group == name)?;
    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
    for (name, value) in entry(group, versions).as_object()? {
        document[name] = value.clone();
    }
    Some(document)
}

/// What is added to the aggregated list.
pub fn aggregated(remotes: &[Arc<Remote>]) -> Vec<Value> {
    let entry = |(group, versions): &(&str, Vec<&Remote>)| {
        let versions: Vec<Value> = versions
            .iter()
            .map(|remote| {
                let mut entry = json!({"version": remote.version});
                // What was never told is left out.
                let known = remote.resources.as_ref().map(|list| resources(list)).unwrap_or_default();
                if !known.is_empty() {
                    entry["resources"] = known.into();
                }
                entry["freshness"] = if remote.available { "Current" } else { "Stale" }.into();
                entry
            })
            .collect();
        json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
    };
    groups(remotes).iter().map(entry).collect()
}

/// An APIResourceList's resources as the aggregated form has them: subresources within theirs.
fn resources(list: &Value) -> Vec<Value> {
    let all = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let kind = |own: &Value| {
        let text = |name: &str| own[name].as_str().unwrap_or_default();
        json!({"group": text("group"), "version": text("version"), "kind": text("kind")})
    };
    let mut found: Vec<Value> = Vec::new();
    for own in all {
        let Some(name) = own["name"].as_str() else { continue };
        if let Some((parent, sub)) = name.split_once('/') {
            let entry = json!({"subresource": sub, "responseKind": kind(own), "verbs": own["verbs"]});
            if let Some(parent) = found.iter_mut().find(|own| own["resource"] == parent) {
                match parent["subresources"].as_array_mut() {
                    Some(list) => list.push(entry),
                    None => parent["subresources"] = json!([entry]),
                }
            }
            continue;
        }
        let mut entry = json!({
            "resource": name,
            "responseKind": kind(own),
            "scope": if own["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "singularResource": own["singularName"],
            "verbs": own["verbs"],
        });
        for name in ["shortNames", "categories"] {
            if own[name].is_array() {
                entry[name] = own[name].clone();
            }
        }
        found.push(entry);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_go_into_their_resources() {
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
        ]});
        let found = resources(&list);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["scope"], "Namespaced");
        assert_eq!(found[0]["subresources"][0]["subresource"], "status");
    }
}
