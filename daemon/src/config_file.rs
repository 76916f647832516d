//! Versioned configuration files (KubeletConfiguration, KubeProxyConfiguration, …): YAML or JSON,
//! read strictly. `apiVersion` and `kind` are checked here; the rest is the caller's type, which
//! must carry `#[serde(deny_unknown_fields, rename_all = "camelCase", default)]` and has no
//! apiVersion or kind of its own. YAML 1.1's octal numbers hold (`0644` is 420), duplicate keys are errors.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

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

fn fields(text: &str, path: &Path) -> Result<serde_json::Map<String, Value>, ConfigFileError> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let document: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|e| ConfigFileError::Yaml { path: path.into(), message: e.to_string() })?;
    match document {
        Value::Object(fields) => Ok(fields),
        _ => Err(ConfigFileError::Yaml { path: path.into(), message: "expected a mapping".into() }),
    }
}

/// Parses a file's text; `path` is for messages.
///
/// # Errors
/// All of [`ConfigFileError`] but `Read`.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path, expected: Expected) -> Result<T, ConfigFileError> {
    let mut fields = fields(text, path)?;
    let mut header = |name| match fields.shift_remove(name) {
        Some(Value::String(s)) => s,
        _ => String::new(),
    };
    let (api_version, kind) = (header("apiVersion"), header("kind"));
    if kind != expected.kind || !expected.api_versions.contains(&api_version.as_str()) {
        let expected = format!("{} in {}", expected.kind, expected.api_versions.join(" or "));
        return Err(ConfigFileError::Kind { path: path.into(), api_version, kind, expected });
    }
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
