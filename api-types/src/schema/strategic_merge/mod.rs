//! Strategic merge patch: JSON merge patch that knows which lists are maps.
//!
//! The patch strategy and merge key of each field come from the schema tables. Directives:
//! `$patch: replace|delete|merge` in objects and list items, `$retainKeys`,
//! `$setElementOrder/FIELD` and `$deleteFromPrimitiveList/FIELD` beside a list
//! (API doc "Update API Objects in Place Using kubectl patch"; sig-api-machinery's
//! strategic-merge-patch document). Pure: JSON in, JSON out.

mod list;

use crate::schema::{Field, StructType, Type};
use serde_json::{Map, Value};

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("bad patch type: {0}")]
    Directive(String),
    #[error("map: {item} does not contain declared merge key: {key}")]
    MergeKey { item: String, key: String },
    #[error("invalid patch format of {0}")]
    Format(&'static str),
    #[error("expected a JSON object")]
    NoObject,
}

pub(super) const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// What the schema says of the value at hand.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Struct(&'static StructType),
    /// A map whose values have this type.
    Map(&'static Type),
    Unknown,
}

impl Shape {
    pub(super) fn of(ty: &'static Type) -> Self {
        match ty {
            Type::Struct(table) => Self::Struct(table()),
            Type::Map(item) => Self::Map(item()),
            _ => Self::Unknown,
        }
    }

    fn field(self, name: &str) -> Option<&'static Field> {
        match self {
            Self::Struct(table) => table.field(name),
            _ => None,
        }
    }

    fn below(self, name: &str) -> Self {
        match self {
            Self::Struct(table) => table.field(name).map_or(Self::Unknown, |f| Self::of((f.ty)())),
            Self::Map(item) => Self::of(item),
            Self::Unknown => Self::Unknown,
        }
    }
}

/// Applies `patch` to `original`, an object of the type that `table` describes.
pub fn apply(table: &'static StructType, original: Value, patch: Value) -> Result<Value, Error> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(Error::NoObject);
    };
    merge_object(Shape::Struct(table), original, patch).map(Value::Object)
}

pub(super) fn merge_object(
    shape: Shape,
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    if let Some(directive) = patch.remove(PATCH) {
        match directive.as_str() {
            Some("replace") => return Ok(without_directives(patch)),
            Some("delete") => return Ok(Map::new()),
            Some("merge") => {}
            _ => return Err(Error::Directive(directive.as_str().unwrap_or_default().to_owned())),
        }
    }
    retain_keys(&mut original, &mut patch)?;
    delete_primitives(&mut original, &mut patch)?;
    let orders = take_orders(&mut patch)?;
    let patched: Vec<String> = patch.keys().cloned().collect();

    for (name, change) in patch {
        if change.is_null() {
            original.remove(&name);
            continue;
        }
        let field = shape.field(&name);
        let replaces = field.is_some_and(|f| f.patch.replace && !f.patch.merge);
        let old = original.get_mut(&name).map(Value::take);
        let merged = match (old, change) {
            (Some(Value::Object(old)), Value::Object(change)) if !replaces => {
                Value::Object(merge_object(shape.below(&name), old, change)?)
            }
            (Some(Value::Array(old)), Value::Array(change)) if field.is_some_and(|f| f.patch.merge) => {
                let list = list::Rules::of(field.expect("checked by the guard"));
                Value::Array(list.merge(old, change, orders.get(&name))?)
            }
            // New to the original: merged into nothing, so that directives and nulls go.
            (None, Value::Object(change)) => {
                Value::Object(merge_object(shape.below(&name), Map::new(), change)?)
            }
            (None, Value::Array(change)) if field.is_some_and(|f| f.patch.merge) => {
                let list = list::Rules::of(field.expect("checked by the guard"));
                Value::Array(list.merge(Vec::new(), change, orders.get(&name))?)
            }
            (_, change) => change,
        };
        original.insert(name, merged);
    }

    // A list may be reordered without being changed.
    for (name, order) in &orders {
        if let (Some(field), Some(Value::Array(items)), Some(order)) =
            (shape.field(name), original.get_mut(name), order.as_array())
            && !patched.contains(name)
        {
            *items = list::Rules::of(field).reorder(std::mem::take(items), order);
        }
    }
    Ok(original)
}

/// `$retainKeys: [a, b]`: all other keys of the original go.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys = keys.as_array().ok_or(Error::Format("retainKeys"))?;
    let listed = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    if patch.iter().any(|(name, change)| !change.is_null() && !listed(name)) {
        return Err(Error::Format("retainKeys: the list must name every key that the patch sets"));
    }
    original.retain(|name, _| listed(name));
    Ok(())
}

/// `$deleteFromPrimitiveList/FIELD: [x]`: takes values out of a list of primitives.
fn delete_primitives(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Error> {
    let names: Vec<String> = patch.keys().filter(|k| k.starts_with(DELETE_PRIMITIVES)).cloned().collect();
    for name in names {
        let gone = patch.remove(&name).unwrap_or_default();
        let gone = gone.as_array().ok_or(Error::Format("primitive list"))?;
        if let Some(Value::Array(items)) = original.get_mut(&name[DELETE_PRIMITIVES.len()..]) {
            items.retain(|item| !gone.contains(item));
        }
    }
    Ok(())
}

/// `$setElementOrder/FIELD: [..]`, by field.
fn take_orders(patch: &mut Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let names: Vec<String> = patch.keys().filter(|k| k.starts_with(ELEMENT_ORDER)).cloned().collect();
    let mut orders = Map::new();
    for name in names {
        let order = patch.remove(&name).unwrap_or_default();
        if !order.is_array() {
            return Err(Error::Format("setElementOrder list"));
        }
        orders.insert(name[ELEMENT_ORDER.len()..].to_owned(), order);
    }
    Ok(orders)
}

fn without_directives(object: Map<String, Value>) -> Map<String, Value> {
    object.into_iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null()).collect()
}

#[cfg(test)]
mod tests;
