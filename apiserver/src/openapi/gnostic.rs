//! OpenAPI v2 as gnostic's protobuf, which kubectl asks for: the JSON document, message by message
//! (gnostic's OpenAPIv2.proto; field numbers are its).
//!
//! Each message is a table from JSON names to field numbers; what protobuf says in another way than
//! JSON (one-of wrappers, maps as lists of named values) is a function. What has no row and does not
//! begin with `x-` is left out. Values of any type travel as YAML text, of which JSON is a part.

use serde_json::{Map, Value};

/// How a JSON value becomes a field.
enum Shape {
    Text,
    Texts,
    Bool,
    Integer,
    Number,
    /// Any value, as YAML.
    Any,
    Anys,
    Message(&'static Message),
    /// One message whose bytes the function makes.
    Made(fn(&Value) -> Vec<u8>),
    /// A list, one message for each of its items.
    Each(fn(&Value) -> Vec<u8>),
}

/// A message: fields by JSON name, and the number under which `x-` entries go.
struct Message {
    fields: &'static [(&'static str, u32, Shape)],
    extensions: u32,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Shape::Text),
        ("info", 2, Shape::Message(&INFO)),
        ("host", 3, Shape::Text),
        ("basePath", 4, Shape::Text),
        ("schemes", 5, Shape::Texts),
        ("consumes", 6, Shape::Texts),
        ("produces", 7, Shape::Texts),
        ("paths", 8, Shape::Made(paths)),
        ("definitions", 9, Shape::Made(schemas)),
        ("parameters", 10, Shape::Made(parameter_definitions)),
        ("responses", 11, Shape::Made(response_definitions)),
        ("security", 12, Shape::Each(requirement)),
        ("securityDefinitions", 13, Shape::Made(security_definitions)),
    ],
    extensions: 16,
};

static INFO: Message = Message {
    fields: &[("title", 1, Shape::Text), ("version", 2, Shape::Text), ("description", 3, Shape::Text)],
    extensions: 7,
};

static PATH: Message = Message {
    fields: &[
        ("$ref", 1, Shape::Text),
        ("get", 2, Shape::Message(&OPERATION)),
        ("put", 3, Shape::Message(&OPERATION)),
        ("post", 4, Shape::Message(&OPERATION)),
        ("delete", 5, Shape::Message(&OPERATION)),
        ("options", 6, Shape::Message(&OPERATION)),
        ("head", 7, Shape::Message(&OPERATION)),
        ("patch", 8, Shape::Message(&OPERATION)),
        ("parameters", 9, Shape::Each(parameter_or_reference)),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Shape::Texts),
        ("summary", 2, Shape::Text),
        ("description", 3, Shape::Text),
        ("operationId", 5, Shape::Text),
        ("produces", 6, Shape::Texts),
        ("consumes", 7, Shape::Texts),
        ("parameters", 8, Shape::Each(parameter_or_reference)),
        ("responses", 9, Shape::Made(responses)),
        ("schemes", 10, Shape::Texts),
        ("deprecated", 11, Shape::Bool),
        ("security", 12, Shape::Each(requirement)),
    ],
    extensions: 13,
};

static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, Shape::Text),
        ("name", 2, Shape::Text),
        ("in", 3, Shape::Text),
        ("required", 4, Shape::Bool),
        ("schema", 5, Shape::Message(&SCHEMA)),
    ],
    extensions: 6,
};

/// Query and form parameters.
static OPEN_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Shape::Bool),
        ("in", 2, Shape::Text),
        ("description", 3, Shape::Text),
        ("name", 4, Shape::Text),
        ("allowEmptyValue", 5, Shape::Bool),
        ("type", 6, Shape::Text),
        ("format", 7, Shape::Text),
        ("items", 8, Shape::Message(&PRIMITIVE)),
        ("collectionFormat", 9, Shape::Text),
        ("default", 10, Shape::Any),
        ("pattern", 17, Shape::Text),
        ("uniqueItems", 20, Shape::Bool),
        ("enum", 21, Shape::Anys),
    ],
    extensions: 23,
};

