//! The declarations against upstream's OpenAPI document: every struct that a kind reaches, with the
//! type, list type, keys, merge strategy and need of each field.
//!
//! The reference folder (`K8S_REFERENCE_DIR`) holds `swagger.json`. Descriptions are our own and
//! are only checked to be there.

use api_types::meta::v1::{
    APIGroup, APIGroupList, APIResourceList, APIVersions, Condition, DeleteOptions, List, Status,
};
use api_types::schema::{Field, ListType, StructType, Structure, Type};
use api_types::value::Typed;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

const META: &str = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1";

/// The structs to begin with; what they refer to is found from there.
fn roots() -> Vec<&'static StructType> {
    let mut roots: Vec<&'static StructType> =
        api_types::kinds::all().iter().map(|row| (row.schema)()).collect();
    let others = [
        api_types::autoscaling::v1::Scale::type_of(),
        api_types::policy::v1::Eviction::type_of(),
        api_types::authentication::v1::TokenRequest::type_of(),
        List::<api_types::core::v1::Pod>::type_of(),
        List::<api_types::apps::v1::Deployment>::type_of(),
        APIGroup::type_of(),
        APIGroupList::type_of(),
        APIResourceList::type_of(),
        APIVersions::type_of(),
        Condition::type_of(),
        DeleteOptions::type_of(),
        Status::type_of(),
    ];
    roots.extend(others.iter().map(|ty| ty.as_struct().expect("a struct")));
    roots
}

/// All structs by the name of their definition. Inlined structs have none of their own.
fn reachable() -> BTreeMap<String, &'static StructType> {
    fn visit(ty: &Type, found: &mut BTreeMap<String, &'static StructType>) {
        match ty {
            Type::Struct(table) => add(table(), found),
            Type::List(item) | Type::Map(item) => visit(item(), found),
            _ => {}
        }
    }
    fn add(table: &'static StructType, found: &mut BTreeMap<String, &'static StructType>) {
        if found.insert(table.definition(), table).is_none() {
            for field in table.json_fields() {
                visit((field.ty)(), found);
            }
        }
    }
    let mut found = BTreeMap::new();
    for table in roots() {
        add(table, &mut found);
    }
    found
}

