//! Which encoding and form of an object a client wants (Accept) and sends (Content-Type).
//!
//! Forms are the object itself, its metadata, or a table (API doc "API concepts", "Receiving
//! resources as Tables"). The best of the Accept header's entries that we serve wins; without the
//! header it is JSON.

use api_types::kind::Row;
use api_types::meta::v1::{Status, StatusDetails, StatusReason};
use http::{HeaderMap, header};

use crate::query::Query;
use crate::status::ApiError;

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// In the order that messages list them.
pub const ALL: [&str; 3] = [JSON, YAML, PROTOBUF];
/// What patches come as.
pub const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// What custom resources come as, and their patches: their fields have no protobuf numbers and no merge
/// keys.
pub const CUSTOM: [&str; 2] = [JSON, YAML];
pub const CUSTOM_PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

impl Encoding {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Yaml => YAML,
            Self::Protobuf => PROTOBUF,
        }
    }

    /// Of a media type without parameters.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            JSON => Some(Self::Json),
            YAML | "application/x-yaml" => Some(Self::Yaml),
            PROTOBUF => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// What an answer shows of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    Whole,
    /// PartialObjectMetadata.
    Metadata,
    /// A table; what its rows carry of their objects.
    Table(Include),
}

/// `includeObject`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// What the client wants to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    pub encoding: Encoding,
    pub form: Form,
    pub pretty: bool,
}

/// One entry of an Accept header.
#[derive(Debug, Default, Clone)]
pub struct MediaRange {
    pub media_type: String,
    pub parameters: Vec<(String, String)>,
    quality: f32,
}

impl MediaRange {
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }
}

/// The entries of an Accept header, the best first.
pub fn media_ranges(text: &str) -> Vec<MediaRange> {
    let mut ranges: Vec<MediaRange> = text
        .split(',')
        .filter_map(|part| {
            let mut pieces = part.split(';').map(str::trim);
            let media_type = pieces.next()?.to_ascii_lowercase();
            if media_type.is_empty() {
                return None;
            }
            let mut range = MediaRange { media_type, quality: 1.0, ..MediaRange::default() };
            for piece in pieces {
                let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                if name == "q" {
                    range.quality = value.parse().unwrap_or(1.0);
                } else {
                    range.parameters.push((name.to_owned(), value.to_owned()));
                }
            }
            Some(range)
        })
        .collect();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    ranges
}

/// Whether objects of the kind can be written in protobuf: custom ones cannot.
pub fn has_protobuf(row: &Row) -> bool {
    row.custom.is_none()
}

/// For objects that have no protobuf: another of the types that the client accepts.
///
/// # Errors
/// A 406 where there is none.
pub fn without_protobuf(accepted: Accepted, headers: &HeaderMap) -> Result<Accepted, ApiError> {
    if accepted.encoding != Encoding::Protobuf || accepted.form != Form::Whole {
        return Ok(accepted);
    }
    let texts: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let encoding = media_ranges(&texts.join(",")).iter().find_map(|range| match range.media_type.as_str() {
        "*/*" | "application/*" | JSON => Some(Encoding::Json),
        YAML => Some(Encoding::Yaml),
        _ => None,
    });
    let encoding = encoding.ok_or_else(|| ApiError::NotAcceptable(CUSTOM.to_vec()))?;
    Ok(Accepted { encoding, ..accepted })
}

