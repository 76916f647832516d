//! Structural schemas: the part of OpenAPI v3 that a CustomResourceDefinition may say, read from JSON, and
//! the rules that make it structural (KEP-1111; API doc "Specifying a structural schema").

use crate::field::{Errors, Path};
use regex::Regex;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// One node of a schema.
#[derive(Debug, Clone, Default)]
pub struct Structural {
    pub type_: String,
    pub nullable: bool,
    pub default: Option<Json>,
    pub items: Option<Box<Structural>>,
    pub properties: BTreeMap<String, Structural>,
    pub additional: Option<Additional>,
    pub preserve_unknown: bool,
    pub embedded: bool,
    pub int_or_string: bool,
    pub list_type: String,
    pub list_keys: Vec<String>,
    pub map_type: String,
    pub rules: Vec<Json>,
    pub checks: Checks,
}

/// `additionalProperties`
#[derive(Debug, Clone)]
pub enum Additional {
    /// `true`, or `false`.
    Any(bool),
    Schema(Box<Structural>),
}

/// What is asked of a value beside its structure.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    pub format: String,
    pub maximum: Option<(f64, bool)>,
    pub minimum: Option<(f64, bool)>,
    pub max_length: Option<u64>,
    pub min_length: Option<u64>,
    pub pattern: Option<(String, Option<Regex>)>,
    pub max_items: Option<u64>,
    pub min_items: Option<u64>,
    pub unique_items: bool,
    pub multiple_of: Option<f64>,
    pub choices: Vec<Json>,
    pub max_properties: Option<u64>,
    pub min_properties: Option<u64>,
    pub required: Vec<String>,
    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Box<Structural>>,
}

