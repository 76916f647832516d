//! The static schema of the API: what `#[derive(Api)]` writes and everything else reads.
//!
//! One `StructType` per struct. The codecs, OpenAPI, `kubectl explain`, strategic merge,
//! server-side apply and pruning walk these tables; none of them knows a type by name.
//! Types refer to each other through functions, so that recursive types need no care.

pub mod managed_fields;
pub mod openapi;
pub mod strategic_merge;

use crate::codec::transcoder::Plan;
use std::sync::OnceLock;

/// A value's type, without `Option` and `Box`, which only say that it may be absent.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    Bool,
    Int32,
    Int64,
    Double,
    String,
    /// An open enum: a string with known values, under its Go name.
    Enum(&'static str, &'static [&'static str]),
    /// Base64 in JSON, bytes in protobuf.
    Bytes,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339 with six decimals.
    MicroTime,
    /// Go's duration text.
    Duration,
    Quantity,
    IntOrString,
    /// Any JSON object, kept as it came.
    RawExtension,
    /// A managed-fields set, kept as it came.
    FieldsV1,
    /// A value that OpenAPI knows by the name of its definition only: any JSON, or one of two forms.
    /// Its description follows.
    Named(&'static str, &'static str),
    /// A list of strings that protobuf wraps into a message of its own.
    StringList,
    Struct(fn() -> &'static StructType),
    List(fn() -> &'static Type),
    Map(fn() -> &'static Type),
}

impl Type {
    /// The struct behind this type, if it is one.
    pub fn as_struct(&self) -> Option<&'static StructType> {
        match self {
            Type::Struct(table) => Some(table()),
            _ => None,
        }
    }

    /// What Go calls the type; part of the texts of decoding errors.
    pub fn go_name(&self) -> String {
        match self {
            Type::Bool => "bool".into(),
            Type::Int32 => "int32".into(),
            Type::Int64 => "int64".into(),
            Type::Double => "float64".into(),
            Type::String => "string".into(),
            Type::Enum(name, _) => format!("v1.{name}"),
            Type::Bytes => "[]uint8".into(),
            Type::Time => "v1.Time".into(),
            Type::MicroTime => "v1.MicroTime".into(),
            Type::Duration => "v1.Duration".into(),
            Type::Quantity => "resource.Quantity".into(),
            Type::IntOrString => "intstr.IntOrString".into(),
            Type::RawExtension => "runtime.RawExtension".into(),
            Type::FieldsV1 => "v1.FieldsV1".into(),
            Type::Named(definition, _) => {
                format!("v1.{}", definition.rsplit('.').next().unwrap_or(definition))
            }
            Type::StringList => "[]string".into(),
            Type::Struct(table) => table().go_name(),
            Type::List(item) => format!("[]{}", item().go_name()),
            Type::Map(item) => format!("map[string]{}", item().go_name()),
        }
    }
}

/// One struct of the API.
#[derive(Debug)]
pub struct StructType {
    /// OpenAPI package, `io.k8s.api.core.v1`.
    pub package: &'static str,
    /// Go's name, `PodSpec`.
    pub name: &'static str,
    pub doc: &'static str,
    /// Whether server-side apply owns the struct as a whole.
    pub structure: Structure,
    pub fields: &'static [Field],
    /// Built at first use; the derive leaves it empty.
    pub index: OnceLock<Index>,
}

impl StructType {
    /// Name of the definition in OpenAPI, `io.k8s.api.core.v1.PodSpec`.
    pub fn definition(&self) -> String {
        format!("{}.{}", self.package, self.name)
    }

    /// What Go calls the struct, `v1.PodSpec`.
    pub fn go_name(&self) -> String {
        format!("{}.{}", self.package.rsplit('.').next().unwrap_or("v1"), self.name)
    }

    /// Lookup tables made from `fields`.
    pub fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::new(self.fields))
    }

    /// The field that JSON knows under `name`, inlined structs included.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.index().leaves.iter().find(|leaf| leaf.field.name == name).map(|leaf| leaf.field)
    }

    /// All fields that JSON shows on this level, inlined structs included.
    pub fn json_fields(&self) -> impl Iterator<Item = &'static Field> + '_ {
        self.index().leaves.iter().map(|leaf| leaf.field)
    }
}

/// One field of a struct.
#[derive(Debug)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    /// Protobuf number.
    pub number: u32,
    pub ty: fn() -> &'static Type,
    pub doc: &'static str,
    /// Users have to give it (OpenAPI's `required`).
    pub required: bool,
    /// Written to JSON even when empty (Go's tag without `omitempty`).
    pub always: bool,
    /// JSON shows the struct's fields in place of the struct.
    pub inline: bool,
    /// A struct that JSON leaves out when it equals its zero value.
    pub omitzero: bool,
    /// Zero is a value: protobuf has it where it is given, and nothing where it is not.
    pub optional: bool,
    pub list: ListType,
    pub map: Structure,
    pub structure: Structure,
    pub patch: Patch,
    /// The default as JSON text, where it is a constant.
    pub default: Option<&'static str>,
}

/// How server-side apply merges a list (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// The type does not say: atomic.
    Unsaid,
    Atomic,
    Set,
    /// Items are told apart by these fields.
    Map(&'static [&'static str]),
}

/// Whether server-side apply owns a map or struct as a whole or by entry. What a field says of a
/// struct goes before what the struct says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    /// Nothing is said: as the struct says, else granular.
    Unsaid,
    Granular,
    Atomic,
}

/// How a strategic merge patch treats a field (`x-kubernetes-patch-strategy`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Patch {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
    pub key: Option<&'static str>,
}

/// Where a JSON name or a protobuf number is found.
#[derive(Debug)]
pub struct Index {
    /// In JSON's order, inlined structs spread out.
    pub leaves: Box<[Leaf]>,
    /// Places of `fields`, by ascending protobuf number.
    pub by_number: Box<[u8]>,
    /// The same for transcoding, made when that first happens.
    plan: OnceLock<Option<Plan>>,
    fields: &'static [Field],
}

/// One JSON field and the way to it: places of inlined structs, then its own.
#[derive(Debug)]
pub struct Leaf {
    pub field: &'static Field,
    pub path: Box<[u8]>,
}

impl Index {
    fn new(fields: &'static [Field]) -> Self {
        let mut leaves = Vec::new();
        spread(fields, &mut Vec::new(), &mut leaves);
        let mut by_number: Vec<u8> = (0..fields.len()).map(place).collect();
        by_number.sort_by_key(|&p| fields[usize::from(p)].number);
        Self { leaves: leaves.into(), by_number: by_number.into(), plan: OnceLock::new(), fields }
    }

    /// How the struct's JSON becomes protobuf; `None` where only the codecs know.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.plan.get_or_init(|| Plan::of(self.fields)).as_ref()
    }
}

fn spread(fields: &'static [Field], path: &mut Vec<u8>, leaves: &mut Vec<Leaf>) {
    for (i, field) in fields.iter().enumerate() {
        path.push(place(i));
        match (field.inline, (field.ty)()) {
            (true, Type::Struct(table)) => spread(table().fields, path, leaves),
            _ => leaves.push(Leaf { field, path: path.as_slice().into() }),
        }
        path.pop();
    }
}

fn place(i: usize) -> u8 {
    u8::try_from(i).expect("no struct of the API has 256 fields")
}
