//! Which groups, versions and resources are served: the documents of /api, /apis and below, old
//! (one for each version) and aggregated (API doc "API discovery"). All of it follows from the
//! table of kinds; each document is made once.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api_types::custom::preference;
use api_types::kind::{Kind, Row, Subresource};
use api_types::kinds;
use bytes::Bytes;
use http::{HeaderMap, Response, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use crate::aggregator::{Remote, discovery as remote};
use crate::answer;
use crate::body::{self, Body};
use crate::negotiate::{self, Encoding};
use crate::query::Query;
use crate::status::ApiError;
use crate::storage::paths;

/// Named groups in the order upstream lists them; others follow by name.
const ORDER: [&str; 22] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
];

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The groups and their versions, the preferred one first.
struct Groups(Vec<(&'static str, Vec<&'static str>)>);

fn groups() -> Groups {
    let mut found: BTreeMap<(usize, &str), Vec<&'static str>> = BTreeMap::new();
    for row in kinds::served() {
        let group = row.kind.group;
        if group.is_empty() {
            continue;
        }
        let rank = ORDER.iter().position(|g| *g == group).unwrap_or(ORDER.len());
        let versions = found.entry((rank, group)).or_default();
        if !versions.contains(&row.kind.version) {
            versions.push(row.kind.version);
        }
    }
    Groups(
        found
            .into_iter()
            .map(|((_, group), mut versions)| {
                versions.sort_by_key(|v| preference(v));
                (group, versions)
            })
            .collect(),
    )
}

/// The document of a discovery path; `None` for other paths.
pub fn answer(
    path: &str,
    headers: &HeaderMap,
    query: &Query,
    address: &str,
    remotes: &[Arc<Remote>],
) -> Option<Result<Response<Body>, ApiError>> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let document = match parts.as_slice() {
        ["api"] | ["apis"] if wants_aggregated(headers) => {
            return Some(Ok(aggregated(parts[0] == "api", headers, remotes)));
        }
        ["api"] => versions(address),
        ["apis"] => group_list(remotes),
        ["api", version] => resource_list("", version)?,
        ["apis", group] => self::group(group).or_else(|| remote::group(remotes, group))?,
        ["apis", group, version] => resource_list(group, version)?,
        _ => return None,
    };
    Some(write(&document, headers, query))
}

fn write(document: &Value, headers: &HeaderMap, query: &Query) -> Result<Response<Body>, ApiError> {
    let accepted = negotiate::accepted(headers, query, false)?;
    let text = document.to_string();
    let (media_type, bytes) = match accepted.encoding {
        // COMPAT: discovery has no need for protobuf; clients that prefer it take JSON too.
        Encoding::Json | Encoding::Protobuf if accepted.pretty => {
            (negotiate::JSON, answer::pretty(text.as_bytes()))
        }
        Encoding::Json | Encoding::Protobuf => (negotiate::JSON, text),
        Encoding::Yaml => (negotiate::YAML, answer::to_yaml(text.as_bytes())?),
    };
    Ok(body::response(200, media_type, body::full(bytes)))
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    // What stands first decides; kubectl lists aggregated v2, v2beta1, then plain JSON.
    negotiate::media_ranges(&accept.join(",")).iter().find_map(|range| {
        let aggregated =
            range.parameter("as") == "APIGroupDiscoveryList" && range.parameter("g") == "apidiscovery.k8s.io";
        match (aggregated, range.parameter("v")) {
            (true, "v2") => Some(range.media_type == negotiate::JSON),
            // An older form that is no longer served.
            (true, _) => None,
            (false, _) => Some(false),
        }
    }) == Some(true)
}

fn versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

fn group_list(remotes: &[Arc<Remote>]) -> Value {
    let all = groups();
    let own = all.0.iter().map(|(group, versions)| group_entry(group, versions));
    let groups: Vec<Value> = own.chain(remote::entries(remotes)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_entry(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(|v| entry(v)).collect::<Vec<_>>(),
        "preferredVersion": entry(versions.first().copied().unwrap_or_default()),
    })
}

fn group(name: &str) -> Option<Value> {
    let all = groups();
    let (group, versions) = all.0.iter().find(|(group, _)| *group == name)?;
    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
    let entry = group_entry(group, versions);
    for (name, value) in entry.as_object()? {
        document[name] = value.clone();
    }
    Some(document)
}

/// The rows of a version, by resource.
fn rows(group: &str, version: &str) -> Vec<&'static Row> {
    let mut rows: Vec<&Row> =
        kinds::served().filter(|row| row.kind.group == group && row.kind.version == version).collect();
    rows.sort_by_key(|row| row.kind.resource);
    rows
}

