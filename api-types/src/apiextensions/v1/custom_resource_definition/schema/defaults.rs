//! Whether the defaults of a schema fit it: no fields that would be pruned, sound metadata of resources, values that
//! the schema allows. What rules say of them is asked elsewhere.

use crate::custom::Structural;
use crate::custom::default_errors;
use crate::field::{Errors, Path};
use serde_json::{Value as Json, json};

/// What surrounds a node of a resource's kind, apiVersion or metadata: the steps from the resource to it.
type Steps<'a> = Option<&'a [&'a str]>;

pub(super) fn check(schema: &Structural, path: &Path, errors: &mut Errors) {
    let mut root = schema.clone();
    root.embedded = true;
    node(&root, None, path, errors);
}

fn node(schema: &Structural, steps: Steps<'_>, path: &Path, errors: &mut Errors) {
    let steps = steps.filter(|_| !schema.embedded);
    if let Some(default) = &schema.default {
        let path = path.child("default");
        let whole = steps.map(|steps| surrounded(default, steps));
        default_errors(schema, default, whole.as_ref(), &path, errors);
    }
    if let Some(items) = &schema.items {
        // Lists are no part of what a resource's metadata may have defaults in.
        node(items, None, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        let of_meta = matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
        let mut below: Vec<&str> = steps.map(<[_]>::to_vec).unwrap_or_default();
        below.push(name);
        let inside = steps.is_some() || (schema.embedded && of_meta);
        node(property, inside.then_some(&below[..]), &path.child("properties").key(name), errors);
    }
}

/// The smallest resource with the value in its place.
fn surrounded(value: &Json, steps: &[&str]) -> Json {
    let mut whole = json!({"apiVersion": "validation/v1", "kind": "Validation"});
    let mut at = &mut whole;
    for step in steps {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[*step];
    }
    *at = value.clone();
    whole
}
