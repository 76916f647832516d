//! Defaults of the schema, filled in throughout an object.

use super::Custom;
use super::structural::{Additional, Structural};
use serde_json::{Map, Value as Json};

impl Custom {
    /// Sets every absent field that has a default. A null counts as absent where null is not allowed.
    pub fn fill_in(&mut self) {
        let definition = self.definition.clone();
        object(&definition.schema, &mut self.content);
        sort(&mut self.content);
    }
}

/// Fills in defaults below a value.
pub(super) fn value(schema: &Structural, value: &mut Json) {
    match value {
        Json::Object(map) => object(schema, map),
        Json::Array(items) => {
            for item in items {
                if let Some(schema) = &schema.items {
                    self::value(schema, item);
                }
            }
        }
        _ => {}
    }
}

fn object(schema: &Structural, map: &mut Map<String, Json>) {
    let before = map.len();
    for (name, property) in &schema.properties {
        let Some(default) = &property.default else { continue };
        let absent = map.get(name).is_none_or(|value| value.is_null() && !property.nullable);
        if absent {
            map.insert(name.clone(), default.clone());
        }
    }
    for (name, inner) in map.iter_mut() {
        if let Some(property) = schema.properties.get(name) {
            value(property, inner);
        } else if let Some(Additional::Schema(schema)) = &schema.additional {
            if inner.is_null() && !schema.nullable && schema.default.is_some() {
                *inner = schema.default.clone().unwrap_or_default();
            }
            value(schema, inner);
        }
    }
    if map.len() != before {
        sort(map);
    }
}

fn sort(map: &mut Map<String, Json>) {
    let mut entries: Vec<(String, Json)> = std::mem::take(map).into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    map.extend(entries);
}
