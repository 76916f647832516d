//! The schema inside of a CustomResourceDefinition: OpenAPI v3 as far as upstream carries it, with
//! Kubernetes' extensions (API doc "JSONSchemaProps"). `crate::custom` reads it as a tree.
//!
//! Four values have two forms in JSON (a schema or a list, a schema or a boolean …) and a message in
//! protobuf; OpenAPI knows them by name only. Schemas nest in themselves: the codecs stop at a depth.

use crate::codec::json::{self, Token};
use crate::codec::protobuf::{self, Wire};
use crate::schema::Type;
use crate::value::{Typed, Value};
use api_types_derive::Api;
use serde_json::Value as Json;
use std::collections::BTreeMap;

pub use crate::value::JSON;

/// A schema.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct JSONSchemaProps {
    /// Identifier of the schema.
    #[api(1)]
    pub id: String,
    /// Dialect that the schema is written in.
    #[api(2, name = "$schema")]
    pub schema: String,
    /// Reference to another schema; no definition may have one.
    #[api(3, name = "$ref")]
    pub ref_: Option<String>,
    /// What the value is for.
    #[api(4)]
    pub description: String,
    /// object, array, string, integer, number or boolean.
    #[api(5)]
    pub type_: String,
    /// Form of a value of the type, as date-time or int32; what is not known is passed over.
    #[api(6)]
    pub format: String,
    /// A short name of the value.
    #[api(7)]
    pub title: String,
    /// What an absent value is set to.
    #[api(8)]
    pub default: Option<JSON>,
    /// Largest number.
    #[api(9)]
    pub maximum: Option<f64>,
    /// Whether `maximum` itself is too large.
    #[api(10)]
    pub exclusive_maximum: bool,
    /// Smallest number.
    #[api(11)]
    pub minimum: Option<f64>,
    /// Whether `minimum` itself is too small.
    #[api(12)]
    pub exclusive_minimum: bool,
    /// Most characters of a string.
    #[api(13)]
    pub max_length: Option<i64>,
    /// Fewest characters of a string.
    #[api(14)]
    pub min_length: Option<i64>,
    /// Regular expression that a string matches.
    #[api(15)]
    pub pattern: String,
    /// Most items of a list.
    #[api(16)]
    pub max_items: Option<i64>,
    /// Fewest items of a list.
    #[api(17)]
    pub min_items: Option<i64>,
    /// Must be false: finding equal items takes too long.
    #[api(18)]
    pub unique_items: bool,
    /// What a number is a multiple of.
    #[api(19)]
    pub multiple_of: Option<f64>,
    /// The values allowed.
    #[api(20, list = atomic)]
    pub enum_: Vec<JSON>,
    /// Most entries of an object.
    #[api(21)]
    pub max_properties: Option<i64>,
    /// Fewest entries of an object.
    #[api(22)]
    pub min_properties: Option<i64>,
    /// Fields that must be there.
    #[api(23, list = atomic)]
    pub required: Vec<String>,
    /// Schema of a list's items.
    #[api(24)]
    pub items: Option<JSONSchemaPropsOrArray>,
    /// Schemas that all hold.
    #[api(25, list = atomic)]
    pub all_of: Vec<JSONSchemaProps>,
    /// Schemas of which exactly one holds.
    #[api(26, list = atomic)]
    pub one_of: Vec<JSONSchemaProps>,
    /// Schemas of which at least one holds.
    #[api(27, list = atomic)]
    pub any_of: Vec<JSONSchemaProps>,
    /// A schema that does not hold.
    #[api(28)]
    pub not: Option<Box<JSONSchemaProps>>,
    /// Schemas of the fields by their names.
    #[api(29)]
    pub properties: BTreeMap<String, JSONSchemaProps>,
    /// Schema of all other fields, or whether there may be any.
    #[api(30)]
    pub additional_properties: Option<JSONSchemaPropsOrBool>,
    /// Schemas of fields whose names match; no definition may have them.
    #[api(31)]
    pub pattern_properties: BTreeMap<String, JSONSchemaProps>,
    /// What a field's presence asks for; no definition may have it.
    #[api(32)]
    pub dependencies: BTreeMap<String, JSONSchemaPropsOrStringArray>,
    /// Schema of items beyond those of `items`; no definition may have it.
    #[api(33)]
    pub additional_items: Option<JSONSchemaPropsOrBool>,
    /// Schemas to refer to; no definition may have them.
    #[api(34)]
    pub definitions: BTreeMap<String, JSONSchemaProps>,
    /// Where more can be read.
    #[api(35)]
    pub external_docs: Option<Box<ExternalDocumentation>>,
    /// An example.
    #[api(36)]
    pub example: Option<JSON>,
    /// Whether null is allowed.
    #[api(37)]
    pub nullable: bool,
    /// Whether fields that the schema does not name are kept.
    #[api(38, name = "x-kubernetes-preserve-unknown-fields")]
    pub x_kubernetes_preserve_unknown_fields: Option<bool>,
    /// Whether the value is a whole object, with kind and metadata.
    #[api(39, name = "x-kubernetes-embedded-resource")]
    pub x_kubernetes_embedded_resource: bool,
    /// Whether the value is an integer or a string.
    #[api(40, name = "x-kubernetes-int-or-string")]
    pub x_kubernetes_int_or_string: bool,
    /// Fields that tell the items of a list of type map apart.
    #[api(41, name = "x-kubernetes-list-map-keys", list = atomic)]
    pub x_kubernetes_list_map_keys: Vec<String>,
    /// atomic, set or map: how server-side apply merges the list.
    #[api(42, name = "x-kubernetes-list-type")]
    pub x_kubernetes_list_type: Option<String>,
    /// granular or atomic: how server-side apply merges the object.
    #[api(43, name = "x-kubernetes-map-type")]
    pub x_kubernetes_map_type: Option<String>,
    /// Rules in CEL that the value obeys.
    #[api(44, name = "x-kubernetes-validations", list = map("rule"), patch = merge + merge_key("rule"))]
    pub x_kubernetes_validations: Vec<ValidationRule>,
}

