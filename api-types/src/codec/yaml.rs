//! YAML: read into JSON, then decoded as JSON. The only place that knows a YAML parser.
//!
//! Kubernetes users' files rely on YAML 1.1 where it differs: `0644` is 420. Most of what says it is YAML is JSON
//! (kubectl and operators send their applies so): that is read as JSON. Else the parser calls itself for each level
//! and takes tens of kilobytes of stack for one, so it has a thread with a stack of its own.

use super::json::Reader;
use serde_json::Value;

/// Levels of nesting that are read, as many as serde_json reads.
const MAX_DEPTH: usize = 128;
/// Of the thread that parses; only what is touched takes memory.
const STACK: usize = 64 << 20;

/// Why a text is no YAML, with its line where the parser knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error converting YAML to JSON: yaml: {0}")]
pub struct Error(String);

/// One document as a JSON value. Of keys that are there twice the last one counts; where the first of
/// them is, is told in the words of Go's parser.
pub fn to_value_telling(text: &str) -> Result<(Value, Option<String>), Error> {
    if let Some(value) = as_json(text) {
        return Ok((value, None));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("yaml".into()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, || parse(text)).map_err(|error| Error(error.to_string()))?;
        thread.join().unwrap_or_else(|_| Err(Error("the text cannot be read".into())))
    })
}

/// A text that is JSON, with no key twice.
fn as_json(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut reader = Reader::new(text.as_bytes(), true);
    let value = reader.tree().ok()?;
    reader.finish().ok()?;
    reader.take_strict().is_empty().then_some(value)
}

fn parse(text: &str) -> Result<(Value, Option<String>), Error> {
    let budget =
        || serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: usize::MAX, max_events: usize::MAX };
    let strict = serde_saphyr::options! { legacy_octal_numbers: true, budget: budget() };
    let error = match serde_saphyr::from_str_with_options(text, strict) {
        Ok(value) => return Ok((value, None)),
        Err(error) => error.to_string(),
    };
    let Some(found) = duplicate(&error) else { return Err(Error(error)) };
    let lenient = serde_saphyr::options! {
        legacy_octal_numbers: true,
        budget: budget(),
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
    };
    let value = serde_saphyr::from_str_with_options(text, lenient).map_err(|e| Error(e.to_string()))?;
    Ok((value, Some(found)))
}

/// `line 9 column 3: duplicate mapping key: foo, …` as Go says it.
fn duplicate(error: &str) -> Option<String> {
    // Without a regular expression: daemons that read YAML alone need no engine for them.
    let (place, rest) = error.split_once(": duplicate mapping key: ")?;
    let (_, at) = place.rsplit_once("line ")?;
    let (line, column) = at.split_once(" column ")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(line) || !is_number(column) {
        return None;
    }
    let ends = [", set DuplicateKeyPolicy", "\n"].into_iter().filter_map(|end| rest.find(end));
    let key = &rest[..ends.min().unwrap_or(rest.len())];
    Some(format!(
        "error converting YAML to JSON: yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map"
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
    /// Schemas of custom kinds nest forty levels deep; a thread of the server has two megabytes of stack.
    #[test]
    fn deep_texts_are_read_on_a_small_stack() {
        let nested = |n: usize| (0..n).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>();
        let read = |text: String| {
            let thread = std::thread::Builder::new().stack_size(1 << 20);
            thread.spawn(move || to_value(&text).map(drop)).expect("a thread").join().expect("no panic")
        };
        assert_eq!(read(nested(100)), Ok(()));
        assert!(read(nested(2_000)).is_err());
        assert_eq!(read(format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100))), Ok(()));
        assert!(read(format!("{}1{}", r#"{"a":"#.repeat(9_000), "}".repeat(9_000))).is_err());
    }

    #[test]
    fn json_is_read_as_json_unless_a_key_is_there_twice() {
        assert_eq!(as_json(" {\"a\": [1, \"\\ud83d\\ude00\"]}\n"), Some(json!({"a": [1, "\u{1f600}"]})));
        assert_eq!(as_json("{a: 1}"), None);
        assert_eq!(as_json(r#"{"a": 1} b"#), None);
        let (value, twice) = to_value_telling(r#"{"a": {"b": 1, "b": 2}}"#).expect("readable");
        assert_eq!((value, twice.is_some()), (json!({"a": {"b": 2}}), true));
    }
}
