//! From a request's body to an object of the kind that the path names: encodings, wrong kinds and
//! versions, unknown and duplicate fields (API doc "API concepts", "Field validation").

use api_types::codec::json::Strict;
use api_types::codec::{json, protobuf, yaml};
use api_types::kind::{Object, Row};
use api_types::kinds;
use api_types::meta::v1::ObjectMeta;

use crate::call::{Call, invalid_options};
use crate::negotiate::{self, Encoding};
use crate::status::ApiError;

/// `fieldValidation`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// # Errors
    /// A 422 for a value that is none of the three.
    pub fn of(call: &Call, options: &str) -> Result<Self, ApiError> {
        match call.query.text("fieldValidation") {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => {
                let mut errors = api_types::field::Errors::default();
                errors.not_supported(
                    &api_types::field::Path::new("fieldValidation"),
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                );
                Err(invalid_options(options, errors))
            }
        }
    }
}

/// Kind and version that a body says it is.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct TypeMeta {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
}

/// Reads a body as an object of `row` and fills in its defaults.
///
/// # Errors
/// 400 and 415 in upstream's words.
pub fn object(
    call: &Call,
    row: &'static Row,
    body: &[u8],
    options: &str,
) -> Result<Box<dyn Object>, ApiError> {
    let validation = FieldValidation::of(call, options)?;
    let mut object = match negotiate::sent(&call.headers)? {
        Encoding::Protobuf if !negotiate::has_protobuf(row) => {
            return Err(ApiError::UnsupportedMediaType(negotiate::CUSTOM.to_vec()));
        }
        Encoding::Protobuf => from_protobuf(row, body)?,
        Encoding::Json => from_json(call, row, body, validation)?,
        Encoding::Yaml => {
            let text = std::str::from_utf8(body).map_err(|e| unrecognized(row, body, &e.to_string()))?;
            let (json, twice) =
                yaml::to_value_telling(text).map_err(|e| unrecognized(row, body, &e.to_string()))?;
            if let Some(twice) = twice {
                let twice = twice.trim_start_matches("error converting YAML to JSON: ").to_owned();
                match validation {
                    FieldValidation::Strict => {
                        let why = format!("strict decoding error: {twice}");
                        return Err(cannot_be_handled(row, "", "", body, &why));
                    }
                    FieldValidation::Warn => call.warnings.add(twice),
                    FieldValidation::Ignore => {}
                }
            }
            from_json(call, row, json.to_string().as_bytes(), validation)?
        }
    };
    row.default(&mut *object);
    Ok(object)
}

fn from_json(
    call: &Call,
    row: &'static Row,
    text: &[u8],
    validation: FieldValidation,
) -> Result<Box<dyn Object>, ApiError> {
    let meta: TypeMeta = match serde_json::from_slice(text) {
        Ok(meta) => meta,
        Err(error) => {
            // Our own reader says it in Go's words.
            let mut probe = (row.new)();
            let words = json::read(probe.as_dyn_struct_mut(), text, &mut None)
                .err()
                .map_or_else(|| error.to_string(), |e| e.to_string());
            let why = format!("couldn't get version/kind; json parse error: {words}");
            return Err(unrecognized(row, text, &why));
        }
    };
    check_type(row, &meta.api_version, &meta.kind)?;
    let mut object = (row.new)();
    let mut found = (validation != FieldValidation::Ignore).then(Vec::new);
    json::read(object.as_dyn_struct_mut(), text, &mut found)
        .map_err(|error| cannot_be_handled(row, &meta.kind, &meta.api_version, text, &error.to_string()))?;
    let mut found = found.unwrap_or_default();
    if validation != FieldValidation::Ignore {
        found.extend((row.unknown_fields)(&mut *object).into_iter().map(Strict::Unknown));
    }
    if !found.is_empty() {
        report(call, validation, &found, |text_of| {
            cannot_be_handled(row, &meta.kind, &meta.api_version, text, &text_of)
        })?;
    }
    Ok(object)
}

/// Warns of unknown and duplicate fields or refuses them.
pub fn report(
    call: &Call,
    validation: FieldValidation,
    found: &[Strict],
    refused: impl FnOnce(String) -> ApiError,
) -> Result<(), ApiError> {
    match validation {
        _ if found.is_empty() => Ok(()),
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            found.iter().for_each(|finding| call.warnings.add(finding.to_string()));
            Ok(())
        }
        FieldValidation::Strict => Err(refused(strict_text(found))),
    }
}

/// `strict decoding error: unknown field "spec.foo", …`
pub fn strict_text(found: &[Strict]) -> String {
    let texts: Vec<String> = found.iter().map(Strict::to_string).collect();
    format!("strict decoding error: {}", texts.join(", "))
}

