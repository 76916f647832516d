//! Pruning: fields that the schema does not name go (KEP-1111).

use super::Custom;
use super::structural::{Additional, Structural};
use crate::codec::json::{self, Strict};
use crate::field::Path;
use crate::meta::v1::ObjectMeta;
use serde_json::{Map, Value as Json};

impl Custom {
    /// Takes away what the schema does not name; gives the paths.
    pub fn prune(&mut self) -> Vec<String> {
        let mut gone = Vec::new();
        let definition = self.definition.clone();
        object(&definition.schema, &mut self.content, true, &Path::default(), &mut gone);
        gone
    }
}

impl Custom {
    /// Takes away nulls where the schema allows none and has no default for them.
    pub fn drop_nulls(&mut self) {
        let definition = self.definition.clone();
        nulls_of(Some(&definition.schema), &mut self.content);
    }
}

fn nulls(schema: Option<&Structural>, value: &mut Json) {
    match value {
        Json::Object(map) => nulls_of(schema, map),
        Json::Array(items) => {
            let schema = schema.and_then(|schema| schema.items.as_deref());
            items.iter_mut().for_each(|item| nulls(schema, item));
        }
        _ => {}
    }
}

fn nulls_of(schema: Option<&Structural>, map: &mut Map<String, Json>) {
    map.retain(|name, inner| {
        let schema = schema.and_then(|schema| schema.property(name));
        let stays =
            !inner.is_null() || schema.is_none_or(|schema| schema.nullable || schema.default.is_some());
        if stays {
            nulls(schema, inner);
        }
        stays
    });
}

/// Whether anything of a value would go.
pub(super) fn would(schema: &Structural, given: &Json) -> bool {
    let mut gone = Vec::new();
    value(schema, &mut given.clone(), &Path::default(), &mut gone);
    !gone.is_empty()
}

fn value(schema: &Structural, value: &mut Json, path: &Path, gone: &mut Vec<String>) {
    match value {
        Json::Object(map) => object(schema, map, schema.embedded, path, gone),
        Json::Array(items) => {
            for (place, item) in items.iter_mut().enumerate() {
                match &schema.items {
                    Some(schema) => self::value(schema, item, &path.index(place), gone),
                    None if schema.preserve_unknown => {}
                    None => empty(item, &path.index(place), gone),
                }
            }
        }
        _ => {}
    }
}

/// Items that no schema speaks of keep no fields.
fn empty(item: &mut Json, path: &Path, gone: &mut Vec<String>) {
    value(&Structural::default(), item, path, gone);
}

fn object(
    schema: &Structural,
    map: &mut Map<String, Json>,
    is_resource: bool,
    path: &Path,
    gone: &mut Vec<String>,
) {
    map.retain(|name, inner| {
        let path = path.child(name);
        if is_resource && matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
            if name == "metadata" {
                metadata(inner, &path, gone);
            }
            return true;
        }
        match (schema.properties.get(name), &schema.additional) {
            (Some(property), _) => value(property, inner, &path, gone),
            (None, Some(Additional::Schema(schema))) => value(schema, inner, &path, gone),
            (None, Some(Additional::Any(true))) => {}
            _ if schema.preserve_unknown => {}
            _ => {
                gone.push(path.as_str().to_owned());
                return false;
            }
        }
        true
    });
}

/// Metadata of a resource inside of another has the fields that all metadata has.
fn metadata(given: &mut Json, path: &Path, gone: &mut Vec<String>) {
    if !given.is_object() {
        return;
    }
    let (mut meta, mut unknown) = (ObjectMeta::default(), Some(Vec::new()));
    // What cannot be read is told of where the object is checked.
    if json::read(&mut meta, given.to_string().as_bytes(), &mut unknown).is_err() {
        return;
    }
    for found in unknown.into_iter().flatten() {
        if let Strict::Unknown(field) = found {
            gone.push(path.child(&field).as_str().to_owned());
        }
    }
    if let Ok(read) = serde_json::from_slice(&json::value_to_vec(&meta)) {
        *given = super::settled(read);
    }
}
