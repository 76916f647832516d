//! Pruning: fields that the schema does not name go (KEP-1111).

use super::Custom;
use super::structural::{Additional, Structural};
use crate::field::Path;
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