fn text(node: &Map<String, Json>, name: &str) -> String {
    node.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn flag(node: &Map<String, Json>, name: &str) -> bool {
    node.get(name).and_then(Json::as_bool).unwrap_or(false)
}

fn texts(node: &Map<String, Json>, name: &str) -> Vec<String> {
    let list = node.get(name).and_then(Json::as_array);
    list.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
}

fn schemas(node: &Map<String, Json>, name: &str) -> Vec<Structural> {
    node.get(name).and_then(Json::as_array).into_iter().flatten().map(Structural::read).collect()
}

impl Structural {
    /// Reads a schema; what it does not understand it leaves out. `validate` says what is wrong.
    pub fn read(schema: &Json) -> Self {
        let Json::Object(node) = schema else { return Self::default() };
        let properties = node.get("properties").and_then(Json::as_object);
        let additional = node.get("additionalProperties").map(|given| match given {
            Json::Bool(any) => Additional::Any(*any),
            schema => Additional::Schema(Box::new(Self::read(schema))),
        });
        Self {
            type_: text(node, "type"),
            nullable: flag(node, "nullable"),
            default: node.get("default").filter(|value| !value.is_null()).cloned().map(super::settled),
            items: node.get("items").filter(|i| i.is_object()).map(|items| Box::new(Self::read(items))),
            properties: properties.into_iter().flatten().map(|(k, v)| (k.clone(), Self::read(v))).collect(),
            additional,
            preserve_unknown: flag(node, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(node, "x-kubernetes-embedded-resource"),
            int_or_string: flag(node, "x-kubernetes-int-or-string"),
            list_type: text(node, "x-kubernetes-list-type"),
            list_keys: texts(node, "x-kubernetes-list-map-keys"),
            map_type: text(node, "x-kubernetes-map-type"),
            rules: node.get("x-kubernetes-validations").and_then(Json::as_array).cloned().unwrap_or_default(),
            checks: Checks::read(node),
        }
    }

    /// Whether the schema says anything of its own about the field.
    pub fn property(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    /// All nodes with their paths.
    pub fn visit<'a>(&'a self, path: &Path, see: &mut dyn FnMut(&'a Structural, &Path)) {
        see(self, path);
        for (name, property) in &self.properties {
            property.visit(&path.child("properties").key(name), see);
        }
        if let Some(items) = &self.items {
            items.visit(&path.child("items"), see);
        }
        if let Some(Additional::Schema(schema)) = &self.additional {
            schema.visit(&path.child("additionalProperties"), see);
        }
    }
}

impl Checks {
    fn read(node: &Map<String, Json>) -> Self {
        let number = |name: &str| node.get(name).and_then(Json::as_f64);
        let count = |name: &str| node.get(name).and_then(Json::as_u64);
        let pattern = text(node, "pattern");
        Self {
            format: text(node, "format"),
            maximum: number("maximum").map(|n| (n, flag(node, "exclusiveMaximum"))),
            minimum: number("minimum").map(|n| (n, flag(node, "exclusiveMinimum"))),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: (!pattern.is_empty()).then(|| (pattern.clone(), Regex::new(&pattern).ok())),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            unique_items: flag(node, "uniqueItems"),
            multiple_of: number("multipleOf"),
            choices: node.get("enum").and_then(Json::as_array).cloned().unwrap_or_default(),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: texts(node, "required"),
            all_of: schemas(node, "allOf"),
            any_of: schemas(node, "anyOf"),
            one_of: schemas(node, "oneOf"),
            not: node.get("not").map(|schema| Box::new(Structural::read(schema))),
        }
    }
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural, sorted by text as upstream has it.
pub fn validate(schema: &Json, path: &Path, errors: &mut Errors) {
    let mut found = Errors::default();
    node(schema, Level::Root, path, &mut found);
    let whole = Structural::read(schema);
    complete(&whole, &whole.checks, path, path, &mut found);
    found.0.sort_by_key(ToString::to_string);
    found.0.dedup();
    errors.0.append(&mut found.0);
}

/// Keys of a schema that are known and refused, with upstream's words.
const FORBIDDEN: [(&str, &str); 4] = [
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("additionalItems", "additionalItems is not supported"),
];

fn node(schema: &Json, level: Level, path: &Path, errors: &mut Errors) {
    let Json::Object(map) = schema else {
        return errors.invalid(path, "", "must be an object");
    };
    for (name, why) in FORBIDDEN {
        if map.contains_key(name) {
            errors.forbidden(&path.child(name), why);
        }
    }
    if map.contains_key("$ref") {
        errors.forbidden(&path.child("$ref"), "$ref is not supported");
    }
    if flag(map, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), why);
    }
    let own = Structural::read(schema);
    let type_path = path.child("type");
    const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
    if !own.type_.is_empty() {
        if own.type_ == "null" {
            errors.forbidden(&type_path, "type cannot be set to null, use nullable as an alternative");
        } else {
            errors.choice(&type_path, &own.type_, &TYPES);
        }
    }
    if map.contains_key("properties") && map.contains_key("additionalProperties") {
        match &own.additional {
            Some(Additional::Any(false)) => {
                let why = "additionalProperties cannot be set to false";
                errors.forbidden(&path.child("additionalProperties"), why);
            }
            _ => errors.forbidden(
                &path.child("additionalProperties"),
                "additionalProperties and properties are mutual exclusive",
            ),
        }
    } else if matches!(own.additional, Some(Additional::Any(false))) {
        errors.forbidden(&path.child("additionalProperties"), "additionalProperties cannot be set to false");
    }
    if level == Level::Root && own.additional.is_some() {
        errors.forbidden(&path.child("additionalProperties"), "must not be used at the root");
    }
    if own.type_ == "array" && own.items.is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    extensions(&own, level, path, errors);
    lists(&own, path, errors);
    values(map, &own, path, errors);
    for (name, property) in map.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let path = path.child("properties").key(name);
        let own_metadata = (level == Level::Root || own.embedded) && name == "metadata";
        if own_metadata && level == Level::Root {
            metadata(property, &path, errors);
        } else {
            node(property, Level::Field, &path, errors);
        }
    }
    if let Some(items) = map.get("items") {
        if items.is_array() {
            errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
        } else {
            node(items, Level::Item, &path.child("items"), errors);
        }
    }
    if let Some(schema) = map.get("additionalProperties").filter(|schema| schema.is_object()) {
        node(schema, Level::Field, &path.child("additionalProperties"), errors);
    }
}

fn metadata(schema: &Json, path: &Path, errors: &mut Errors) {
    let own = Structural::read(schema);
    if own.type_ != "object" {
        errors.invalid(&path.child("type"), &own.type_, "must be object");
    }
    let only_names = own.properties.keys().all(|name| matches!(name.as_str(), "name" | "generateName"));
    let more =
        own.additional.is_some() || own.items.is_some() || own.default.is_some() || own.preserve_unknown;
    if !only_names || more {
        errors.forbidden(
            path,
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        );
    }
}

fn extensions(own: &Structural, level: Level, path: &Path, errors: &mut Errors) {
    let type_path = path.child("type");
    if own.int_or_string && own.preserve_unknown {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&path, true, "must be false if x-kubernetes-int-or-string is true");
    }
    if own.int_or_string && own.embedded {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.invalid(&path, true, "must be false if x-kubernetes-int-or-string is true");
    }
    if own.embedded && own.type_ != "object" {
        let text = "must be object if x-kubernetes-embedded-resource is true";
        if own.type_.is_empty() {
            errors.required(&type_path, text);
        } else {
            errors.invalid(&type_path, &own.type_, text);
        }
    } else if own.type_.is_empty() && !own.int_or_string && !own.preserve_unknown {
        errors.required(
            &type_path,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    }
    if own.embedded && own.additional.is_some() {
        let text = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(&path.child("additionalProperties"), text);
    }
    if own.embedded && !own.preserve_unknown && own.properties.is_empty() {
        let text = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&path.child("properties"), text);
    }
    if level == Level::Root && !own.type_.is_empty() && own.type_ != "object" {
        errors.invalid(&type_path, &own.type_, "must be object at the root");
    }
    if level == Level::Root || own.embedded {
        for name in ["kind", "apiVersion"] {
            if let Some(property) = own.properties.get(name).filter(|p| p.type_ != "string") {
                let path = path.child("properties").key(name).child("type");
                errors.invalid(&path, &property.type_, "must be string");
            }
        }
    }
}

