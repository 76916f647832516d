//! Where each resource lives in the store. The paths are upstream's, so that a cluster can move
//! over in place (`/registry/minions/NAME` for nodes and other heirlooms).

use api_types::kind::{Kind, Row};
use api_types::kinds;

/// The path below the registry prefix.
pub fn storage_path(kind: &Kind) -> &'static str {
    match (kind.group, kind.resource) {
        ("", "nodes") => "minions",
        ("", "services") => "services/specs",
        ("", "endpoints") => "services/endpoints",
        ("", "replicationcontrollers") => "controllers",
        ("networking.k8s.io", "ingresses") => "ingress",
        ("apiregistration.k8s.io", "apiservices") => "apiregistration.k8s.io/apiservices",
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            "apiextensions.k8s.io/customresourcedefinitions"
        }
        _ => kind.resource,
    }
}

/// As `storage_path`, of custom kinds too: those are below their group.
pub fn path_of(row: &Row) -> &'static str {
    row.custom.map_or_else(|| storage_path(row.kind), |slot| slot.path)
}

/// The row in whose version a resource is stored: events of both groups are stored as core/v1,
/// autoscalers of both versions as v2.
pub fn storage_row(row: &'static Row) -> &'static Row {
    if let Some(slot) = row.custom {
        return slot.stored().unwrap_or(row);
    }
    match (row.kind.group, row.kind.resource) {
        ("events.k8s.io", "events") => kinds::by_resource("", "v1", "events").unwrap_or(row),
        ("autoscaling", "horizontalpodautoscalers") => {
            kinds::by_resource("autoscaling", "v2", "horizontalpodautoscalers").unwrap_or(row)
        }
        _ => row,
    }
}

/// The field whose values have event logs of their own.
pub fn index_field(kind: &Kind) -> Option<&'static str> {
    match (kind.group, kind.resource) {
        ("", "pods") => Some("spec.nodeName"),
        _ => None,
    }
}
