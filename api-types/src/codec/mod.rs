//! The codecs: JSON, protobuf, YAML; and from the first to the second. Free functions over `Value` and the schema tables.

pub mod json;
pub mod protobuf;
pub mod transcoder;
pub mod yaml;
