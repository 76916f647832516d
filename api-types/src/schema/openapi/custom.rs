//! The schemas of custom kinds in OpenAPI documents: as they were given in v3; in v2, which cannot say
//! everything, what it cannot say is left out.

use super::{Format, definitions::type_meta, gvk};
use crate::custom::Definition;
use serde_json::{Map, Value, json};

/// The definition of a custom kind; `metadata` is a reference.
pub(super) fn schema(definition: &Definition, format: Format, metadata: Value) -> Value {
    let mut schema = match (format, definition.raw.clone()) {
        (Format::V2, raw) => older(raw),
        (Format::V3, raw) => raw,
    };
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let kind = definition.kind;
    let unstructured = format == Format::V2 && schema["x-kubernetes-preserve-unknown-fields"] == true;
    let mut properties = type_meta();
    properties.insert("metadata".into(), metadata);
    if !unstructured && let Some(own) = schema["properties"].as_object() {
        for (name, property) in own.iter().filter(|(name, _)| !properties_of_all(name)) {
            properties.insert(name.clone(), property.clone());
        }
    }
    schema["properties"] = Value::Object(properties);
    schema["x-kubernetes-group-version-kind"] = json!([gvk(kind.group, kind.version, kind.kind)]);
    schema
}

fn properties_of_all(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

/// A schema as OpenAPI v2 can say it (kubectl reads types and descriptions from there).
fn older(schema: Value) -> Value {
    let Value::Object(map) = schema else { return schema };
    let is_open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    let is_either = map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    let is_null = map.get("nullable") == Some(&Value::Bool(true));
    let mut out = Map::new();
    for (name, value) in map {
        let value = match (name.as_str(), value) {
            ("allOf" | "anyOf" | "oneOf" | "not" | "nullable" | "default", _) => continue,
            // What may be null, or anything, has no type there.
            ("type" | "items" | "properties", _) if is_either => continue,
            ("type", _) if is_null => continue,
            ("items" | "properties" | "additionalProperties", _) if is_open || is_null => continue,
            ("properties", Value::Object(properties)) => {
                properties.into_iter().map(|(name, inner)| (name, older(inner))).collect()
            }
            ("items" | "additionalProperties", inner) => older(inner),
            (_, value) => value,
        };
        out.insert(name, value);
    }
    Value::Object(out)
}
