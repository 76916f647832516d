//! YAML: read into JSON, then decoded as JSON. The only place that knows a YAML parser.
//!
//! Kubernetes users' files rely on YAML 1.1 where it differs: `0644` is 420.

use serde_json::Value;

/// Why a text is no YAML, with its line where the parser knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error converting YAML to JSON: yaml: {0}")]
pub struct Error(String);

/// One document as a JSON value.
pub fn to_value(text: &str) -> Result<Value, Error> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| Error(e.to_string()))
}

/// One document as JSON text.
pub fn to_json(text: &str) -> Result<Vec<u8>, Error> {
    Ok(to_value(text)?.to_string().into_bytes())
}

/// A JSON value as a YAML document.
pub fn from_value(value: &Value) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|e| Error(e.to_string()))
}
