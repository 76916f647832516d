//! One request on its way through the pipeline: what it asks for, who asks, and what it is told
//! beside its answer (warnings).

use std::sync::Arc;

use api_types::kind::Row;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::audit::Record;
use crate::body;
use crate::negotiate;
use crate::query::Query;
use crate::request::{RequestInfo, User};
use crate::status::ApiError;

/// A request, read and authenticated.
pub struct Call {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub query: Query,
    pub info: RequestInfo,
    pub user: User,
    pub warnings: Warnings,
    /// The server's own doing: admission is not asked.
    pub own: bool,
    /// What the audit log gets of it.
    pub record: Option<Arc<Record>>,
}

impl Call {
    /// Reads the body whole.
    ///
    /// # Errors
    /// As [`body::read`].
    pub async fn read(&self, body: Incoming) -> Result<Bytes, ApiError> {
        let body = body::read(body).await?;
        if let Some(record) = &self.record {
            record.request(&negotiate::content_type(&self.headers), &body);
        }
        Ok(body)
    }

    /// `fieldManager`, or what the User-Agent says before its first slash.
    pub fn manager(&self) -> String {
        let asked = self.query.text("fieldManager");
        if !asked.is_empty() {
            return asked.to_owned();
        }
        let agent = self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let name = match agent.split('/').next() {
            None | Some("") => "unknown",
            Some(name) => name,
        };
        name.chars().filter(|c| !c.is_control()).take(128).collect()
    }

    /// Whether the write is only to be tried.
    ///
    /// # Errors
    /// A 422 for any value of `dryRun` but `All`, and for a `fieldManager` that is none.
    pub fn dry_run(&self, options: &str) -> Result<bool, ApiError> {
        self.check_manager(options)?;
        let asked: Vec<&str> = self.query.all("dryRun").collect();
        dry_run(&asked, options)
    }

    /// A name of a manager is short and can be printed.
    fn check_manager(&self, options: &str) -> Result<(), ApiError> {
        const LONGEST: usize = 128;
        let name = self.query.text("fieldManager");
        let path = api_types::field::Path::new("fieldManager");
        let mut errors = api_types::field::Errors::default();
        if name.len() > LONGEST {
            errors.too_long(&path, LONGEST);
        }
        if let Some((at, odd)) = name.char_indices().find(|(_, c)| c.is_control()) {
            errors.invalid(
                &path,
                name,
                format!("invalid character U+{:04X} (at position {at})", u32::from(odd)),
            );
        }
        if errors.is_empty() { Ok(()) } else { Err(invalid_options(options, errors)) }
    }

    pub fn accepts_gzip(&self) -> bool {
        self.headers
            .get_all(header::ACCEPT_ENCODING)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|v| v.trim().split(';').next() == Some("gzip"))
    }
}

/// The values of `dryRun`, checked. `options` is the kind that messages name (`CreateOptions`).
///
/// # Errors
/// A 422 for any value but `All`.
pub fn dry_run(asked: &[&str], options: &str) -> Result<bool, ApiError> {
    let mut errors = api_types::field::Errors::default();
    if asked.iter().any(|value| *value != "All") {
        errors.not_supported(&api_types::field::Path::new("dryRun"), asked, &["All"]);
    }
    if errors.is_empty() {
        return Ok(!asked.is_empty());
    }
    Err(invalid_options(options, errors))
}

/// A 422 about the options of a request.
pub fn invalid_options(options: &str, errors: api_types::field::Errors) -> ApiError {
    ApiError::Invalid {
        group: "meta.k8s.io".to_owned(),
        kind: options.to_owned(),
        name: String::new(),
        errors,
    }
}

/// What a resource request is about, found in the table of kinds.
#[derive(Clone)]
pub struct Target {
    pub row: &'static Row,
    /// Empty for cluster-wide kinds and for all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
}

/// Warnings for the client, each told once.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut all = self.0.lock();
        if !all.contains(&text) {
            all.push(text);
        }
    }

    /// Writes them as headers: `299 - "text"`.
    pub fn write(&self, headers: &mut HeaderMap) {
        for text in self.0.lock().iter() {
            // RFC 7234: a quoted string.
            let quoted: String = text
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .flat_map(|c| {
                    let escape = matches!(c, '"' | '\\').then_some('\\');
                    escape.into_iter().chain([c])
                })
                .collect();
            if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
                headers.append(header::WARNING, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_told_once() {
        let warnings = Warnings::default();
        warnings.add("unknown field \"spec.foo\"");
        warnings.add("unknown field \"spec.foo\"");
        let mut headers = HeaderMap::new();
        warnings.write(&mut headers);
        let all: Vec<_> = headers.get_all(header::WARNING).iter().collect();
        assert_eq!(all, ["299 - \"unknown field \\\"spec.foo\\\"\""]);
    }

    #[test]
    fn only_all_is_a_dry_run() {
        assert_eq!(dry_run(&[], "CreateOptions"), Ok(false));
        assert_eq!(dry_run(&["All"], "CreateOptions"), Ok(true));
        assert_eq!(
            dry_run(&["Some"], "CreateOptions").expect_err("refused").status().message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
        );
    }
}