fn resource_list(group: &str, version: &str) -> Option<Value> {
    let rows = rows(group, version);
    let first = rows.first()?;
    let mut resources = Vec::new();
    for row in &rows {
        let kind = row.kind;
        let mut entry = json!({
            "name": kind.resource,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": kind.verbs,
        });
        if !kind.short_names.is_empty() {
            entry["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        if kind.is_stored() {
            entry["storageVersionHash"] = json!(storage_version_hash(paths::storage_row(row).kind));
        }
        resources.push(entry);
        for sub in sorted(kind.subresources) {
            let mut entry = json!({
                "name": format!("{}/{}", kind.resource, sub.name),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if !sub.version.is_empty() {
                entry["group"] = json!(sub.group);
                entry["version"] = json!(sub.version);
            }
            resources.push(entry);
        }
    }
    let group_version = first.kind.api_version;
    let mut document = json!({"kind": "APIResourceList"});
    if !group.is_empty() {
        // COMPAT: the core group's list has no version.
        document["apiVersion"] = json!("v1");
    }
    document["groupVersion"] = json!(group_version);
    document["resources"] = json!(resources);
    Some(document)
}

fn sorted(subresources: &'static [Subresource]) -> Vec<&'static Subresource> {
    let mut all: Vec<_> = subresources.iter().collect();
    all.sort_by_key(|s| s.name);
    all
}

/// Changes with the version in which objects are stored, which is that of `kind`.
fn storage_version_hash(kind: &Kind) -> String {
    use base64::Engine as _;
    let text = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text)[..8])
}

fn aggregated(core: bool, headers: &HeaderMap, remotes: &[Arc<Remote>]) -> Response<Body> {
    static CORE: LazyLock<(Bytes, String)> = LazyLock::new(|| aggregated_document(true, &[]));
    /// With the generation of the custom kinds that it was made of.
    static NAMED: Mutex<Option<(u64, (Bytes, String))>> = Mutex::new(None);
    let (bytes, etag) = match (core, remotes) {
        (true, _) => CORE.clone(),
        (false, []) => {
            let generation = api_types::custom::generation();
            let mut named = NAMED.lock();
            match &*named {
                Some((of, document)) if *of == generation => document.clone(),
                _ => {
                    let document = aggregated_document(false, &[]);
                    *named = Some((generation, document.clone()));
                    document
                }
            }
        }
        (false, remotes) => aggregated_document(false, remotes),
    };
    let (bytes, etag) = (&bytes, &etag);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = if known == Some(etag.as_str()) {
        body::response(304, AGGREGATED, body::empty())
    } else {
        body::response(200, AGGREGATED, body::full(bytes.clone()))
    };
    if let Ok(value) = etag.parse() {
        response.headers_mut().insert(header::ETAG, value);
    }
    response.headers_mut().insert(header::VARY, http::HeaderValue::from_static("Accept"));
    response
}

fn aggregated_document(core: bool, remotes: &[Arc<Remote>]) -> (Bytes, String) {
    let items: Vec<Value> = if core {
        vec![json!({"metadata": {"creationTimestamp": null}, "versions": [aggregated_version("", "v1")]})]
    } else {
        groups()
            .0
            .iter()
            .map(|(group, versions)| {
                let versions: Vec<Value> = versions.iter().map(|v| aggregated_version(group, v)).collect();
                json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
            })
            .chain(remote::aggregated(remotes))
            .collect()
    };
    let text = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
    .to_string();
    let etag = format!("\"{}\"", hex::encode_upper(Sha512::digest(&text)));
    (text.into(), etag)
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let kind_of = |sub: &Subresource| {
        // COMPAT: the parent's group and version are left empty, but "" is written.
        json!({"group": sub.group, "version": sub.version, "kind": sub.kind})
    };
    let resources: Vec<Value> = rows(group, version)
        .into_iter()
        .map(|row| {
            let kind = row.kind;
            let mut entry = json!({
                "resource": kind.resource,
                "responseKind": {"group": "", "version": "", "kind": kind.kind},
                "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": kind.singular,
                "verbs": kind.verbs,
            });
            if !kind.short_names.is_empty() {
                entry["shortNames"] = json!(kind.short_names);
            }
            if !kind.categories.is_empty() {
                entry["categories"] = json!(kind.categories);
            }
            let subresources: Vec<Value> = sorted(kind.subresources)
                .into_iter()
                .map(|s| json!({"subresource": s.name, "responseKind": kind_of(s), "verbs": s.verbs}))
                .collect();
            if !subresources.is_empty() {
                entry["subresources"] = json!(subresources);
            }
            entry
        })
        .collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, text.parse().expect("a header"));
        headers
    }

    #[test]
    fn kubectls_accept_header_gets_the_aggregated_form() {
        assert!(wants_aggregated(&accept(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
        )));
        assert!(!wants_aggregated(&accept("application/json")));
    }

    #[test]
    fn core_resources_are_listed_with_their_subresources() {
        let list = resource_list("", "v1").expect("core");
        let names: Vec<&str> = list["resources"]
            .as_array()
            .expect("resources")
            .iter()
            .filter_map(|r| r["name"].as_str())
            .collect();
        for name in ["pods", "pods/log", "pods/status", "services", "nodes"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert!(resource_list("nope", "v1").is_none());
    }
}