impl JSONSchemaProps {
    /// The schema as a tree; `None` if a value in it nests too deeply to be read.
    pub fn tree(&self) -> Option<Json> {
        serde_json::from_slice(&json::value_to_vec(self)).ok()
    }
}

impl From<&Json> for JSONSchemaProps {
    /// What a schema can carry of the tree; the rest is left out, as where one is read leniently.
    fn from(tree: &Json) -> Self {
        json::from_slice(tree.to_string().as_bytes()).unwrap_or_default()
    }
}

/// Where more can be read.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct ExternalDocumentation {
    /// What is found there.
    #[api(1)]
    pub description: String,
    /// The address.
    #[api(2)]
    pub url: String,
}

/// A rule in CEL.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1")]
pub struct ValidationRule {
    /// The expression; true where the value is right.
    #[api(1, required)]
    pub rule: String,
    /// What a user is told where it is not.
    #[api(2)]
    pub message: String,
    /// The same as an expression; goes before `message`.
    #[api(3)]
    pub message_expression: String,
    /// Reason of the error, FieldValueInvalid when not given.
    #[api(4)]
    pub reason: Option<String>,
    /// Field that the error names.
    #[api(5)]
    pub field_path: String,
    /// Whether the rule is asked where there was no value before, too.
    #[api(6)]
    pub optional_old_self: Option<bool>,
}

/// A schema, or a list.
#[derive(Clone, Debug, PartialEq)]
pub enum SchemaOrList<T> {
    Schema(Option<Box<JSONSchemaProps>>),
    List(Vec<T>),
}