fn from_protobuf(row: &'static Row, body: &[u8]) -> Result<Box<dyn Object>, ApiError> {
    let envelope = protobuf::open_envelope(body).map_err(|e| unrecognized(row, body, &e.to_string()))?;
    check_type(row, envelope.api_version, envelope.kind)?;
    let mut object = (row.new)();
    protobuf::read(object.as_dyn_struct_mut(), envelope.raw).map_err(|error| {
        cannot_be_handled(row, envelope.kind, envelope.api_version, body, &error.to_string())
    })?;
    Ok(object)
}

/// Whether a body that says this of itself may be read as the kind. Silence is taken for consent.
fn check_type(row: &Row, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let wrong_kind = !kind.is_empty() && kind != row.kind.kind;
    let wrong_version = !api_version.is_empty() && api_version != row.kind.api_version;
    if !wrong_kind && !wrong_version {
        return Ok(());
    }
    let said_version = if api_version.is_empty() { row.kind.api_version } else { api_version };
    let said_kind = if kind.is_empty() { row.kind.kind } else { kind };
    let (group, version) = said_version.split_once('/').unwrap_or(("", said_version));
    let known = kinds::by_kind(group, version, said_kind).is_some();
    if known && !wrong_kind {
        return Err(ApiError::BadRequest(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            row.kind.api_version
        )));
    }
    let why = if known {
        format!(
            "converting ({}.{said_kind}) to ({}.{}): unknown conversion",
            version,
            if row.kind.group.is_empty() { "core" } else { row.kind.group.split('.').next().unwrap_or("") },
            row.kind.kind
        )
    } else {
        format!(
            "no kind {said_kind:?} is registered for version {said_version:?} in scheme \
             \"pkg/api/legacyscheme/scheme.go:30\""
        )
    };
    Err(ApiError::BadRequest(format!(
        "{said_kind} in version {version:?} cannot be handled as a {}: {why}",
        row.kind.kind
    )))
}

fn cannot_be_handled(row: &Row, kind: &str, api_version: &str, body: &[u8], why: &str) -> ApiError {
    let _ = body;
    let api_version = if api_version.is_empty() { row.kind.api_version } else { api_version };
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let kind = if kind.is_empty() { row.kind.kind } else { kind };
    ApiError::BadRequest(format!(
        "{kind} in version {version:?} cannot be handled as a {}: {why}",
        row.kind.kind
    ))
}

fn unrecognized(row: &Row, body: &[u8], why: &str) -> ApiError {
    ApiError::BadRequest(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        row.kind.kind,
        summary(body)
    ))
}

/// The start of a body, as upstream shows it.
fn summary(body: &[u8]) -> String {
    const LONGEST: usize = 30;
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') if body.len() > LONGEST => {
            format!("{} ...", String::from_utf8_lossy(&body[..LONGEST]))
        }
        Some(b'{') => String::from_utf8_lossy(body).into_owned(),
        Some(_) if body.len() > LONGEST => format!("{} ...", hex::encode(&body[..LONGEST])),
        Some(_) => hex::encode(body),
    }
}

/// Puts the request's namespace into the object, or refuses another one.
///
/// # Errors
/// A 400.
pub fn settle_namespace(row: &Row, meta: &mut ObjectMeta, namespace: &str) -> Result<(), ApiError> {
    if !row.kind.namespaced || namespace.is_empty() {
        if !row.kind.namespaced {
            meta.namespace.clear();
        }
        return Ok(());
    }
    if meta.namespace.is_empty() {
        meta.namespace = namespace.to_owned();
    } else if meta.namespace != namespace {
        return Err(ApiError::BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(resource: &str) -> &'static Row {
        kinds::by_resource("", "v1", resource).expect("a kind")
    }

    fn text(error: Result<(), ApiError>) -> String {
        error.expect_err("refused").status().message
    }

    #[test]
    fn wrong_types_are_told_apart() {
        assert_eq!(check_type(row("pods"), "", ""), Ok(()));
        assert!(
            text(check_type(row("configmaps"), "v1", "Pod"))
                .starts_with("Pod in version \"v1\" cannot be handled as a ConfigMap: ")
        );
        assert!(
            text(check_type(row("pods"), "v1", "Nope"))
                .contains("no kind \"Nope\" is registered for version \"v1\"")
        );
    }

    #[test]
    fn bodies_are_summed_up() {
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"{}"), "{}");
        assert_eq!(summary(b"abc"), "616263");
        assert_eq!(summary(&[b'{'; 40]), format!("{} ...", "{".repeat(30)));
    }

    #[test]
    fn another_namespace_is_refused() {
        let mut meta = ObjectMeta { namespace: "b".into(), ..ObjectMeta::default() };
        assert!(settle_namespace(row("pods"), &mut meta, "a").is_err());
        meta.namespace.clear();
        assert!(settle_namespace(row("pods"), &mut meta, "a").is_ok());
        assert_eq!(meta.namespace, "a");
    }
}
