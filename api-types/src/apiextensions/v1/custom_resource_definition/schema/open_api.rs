//! What no schema of a definition may say, whether it is structural or not: words of OpenAPI that are not supported,
//! types of lists and maps that do not fit, defaults where none may be.

use super::{additional, given_default, items, listed_items};
use crate::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrBool, SchemaOrList};
use crate::field::{Errors, Path};
use crate::value::Value;

/// What is known of the place of a schema.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    is_root: bool,
    /// In what describes kind, apiVersion or metadata of a resource.
    in_meta: bool,
    /// Why there may be no defaults.
    no_defaults: Option<&'a str>,
}

pub(super) fn check(schema: &JSONSchemaProps, path: &Path, errors: &mut Errors) {
    node(schema, Place { is_root: true, ..Place::default() }, path, errors);
}

fn node(schema: &JSONSchemaProps, place: Place<'_>, path: &Path, errors: &mut Errors) {
    supported(schema, place, path, errors);
    if schema.unique_items {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), why);
    }
    let below = Place { is_root: false, ..place };
    let extra = path.child("additionalProperties");
    let open = matches!(schema.additional_properties, None | Some(JSONSchemaPropsOrBool::Allows(true)));
    if !open && !schema.properties.is_empty() {
        errors.forbidden(&extra, "additionalProperties and properties are mutual exclusive");
    }
    if let Some(schema) = additional(schema) {
        let why = "inside additionalProperties applying to object metadata";
        let no_defaults = if place.in_meta { Some(why) } else { place.no_defaults };
        node(schema, Place { no_defaults, ..below }, &extra, errors);
    }
    for (name, property) in &schema.properties {
        let mut below = below;
        let of_resource = matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
        let why = format!("in top-level {name}");
        if of_resource && (place.is_root || schema.x_kubernetes_embedded_resource) {
            below.in_meta = true;
            if place.is_root {
                below.no_defaults = Some(&why);
            }
        }
        node(property, below, &path.child("properties").key(name), errors);
    }
    if let Some(schema) = &schema.not {
        node(schema, below, &path.child("not"), errors);
    }
    for (name, schemas) in [("allOf", &schema.all_of), ("oneOf", &schema.one_of), ("anyOf", &schema.any_of)] {
        for (place, schema) in schemas.iter().enumerate() {
            node(schema, below, &path.child(name).index(place), errors);
        }
    }
    for (name, schema) in &schema.definitions {
        node(schema, below, &path.child("definitions").key(name), errors);
    }
    if let Some(schema) = items(schema) {
        node(schema, below, &path.child("items"), errors);
    }
    for (place, schema) in listed_items(schema).iter().enumerate() {
        node(schema, below, &path.child("items").index(place), errors);
    }
    for (name, schema) in &schema.dependencies {
        if let SchemaOrList::Schema(Some(schema)) = schema {
            node(schema, below, &path.child("dependencies").key(name), errors);
        }
    }
    if schema.x_kubernetes_preserve_unknown_fields == Some(false) {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&path, false, "must be true or undefined");
    }
    maps(schema, path, errors);
    lists(schema, path, errors);
}

fn supported(schema: &JSONSchemaProps, place: Place<'_>, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
    let type_path = path.child("type");
    if !schema.type_.is_empty() {
        errors.choice(&type_path, &schema.type_, &TYPES);
    }
    if let Some(why) = place.no_defaults.filter(|_| given_default(schema).is_some()) {
        errors.forbidden(&path.child("default"), format!("must not be set {why}"));
    }
    for (given, name) in [
        (!schema.id.is_empty(), "id"),
        (schema.additional_items.is_some(), "additionalItems"),
        (!schema.pattern_properties.is_empty(), "patternProperties"),
        (!schema.definitions.is_empty(), "definitions"),
        (!schema.dependencies.is_empty(), "dependencies"),
        (schema.ref_.is_some(), "$ref"),
    ] {
        if given {
            errors.forbidden(&path.child(name), format!("{name} is not supported"));
        }
    }
    if schema.type_ == "null" {
        errors.forbidden(&type_path, "type cannot be set to null, use nullable as an alternative");
    }
    if !listed_items(schema).is_empty() {
        errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
    }
    if place.in_meta && schema.x_kubernetes_embedded_resource {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.forbidden(&path, "must not be used inside of resource meta");
    }
}

/// `type` is not the one that an extension is for.
fn must_be(schema: &JSONSchemaProps, type_: &str, extension: &str, path: &Path, errors: &mut Errors) {
    let (path, text) = (path.child("type"), format!("must be {type_} if {extension} is specified"));
    if schema.type_.is_empty() {
        errors.required(&path, text);
    } else {
        errors.invalid(&path, &schema.type_, text);
    }
}

