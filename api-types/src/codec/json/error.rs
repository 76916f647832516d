//! What can be wrong with a JSON text, in the words of Go's decoder.

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value of another type than the field's.
    #[error("json: cannot unmarshal {value} into Go {} of type {go_type}", target(.go_struct, .path))]
    Type { value: String, go_struct: String, path: String, go_type: String },
    /// The field's own parser refused the text.
    #[error("{0}")]
    Value(String),
    /// More than 10,000 levels.
    #[error("exceeded max depth")]
    Depth,
}

fn target(go_struct: &str, path: &str) -> String {
    if path.is_empty() { "value".to_owned() } else { format!("struct field {go_struct}.{path}") }
}

/// A finding of strict reading; the object was read all the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Strict {
    #[error("unknown field \"{0}\"")]
    Unknown(String),
    #[error("duplicate field \"{0}\"")]
    Duplicate(String),
}