fn type_schema(ty: &Type) -> Json {
    match ty {
        Type::Bool => json!({"type": "boolean"}),
        Type::Int32 => json!({"type": "integer", "format": "int32"}),
        Type::Int64 => json!({"type": "integer", "format": "int64"}),
        Type::Double => json!({"type": "number", "format": "double"}),
        Type::String | Type::Enum(..) => json!({"type": "string"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Time => json!({"$ref": format!("{META}.Time")}),
        Type::MicroTime => json!({"$ref": format!("{META}.MicroTime")}),
        Type::Duration => json!({"$ref": format!("{META}.Duration")}),
        Type::FieldsV1 => json!({"$ref": format!("{META}.FieldsV1")}),
        Type::Quantity => json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity"}),
        Type::IntOrString => {
            json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString"})
        }
        Type::RawExtension => json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.runtime.RawExtension"}),
        Type::Named(name, _) => json!({"$ref": format!("#/definitions/{name}")}),
        Type::StringList => json!({"type": "array", "items": {"type": "string"}}),
        Type::Struct(table) => json!({"$ref": format!("#/definitions/{}", table().definition())}),
        Type::List(item) => json!({"type": "array", "items": type_schema(item())}),
        Type::Map(item) => json!({"type": "object", "additionalProperties": type_schema(item())}),
    }
}

fn field_schema(field: &Field) -> Json {
    let mut schema = type_schema((field.ty)());
    match field.list {
        ListType::Unsaid => {}
        ListType::Atomic => schema["x-kubernetes-list-type"] = json!("atomic"),
        ListType::Set => schema["x-kubernetes-list-type"] = json!("set"),
        ListType::Map(keys) => {
            schema["x-kubernetes-list-type"] = json!("map");
            schema["x-kubernetes-list-map-keys"] = json!(keys);
        }
    }
    if field.map == Structure::Granular || field.structure == Structure::Granular {
        schema["x-kubernetes-map-type"] = json!("granular");
    }
    if field.map == Structure::Atomic || field.structure == Structure::Atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    if let Some(key) = field.patch.key {
        schema["x-kubernetes-patch-merge-key"] = json!(key);
    }
    let words = [
        (field.patch.merge, "merge"),
        (field.patch.replace, "replace"),
        (field.patch.retain_keys, "retainKeys"),
    ];
    let words: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    if !words.is_empty() {
        schema["x-kubernetes-patch-strategy"] = json!(words.join(","));
    }
    schema
}

/// A definition of ours, to be compared: properties, what is required, map type.
fn ours(table: &'static StructType) -> (BTreeMap<String, Json>, Vec<String>, bool) {
    let properties = table.json_fields().map(|f| (f.name.to_owned(), field_schema(f))).collect();
    let mut required: Vec<String> =
        table.json_fields().filter(|f| f.required).map(|f| f.name.to_owned()).collect();
    required.sort();
    (properties, required, table.structure == Structure::Atomic)
}

fn upstreams(definition: &Map<String, Json>) -> (BTreeMap<String, Json>, Vec<String>, bool) {
    let is_kind = definition.contains_key("x-kubernetes-group-version-kind");
    let properties = definition.get("properties").and_then(Json::as_object).cloned().unwrap_or_default();
    let properties = properties
        .into_iter()
        .filter(|(name, _)| !(is_kind && matches!(name.as_str(), "kind" | "apiVersion")))
        .map(|(name, mut schema)| {
            schema.as_object_mut().expect("a schema is an object").shift_remove("description");
            (name, schema)
        })
        .collect();
    let mut required: Vec<String> = definition
        .get("required")
        .and_then(Json::as_array)
        .map(|names| names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    required.sort();
    (properties, required, definition.get("x-kubernetes-map-type") == Some(&json!("atomic")))
}

#[test]
fn declarations_are_those_of_upstream_openapi() {
    let Some(folder) = std::env::var_os("K8S_REFERENCE_DIR") else {
        eprintln!("skipped: K8S_REFERENCE_DIR is not set, so there is no OpenAPI document");
        return;
    };
    let path = std::path::PathBuf::from(folder).join("swagger.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let document: Json = serde_json::from_slice(&text).expect("the OpenAPI document is JSON");
    let mut wrong = Vec::new();
    for (name, table) in reachable() {
        let Some(definition) = document["definitions"].get(&name).and_then(Json::as_object) else {
            wrong.push(format!("{name}: not in upstream's document"));
            continue;
        };
        let ((a, a_required, a_atomic), (b, b_required, b_atomic)) = (ours(table), upstreams(definition));
        for field in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
            if a.get(field) != b.get(field) {
                let shown = |schema: Option<&Json>| schema.map(Json::to_string).unwrap_or("nothing".into());
                wrong.push(format!("{name}.{field}: {} / {}", shown(a.get(field)), shown(b.get(field))));
            }
        }
        if a_required != b_required {
            wrong.push(format!("{name}: required {a_required:?} / {b_required:?}"));
        }
        if a_atomic != b_atomic {
            wrong.push(format!("{name}: atomic {a_atomic} / {b_atomic}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ, ours / upstream's:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn everything_is_described() {
    let mut bare = Vec::new();
    for (name, table) in reachable() {
        if table.doc.is_empty() {
            bare.push(name.clone());
        }
        bare.extend(table.json_fields().filter(|f| f.doc.is_empty()).map(|f| format!("{name}.{}", f.name)));
    }
    assert!(bare.is_empty(), "without a description: {}", bare.join(", "));
}

#[test]
fn numbers_are_used_once() {
    for (name, table) in reachable() {
        let mut numbers: Vec<u32> = table.fields.iter().map(|f| f.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), table.fields.len(), "{name} uses a protobuf number twice");
    }
}