fn maps(schema: &JSONSchemaProps, path: &Path, errors: &mut Errors) {
    const EXTENSION: &str = "x-kubernetes-map-type";
    let Some(map_type) = &schema.x_kubernetes_map_type else { return };
    if schema.type_ != "object" {
        must_be(schema, "object", EXTENSION, path, errors);
    }
    errors.choice(&path.child(EXTENSION), map_type, &["atomic", "granular"]);
}

fn lists(schema: &JSONSchemaProps, path: &Path, errors: &mut Errors) {
    const EXTENSION: &str = "x-kubernetes-list-type";
    let (type_path, items_path) = (path.child(EXTENSION), path.child("items"));
    let keys_path = path.child("x-kubernetes-list-map-keys");
    let (list_type, keys) = (schema.x_kubernetes_list_type.as_deref(), &schema.x_kubernetes_list_map_keys);
    let items = items(schema);
    if list_type.is_some() && schema.type_ != "array" {
        must_be(schema, "array", EXTENSION, path, errors);
    } else if let (Some("set"), Some(items)) = (list_type, items) {
        of_set(items, &items_path, errors);
    }
    if let Some(list_type) = list_type {
        errors.choice(&type_path, list_type, &["atomic", "set", "map"]);
    }
    if !keys.is_empty() {
        let text = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            Some("map") => {}
            Some(other) => errors.invalid(&type_path, other, text),
            None => errors.required(&type_path, text),
        }
    }
    if list_type == Some("map") {
        if keys.is_empty() {
            errors.required(&keys_path, "must not be empty if x-kubernetes-list-type is map");
        }
        match (&schema.items, items) {
            (None, _) => {
                errors.required(&items_path, "must have a schema if x-kubernetes-list-type is map");
            }
            (Some(given), None) => {
                let text = "must only have a single schema if x-kubernetes-list-type is map";
                errors.invalid(&items_path, given as &dyn Value, text);
            }
            (_, Some(items)) if items.type_ != "object" => {
                let text = "must be object if parent array's x-kubernetes-list-type is map";
                errors.invalid(&items_path.child("type"), &items.type_, text);
            }
            (_, Some(items)) => map_keys(items, keys, &items_path, &keys_path, errors),
        }
    }
    if let (Some(list_type @ ("map" | "set")), Some(items)) = (list_type, items) {
        if items.nullable {
            let text = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            errors.forbidden(&items_path.child("nullable"), text);
        }
        if list_type == "map" {
            required_keys(items, keys, &items_path, errors);
        }
    }
}

/// Items of sets are compared as a whole.
fn of_set(items: &JSONSchemaProps, path: &Path, errors: &mut Errors) {
    let text = "must be atomic as item of a list with x-kubernetes-list-type=set";
    match items.type_.as_str() {
        "array" => {
            if let Some(list_type) = items.x_kubernetes_list_type.as_ref().filter(|t| *t != "atomic") {
                errors.invalid(&path.child("x-kubernetes-list-type"), list_type, text);
            }
        }
        "object" if items.x_kubernetes_map_type.as_deref() != Some("atomic") => {
            let path = path.child("x-kubernetes-map-type");
            // COMPAT: the value shown is that of the items' list type.
            match &items.x_kubernetes_list_type {
                Some(list_type) => errors.invalid(&path, list_type, text),
                None => errors.invalid(&path, (), text),
            }
        }
        _ => {}
    }
}

fn map_keys(items: &JSONSchemaProps, keys: &[String], path: &Path, keys_path: &Path, errors: &mut Errors) {
    let shown: Vec<&str> = keys.iter().map(String::as_str).collect();
    for (place, key) in keys.iter().enumerate() {
        match items.properties.get(key) {
            Some(property) if matches!(property.type_.as_str(), "array" | "object") => {
                let path = path.child("properties").key(key).child("type");
                let text = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                // COMPAT: the value shown is the items' type.
                errors.invalid(&path, &items.type_, text);
            }
            Some(_) => {}
            None => {
                errors.invalid(keys_path, &shown[..], "entries must all be names of item properties");
            }
        }
        if keys[..place].contains(key) {
            errors.invalid(keys_path, &shown[..], "must not contain duplicate entries");
        }
    }
}

/// Without its keys an item could not be told from others.
fn required_keys(items: &JSONSchemaProps, keys: &[String], path: &Path, errors: &mut Errors) {
    for key in keys {
        let Some(property) = items.properties.get(key) else { continue };
        let path = path.child("properties").key(key);
        if !items.required.contains(key) && given_default(property).is_none() {
            let text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.required(&path.child("default"), text);
        }
        if property.nullable {
            let text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.forbidden(&path.child("nullable"), text);
        }
    }
}
