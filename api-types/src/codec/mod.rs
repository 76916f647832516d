//! The codecs: JSON, protobuf, YAML. Free functions over `Value` and the schema tables.

pub mod json;
pub mod protobuf;
pub mod yaml;
