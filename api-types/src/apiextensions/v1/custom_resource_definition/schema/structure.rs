//! What keeps a schema from being structural (KEP-1111): types everywhere, nothing but checks of values below anyOf
//! and the like, and what those speak of part of the structure. Told of sorted by text, as upstream does.

use super::{additional, given_default, items, listed_items};
use crate::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrBool};
use crate::custom::patterns;
use crate::field::{Errors, Path};

/// Why the schema cannot be read as structure at all.
pub(super) fn unreadable(schema: &JSONSchemaProps) -> Option<String> {
    let unsupported = [
        (!schema.id.is_empty(), "id"),
        (!schema.schema.is_empty(), "schema"),
        (schema.ref_.as_ref().is_some_and(|name| !name.is_empty()), "$ref"),
        (!schema.pattern_properties.is_empty(), "patternProperties"),
        (!schema.dependencies.is_empty(), "dependencies"),
        (schema.additional_items.is_some(), "additionalItems"),
        (!schema.definitions.is_empty(), "definitions"),
    ];
    if let Some((_, name)) = unsupported.into_iter().find(|(given, _)| *given) {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    let groups = schema.not.as_deref().into_iter();
    let mut groups = groups.chain(&schema.all_of).chain(&schema.any_of).chain(&schema.one_of);
    if let Some(why) = groups.find_map(unreadable) {
        return Some(why);
    }
    if schema.x_kubernetes_preserve_unknown_fields == Some(false) {
        return Some(
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".into(),
        );
    }
    if !listed_items(schema).is_empty() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".into());
    }
    let below = items(schema).into_iter().chain(schema.properties.values()).chain(additional(schema));
    below.into_iter().find_map(unreadable)
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

pub(super) fn check(schema: &JSONSchemaProps, path: &Path, errors: &mut Errors) {
    let mut found = Errors::default();
    node(schema, Level::Root, path, &mut found);
    complete(schema, schema, path, path, &mut found);
    found.0.sort_by_cached_key(ToString::to_string);
    errors.0.append(&mut found.0);
}

fn node(schema: &JSONSchemaProps, level: Level, path: &Path, errors: &mut Errors) {
    if schema.type_ == "array" && items(schema).is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if let Some(items) = items(schema) {
        node(items, Level::Item, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        node(property, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional_path = path.child("additionalProperties");
    if schema.additional_properties.is_some() && level == Level::Root {
        errors.forbidden(&additional_path, "must not be used at the root");
    }
    if let Some(additional) = additional(schema) {
        node(additional, Level::Field, &additional_path, errors);
    }
    let (preserve, embedded) = (preserves(schema), schema.x_kubernetes_embedded_resource);
    if schema.x_kubernetes_int_or_string && preserve {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&path, true, "must be false if x-kubernetes-int-or-string is true");
    }
    if schema.x_kubernetes_int_or_string && embedded {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.invalid(&path, true, "must be false if x-kubernetes-int-or-string is true");
    }
    values(
        schema,
        is_int_or_string(schema),
        schema.all_of.first().is_some_and(is_int_or_string),
        path,
        errors,
    );
    types(schema, level, path, errors);
    if embedded && schema.additional_properties.is_some() {
        errors.forbidden(&additional_path, "must not be used if x-kubernetes-embedded-resource is set");
    }
    let is_resource = level == Level::Root || embedded;
    for name in ["kind", "apiVersion"] {
        if let Some(property) = schema.properties.get(name).filter(|p| is_resource && p.type_ != "string") {
            let path = path.child("properties").key(name).child("type");
            errors.invalid(&path, &property.type_, "must be string");
        }
    }
    if let Some(metadata) = schema.properties.get("metadata") {
        let path = path.child("properties").key("metadata");
        if is_resource && metadata.type_ != "object" {
            errors.invalid(&path.child("type"), &metadata.type_, "must be object");
        }
        if level == Level::Root && !names_only(metadata) {
            let text = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.forbidden(&path, text);
        }
    }
    if embedded && !preserve && schema.properties.is_empty() {
        let text = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&path.child("properties"), text);
    }
}

fn types(schema: &JSONSchemaProps, level: Level, path: &Path, errors: &mut Errors) {
    let (path, type_) = (path.child("type"), &schema.type_);
    if schema.x_kubernetes_embedded_resource && type_ != "object" {
        let text = "must be object if x-kubernetes-embedded-resource is true";
        if type_.is_empty() {
            errors.required(&path, text);
        } else {
            errors.invalid(&path, type_, text);
        }
    } else if type_.is_empty() && !schema.x_kubernetes_int_or_string && !preserves(schema) {
        errors.required(
            &path,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    }
    if level == Level::Root && !type_.is_empty() && type_ != "object" {
        errors.invalid(&path, type_, "must be object at the root");
    }
}

fn preserves(schema: &JSONSchemaProps) -> bool {
    schema.x_kubernetes_preserve_unknown_fields == Some(true)
}

/// Whether the metadata of the root is restricted in its names and nothing else.
fn names_only(metadata: &JSONSchemaProps) -> bool {
    let names = metadata.properties.keys();
    let mut rest = metadata.clone();
    if names.clone().all(|name| matches!(name.as_str(), "name" | "generateName")) {
        rest.properties.clear();
    }
    rest.type_.clear();
    rest.default = None;
    rest == JSONSchemaProps::default()
}

/// The one use of types below anyOf that is allowed.
fn is_int_or_string(schema: &JSONSchemaProps) -> bool {
    let of = |type_: &str| JSONSchemaProps { type_: type_.into(), ..JSONSchemaProps::default() };
    matches!(schema.any_of.as_slice(), [one, other] if *one == of("integer") && *other == of("string"))
}

fn values(
    schema: &JSONSchemaProps,
    skip_any_of: bool,
    skip_first_all_of: bool,
    path: &Path,
    errors: &mut Errors,
) {
    if !skip_any_of {
        for (place, schema) in schema.any_of.iter().enumerate() {
            nested(schema, false, &path.child("anyOf").index(place), errors);
        }
    }
    for (place, schema) in schema.all_of.iter().enumerate() {
        nested(schema, skip_first_all_of && place == 0, &path.child("allOf").index(place), errors);
    }
    for (place, schema) in schema.one_of.iter().enumerate() {
        nested(schema, false, &path.child("oneOf").index(place), errors);
    }
    if let Some(schema) = &schema.not {
        nested(schema, false, &path.child("not"), errors);
    }
    if !schema.pattern.is_empty()
        && let Err(why) = patterns::compile(&schema.pattern)
    {
        let text = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid(&path.child("pattern"), &schema.pattern, text);
    }
}

/// A schema below anyOf, allOf, oneOf or not: it may restrict values and say nothing of structure.
fn nested(schema: &JSONSchemaProps, skip_any_of: bool, path: &Path, errors: &mut Errors) {
    const EMPTY: &str = "must be empty to be structural";
    const UNDEFINED: &str = "must be undefined to be structural";
    const FALSE: &str = "must be false to be structural";
    values(schema, skip_any_of, false, path, errors);
    if let Some(items) = items(schema) {
        nested(items, false, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        nested(property, false, &path.child("properties").key(name), errors);
    }
    let has_additional =
        !matches!(schema.additional_properties, None | Some(JSONSchemaPropsOrBool::Allows(false)));
    for (given, name, why) in [
        (!schema.type_.is_empty(), "type", EMPTY),
        (has_additional, "additionalProperties", UNDEFINED),
        (given_default(schema).is_some(), "default", UNDEFINED),
        (!schema.title.is_empty(), "title", EMPTY),
        (!schema.description.is_empty(), "description", EMPTY),
        (schema.nullable, "nullable", FALSE),
        (preserves(schema), "x-kubernetes-preserve-unknown-fields", FALSE),
        (schema.x_kubernetes_embedded_resource, "x-kubernetes-embedded-resource", FALSE),
        (schema.x_kubernetes_int_or_string, "x-kubernetes-int-or-string", FALSE),
        (!schema.x_kubernetes_list_map_keys.is_empty(), "x-kubernetes-list-map-keys", EMPTY),
        (schema.x_kubernetes_list_type.is_some(), "x-kubernetes-list-type", UNDEFINED),
        (schema.x_kubernetes_map_type.is_some(), "x-kubernetes-map-type", UNDEFINED),
        (!schema.x_kubernetes_validations.is_empty(), "x-kubernetes-validations", EMPTY),
    ] {
        if given {
            errors.forbidden(&path.child(name), why);
        }
    }
    if schema.properties.contains_key("metadata") {
        let path = path.child("properties").key("metadata");
        errors.forbidden(&path, "must not be specified in a nested context");
    }
}

/// What checks of the root's values speak of must be part of the structure. COMPAT: those below it are not asked.
fn complete(values: &JSONSchemaProps, own: &JSONSchemaProps, path: &Path, at: &Path, errors: &mut Errors) {
    if let Some(schema) = &values.not {
        specified(schema, own, path, &at.child("not"), errors);
    }
    for (name, schemas) in [("allOf", &values.all_of), ("anyOf", &values.any_of), ("oneOf", &values.one_of)] {
        for (place, schema) in schemas.iter().enumerate() {
            specified(schema, own, path, &at.child(name).index(place), errors);
        }
    }
}

fn specified(values: &JSONSchemaProps, own: &JSONSchemaProps, path: &Path, at: &Path, errors: &mut Errors) {
    complete(values, own, path, at, errors);
    let because = |at: &Path| format!("because it is defined in {at}");
    if let Some(schema) = items(values) {
        let (path, at) = (path.child("items"), at.child("items"));
        match items(own) {
            Some(own) => specified(schema, own, &path, &at, errors),
            None => errors.required(&path, because(&at)),
        }
    }
    for (name, schema) in &values.properties {
        let (path, at) = (path.child("properties").key(name), at.child("properties").key(name));
        match own.properties.get(name) {
            Some(own) => specified(schema, own, &path, &at, errors),
            None => errors.required(&path, because(&at)),
        }
    }
}
