//! Versioned configuration files (KubeletConfiguration, KubeProxyConfiguration, …): YAML or JSON,
//! read strictly ([`load`]), or as those are whose versions are old ([`load_leniently`]): fields that nobody knows and
//! fields that are there twice are told and left out. `apiVersion` and `kind` are checked here; the rest is the caller's type, which
//! must carry `#[serde(deny_unknown_fields, rename_all = "camelCase", default)]` and has no
//! apiVersion or kind of its own. YAML 1.1's octal numbers hold (`0644` is 420), duplicate keys are errors.

mod unknown;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
pub use unknown::read as read_known;

/// Why a file was refused. Display says which file and, where known, which field.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    #[error("cannot read config file {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("config file {path} is not valid YAML: {message}")]
    Yaml { path: PathBuf, message: String },
    #[error(
        "config file {path}: no kind \"{kind}\" is registered for version \"{api_version}\", expected {expected}"
    )]
    Kind { path: PathBuf, api_version: String, kind: String, expected: String },
    #[error("config file {path}: strict decoding error: {message}")]
    Field { path: PathBuf, message: String },
}

/// Which documents a file may hold.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub kind: &'static str,
    pub api_versions: &'static [&'static str],
}

/// Reads a file that has no version and no kind: a mapping, as it stands there.
///
/// # Errors
/// `Read` and `Yaml` of [`ConfigFileError`].
pub fn mapping(path: &Path) -> Result<serde_json::Map<String, Value>, ConfigFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigFileError::Read { path: path.into(), source })?;
    fields(&text, path)
}

/// Reads the file at `path`.
///
/// # Errors
/// Every variant of [`ConfigFileError`].
pub fn load<T: DeserializeOwned>(path: &Path, expected: Expected) -> Result<T, ConfigFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigFileError::Read { path: path.into(), source })?;
    parse(&text, path, expected)
}

/// What a file says, and what of it a strict reader refuses.
#[derive(Clone, Debug, Default)]
pub struct Lenient {
    /// Its fields; of those that are there twice the last.
    pub fields: Map<String, Value>,
    /// Findings in upstream's words.
    pub findings: Vec<String>,
}

impl Lenient {
    /// Upstream's error, where there are findings.
    pub fn strict_error(findings: &[String]) -> Option<String> {
        (!findings.is_empty()).then(|| format!("strict decoding error: {}", findings.join(", ")))
    }
}

/// Reads the file at `path` although fields are there twice; [`read_known`] makes a type of it.
///
/// # Errors
/// `Read`, `Yaml` and `Kind` of [`ConfigFileError`].
pub fn load_leniently(path: &Path, expected: Expected) -> Result<Lenient, ConfigFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigFileError::Read { path: path.into(), source })?;
    parse_leniently(&text, path, expected)
}

/// Parses a file's text; `path` is for messages.
///
/// # Errors
/// `Yaml` and `Kind` of [`ConfigFileError`].
pub fn parse_leniently(text: &str, path: &Path, expected: Expected) -> Result<Lenient, ConfigFileError> {
    let mut findings = Vec::new();
    let mut found = match fields(text, path) {
        Ok(found) => found,
        Err(ConfigFileError::Yaml { message, .. }) if duplicate(text, &message).is_some() => {
            findings.extend(duplicate(text, &message));
            let options = serde_saphyr::options! {
                legacy_octal_numbers: true,
                duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
            };
            mapping_of(serde_saphyr::from_str_with_options(text, options), path)?
        }
        Err(other) => return Err(other),
    };
    check_header(&mut found, path, expected)?;
    Ok(Lenient { fields: found, findings })
}

/// `line 9 column 3: duplicate mapping key: foo, …` as Go says it. COMPAT: the first one alone.
fn duplicate(text: &str, error: &str) -> Option<String> {
    let (place, rest) = error.split_once(": duplicate mapping key: ")?;
    let (_, at) = place.rsplit_once("line ")?;
    let line: u64 = at.split_once(" column ")?.0.parse().ok()?;
    let ends = [", set DuplicateKeyPolicy", "\n"].into_iter().filter_map(|end| rest.find(end));
    let key = &rest[..ends.min().unwrap_or(rest.len())];
    Some(if text.trim_start().starts_with('{') {
        format!("duplicate field {key:?}")
    } else {
        format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map")
    })
}

fn fields(text: &str, path: &Path) -> Result<serde_json::Map<String, Value>, ConfigFileError> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    mapping_of(serde_saphyr::from_str_with_options(text, options), path)
}

