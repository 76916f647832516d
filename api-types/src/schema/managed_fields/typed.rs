//! Whether a tree is what its schema says, told as structured merge diff tells it: server-side apply and policies
//! that change objects refuse what is not, before anything else looks at it. Pure.

use super::Root;
use super::set;
use super::walk::{Node, of_embedded};
use crate::custom::structural::Additional;
use crate::custom::{Custom, Structural};
use crate::schema::{Field, StructType, Type};
use serde_json::Value;
use std::fmt::Write as _;

/// A part of a tree that is not what its schema says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// `.spec.containers[name="a"].image`
    pub path: String,
    pub message: String,
}

/// All of them, as upstream's messages list them.
pub fn listed(found: &[Mismatch]) -> String {
    let line = |one: &Mismatch| match one.path.as_str() {
        "" => one.message.clone(),
        path => format!("{path}: {}", one.message),
    };
    match found {
        [one] => line(one),
        many => many.iter().fold("errors:".to_owned(), |mut text, one| {
            let _ = write!(text, "\n  {}", line(one));
            text
        }),
    }
}

/// What the schema says of a value.
#[derive(Clone, Copy)]
enum At<'a> {
    Struct(&'static StructType),
    Typed(&'static Type, Option<&'static Field>),
    CustomRoot(&'a Structural),
    Custom(&'a Structural),
    Anything,
}

/// The form that a value has to have.
enum Form {
    Map,
    List,
    Numeric,
    Text,
    Boolean,
    Scalar,
    Anything,
}

impl<'a> At<'a> {
    fn root(root: &'a Root) -> Self {
        match root {
            Root::Typed(table) => Self::Struct(table),
            Root::Custom(definition) => Self::CustomRoot(&definition.schema),
        }
    }

    fn form(self) -> Form {
        match self {
            Self::Struct(_) | Self::CustomRoot(_) => Form::Map,
            Self::Anything => Form::Anything,
            Self::Typed(ty, _) => match ty {
                Type::Bool => Form::Boolean,
                Type::Int32 | Type::Int64 | Type::Double => Form::Numeric,
                Type::String
                | Type::Enum(..)
                | Type::Bytes
                | Type::Time
                | Type::MicroTime
                | Type::Duration => Form::Text,
                Type::Quantity | Type::IntOrString => Form::Scalar,
                Type::RawExtension | Type::FieldsV1 | Type::Named(..) => Form::Anything,
                Type::StringList | Type::List(_) => Form::List,
                Type::Struct(_) | Type::Map(_) => Form::Map,
            },
            Self::Custom(schema) => match schema.type_.as_str() {
                _ if schema.int_or_string => Form::Scalar,
                "object" => Form::Map,
                "array" => Form::List,
                "string" => Form::Text,
                "boolean" => Form::Boolean,
                "integer" | "number" => Form::Numeric,
                _ => Form::Anything,
            },
        }
    }

    /// What stands under a key; `None` where the schema knows no such field.
    fn below(self, name: &str) -> Option<Self> {
        let of = |table: &'static StructType| table.field(name).map(|own| Self::Typed((own.ty)(), Some(own)));
        match self {
            Self::Struct(table) => {
                of(table).or_else(|| matches!(name, "kind" | "apiVersion").then_some(Self::Anything))
            }
            Self::Typed(Type::Struct(table), _) => of(table()),
            Self::Typed(Type::Map(item), _) => Some(Self::Typed(item(), None)),
            Self::CustomRoot(_) if matches!(name, "kind" | "apiVersion") => Some(Self::Anything),
            Self::CustomRoot(_) if name == "metadata" => Self::Struct(Custom::schema()).below(name),
            Self::Custom(schema) if of_embedded(schema, name) => match name {
                "metadata" => Self::Struct(Custom::schema()).below(name),
                _ => Some(Self::Typed(&Type::String, None)),
            },
            Self::CustomRoot(schema) | Self::Custom(schema) => match schema.properties.get(name) {
                Some(own) => Some(Self::Custom(own)),
                None => match &schema.additional {
                    Some(Additional::Schema(own)) => Some(Self::Custom(own)),
                    Some(Additional::Any(true)) => Some(Self::Anything),
                    _ => schema.preserve_unknown.then_some(Self::Anything),
                },
            },
            _ => Some(Self::Anything),
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Typed(Type::List(item), _) => Self::Typed(item(), None),
            Self::Typed(Type::StringList, _) => Self::Typed(&Type::String, None),
            Self::Custom(schema) => schema.items.as_deref().map_or(Self::Anything, Self::Custom),
            _ => Self::Anything,
        }
    }

    /// How apply sees it.
    fn node(self) -> Node<'a> {
        match self {
            Self::Struct(table) => Node::Struct(table),
            Self::Typed(ty, field) => Node::of(ty, field),
            Self::CustomRoot(schema) => Node::CustomRoot(schema),
            Self::Custom(schema) => Node::custom(schema),
            Self::Anything => Node::Unknown,
        }
    }
}

/// Go's `%v` of a value out of JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut entries: Vec<String> =
                map.iter().map(|(name, inner)| format!("{name}:{}", shown(inner))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

/// Go's `%#v` of a value out of JSON.
fn spelled(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(spelled).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let mut entries: Vec<String> =
                map.iter().map(|(name, inner)| format!("{name:?}:{}", spelled(inner))).collect();
            entries.sort();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// What is wrong with a tree; nothing where it is what its schema says.
pub fn mismatches(root: impl Into<Root>, value: &Value) -> Vec<Mismatch> {
    let mut found = Vec::new();
    check(At::root(&root.into()), value, "", &mut found);
    found
}

fn check(at: At<'_>, value: &Value, path: &str, found: &mut Vec<Mismatch>) {
    if value.is_null() {
        return;
    }
    // COMPAT: the texts show the Go value that holds the JSON.
    let message = match (at.form(), value) {
        (Form::Map, Value::Object(map)) => {
            for (name, inner) in map {
                let path = format!("{path}.{name}");
                match at.below(name) {
                    Some(below) => check(below, inner, &path, found),
                    None => {
                        found.push(Mismatch { path, message: "field not declared in schema".to_owned() });
                        // The rest of the map is not looked at.
                        break;
                    }
                }
            }
            return;
        }
        (Form::List, Value::Array(items)) => return check_items(at, items, path, found),
        (Form::Numeric, Value::Number(_))
        | (Form::Text, Value::String(_))
        | (Form::Boolean, Value::Bool(_))
        | (Form::Scalar, Value::Number(_) | Value::String(_) | Value::Bool(_))
        | (Form::Anything, _) => return,
        (Form::Map, _) => format!("expected map, got &{{{}}}", shown(value)),
        (Form::List, _) => format!("expected list, got &{{{}}}", shown(value)),
        (Form::Numeric, _) => format!("expected numeric (int or float), got {}", go_type(value)),
        (Form::Text, _) => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", spelled(value))
        }
        (Form::Boolean, _) => format!("expected boolean, got &{{{}}}", shown(value)),
        (Form::Scalar, _) => format!("expected any scalar, got &{{{}}}", shown(value)),
    };
    found.push(Mismatch { path: path.to_owned(), message });
}

fn check_items(at: At<'_>, items: &[Value], path: &str, found: &mut Vec<Mismatch>) {
    let node = at.node();
    let keyed = matches!(node, Node::ListMap(..) | Node::CustomList(_));
    let mut seen: Vec<String> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let mut wrong = |message: String| found.push(Mismatch { path: path.to_owned(), message });
        let mut element = format!("[{place}]");
        if keyed || matches!(node, Node::ListSet) {
            let why = match (keyed, item) {
                (true, Value::Null) => Some("associative list with keys may not have a null element"),
                (true, Value::Object(_)) => None,
                (true, _) => Some("associative list with keys may not have non-map elements"),
                (false, Value::Object(_)) => {
                    Some("associative list without keys has an element that's a map type")
                }
                (false, Value::Array(_)) => Some("not supported: associative list with lists as elements"),
                (false, Value::Null) => {
                    Some("associative list without keys has an element that's an explicit null")
                }
                (false, _) => None,
            };
            if let Some(why) = why {
                return wrong(format!("element {place}: {why}"));
            }
            let id = node.element(item);
            if id == "k:{}" {
                let keys = node.keys().iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(" ");
                return wrong(format!(
                    "element {place}: associative list with keys has an element that omits all key fields [{keys}] \
                     (and doesn't have default values for any key fields)"
                ));
            }
            element = set::shown(std::slice::from_ref(&id));
            if seen.contains(&id) {
                wrong(format!("duplicate entries for key {element}"));
            }
            seen.push(id);
        }
        check(at.item(), item, &format!("{path}{element}"), found);
    }
}

/// Paths of what is owned as a whole and not a scalar: an apply configuration that names such a thing replaces it.
pub fn atomic_parts(root: impl Into<Root>, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    atomics(At::root(&root.into()), value, "", &mut found);
    found
}

fn atomics(at: At<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    let node = at.node();
    match value {
        Value::Object(map) => {
            if !matches!(at, At::Anything) && !node.is_object() {
                found.push(path.to_owned());
            }
            for (name, inner) in map {
                if let Some(below) = at.below(name) {
                    atomics(below, inner, &format!("{path}.{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            if !node.is_list() {
                found.push(path.to_owned());
            }
            for (place, item) in items.iter().enumerate() {
                atomics(at.item(), item, &format!("{path}[{place}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::v1::Deployment;
    use serde_json::json;

    fn told(value: &Value) -> String {
        let table = Deployment::schema();
        listed(&mismatches(table, value))
    }

    #[test]
    fn what_is_not_as_declared_is_told_as_upstream_tells_it() {
        let check = |spec: Value, expected: &str| {
            assert_eq!(told(&json!({"kind": "Deployment", "apiVersion": "apps/v1", "spec": spec})), expected);
        };
        check(json!({"replicas": "x"}), ".spec.replicas: expected numeric (int or float), got string");
        check(json!({"paused": "no"}), ".spec.paused: expected boolean, got &{no}");
        check(json!({"selector": [1]}), ".spec.selector: expected map, got &{[1]}");
        check(json!({"nope": 1}), ".spec.nope: field not declared in schema");
        assert_eq!(mismatches(Deployment::schema(), &json!({"spec": {"replicas": null}})), []);
        let containers = |items: Value| json!({"template": {"spec": {"containers": items}}});
        check(
            containers(json!([{"name": "a", "image": 5}])),
            r#".spec.template.spec.containers[name="a"].image: expected string, got &value.valueUnstructured{Value:5}"#,
        );
        check(
            containers(json!([{"name": "a"}, {"name": "a"}])),
            r#".spec.template.spec.containers: duplicate entries for key [name="a"]"#,
        );
        check(
            containers(json!([{"image": "a"}])),
            r#".spec.template.spec.containers: element 0: associative list with keys has an element that omits all key fields ["name"] (and doesn't have default values for any key fields)"#,
        );
        check(
            json!({"replicas": "x", "strategy": {"rollingUpdate": {"maxSurge": {"a": 1}}}}),
            "errors:\n  .spec.replicas: expected numeric (int or float), got string\n  .spec.strategy.rollingUpdate.maxSurge: expected any scalar, got &{map[a:1]}",
        );
    }

    #[test]
    fn what_would_be_replaced_is_found() {
        let table = Deployment::schema();
        let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {
            "containers": [{"name": "a", "args": ["x"]}], "nodeSelector": {"a": "b"}}}});
        assert_eq!(
            atomic_parts(table, &json!({"spec": spec})),
            [".spec.selector", ".spec.template.spec.containers[0].args", ".spec.template.spec.nodeSelector"]
        );
    }
}
