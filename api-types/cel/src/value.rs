//! Values of expressions. Objects stay the JSON that they are: a `Value` borrows it and reads a field when it
//! is asked for, in the light of its schema where there is one (dates, bytes, numbers, keyed lists).

use super::authorization::Check;
use super::error::EvalError;
use super::library::format::Format;
use super::library::net::{Cidr, Url};
use super::library::semver::Semver;
use super::made::{Made, text_key};
use api_types::Quantity;
use api_types::custom::Structural;
use api_types::custom::structural::Additional;
use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map as JsonMap, Value as Json};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

/// A string, borrowed from an object or made by an expression.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// What a JSON value is read as.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape<'a> {
    schema: Option<&'a Structural>,
    /// Kind, apiVersion and the names of metadata are fields whatever the schema says.
    root: bool,
}

impl<'a> Shape<'a> {
    /// JSON as it stands.
    pub const PLAIN: Self = Self { schema: None, root: false };

    pub fn of(schema: &'a Structural, root: bool) -> Self {
        Self { schema: Some(schema), root }
    }
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Box<str>),
}

#[derive(Debug, Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Duration(SignedDuration),
    Timestamp(Timestamp),
    List(Arc<Vec<Value<'a>>>),
    Map(Arc<IndexMap<Key, Value<'a>>>),
    /// A map in which every key can be looked up: what is not in it is an empty map.
    Domains(Arc<IndexMap<Key, Value<'a>>>),
    /// A list of an object.
    Items(&'a [Json], Shape<'a>),
    /// A map of an object, or the object.
    Fields(&'a JsonMap<String, Json>, Shape<'a>),
    Optional(Option<Arc<Value<'a>>>),
    /// An object that the expression made.
    Made(Arc<Made<'a>>),
    Type(Text<'a>),
    Url(Arc<Url>),
    Ip(IpAddr),
    Cidr(Cidr),
    Quantity(Quantity),
    Semver(Arc<Semver>),
    Format(&'static Format),
    Authorization(Arc<Check<'a>>),
}

/// `metadata` of a resource, as far as expressions see it.
static METADATA: LazyLock<Structural> = LazyLock::new(|| {
    let text = || Structural { type_: "string".into(), ..Structural::default() };
    Structural {
        type_: "object".into(),
        properties: [("name".to_owned(), text()), ("generateName".to_owned(), text())].into(),
        ..Structural::default()
    }
});
static TEXT: LazyLock<Structural> =
    LazyLock::new(|| Structural { type_: "string".into(), ..Structural::default() });

impl<'a> Value<'a> {
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(Arc::new(items))
    }

    pub fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    pub const NONE: Value<'static> = Value::Optional(None);

    /// JSON as it stands.
    pub fn plain(json: &'a Json) -> Self {
        Self::read(json, Shape::PLAIN).unwrap_or(Self::Null)
    }

    /// JSON as its schema has it.
    ///
    /// # Errors
    /// For texts that are not of their format.
    pub fn read(json: &'a Json, shape: Shape<'a>) -> Result<Self, EvalError> {
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => {
                let whole = n.as_i64();
                match (shape.schema.map(|s| s.type_.as_str()), whole) {
                    (Some("number"), _) | (_, None) => match (n.as_f64(), shape.schema) {
                        (Some(f), Some(schema)) if schema.type_ == "integer" => Self::Int(f as i64),
                        (f, _) => Self::Double(f.unwrap_or_default()),
                    },
                    (_, Some(whole)) => Self::Int(whole),
                }
            }
            Json::String(text) => return Self::read_text(text, shape),
            Json::Array(items) => Self::Items(items, shape),
            Json::Object(map) => Self::Fields(map, shape),
        })
    }

    fn read_text(text: &'a str, shape: Shape<'a>) -> Result<Self, EvalError> {
        let Some(schema) = shape.schema.filter(|s| s.type_ == "string") else {
            return Ok(Self::String(Text::Borrowed(text)));
        };
        match schema.checks.format.as_str() {
            "duration" => super::library::time::parse_duration(text)
                .map(Self::Duration)
                .ok_or_else(|| EvalError::failed(format!("Invalid duration: unable to parse {text:?}"))),
            "date" => {
                let date: Option<jiff::civil::Date> = text.parse().ok();
                let at = date.and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC).ok());
                let at = at.map(|zoned| Self::Timestamp(zoned.timestamp()));
                at.ok_or_else(|| EvalError::failed(format!("Invalid date formatted string {text:?}")))
            }
            "date-time" => text
                .parse()
                .map(Self::Timestamp)
                .map_err(|_| EvalError::failed(format!("Invalid date-time formatted string {text:?}"))),
            "byte" => {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                bytes
                    .map(|bytes| Self::Bytes(bytes.into()))
                    .map_err(|_| EvalError::failed(format!("Invalid byte formatted string {text:?}")))
            }
            _ => Ok(Self::String(Text::Borrowed(text))),
        }
    }

    /// The name of its type, as `type(x)` prints it; of what expressions make, its first part.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Made(made) => made.sort(),
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) | Self::Items(..) => "list",
            Self::Map(_) | Self::Domains(_) | Self::Fields(..) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorization(check) => check.type_name(),
        }
    }

    /// Characters, bytes or elements; `None` for what has no size.
    pub fn size(&self) -> Option<usize> {
        Some(match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::Items(items, _) => items.len(),
            Self::Map(map) | Self::Domains(map) => map.len(),
            Self::Fields(map, _) => map.len(),
            Self::Cidr(cidr) => {
                usize::from(cidr.address.is_ipv4()) * 4 + usize::from(cidr.address.is_ipv6()) * 16
            }
            Self::Ip(ip) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            _ => return None,
        })
    }

    /// What it counts for in costs.
    pub fn weight(&self) -> u64 {
        self.size().map_or(1, |size| size as u64)
    }

    /// The elements of a list.
    pub fn elements(&self) -> Option<Vec<Value<'a>>> {
        let count = match self {
            Self::List(items) => return Some(items.to_vec()),
            Self::Items(items, _) => items.len(),
            _ => return None,
        };
        (0..count).map(|place| self.element(place).and_then(Result::ok)).collect()
    }

    /// An element of a list.
    pub fn element(&self, place: usize) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Self::List(items) => items.get(place).cloned().map(Ok),
            Self::Items(items, shape) => {
                let of = shape.schema.and_then(|s| s.items.as_deref());
                let inner = Shape { schema: of, root: of.is_some_and(|s| s.embedded) };
                items.get(place).map(|item| Value::read(item, inner))
            }
            _ => None,
        }
    }

    /// The keys of a map, in its order.
    pub fn keys(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Self::Map(map) | Self::Domains(map) => Some(map.keys().map(Key::value).collect()),
            Self::Fields(map, _) => Some(map.keys().map(|k| Value::String(Text::Borrowed(k))).collect()),
            _ => None,
        }
    }

    /// The value under a key of a map; `None` where there is none.
    pub fn lookup(&self, key: &Key) -> Option<Result<Value<'a>, EvalError>> {
        match (self, key) {
            (Self::Map(map), key) => map.get(key).cloned().map(Ok),
            (Self::Domains(map), key) => Some(Ok(map.get(key).cloned().unwrap_or_else(Self::empty))),
            (Self::Fields(..), Key::String(name)) => self.field(name, name),
            _ => None,
        }
    }

    /// Whether a map has a key.
    pub fn has(&self, key: &Key) -> bool {
        match self {
            Self::Domains(map) => map.contains_key(key),
            _ => self.lookup(key).is_some(),
        }
    }

    fn empty() -> Self {
        Self::Map(Arc::default())
    }

    /// A field of an object or map. `name` is as the expression has it, `plain` without escapes.
    pub fn field(&self, name: &str, plain: &str) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Self::Map(map) => map.get(&Key::String(name.into())).cloned().map(Ok),
            Self::Domains(_) => self.lookup(&Key::String(name.into())),
            Self::Made(made) => made.field(plain).map(Ok),
            Self::Fields(map, shape) => {
                let Some(schema) = shape.schema else {
                    return map.get(name).map(|found| Value::read(found, Shape::PLAIN));
                };
                if let Some(Additional::Schema(of)) = &schema.additional {
                    let inner = Shape { schema: Some(of), root: of.embedded };
                    return map.get(name).map(|found| Value::read(found, inner));
                }
                let inner = if shape.root && matches!(plain, "kind" | "apiVersion") {
                    Shape { schema: Some(&TEXT), root: false }
                } else if shape.root && plain == "metadata" {
                    Shape { schema: Some(&METADATA), root: false }
                } else {
                    let of = schema.properties.get(plain)?;
                    Shape { schema: Some(of), root: of.embedded }
                };
                map.get(plain).map(|found| Value::read(found, inner))
            }
            _ => None,
        }
    }

    /// As JSON.
    ///
    /// # Errors
    /// For what JSON cannot say.
    pub fn json(&self) -> Result<Json, String> {
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(n) => Json::from(*n),
            Self::Uint(n) => Json::from(*n),
            Self::Double(f) => Json::from(*f),
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => {
                use base64::Engine as _;
                Json::String(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Self::Timestamp(at) => Json::String(at.to_string()),
            Self::Duration(d) => Json::String(super::library::time::show_duration(*d)),
            Self::List(items) => items.iter().map(Value::json).collect::<Result<Vec<_>, _>>()?.into(),
            Self::Items(items, _) => Json::Array(items.to_vec()),
            Self::Map(map) | Self::Domains(map) => {
                let entries = map.iter().map(|(k, v)| Ok((text_key(k)?.to_owned(), v.json()?)));
                Json::Object(entries.collect::<Result<_, String>>()?)
            }
            Self::Made(made) => {
                let fields = made.fields.iter().map(|(name, value)| {
                    let json =
                        value.json().map_err(|why| format!("fail to convert field {name:?}: {why}"))?;
                    Ok((name.to_string(), json))
                });
                Json::Object(fields.collect::<Result<_, String>>()?)
            }
            Self::Fields(map, _) => Json::Object((*map).clone()),
            Self::Optional(Some(inner)) => return inner.json(),
            Self::Optional(None) => Json::Null,
            Self::Quantity(q) => Json::String(q.to_string()),
            other => return Err(format!("unsupported type: {}", other.type_name())),
        })
    }

    /// Whether two values are the same; values of different sorts are not.
    pub fn equals(&self, other: &Self) -> bool {
        if let Some(order) = numbers(self, other) {
            return order == Some(Ordering::Equal);
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) | (Self::Type(a), Self::Type(b)) => **a == **b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::Made(a), Self::Made(b)) => a.equals(b),
            (Self::Url(a), Self::Url(b)) => a.text == b.text,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.order(b) == Ordering::Equal,
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Authorization(a), Self::Authorization(b)) => Arc::ptr_eq(a, b),
            (
                Self::Map(_) | Self::Domains(_) | Self::Fields(..),
                Self::Map(_) | Self::Domains(_) | Self::Fields(..),
            ) => {
                let (Some(own), Some(others)) = (self.keys(), other.keys()) else { return false };
                own.len() == others.len()
                    && own.iter().filter_map(Key::of).all(|key| {
                        match (self.lookup(&key), other.lookup(&key)) {
                            (Some(Ok(a)), Some(Ok(b))) => other.has(&key) && a.equals(&b),
                            _ => false,
                        }
                    })
            }
            (Self::List(_) | Self::Items(..), Self::List(_) | Self::Items(..)) => {
                let (Some(own), Some(others)) = (self.elements(), other.elements()) else { return false };
                if own.len() != others.len() {
                    return false;
                }
                match self.list_keys().or(other.list_keys()) {
                    // Lists that are sets or maps have no order.
                    Some(keys) => {
                        own.iter().all(|a| others.iter().any(|b| same_item(a, b, keys) && a.equals(b)))
                    }
                    None => own.iter().zip(&others).all(|(a, b)| a.equals(b)),
                }
            }
            _ => false,
        }
    }

    /// The keys of a list that is a map; empty for one that is a set.
    pub fn list_keys(&self) -> Option<&'a [String]> {
        match self {
            Self::Items(_, Shape { schema: Some(schema), .. }) => match schema.list_type.as_str() {
                "set" => Some(&[]),
                "map" => Some(&schema.list_keys),
                _ => None,
            },
            _ => None,
        }
    }

    /// How two values are ordered; `None` for values that are not.
    pub fn order(&self, other: &Self) -> Result<Option<Ordering>, EvalError> {
        if let Some(order) = numbers(self, other) {
            return order.map(Some).ok_or_else(|| EvalError::failed("NaN values cannot be ordered"));
        }
        Ok(Some(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => (**a).cmp(&**b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            _ => return Ok(None),
        }))
    }
}

