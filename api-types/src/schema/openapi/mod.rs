//! OpenAPI documents of the served API, v2 and v3, made from the table of kinds and the schemas.
//!
//! Pure and slow-ish (milliseconds): the server builds them at first request and keeps the bytes.
//! Descriptions are our own; everything that clients compute with (types, list types, merge keys,
//! group-version-kinds) equals upstream's, which a test against the reference document holds.

mod custom;
mod definitions;
mod paths;

pub use definitions::definition;

use crate::kind::Row;
use crate::kinds;
use definitions::Definitions;
use serde_json::{Map, Value, json};

/// Which of the two document formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    V2,
    V3,
}

impl Format {
    /// Where references to definitions point.
    fn reference(self, definition: &str) -> Value {
        let root = match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        };
        json!({"$ref": format!("{root}{definition}")})
    }
}

/// The whole API as one OpenAPI v2 document. `version` is the server's git version.
pub fn v2(version: &str) -> Value {
    let mut definitions = Definitions::new(Format::V2);
    let paths = paths::of(kinds::served(), &mut definitions);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "definitions": definitions.finish(),
        "securityDefinitions": {"BearerToken": bearer()},
        "security": [{"BearerToken": []}],
    })
}

/// One group and version as an OpenAPI v3 document; `None` when nothing of it is served.
pub fn v3(group: &str, group_version: &str, version: &str) -> Option<Value> {
    let rows: Vec<&Row> =
        kinds::served().filter(|r| r.kind.group == group && r.kind.version == group_version).collect();
    if rows.is_empty() {
        return None;
    }
    let mut definitions = Definitions::new(Format::V3);
    let paths = paths::of(rows.into_iter(), &mut definitions);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "components": {
            "schemas": definitions.finish(),
            "securitySchemes": {"BearerToken": bearer()},
        },
    }))
}

/// The groups and versions that `v3` has documents for, in discovery order.
pub fn v3_groups() -> Vec<(&'static str, &'static str)> {
    let mut groups = Vec::new();
    for row in kinds::served() {
        let pair = (row.kind.group, row.kind.version);
        if !groups.contains(&pair) {
            groups.push(pair);
        }
    }
    groups
}

fn bearer() -> Value {
    json!({
        "type": "apiKey",
        "in": "header",
        "name": "authorization",
        "description": "A bearer token.",
    })
}

/// `x-kubernetes-group-version-kind` of one kind.
fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// An object with those entries that are there.
fn object<const N: usize>(entries: [(&str, Option<Value>); N]) -> Map<String, Value> {
    entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests;