/// Header and path parameters.
static FIXED_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Shape::Bool),
        ("in", 2, Shape::Text),
        ("description", 3, Shape::Text),
        ("name", 4, Shape::Text),
        ("type", 5, Shape::Text),
        ("format", 6, Shape::Text),
        ("items", 7, Shape::Message(&PRIMITIVE)),
        ("collectionFormat", 8, Shape::Text),
        ("default", 9, Shape::Any),
        ("pattern", 16, Shape::Text),
        ("uniqueItems", 19, Shape::Bool),
        ("enum", 20, Shape::Anys),
    ],
    extensions: 22,
};

static PRIMITIVE: Message = Message {
    fields: &[
        ("type", 1, Shape::Text),
        ("format", 2, Shape::Text),
        ("items", 3, Shape::Message(&PRIMITIVE)),
        ("collectionFormat", 4, Shape::Text),
        ("default", 5, Shape::Any),
    ],
    extensions: 18,
};

static REFERENCE: Message =
    Message { fields: &[("$ref", 1, Shape::Text), ("description", 2, Shape::Text)], extensions: 0 };

static RESPONSE: Message = Message {
    fields: &[("description", 1, Shape::Text), ("schema", 2, Shape::Made(schema_item))],
    extensions: 5,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Shape::Text),
        ("format", 2, Shape::Text),
        ("title", 3, Shape::Text),
        ("description", 4, Shape::Text),
        ("default", 5, Shape::Any),
        ("multipleOf", 6, Shape::Number),
        ("maximum", 7, Shape::Number),
        ("exclusiveMaximum", 8, Shape::Bool),
        ("minimum", 9, Shape::Number),
        ("exclusiveMinimum", 10, Shape::Bool),
        ("maxLength", 11, Shape::Integer),
        ("minLength", 12, Shape::Integer),
        ("pattern", 13, Shape::Text),
        ("maxItems", 14, Shape::Integer),
        ("minItems", 15, Shape::Integer),
        ("uniqueItems", 16, Shape::Bool),
        ("maxProperties", 17, Shape::Integer),
        ("minProperties", 18, Shape::Integer),
        ("required", 19, Shape::Texts),
        ("enum", 20, Shape::Anys),
        ("additionalProperties", 21, Shape::Made(additional_properties)),
        ("type", 22, Shape::Made(type_item)),
        ("items", 23, Shape::Made(items_item)),
        ("allOf", 24, Shape::Each(schema)),
        ("properties", 25, Shape::Made(schemas)),
        ("discriminator", 26, Shape::Text),
        ("readOnly", 27, Shape::Bool),
        ("example", 30, Shape::Any),
    ],
    extensions: 31,
};

static API_KEY: Message = Message {
    fields: &[
        ("type", 1, Shape::Text),
        ("name", 2, Shape::Text),
        ("in", 3, Shape::Text),
        ("description", 4, Shape::Text),
    ],
    extensions: 5,
};

static BASIC: Message =
    Message { fields: &[("type", 1, Shape::Text), ("description", 2, Shape::Text)], extensions: 3 };

/// The document in protobuf.
pub fn encode(document: &Value) -> Vec<u8> {
    message(&DOCUMENT, document)
}

fn message(table: &'static Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let Value::Object(entries) = value else { return out };
    for (name, number, shape) in table.fields {
        if let Some(value) = entries.get(*name) {
            field(&mut out, *number, shape, value);
        }
    }
    if table.extensions != 0 {
        extensions(&mut out, table.extensions, entries);
    }
    out
}

fn extensions(out: &mut Vec<u8>, number: u32, entries: &Map<String, Value>) {
    for (name, value) in entries.iter().filter(|(name, _)| name.starts_with("x-")) {
        bytes(out, number, &named(name, &any(value)));
    }
}

