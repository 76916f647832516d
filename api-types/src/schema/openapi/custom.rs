//! The schemas of custom kinds in OpenAPI documents: as they were given in v3; in v2, which cannot say
//! everything, what it cannot say is left out.

use super::{Format, definitions::type_meta, gvk};
use crate::custom::Definition;
use crate::kind::Kind;
use serde_json::{Map, Value, json};

/// The definition of a custom kind; `metadata` is a reference.
pub(super) fn schema(definition: &Definition, format: Format, metadata: Value) -> Value {
    let mut schema = published(definition.raw.clone(), definition.kind, format, metadata);
    add_selectable(definition, &mut schema);
    schema
}

/// Which fields of the kind can be selected by, said of its objects and of its lists.
pub(super) fn add_selectable(definition: &Definition, schema: &mut Value) {
    let paths: Vec<Value> =
        definition.selectable_names.iter().map(|path| json!({"fieldPath": path})).collect();
    if !paths.is_empty() {
        schema["x-kubernetes-selectable-fields"] = paths.into();
    }
}

fn published(raw: Value, kind: &Kind, format: Format, metadata: Value) -> Value {
    let mut schema = match format {
        // COMPAT: kubectl takes the properties that are listed for the only ones: a kind that takes anything lists none.
        Format::V2 if raw["x-kubernetes-preserve-unknown-fields"] == true => json!({"type": "object"}),
        Format::V2 => with_properties_of_all(older(raw), metadata.clone()),
        Format::V3 => with_properties_of_all(raw, metadata.clone()),
    };
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(|property| say_more(property, format, &metadata));
    }
    schema["x-kubernetes-group-version-kind"] = json!([gvk(kind.group, kind.version, kind.kind)]);
    schema
}

fn with_properties_of_all(schema: Value, metadata: Value) -> Value {
    let mut schema = if schema.is_object() { schema } else { json!({"type": "object"}) };
    let mut properties = type_meta();
    properties.insert("metadata".into(), metadata);
    if let Some(own) = schema["properties"].as_object() {
        for (name, property) in own.iter().filter(|(name, _)| !properties_of_all(name)) {
            properties.insert(name.clone(), property.clone());
        }
    }
    schema["properties"] = Value::Object(properties);
    schema
}

/// Says what Kubernetes' extensions mean in words that other readers know: integers or strings, and what resources
/// inside of others have.
fn say_more(schema: &mut Value, format: Format, metadata: &Value) {
    let Value::Object(map) = schema else { return };
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(name) {
            say_more(inner, format, metadata);
        }
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(|property| say_more(property, format, metadata));
    }
    let is = |map: &Map<String, Value>, name: &str| map.get(name) == Some(&Value::Bool(true));
    if is(map, "x-kubernetes-int-or-string") && matches!(format, Format::V3) {
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        let first = map.get("allOf").and_then(|all| all.get(0)?.get("anyOf"));
        let said = map.get("anyOf") == Some(&either) || first == Some(&either);
        if !map.contains_key("anyOf") {
            map.insert("anyOf".into(), either);
        } else if !said {
            let mut all = vec![json!({"anyOf": either})];
            all.extend(map.get("allOf").and_then(Value::as_array).into_iter().flatten().cloned());
            map.insert("allOf".into(), all.into());
        }
    }
    // COMPAT: in v2 kubectl would take what is listed for all there is.
    let is_open = is(map, "x-kubernetes-preserve-unknown-fields") && matches!(format, Format::V2);
    if is(map, "x-kubernetes-embedded-resource") && !is_open {
        let mut properties = map.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        properties.extend(type_meta());
        properties.insert("metadata".into(), metadata.clone());
        map.insert("properties".into(), Value::Object(properties));
        let mut required = map.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|known| known == name) {
                required.push(name.into());
            }
        }
        map.insert("required".into(), required.into());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_can_be_selected_by_are_named() {
        use crate::apiextensions::v1::CustomResourceDefinition;
        let crd: CustomResourceDefinition = crate::codec::json::from_slice(
            br#"{"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"picks","kind":"Pick"},
            "versions":[{"name":"v1","served":true,"storage":true,"selectableFields":[{"jsonPath":".spec.color"}],
            "schema":{"openAPIV3Schema":{"type":"object"}}},{"name":"v2","served":true}]}}"#,
        )
        .expect("a definition");
        let said = |definition: &Definition| {
            schema(definition, Format::V3, json!({})).get("x-kubernetes-selectable-fields").cloned()
        };
        let all = Definition::all(&crd);
        assert_eq!(said(&all[0]), Some(json!([{"fieldPath": "spec.color"}])));
        assert_eq!(said(&all[1]), None);
    }

    #[test]
    fn resources_inside_of_others_have_metadata() {
        let kind = crate::kinds::by_resource("", "v1", "configmaps").expect("configmaps").kind;
        let reference = json!({"$ref": "meta"});
        let raw = json!({"type": "object", "properties": {
            "list": {"type": "array", "items": {"type": "object", "x-kubernetes-embedded-resource": true,
                "properties": {"spec": {"type": "object"}}}},
            "open": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
            "port": {"x-kubernetes-int-or-string": true}}});
        let v3 = published(raw.clone(), kind, Format::V3, reference.clone());
        let item = &v3["properties"]["list"]["items"];
        assert_eq!(item["properties"]["metadata"], reference);
        assert_eq!(item["required"], json!(["kind", "apiVersion"]));
        assert!(item["properties"]["spec"].is_object() && item["properties"]["kind"].is_object());
        assert_eq!(v3["properties"]["open"]["properties"]["metadata"], reference);
        assert_eq!(v3["properties"]["port"]["anyOf"], json!([{"type": "integer"}, {"type": "string"}]));
        let v2 = published(raw, kind, Format::V2, reference.clone());
        assert_eq!(v2["properties"]["list"]["items"]["properties"]["metadata"], reference);
        assert!(v2["properties"]["open"].get("properties").is_none());
        assert!(v2["properties"]["port"].get("anyOf").is_none());
    }

    #[test]
    fn a_kind_that_takes_anything_lists_nothing_in_v2() {
        let kind = crate::kinds::by_resource("", "v1", "configmaps").expect("configmaps").kind;
        let reference = json!({"$ref": "meta"});
        let raw =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "any"});
        let v2 = published(raw.clone(), kind, Format::V2, reference.clone());
        let said = json!([{"group": "", "version": "v1", "kind": "ConfigMap"}]);
        assert_eq!(v2, json!({"type": "object", "x-kubernetes-group-version-kind": said}));
        let v3 = published(raw, kind, Format::V3, reference.clone());
        assert_eq!(v3["x-kubernetes-preserve-unknown-fields"], true);
        assert_eq!(v3["properties"]["metadata"], reference);
        let some =
            json!({"type": "object", "properties": {"spec": {"type": "string"}, "kind": {"type": "string"}}});
        let v2 = published(some, kind, Format::V2, reference);
        assert_eq!(v2["properties"]["spec"], json!({"type": "string"}));
        assert!(
            v2["properties"]["apiVersion"]["description"].as_str().unwrap().starts_with("APIVersion defines")
        );
        assert!(v2["properties"]["kind"]["description"].is_string());
    }
}
