//! Structural schemas: the part of OpenAPI v3 that a CustomResourceDefinition may say, read from JSON (KEP-1111;
//! API doc "Specifying a structural schema"). What is refused stands beside the definition.

use super::patterns;
use crate::field::Path;
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
            pattern: (!pattern.is_empty()).then(|| (pattern.clone(), patterns::compile(&pattern).ok())),
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