/// Empty values are left out, as proto3 has it; messages that are there are written even if empty.
fn field(out: &mut Vec<u8>, number: u32, shape: &Shape, value: &Value) {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    match shape {
        Shape::Text => text(out, number, value.as_str().unwrap_or_default()),
        Shape::Texts => {
            for item in list {
                bytes(out, number, item.as_str().unwrap_or_default().as_bytes());
            }
        }
        Shape::Bool => {
            if value.as_bool() == Some(true) {
                varint(out, u64::from(number) << 3);
                out.push(1);
            }
        }
        Shape::Integer => {
            if let Some(value) = value.as_i64().filter(|value| *value != 0) {
                varint(out, u64::from(number) << 3);
                varint(out, value.cast_unsigned());
            }
        }
        Shape::Number => {
            if let Some(value) = value.as_f64().filter(|value| *value != 0.0) {
                varint(out, u64::from(number) << 3 | 1);
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        Shape::Any => bytes(out, number, &any(value)),
        Shape::Anys => list.iter().for_each(|item| bytes(out, number, &any(item))),
        Shape::Message(table) => bytes(out, number, &message(table, value)),
        Shape::Made(make) => bytes(out, number, &make(value)),
        Shape::Each(make) => list.iter().for_each(|item| bytes(out, number, &make(item))),
    }
}

fn schema(value: &Value) -> Vec<u8> {
    message(&SCHEMA, value)
}

fn paths(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let Value::Object(entries) = value else { return out };
    extensions(&mut out, 1, entries);
    for (path, item) in entries.iter().filter(|(name, _)| name.starts_with('/')) {
        bytes(&mut out, 2, &named(path, &message(&PATH, item)));
    }
    out
}

/// A map, as a list of named values.
fn map(value: &Value, make: fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        bytes(&mut out, 1, &named(name, &make(value)));
    }
    out
}

fn schemas(value: &Value) -> Vec<u8> {
    map(value, schema)
}

fn parameter_definitions(value: &Value) -> Vec<u8> {
    map(value, parameter)
}

fn response_definitions(value: &Value) -> Vec<u8> {
    map(value, |response| message(&RESPONSE, response))
}

fn security_definitions(value: &Value) -> Vec<u8> {
    map(value, |definition| match definition["type"].as_str() {
        Some("apiKey") => wrapped(2, &message(&API_KEY, definition)),
        Some("basic") => wrapped(1, &message(&BASIC, definition)),
        _ => Vec::new(),
    })
}

fn requirement(value: &Value) -> Vec<u8> {
    map(value, |scopes| {
        let mut out = Vec::new();
        field(&mut out, 1, &Shape::Texts, scopes);
        out
    })
}

fn parameter_or_reference(value: &Value) -> Vec<u8> {
    if value.get("$ref").is_some() {
        return wrapped(2, &message(&REFERENCE, value));
    }
    wrapped(1, &parameter(value))
}

fn parameter(value: &Value) -> Vec<u8> {
    let (number, table) = match value["in"].as_str() {
        Some("body") => return wrapped(1, &message(&BODY_PARAMETER, value)),
        Some("header") => (1, &FIXED_PARAMETER),
        Some("formData") => (2, &OPEN_PARAMETER),
        Some("path") => (4, &FIXED_PARAMETER),
        _ => (3, &OPEN_PARAMETER),
    };
    wrapped(2, &wrapped(number, &message(table, value)))
}

fn responses(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let Value::Object(entries) = value else { return out };
    for (code, response) in entries.iter().filter(|(name, _)| !name.starts_with("x-")) {
        let response = if response.get("$ref").is_some() {
            wrapped(2, &message(&REFERENCE, response))
        } else {
            wrapped(1, &message(&RESPONSE, response))
        };
        bytes(&mut out, 1, &named(code, &response));
    }
    extensions(&mut out, 2, entries);
    out
}

fn schema_item(value: &Value) -> Vec<u8> {
    wrapped(1, &schema(value))
}

/// A schema, or whether there may be any.
fn additional_properties(value: &Value) -> Vec<u8> {
    match value {
        // A one-of that is false is still there.
        Value::Bool(on) => vec![2 << 3, u8::from(*on)],
        other => wrapped(1, &schema(other)),
    }
}

fn type_item(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::String(one) => text(&mut out, 1, one),
        several => field(&mut out, 1, &Shape::Texts, several),
    }
    out
}