/// A schema for all items, or one for each.
pub type JSONSchemaPropsOrArray = SchemaOrList<JSONSchemaProps>;
/// A schema, or names of fields.
pub type JSONSchemaPropsOrStringArray = SchemaOrList<String>;

impl<T> Default for SchemaOrList<T> {
    fn default() -> Self {
        Self::Schema(None)
    }
}

impl Typed for JSONSchemaPropsOrArray {
    fn type_of() -> &'static Type {
        &Type::Named(
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
            "A schema or a list of schemas.",
        )
    }
}

impl Typed for JSONSchemaPropsOrStringArray {
    fn type_of() -> &'static Type {
        &Type::Named(
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
            "A schema or a list of names.",
        )
    }
}

impl<T: Typed + Default> Value for SchemaOrList<T> {
    fn is_absent(&self) -> bool {
        false
    }
    fn reset(&mut self) {
        *self = Self::default();
    }
    fn write_json(&self, out: &mut json::Writer) {
        match self {
            Self::Schema(schema) => schema.write_json(out),
            Self::List(list) => list.write_json(out),
        }
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        *self = match input.first()? {
            b'[' => Self::List(input.apart(read_value)?),
            b'{' => Self::Schema(Some(input.apart(read_value)?)),
            // COMPAT: what is neither is passed over.
            _ => {
                input.skip_value()?;
                Self::default()
            }
        };
        Ok(())
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        let end = out.mark();
        match self {
            Self::Schema(schema) => schema.write_protobuf(1, out),
            Self::List(list) => list.write_protobuf(2, out),
        }
        out.close_message(number, end);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        let (mut schema, mut list) = (None::<Box<JSONSchemaProps>>, Vec::<T>::new());
        let mut fields = protobuf::Reader::new(wire.bytes()?);
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => schema.read_protobuf(wire)?,
                2 => list.read_protobuf(wire)?,
                _ => {}
            }
        }
        *self = if list.is_empty() { Self::Schema(schema) } else { Self::List(list) };
        Ok(())
    }
}

/// A schema, or whether anything is allowed.
#[derive(Clone, Debug, PartialEq)]
pub enum JSONSchemaPropsOrBool {
    Allows(bool),
    Schema(Box<JSONSchemaProps>),
}

impl Default for JSONSchemaPropsOrBool {
    fn default() -> Self {
        Self::Allows(false)
    }
}

impl Typed for JSONSchemaPropsOrBool {
    fn type_of() -> &'static Type {
        &Type::Named(
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
            "A schema or a boolean.",
        )
    }
}

impl Value for JSONSchemaPropsOrBool {
    fn is_absent(&self) -> bool {
        false
    }
    fn reset(&mut self) {
        *self = Self::default();
    }
    fn write_json(&self, out: &mut json::Writer) {
        match self {
            Self::Allows(allows) => allows.write_json(out),
            Self::Schema(schema) => schema.write_json(out),
        }
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        *self = match input.first()? {
            b'{' => Self::Schema(input.apart(read_value)?),
            _ => match input.token()? {
                Token::Bool(allows) => Self::Allows(allows),
                _ => return Err(input.custom("boolean or JSON schema expected".into())),
            },
        };
        Ok(())
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        let end = out.mark();
        if let Self::Schema(schema) = self {
            schema.write_protobuf(2, out);
        }
        (*self != Self::Allows(false)).write_protobuf(1, out);
        out.close_message(number, end);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        let (mut allows, mut schema) = (false, None::<Box<JSONSchemaProps>>);
        let mut fields = protobuf::Reader::new(wire.bytes()?);
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => allows.read_protobuf(wire)?,
                2 => schema.read_protobuf(wire)?,
                _ => {}
            }
        }
        *self = schema.map_or(Self::Allows(allows), Self::Schema);
        Ok(())
    }
}

fn read_value<T: Value + Default>(input: &mut json::Reader<'_>) -> Result<T, json::Error> {
    let mut value = T::default();
    value.read_json(input)?;
    Ok(value)
}
