//! Types and sizes of values, read out of a schema: what rules are checked and their costs estimated by.
//! What has no type in expressions (fields that the schema does not name, values of any sort) is left out.

use crate::cel::types::{MOST, escape};
use crate::cel::{Decl, Type};
use api_types::custom::Structural;
use api_types::custom::structural::Additional;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The smallest texts of a form, with their quotes, and the longest.
const DATE: u64 = 12;
const SHORTEST_TIME: u64 = 21;
const LONGEST_TIME: u64 = 32;
const SHORTEST_DURATION: u64 = 3;
const LONGEST_DURATION: u64 = 32;

/// The declaration of a schema; `None` for what expressions cannot see.
pub fn of(schema: &Structural, root: bool) -> Option<Decl> {
    if schema.int_or_string {
        let most = schema.checks.max_length.map_or(MOST - 2, |most| most.saturating_mul(4));
        return Some(Decl::sized(Type::Dyn, 1, most));
    }
    let checks = &schema.checks;
    match schema.type_.as_str() {
        "array" => {
            let items = schema.items.as_deref()?;
            Some(Decl::list(of(items, items.embedded)?, checks.max_items))
        }
        "object" => {
            if let (Some(Additional::Schema(inner)), false) = (&schema.additional, root) {
                return Some(Decl::map(of(inner, inner.embedded)?, checks.max_properties));
            }
            Some(object(schema, root))
        }
        "string" => Some(text(schema)),
        "boolean" => Some(Decl::scalar(Type::Bool, 4)),
        "number" => Some(Decl::scalar(Type::Double, 1)),
        "integer" => Some(Decl::scalar(Type::Int, 1)),
        _ => None,
    }
}

fn object(schema: &Structural, root: bool) -> Decl {
    let mut fields: BTreeMap<String, Arc<Decl>> = BTreeMap::new();
    let mut least = 2;
    for (name, property) in &schema.properties {
        let Some(decl) = of(property, property.embedded) else { continue };
        if schema.checks.required.contains(name) && property.default.is_none() {
            least += name.len() as u64 + decl.least_json + 4;
        }
        if let Some(escaped) = escape(name) {
            fields.insert(escaped, Arc::new(decl));
        }
    }
    if root {
        for name in ["kind", "apiVersion"] {
            fields.insert(name.to_owned(), Arc::new(Decl::string()));
        }
        let names = ["name", "generateName"].map(|name| (name.to_owned(), Arc::new(Decl::string())));
        fields.insert("metadata".to_owned(), Arc::new(Decl::object("metadata", names.into(), 2)));
    }
    Decl::object(&unique_name(), fields, least)
}

/// Objects of different schemas are of different types.
fn unique_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("selfType{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn text(schema: &Structural) -> Decl {
    let checks = &schema.checks;
    match checks.format.as_str() {
        "byte" => Decl::sized(Type::Bytes, 2, checks.max_length.unwrap_or(MOST - 2)),
        "duration" => Decl::sized(Type::Duration, SHORTEST_DURATION, LONGEST_DURATION),
        "date" => Decl::sized(Type::Timestamp, DATE, DATE),
        "date-time" => Decl::sized(Type::Timestamp, SHORTEST_TIME, LONGEST_TIME),
        _ => {
            let longest_choice = checks
                .choices
                .iter()
                .filter_map(|choice| choice.as_str())
                .map(|text| text.len() as u64)
                .max();
            let most = match (checks.max_length, longest_choice) {
                (Some(most), _) => most.saturating_mul(4),
                (None, Some(longest)) => longest,
                (None, None) => MOST - 2,
            };
            Decl::sized(Type::String, 2, most)
        }
    }
}

/// The declaration of a property: out of its object's, or its own where expressions cannot write its name.
pub fn of_property(object: &Decl, name: &str, property: &Structural) -> Option<Arc<Decl>> {
    match escape(name) {
        Some(escaped) => object.field(&escaped),
        None => of(property, property.embedded).map(Arc::new),
    }
}