fn items_item(value: &Value) -> Vec<u8> {
    match value {
        Value::Array(several) => several.iter().flat_map(|one| wrapped(1, &schema(one))).collect(),
        one => wrapped(1, &schema(one)),
    }
}

fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 2, &format!("{value}\n"));
    out
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 8);
    text(&mut out, 1, name);
    bytes(&mut out, 2, value);
    out
}

fn wrapped(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 6);
    bytes(&mut out, number, value);
    out
}

fn text(out: &mut Vec<u8>, number: u32, value: &str) {
    if !value.is_empty() {
        bytes(out, number, value.as_bytes());
    }
}

fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The fields of a message with length-delimited fields only.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
        fn number(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let (first, rest) = bytes.split_first().expect("a byte");
                *bytes = rest;
                value |= u64::from(first & 0x7f) << shift;
                shift += 7;
                if first & 0x80 == 0 {
                    return value;
                }
            }
        }
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = number(&mut bytes);
            assert_eq!(tag & 7, 2, "field {} is length-delimited", tag >> 3);
            let length = usize::try_from(number(&mut bytes)).expect("a length");
            let (value, rest) = bytes.split_at(length);
            found.push((tag >> 3, value));
            bytes = rest;
        }
        found
    }

    fn one(bytes: &[u8], number: u64) -> &[u8] {
        let all: Vec<_> = fields(bytes).into_iter().filter(|(n, _)| *n == number).collect();
        assert_eq!(all.len(), 1, "field {number}");
        all[0].1
    }

    #[test]
    fn definitions_keep_their_names_types_and_extensions() {
        let encoded = encode(&json!({
            "swagger": "2.0",
            "definitions": {"a.Pod": {
                "type": "object",
                "properties": {"spec": {"$ref": "#/definitions/a.Spec"}},
                "x-kubernetes-group-version-kind": [{"group": "", "kind": "Pod", "version": "v1"}],
            }},
        }));
        assert_eq!(one(&encoded, 1), b"2.0");
        let definition = one(one(&encoded, 9), 1);
        assert_eq!(one(definition, 1), b"a.Pod");
        let schema = one(definition, 2);
        assert_eq!(one(one(schema, 22), 1), b"object");
        let property = one(one(schema, 25), 1);
        assert_eq!(
            (one(property, 1), one(one(property, 2), 1)),
            (&b"spec"[..], &b"#/definitions/a.Spec"[..])
        );
        let extension = one(schema, 31);
        assert_eq!(one(extension, 1), b"x-kubernetes-group-version-kind");
        assert_eq!(one(one(extension, 2), 2), b"[{\"group\":\"\",\"kind\":\"Pod\",\"version\":\"v1\"}]\n");
    }

    #[test]
    fn parameters_are_wrapped_by_where_they_are() {
        let at = |place: &str| parameter_or_reference(&json!({"name": "n", "in": place}));
        assert_eq!(one(one(one(&at("body"), 1), 1), 2), b"n");
        assert_eq!(one(one(one(one(&at("query"), 1), 2), 3), 4), b"n");
        assert_eq!(one(one(one(one(&at("path"), 1), 2), 4), 4), b"n");
        let reference = parameter_or_reference(&json!({"$ref": "#/parameters/p"}));
        assert_eq!(one(one(&reference, 2), 1), b"#/parameters/p");
    }

    #[test]
    fn scalars_are_written_in_their_wire_types() {
        assert_eq!(
            schema(&json!({"maxLength": 300, "minimum": 1.0, "uniqueItems": true, "readOnly": false})),
            [&[0x49][..], &1f64.to_le_bytes(), &[0x58, 0xac, 0x02, 0x80, 0x01, 0x01]].concat()
        );
        assert_eq!(additional_properties(&json!(false)), [0x10, 0x00]);
    }
}