fn lists(own: &Structural, path: &Path, errors: &mut Errors) {
    let (type_path, keys_path) =
        (path.child("x-kubernetes-list-type"), path.child("x-kubernetes-list-map-keys"));
    if !own.list_type.is_empty() {
        if own.type_ != "array" {
            let text = "must be array if x-kubernetes-list-type is specified";
            if own.type_.is_empty() {
                errors.required(&path.child("type"), text);
            } else {
                errors.invalid(&path.child("type"), &own.type_, text);
            }
        }
        errors.choice(&type_path, &own.list_type, &["atomic", "set", "map"]);
    }
    if own.list_type == "map" && own.list_keys.is_empty() {
        errors.required(&keys_path, "must not be empty if x-kubernetes-list-type is map");
    }
    if own.list_type != "map" && !own.list_keys.is_empty() {
        if own.list_type.is_empty() {
            errors.required(&type_path, "must be map if x-kubernetes-list-map-keys is non-empty");
        } else {
            let text = "must be map if x-kubernetes-list-map-keys is non-empty";
            errors.invalid(&type_path, &own.list_type, text);
        }
    }
    if own.list_type == "map"
        && let Some(items) = &own.items
    {
        if items.type_ != "object" {
            let path = path.child("items").child("type");
            errors.invalid(
                &path,
                &items.type_,
                "must be object if parent array's x-kubernetes-list-type is map",
            );
        }
        for key in &own.list_keys {
            match items.properties.get(key) {
                None => errors.invalid(&keys_path, key, "entries must all be names of item properties"),
                Some(property) => {
                    let here = path.child("items").child("properties").key(key);
                    if property.type_ == "array" || property.type_ == "object" {
                        let text = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                        errors.invalid(&here.child("type"), &property.type_, text);
                    }
                    if property.default.is_none() && !items.checks.required.contains(key) {
                        let text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                        errors.required(&here.child("default"), text);
                    }
                }
            }
        }
    }
    if !own.map_type.is_empty() {
        let path = path.child("x-kubernetes-map-type");
        errors.choice(&path, &own.map_type, &["atomic", "granular"]);
    }
}

