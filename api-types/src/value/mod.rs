//! Values of the API seen without their types, and the scalars that Kubernetes adds to JSON's.
//!
//! `Value` is the one trait between a declared struct and the codecs: every field of every kind is
//! handed out as `&dyn Value`. `Struct` adds access to fields by place. Both are derived
//! (`#[derive(Api)]`) or implemented here, nowhere else. The codecs stay free functions, so a new
//! kind costs two match tables and no generated codec.

mod any;
mod collections;
mod embedded;
mod int_or_string;
mod quantity;
mod scalars;
mod time;

pub use any::{FieldsV1, JSON, RawExtension};
pub use collections::StringList;
pub use embedded::Embedded;
pub use int_or_string::IntOrString;
pub use quantity::{Format, Quantity, QuantityError};
pub(crate) use scalars::text_value;
pub use scalars::{ByteString, TextValue};
pub use time::{Duration, MicroTime, Time};

use crate::codec::{json, protobuf};
use crate::schema::{StructType, Type};
use std::any::Any;

/// A value that the codecs can write and read.
pub trait Value: Any + Send + Sync {
    /// What `omitempty` leaves out: an empty string, list or map, zero, false, `None`.
    fn is_absent(&self) -> bool;
    /// Back to the zero value (a JSON `null`).
    fn reset(&mut self);
    fn write_json(&self, out: &mut json::Writer);
    /// Reads one JSON value; the reader stands before it.
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error>;
    /// Writes the whole field, tag included (once per item for lists).
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer);
    /// Takes one occurrence of the field (lists and maps collect them).
    fn read_protobuf(&mut self, wire: protobuf::Wire<'_>) -> Result<(), protobuf::Error>;
    /// An empty protobuf message means "absent" (times).
    fn absent_if_empty() -> bool
    where
        Self: Sized,
    {
        false
    }
    fn as_struct(&self) -> Option<&dyn Struct> {
        None
    }
    fn as_struct_mut(&mut self) -> Option<&mut dyn Struct> {
        None
    }
    /// A list's items or a map's values, for walks over all structs of an object.
    fn children_mut(&mut self) -> Vec<&mut dyn Value> {
        Vec::new()
    }
}

/// A value whose type is known at compile time.
pub trait Typed: Value {
    /// Whether it may be there without a value of its own: an `Option`.
    const OPTIONAL: bool = false;
    fn type_of() -> &'static Type
    where
        Self: Sized;
}

/// A struct of the API: its table and its fields by their place in it.
pub trait Struct: Value {
    fn struct_type(&self) -> &'static StructType;
    fn field(&self, place: usize) -> &dyn Value;
    fn field_mut(&mut self, place: usize) -> &mut dyn Value;
    /// Fields that no table names (custom objects): they are kept as a tree.
    fn open_fields(&self) -> Option<&serde_json::Map<String, serde_json::Value>> {
        None
    }
    fn open_fields_mut(&mut self) -> Option<&mut serde_json::Map<String, serde_json::Value>> {
        None
    }
}