fn mapping_of(
    document: Result<Value, serde_saphyr::Error>,
    path: &Path,
) -> Result<Map<String, Value>, ConfigFileError> {
    match document {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(ConfigFileError::Yaml { path: path.into(), message: "expected a mapping".into() }),
        Err(error) => Err(ConfigFileError::Yaml { path: path.into(), message: error.to_string() }),
    }
}

/// Takes version and kind out.
fn check_header(
    fields: &mut Map<String, Value>,
    path: &Path,
    expected: Expected,
) -> Result<(), ConfigFileError> {
    let mut header = |name| match fields.shift_remove(name) {
        Some(Value::String(s)) => s,
        _ => String::new(),
    };
    let (api_version, kind) = (header("apiVersion"), header("kind"));
    if kind != expected.kind || !expected.api_versions.contains(&api_version.as_str()) {
        let expected = format!("{} in {}", expected.kind, expected.api_versions.join(" or "));
        return Err(ConfigFileError::Kind { path: path.into(), api_version, kind, expected });
    }
    Ok(())
}

/// Parses a file's text; `path` is for messages.
///
/// # Errors
/// All of [`ConfigFileError`] but `Read`.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path, expected: Expected) -> Result<T, ConfigFileError> {
    let mut fields = fields(text, path)?;
    check_header(&mut fields, path, expected)?;
    serde_json::from_value(Value::Object(fields)).map_err(|e| ConfigFileError::Field {
        path: path.into(),
        message: as_upstream_words_it(&e.to_string()),
    })
}

/// ``unknown field `x`, expected one of …`` → `unknown field "x"`; other messages stay.
fn as_upstream_words_it(message: &str) -> String {
    message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'))
        .map_or_else(|| message.to_owned(), |(field, _)| format!("unknown field {field:?}"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Config {
        cluster_domain: String,
        mode: u32,
        nested: Nested,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Nested {
        enabled: bool,
    }

    const EXPECTED: Expected =
        Expected { kind: "TestConfiguration", api_versions: &["test.config.k8s.io/v1"] };

    fn config(body: &str) -> Result<Config, String> {
        let text = format!("apiVersion: test.config.k8s.io/v1\nkind: TestConfiguration\n{body}");
        parse(&text, Path::new("c.yaml"), EXPECTED).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_yaml_with_octal_modes() {
        let c = config("clusterDomain: cluster.local\nmode: 0644\nnested: {enabled: true}\n").unwrap();
        assert_eq!(
            c,
            Config { cluster_domain: "cluster.local".into(), mode: 420, nested: Nested { enabled: true } }
        );
    }

    #[test]
    fn names_unknown_fields_at_any_depth() {
        let error = config("nested: {enabled: true, enabeld: false}\n").unwrap_err();
        assert_eq!(error, "config file c.yaml: strict decoding error: unknown field \"enabeld\"");
    }

    #[test]
    fn a_lenient_reader_tells_what_a_strict_one_refuses() {
        let check = |text: &str, expected: &str| {
            let read = parse_leniently(text, Path::new("c.yaml"), EXPECTED).unwrap();
            let (config, unknown) = read_known::<Config>(Value::Object(read.fields)).unwrap();
            assert_eq!(config, Config { mode: 2, ..Default::default() });
            let findings = [read.findings, unknown].concat();
            assert_eq!(Lenient::strict_error(&findings).as_deref(), Some(expected));
        };
        check(
            "apiVersion: test.config.k8s.io/v1\nkind: TestConfiguration\nmode: 1\nmode: 2\nnested: {x: 1}\n",
            "strict decoding error: yaml: unmarshal errors:\n  line 4: key \"mode\" already set in map, unknown field \
             \"nested.x\"",
        );
        check(
            "{\"apiVersion\": \"test.config.k8s.io/v1\", \"kind\": \"TestConfiguration\", \"mode\": 1, \"mode\": 2}",
            "strict decoding error: duplicate field \"mode\"",
        );
        assert_eq!(Lenient::strict_error(&[]), None);
        assert!(parse_leniently("kind: Pod\n", Path::new("c.yaml"), EXPECTED).is_err());
    }

    #[test]
    fn refuses_duplicates_wrong_types_and_wrong_kinds() {
        assert!(config("mode: 1\nmode: 2\n").unwrap_err().contains("mode"));
        assert!(config("mode: lots\n").unwrap_err().contains("invalid type"));
        let other =
            parse::<Config>("apiVersion: v1\nkind: Pod\n", Path::new("c.yaml"), EXPECTED).unwrap_err();
        assert!(other.to_string().contains("no kind \"Pod\" is registered for version \"v1\""), "{other}");
        assert!(
            load::<Config>(Path::new("/does/not/exist"), EXPECTED)
                .unwrap_err()
                .to_string()
                .contains("/does/not")
        );
    }
}
