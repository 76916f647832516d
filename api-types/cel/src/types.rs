//! Types of CEL as the checker knows them, printed as upstream prints them, and declarations: types
//! with the sizes that their values can have, from which costs are estimated.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Debug, Clone)]
pub enum Type {
    Dyn,
    /// What only the value knows; as `Dyn`, but no loop goes through it.
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// The type of a type.
    #[allow(clippy::enum_variant_names, reason = "that is its name")]
    Type(Arc<Type>),
    /// An object with known fields.
    Object(Arc<ObjectType>),
    /// A type of Kubernetes' libraries.
    Opaque(&'static str),
    /// A type parameter: in a signature its place, in a check a variable.
    Param(u32),
}

pub const URL: Type = Type::Opaque("kubernetes.URL");
pub const IP: Type = Type::Opaque("net.IP");
pub const CIDR: Type = Type::Opaque("net.CIDR");
pub const QUANTITY: Type = Type::Opaque("kubernetes.Quantity");
pub const SEMVER: Type = Type::Opaque("kubernetes.Semver");
pub const FORMAT: Type = Type::Opaque("kubernetes.NamedFormat");
pub const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
pub const PATH_CHECK: Type = Type::Opaque("kubernetes.authorization.PathCheck");
pub const GROUP_CHECK: Type = Type::Opaque("kubernetes.authorization.GroupCheck");
pub const RESOURCE_CHECK: Type = Type::Opaque("kubernetes.authorization.ResourceCheck");
pub const DECISION: Type = Type::Opaque("kubernetes.authorization.Decision");

/// An object's fields by their names in expressions.
#[derive(Debug)]
pub struct ObjectType {
    pub name: String,
    pub fields: BTreeMap<String, Arc<Decl>>,
}

impl Type {
    pub fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    /// Whether every value of it counts as one.
    pub fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Bool
                | Self::Int
                | Self::Uint
                | Self::Double
                | Self::Duration
                | Self::Timestamp
                | Self::Null
        )
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Map(k, v), Self::Map(l, w)) => k == l && v == w,
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Any => f.write_str("any"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Type(of) => write!(f, "type({of})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(_) => f.write_str("_"),
        }
    }
}

/// The largest request, in bytes: what is not bounded by its schema is bounded by that.
pub const MOST: u64 = 3 * 1024 * 1024;

/// A type and how large its values are.
#[derive(Debug)]
pub struct Decl {
    pub ty: Type,
    /// Most elements, characters or bytes.
    pub most: u64,
    /// The smallest size of a value in JSON.
    pub least_json: u64,
    /// Of lists and maps.
    pub element: Option<Arc<Decl>>,
}

impl Decl {
    pub fn scalar(ty: Type, least_json: u64) -> Self {
        Self { ty, most: 1, least_json, element: None }
    }

    pub fn sized(ty: Type, least_json: u64, most: u64) -> Self {
        Self { ty, most, least_json, element: None }
    }

    /// A string without bounds.
    pub fn string() -> Self {
        Self::sized(Type::String, 2, MOST - 2)
    }

    pub fn list(element: Self, most: Option<u64>) -> Self {
        let most = most.unwrap_or((MOST - 2) / (element.least_json + 1));
        let ty = Type::list(element.ty.clone());
        Self { ty, most, least_json: 2, element: Some(Arc::new(element)) }
    }

    pub fn map(element: Self, most: Option<u64>) -> Self {
        let most = most.unwrap_or((MOST - 2) / (element.least_json + 6));
        let ty = Type::map(Type::String, element.ty.clone());
        Self { ty, most, least_json: 2, element: Some(Arc::new(element)) }
    }

    pub fn object(name: &str, fields: BTreeMap<String, Arc<Self>>, least_json: u64) -> Self {
        let ty = Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }));
        Self { ty, most: 0, least_json, element: None }
    }

    /// The declaration of a field.
    pub fn field(&self, name: &str) -> Option<Arc<Self>> {
        match &self.ty {
            Type::Object(object) => object.fields.get(name).cloned(),
            Type::Map(..) => self.element.clone(),
            _ => None,
        }
    }
}

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A field's name as expressions write it; `None` for names that they cannot write.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("__") {
            out.push_str("__underscores__");
            rest = &rest[2..];
            continue;
        }
        match c {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(out)
}

/// The field that an expression names; the name itself where nothing is escaped in it.
pub fn unescape(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    if let Some(inner) = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"))
        && RESERVED.contains(&inner)
    {
        return inner.to_owned();
    }
    let mut out = String::new();
    let mut rest = name;
    'next: while !rest.is_empty() {
        for (escaped, plain) in
            [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")]
        {
            if let Some(tail) = rest.strip_prefix(escaped) {
                out.push_str(plain);
                rest = tail;
                continue 'next;
            }
        }
        let mut chars = rest.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out
}