/// Keys that only the structure may say, not the schemas below anyOf and the like.
const STRUCTURE: [(&str, &str); 8] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
];

fn values(map: &Map<String, Json>, own: &Structural, path: &Path, errors: &mut Errors) {
    if let Some((pattern, None)) = &own.checks.pattern {
        let why = Regex::new(pattern).err().map(|e| e.to_string()).unwrap_or_default();
        let text = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid(&path.child("pattern"), pattern, text);
    }
    let pair = |schemas: Option<&Json>| {
        let types: Vec<&str> = schemas
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(|s| s["type"].as_str())
            .collect();
        types == ["integer", "string"]
    };
    let skip_any = own.int_or_string && pair(map.get("anyOf"));
    for name in ["anyOf", "allOf", "oneOf"] {
        for (place, schema) in map.get(name).and_then(Json::as_array).into_iter().flatten().enumerate() {
            let first = own.int_or_string && name == "allOf" && place == 0 && pair(schema.get("anyOf"));
            if !(first || name == "anyOf" && skip_any) {
                nested(schema, &path.child(name).index(place), errors);
            }
        }
    }
    if let Some(schema) = map.get("not") {
        nested(schema, &path.child("not"), errors);
    }
}

/// A schema below anyOf, allOf, oneOf or not: it may restrict values and say nothing of structure.
fn nested(schema: &Json, path: &Path, errors: &mut Errors) {
    let Json::Object(map) = schema else { return };
    for (name, why) in STRUCTURE {
        if map.get(name).is_some_and(|value| *value != Json::String(String::new())) {
            errors.forbidden(&path.child(name), why);
        }
    }
    for name in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ] {
        if flag(map, name) {
            errors.forbidden(&path.child(name), "must be false to be structural");
        }
    }
    if map.get("x-kubernetes-validations").is_some() {
        errors.forbidden(&path.child("x-kubernetes-validations"), "must be empty to be structural");
    }
    values(map, &Structural::read(schema), path, errors);
    if let Some(items) = map.get("items") {
        nested(items, &path.child("items"), errors);
    }
    for (name, property) in map.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let path = path.child("properties").key(name);
        if name == "metadata" {
            errors.forbidden(&path, "must not be specified in a nested context");
        }
        nested(property, &path, errors);
    }
}

/// What value checks speak of must be part of the structure.
fn complete(structure: &Structural, checks: &Checks, path: &Path, at: &Path, errors: &mut Errors) {
    let groups =
        checks.any_of.iter().chain(&checks.all_of).chain(&checks.one_of).chain(checks.not.as_deref());
    for schema in groups {
        specified(structure, schema, path, at, errors);
    }
    for (name, property) in &structure.properties {
        let here = path.child("properties").key(name);
        complete(property, &property.checks, &here, &here, errors);
    }
    if let Some(items) = &structure.items {
        let here = path.child("items");
        complete(items, &items.checks, &here, &here, errors);
    }
    if let Some(Additional::Schema(schema)) = &structure.additional {
        let here = path.child("additionalProperties");
        complete(schema, &schema.checks, &here, &here, errors);
    }
}

fn specified(structure: &Structural, value: &Structural, path: &Path, at: &Path, errors: &mut Errors) {
    for (name, property) in &value.properties {
        let here = path.child("properties").key(name);
        match structure.properties.get(name) {
            Some(own) => specified(own, property, &here, at, errors),
            None => errors.required(&here, format!("because it is defined in {at}.properties[{name}]")),
        }
    }
    if let Some(items) = &value.items {
        let here = path.child("items");
        match &structure.items {
            Some(own) => specified(own, items, &here, at, errors),
            None => errors.required(&here, format!("because it is defined in {at}.items")),
        }
    }
    complete_groups(structure, &value.checks, path, at, errors);
}

fn complete_groups(structure: &Structural, checks: &Checks, path: &Path, at: &Path, errors: &mut Errors) {
    let groups =
        checks.any_of.iter().chain(&checks.all_of).chain(&checks.one_of).chain(checks.not.as_deref());
    for schema in groups {
        specified(structure, schema, path, at, errors);
    }
}
