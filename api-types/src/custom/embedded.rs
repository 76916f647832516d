//! Resources inside of others (`x-kubernetes-embedded-resource`): they say what they are, and their metadata is
//! checked as any object's.

use super::structural::{Additional, Structural};
use super::validate::AsJson;
use crate::codec::json;
use crate::field::{Errors, Path};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate;
use crate::names;
use serde_json::{Map, Value as Json};

/// Checks all embedded resources in a value, itself among them where its schema says so.
pub(super) fn check(schema: &Structural, value: &Json, path: &Path, errors: &mut Errors) {
    match value {
        Json::Object(map) => {
            if schema.embedded {
                resource(map, path, errors);
            }
            for (name, inner) in map {
                if let Some(property) = schema.properties.get(name) {
                    check(property, inner, &path.child(name), errors);
                } else if let Some(Additional::Schema(schema)) = &schema.additional {
                    check(schema, inner, &path.key(name), errors);
                }
            }
        }
        Json::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (place, item) in items.iter().enumerate() {
                check(schema, item, &path.index(place), errors);
            }
        }
        _ => {}
    }
}

/// Checks one resource: kind, apiVersion and metadata.
pub(super) fn resource(map: &Map<String, Json>, path: &Path, errors: &mut Errors) {
    for name in ["apiVersion", "kind"] {
        let path = path.child(name);
        match map.get(name) {
            None => errors.required(&path, ""),
            Some(Json::String(text)) if text.is_empty() => errors.invalid(&path, text, "must not be empty"),
            Some(Json::String(text)) if name == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    errors.invalid(&path, text, format!("unexpected GroupVersion string: {text}"));
                }
            }
            Some(Json::String(text)) => {
                let wrong = names::dns1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    let words = wrong.join(",");
                    let text_ = format!("may have mixed case, but should otherwise match: {words}");
                    errors.invalid(&path, text, text_);
                }
            }
            Some(other) => errors.invalid(&path, AsJson(other), "must be a string"),
        }
    }
    let Some(given) = map.get("metadata") else { return };
    let path = path.child("metadata");
    match metadata(given) {
        Ok(mut metadata) => {
            if metadata.name.is_empty() {
                // It need not have one.
                metadata.name = "fakename".into();
            }
            validate::embedded(&metadata, &path, errors);
        }
        Err(why) => errors.invalid(&path, AsJson(given), why),
    }
}

fn metadata(given: &Json) -> Result<ObjectMeta, String> {
    let kind = match given {
        Json::Object(_) => {
            return json::from_slice(given.to_string().as_bytes()).map_err(|why| why.to_string());
        }
        Json::Null => return Ok(ObjectMeta::default()),
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
    };
    Err(format!("json: cannot unmarshal {kind} into Go value of type v1.ObjectMeta"))
}
