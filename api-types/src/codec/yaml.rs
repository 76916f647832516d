//! YAML: read into JSON, then decoded as JSON. The only place that knows a YAML parser.
//!
//! Kubernetes users' files rely on YAML 1.1 where it differs: `0644` is 420.

use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;

/// Why a text is no YAML, with its line where the parser knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error converting YAML to JSON: yaml: {0}")]
pub struct Error(String);

/// One document as a JSON value. Of keys that are there twice the last one counts; where the first of
/// them is, is told in the words of Go's parser.
pub fn to_value_telling(text: &str) -> Result<(Value, Option<String>), Error> {
    let strict = serde_saphyr::options! { legacy_octal_numbers: true };
    let error = match serde_saphyr::from_str_with_options(text, strict) {
        Ok(value) => return Ok((value, None)),
        Err(error) => error.to_string(),
    };
    let Some(found) = duplicate(&error) else { return Err(Error(error)) };
    let lenient = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
    };
    let value = serde_saphyr::from_str_with_options(text, lenient).map_err(|e| Error(e.to_string()))?;
    Ok((value, Some(found)))
}

/// `line 9 column 3: duplicate mapping key: foo, …` as Go says it.
fn duplicate(error: &str) -> Option<String> {
    static TEXT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"line (\d+) column \d+: duplicate mapping key: (.*?)(, set DuplicateKeyPolicy|\n|$)")
            .expect("the pattern is a constant")
    });
    let found = TEXT.captures(error)?;
    Some(format!(
        "error converting YAML to JSON: yaml: unmarshal errors:\n  line {}: key {:?} already set in map",
        &found[1], &found[2]
    ))
}

/// One document as a JSON value.
pub fn to_value(text: &str) -> Result<Value, Error> {
    to_value_telling(text).map(|(value, _)| value)
}

/// One document as JSON text.
pub fn to_json(text: &str) -> Result<Vec<u8>, Error> {
    Ok(to_value(text)?.to_string().into_bytes())
}

/// A JSON value as a YAML document.
pub fn from_value(value: &Value) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|e| Error(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_of_equal_keys_counts_and_the_first_is_told() {
        let (value, twice) = to_value_telling("a: 1\nb:\n  c: 1\n  c: 2\n").expect("readable");
        assert_eq!(value, json!({"a": 1, "b": {"c": 2}}));
        assert_eq!(
            twice.as_deref(),
            Some(
                "error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key \"c\" already set in map"
            )
        );
        assert_eq!(to_value_telling("a: 0644").expect("readable"), (json!({"a": 420}), None));
        assert!(to_value_telling("a: [").is_err());
    }
}