/// Whether two items of a list stand for the same: those of sets by value, those of maps by their keys.
pub fn same_item(a: &Value<'_>, b: &Value<'_>, keys: &[String]) -> bool {
    if keys.is_empty() {
        return a.equals(b);
    }
    keys.iter().all(|key| match (a.field(key, key), b.field(key, key)) {
        (Some(Ok(a)), Some(Ok(b))) => a.equals(&b),
        (None, None) => true,
        _ => false,
    })
}

/// How two numbers are ordered: `None` for what are not two numbers, `Some(None)` with NaN among them.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    use Value::{Double, Int, Uint};
    Some(match (a, b) {
        (Int(a), Int(b)) => Some(a.cmp(b)),
        (Uint(a), Uint(b)) => Some(a.cmp(b)),
        (Double(a), Double(b)) => a.partial_cmp(b),
        (Int(a), Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Uint(a), Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Int(a), Double(b)) => (*a as f64).partial_cmp(b),
        (Double(a), Int(b)) => a.partial_cmp(&(*b as f64)),
        (Uint(a), Double(b)) => (*a as f64).partial_cmp(b),
        (Double(a), Uint(b)) => a.partial_cmp(&(*b as f64)),
        _ => return None,
    })
}

impl Key {
    /// The key that a value is; `None` for values that are none.
    pub fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(n) => Self::Int(*n),
            Value::Uint(n) => i64::try_from(*n).map_or(Self::Uint(*n), Self::Int),
            Value::Double(f) if f.fract() == 0.0 && f.abs() < 9.0e15 => Self::Int(*f as i64),
            Value::String(text) => Self::String((**text).into()),
            _ => return None,
        })
    }

    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Uint(n) => Value::Uint(*n),
            Self::String(text) => Value::text(&**text),
        }
    }

    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Bool(b) => b.to_string().into(),
            Self::Int(n) => n.to_string().into(),
            Self::Uint(n) => n.to_string().into(),
            Self::String(text) => Cow::Borrowed(text),
        }
    }
}
