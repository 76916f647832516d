//! Objects that expressions make: `Object{…}`, `Object.spec{…}` and `JSONPatch{…}`, by which policies say how an
//! object is to be changed (KEP-3962).
//!
//! The name of an `Object` type is the path at which it may stand: nothing else is known of its fields when an
//! expression is compiled, and the paths are held against the names once it has been evaluated.

use super::types::{ObjectType, Type};
use super::value::{Key, Value};
use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const OBJECT: &str = "Object";
pub const PATCH: &str = "JSONPatch";
/// The one function that is there for patches alone.
pub const ESCAPE_KEY: &str = "jsonpatch.escapeKey";

/// An object with its type's name.
#[derive(Debug)]
pub struct Made<'a> {
    pub name: Arc<str>,
    pub fields: IndexMap<Box<str>, Value<'a>>,
}

/// The type of this name, if it is one that expressions can make.
pub fn named(name: &str) -> Option<Type> {
    let is_object = name == OBJECT || name.strip_prefix(OBJECT).is_some_and(|rest| rest.starts_with('.'));
    (is_object || name == PATCH)
        .then(|| Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields: BTreeMap::new() })))
}

/// The type of a field of such a type; `None` where it has no such field.
pub fn field(object: &str, field: &str) -> Option<Type> {
    match (object, field) {
        (PATCH, "op" | "path" | "from") => Some(Type::String),
        (PATCH, "value") => Some(Type::Dyn),
        (PATCH, _) => None,
        _ => Some(Type::Dyn),
    }
}

impl<'a> Made<'a> {
    /// `Object` or `JSONPatch`.
    pub fn sort(&self) -> &'static str {
        if *self.name == *PATCH { PATCH } else { OBJECT }
    }

    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        self.fields.get(name).cloned()
    }

    pub fn equals(&self, other: &Self) -> bool {
        self.name == other.name
            && self.fields.len() == other.fields.len()
            && self
                .fields
                .iter()
                .all(|(name, own)| other.fields.get(name).is_some_and(|value| own.equals(value)))
    }

    /// What is wrong with the names of the types inside: each has to be the path at which it stands.
    pub fn misplaced(&self) -> Vec<String> {
        let mut found = Vec::new();
        misplaced(
            &Value::Made(Arc::new(Self { name: self.name.clone(), fields: self.fields.clone() })),
            &self.name,
            &mut found,
        );
        found
    }
}

fn misplaced(value: &Value<'_>, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Made(made) => {
            if *made.name != *path {
                found.push(format!(
                    "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    made.name
                ));
            }
            for (name, inner) in &made.fields {
                misplaced(inner, &format!("{path}.{name}"), found);
            }
        }
        Value::List(items) => items.iter().for_each(|item| misplaced(item, path, found)),
        Value::Map(map) => map.values().for_each(|inner| misplaced(inner, path, found)),
        _ => {}
    }
}

/// A key of a map as the name of a field, in upstream's words where it is none.
///
/// # Errors
/// For keys that are no text.
pub fn text_key(key: &Key) -> Result<&str, String> {
    match key {
        Key::String(text) => Ok(text),
        Key::Int(n) => Err(format!("map key \"{n}\" is of type types.Int, not string")),
        Key::Uint(n) => Err(format!("map key \"{n}\" is of type types.Uint, not string")),
        Key::Bool(b) => Err(format!("map key \"{b}\" is of type types.Bool, not string")),
    }
}