/// Refuses a request whose client accepts nothing that a built-in kind has, before anything is done for it. `watched`
/// says whether the path can be watched.
///
/// COMPAT: upstream's router compares names, so that `application/*` is none.
///
/// # Errors
/// A 406 in the router's words.
pub fn offered(headers: &HeaderMap, watched: bool) -> Result<(), ApiError> {
    let texts: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges = media_ranges(&texts.join(","));
    let known = |range: &MediaRange| range.media_type == "*/*" || ALL.contains(&range.media_type.as_str());
    if ranges.is_empty() || ranges.iter().any(known) {
        return Ok(());
    }
    let mut there: Vec<String> = ALL.iter().map(|name| (*name).to_owned()).collect();
    if watched {
        there.extend([JSON, PROTOBUF].map(|name| format!("{name};stream=watch")));
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", there.join(", "));
    Err(ApiError::Said(Box::new(Status {
        status: "Failure".into(),
        message,
        reason: StatusReason::NotAcceptable,
        details: Some(Box::new(StatusDetails::default())),
        code: 406,
        ..Status::default()
    })))
}

/// The best that we can give of what the client accepts. `tables` says whether the answer could be a
/// table or metadata (objects of stored kinds).
///
/// # Errors
/// A 406 with the types that could have been asked for.
pub fn accepted(headers: &HeaderMap, query: &Query, tables: bool) -> Result<Accepted, ApiError> {
    let pretty = wants_pretty(headers, query);
    let texts: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges = media_ranges(&texts.join(","));
    if ranges.is_empty() {
        return Ok(Accepted { pretty, ..Accepted::default() });
    }
    for range in &ranges {
        let encoding = match range.media_type.as_str() {
            "*/*" | "application/*" => Encoding::Json,
            other => match Encoding::of(other) {
                Some(encoding) => encoding,
                None => continue,
            },
        };
        let Some(form) = form(range, query, tables) else { continue };
        if matches!(form, Form::Table(_)) && encoding == Encoding::Protobuf {
            // Upstream has no protobuf for tables either.
            continue;
        }
        return Ok(Accepted { encoding, form, pretty });
    }
    Err(ApiError::NotAcceptable(ALL.to_vec()))
}

fn form(range: &MediaRange, query: &Query, tables: bool) -> Option<Form> {
    let known_version =
        range.parameter("g") == "meta.k8s.io" && matches!(range.parameter("v"), "v1" | "v1beta1");
    match range.parameter("as") {
        "" => Some(Form::Whole),
        "Table" if tables && known_version => Some(Form::Table(match query.text("includeObject") {
            "None" => Include::None,
            "Object" => Include::Object,
            _ => Include::Metadata,
        })),
        "PartialObjectMetadata" | "PartialObjectMetadataList" if tables && known_version => {
            Some(Form::Metadata)
        }
        _ => None,
    }
}

/// COMPAT: browsers and curl get indented JSON without asking, as upstream does it.
fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(asked) = query.flag_if_given("pretty") {
        return asked;
    }
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name))
}

/// The media type of a body, without parameters; empty when the header is missing.
pub fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The encoding of a body.
///
/// # Errors
/// A 415 with the types that could have been sent.
pub fn sent(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    match content_type(headers).as_str() {
        "" => Ok(Encoding::Json),
        other => Encoding::of(other).ok_or_else(|| ApiError::UnsupportedMediaType(ALL.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: Option<(Encoding, Form)>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("a header"));
        let found = accepted(&headers, &Query::default(), true).ok().map(|a| (a.encoding, a.form));
        assert_eq!(found, expected, "{accept}");
    }

    #[test]
    fn the_best_that_is_served_wins() {
        let whole = |e| Some((e, Form::Whole));
        check("application/json", whole(Encoding::Json));
        check("*/*", whole(Encoding::Json));
        check("text/html, application/yaml;q=0.5", whole(Encoding::Yaml));
        check("application/vnd.kubernetes.protobuf,application/json", whole(Encoding::Protobuf));
        check("application/json;q=0.1,application/vnd.kubernetes.protobuf", whole(Encoding::Protobuf));
        check("application/vnd.kubernetes.protobuf;stream=watch", whole(Encoding::Protobuf));
        check("text/html", None);
    }

    #[test]
    fn what_nobody_offers_is_refused_at_once() {
        let check = |accept: &str, watched: bool, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a header"));
            let found = offered(&headers, watched).err().map(|error| error.status().message);
            let text = |list: &str| format!("406: Not Acceptable\n\nAvailable representations: {list}");
            assert_eq!(found, expected.map(text), "{accept}");
        };
        check("", true, None);
        check("text/html, application/json;as=Table", false, None);
        let plain = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        check("application/cbor", false, Some(plain));
        check("application/*", false, Some(plain));
        let streamed = format!(
            "{plain}, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
        check("application/cbor-seq", true, Some(&streamed));
    }

    #[test]
    fn kubectls_table_header() {
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Encoding::Json, Form::Table(Include::Metadata))),
        );
        check("application/json;as=Other;v=v1;g=meta.k8s.io", None);
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            Some((Encoding::Protobuf, Form::Metadata)),
        );
    }
}
