//! What is refused in the schema of a version: that it is not structural, that defaults do not fit it, that it says
//! what no definition may.
//!
//! A schema that says what cannot be read as structure (references, lists of items) is told of by `open_api` alone;
//! defaults are looked at in schemas that are structural.

mod defaults;
mod open_api;
mod structure;

use crate::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrBool, SchemaOrList};
use crate::custom::Structural;
use crate::field::{Errors, Path};
use crate::value::Value;

/// Checks a schema; `path` is its own. `with_status` where the status is a subresource.
pub(super) fn check(schema: &JSONSchemaProps, with_status: bool, path: &Path, errors: &mut Errors) {
    let Some(tree) = schema.tree() else {
        return errors.invalid(path, "", "its values nest too deeply");
    };
    let mut found = Errors::default();
    if with_status {
        below_status(schema, path, &mut found);
    }
    if schema.nullable {
        found.forbidden(&path.child("nullable"), "nullable cannot be true at the root");
    }
    let unreadable = structure::unreadable(schema);
    if unreadable.is_none() {
        let before = found.0.len();
        structure::check(schema, path, &mut found);
        if found.0.len() == before {
            defaults::check(&Structural::read(&tree), path, &mut found);
        }
    }
    open_api::check(schema, path, &mut found);
    if let Some(why) = unreadable.filter(|_| found.is_empty()) {
        found.invalid(path, "", why);
    }
    errors.0.append(&mut found.0);
}

/// With a status of its own, the root says nothing that would be lost where the status is looked at alone.
fn below_status(schema: &JSONSchemaProps, path: &Path, errors: &mut Errors) {
    let before_type = !schema.id.is_empty() || !schema.schema.is_empty() || schema.ref_.is_some();
    if !before_type && schema.type_ != "object" && !schema.type_.is_empty() {
        let text = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return errors.invalid(&path.child("type"), &schema.type_, text);
    }
    let others = before_type
        || schema.nullable
        || given_default(schema).is_some()
        || !schema.enum_.is_empty()
        || schema.max_properties.is_some()
        || schema.min_properties.is_some()
        || !(schema.all_of.is_empty() && schema.one_of.is_empty() && schema.any_of.is_empty())
        || schema.not.is_some()
        || schema.additional_properties.is_some()
        || !schema.pattern_properties.is_empty()
        || !schema.dependencies.is_empty()
        || schema.additional_items.is_some()
        || !schema.definitions.is_empty()
        || schema.x_kubernetes_embedded_resource
        || schema.x_kubernetes_int_or_string
        || !schema.x_kubernetes_list_map_keys.is_empty()
        || schema.x_kubernetes_list_type.is_some()
        || schema.x_kubernetes_map_type.is_some();
    if others {
        let text = "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled";
        errors.invalid(path, schema as &dyn Value, text);
    }
}

/// The default; null is none.
fn given_default(schema: &JSONSchemaProps) -> Option<&crate::value::JSON> {
    schema.default.as_ref().filter(|default| !matches!(default.as_bytes(), b"" | b"null"))
}

/// The one schema of a list's items.
fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        SchemaOrList::Schema(schema) => schema.as_deref(),
        SchemaOrList::List(_) => None,
    }
}

/// The schemas of a list's items, where there is one for each.
fn listed_items(schema: &JSONSchemaProps) -> &[JSONSchemaProps] {
    match &schema.items {
        Some(SchemaOrList::List(schemas)) => schemas,
        _ => &[],
    }
}

fn additional(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.additional_properties.as_ref()? {
        JSONSchemaPropsOrBool::Schema(schema) => Some(schema),
        JSONSchemaPropsOrBool::Allows(_) => None,
    }
}
