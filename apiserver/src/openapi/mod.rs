//! /openapi/v2 and /openapi/v3: documents made by api-types from the table of kinds, each written at
//! its first use and then kept as bytes with its hash (API doc "The Kubernetes API", OpenAPI).
//! v2 is JSON or gnostic's protobuf, v3 is JSON.

mod gnostic;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

use api_types::custom;
use api_types::schema::openapi;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha512};

use crate::aggregator::Remote;
use crate::body::{self, Body};
use crate::call::Call;
use crate::negotiate::{self, JSON, MediaRange, media_ranges};
use crate::status::ApiError;

/// A document and its hash.
#[derive(Clone)]
struct Document {
    bytes: Bytes,
    hash: String,
}

impl Document {
    fn new(value: &serde_json::Value) -> Self {
        let bytes = Bytes::from(value.to_string());
        let hash = hex::encode_upper(Sha512::digest(&bytes));
        Self { bytes, hash }
    }
}

/// The documents of one generation of custom kinds.
#[derive(Default)]
struct Documents {
    generation: u64,
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
    v3: Mutex<BTreeMap<String, Document>>,
    root: OnceLock<Document>,
}

/// The documents of the kinds that are served now; empty after a change.
fn documents() -> Arc<Documents> {
    static CURRENT: LazyLock<ArcSwap<Documents>> = LazyLock::new(ArcSwap::default);
    let generation = custom::generation();
    let current = CURRENT.load_full();
    if current.generation == generation {
        return current;
    }
    let fresh = Arc::new(Documents { generation, ..Documents::default() });
    CURRENT.store(fresh.clone());
    fresh
}

/// The answer of a path below /openapi; `None` for other paths.
///
/// # Errors
/// 406 for forms that are not served; 404 for versions that are not.
pub fn answer(call: &Call, remotes: &[Arc<Remote>]) -> Option<Result<Response<Body>, ApiError>> {
    let path = call.info.path.trim_end_matches('/');
    match path {
        "/openapi/v2" => Some(v2(call)),
        "/openapi/v3" => Some(Ok(json_response(call, &with_remotes(remotes)))),
        _ => path.strip_prefix("/openapi/v3/").map(|group_version| v3(call, group_version)),
    }
}

/// What clients ask for gnostic's protobuf by; the first is the older spelling.
const PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

fn v2(call: &Call) -> Result<Response<Body>, ApiError> {
    let ranges = accepted(call);
    for range in ranges.iter().map(|range| range.media_type.as_str()) {
        if matches!(range, "*/*" | "application/*" | negotiate::JSON) {
            return Ok(v2_response(call));
        }
        if PROTOBUF.contains(&range) {
            let documents = documents();
            let document = documents.v2_protobuf.get_or_init(|| Document {
                bytes: gnostic::encode(&openapi::v2(daemon::version::GIT_VERSION)).into(),
                // COMPAT: one hash for both forms; Vary tells them apart.
                hash: v2_json().hash,
            });
            return Ok(response(call, PROTOBUF[1], document));
        }
    }
    if ranges.is_empty() { Ok(v2_response(call)) } else { Err(ApiError::NotAcceptable(vec![JSON])) }
}

fn v2_json() -> Document {
    documents().v2.get_or_init(|| Document::new(&openapi::v2(daemon::version::GIT_VERSION))).clone()
}

fn v2_response(call: &Call) -> Response<Body> {
    response(call, JSON, &v2_json())
}

fn accepted(call: &Call) -> Vec<MediaRange> {
    let texts: Vec<&str> =
        call.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    media_ranges(&texts.join(","))
}

/// Of v3 there is no protobuf; clients that list JSON too get that.
fn accepts_json(call: &Call) -> bool {
    let ranges = accepted(call);
    ranges.is_empty()
        || ranges
            .iter()
            .any(|range| matches!(range.media_type.as_str(), "*/*" | "application/*" | negotiate::JSON))
}

/// `api/v1`, `apis/apps/v1`
fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn document(group_version: &str) -> Option<Document> {
    let (group, version) = openapi::v3_groups().into_iter().find(|(g, v)| path_of(g, v) == group_version)?;
    let documents = documents();
    if let Some(known) = documents.v3.lock().get(group_version) {
        return Some(known.clone());
    }
    let made = Document::new(&openapi::v3(group, version, daemon::version::GIT_VERSION)?);
    documents.v3.lock().insert(group_version.to_owned(), made.clone());
    Some(made)
}

/// The list of documents, with their hashes in their addresses so that they can be kept for good.
fn root() -> Document {
    let documents = documents();
    let made = documents.root.get_or_init(|| {
        let paths: BTreeMap<String, serde_json::Value> = openapi::v3_groups()
            .into_iter()
            .filter_map(|(group, version)| {
                let path = path_of(group, version);
                let hash = document(&path)?.hash;
                let url = format!("/openapi/v3/{path}?hash={hash}");
                Some((path, json!({"serverRelativeURL": url})))
            })
            .collect();
        Document::new(&json!({ "paths": paths }))
    });
    made.clone()
}

/// The list, and beside the own documents those of remote groups; their servers keep them.
fn with_remotes(remotes: &[Arc<Remote>]) -> Document {
    let own = root();
    if remotes.is_empty() {
        return own;
    }
    let Ok(mut list) = serde_json::from_slice::<serde_json::Value>(&own.bytes) else { return own };
    for remote in remotes {
        let path = path_of(&remote.group, &remote.version);
        list["paths"][&path] = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
    }
    Document::new(&list)
}

fn v3(call: &Call, group_version: &str) -> Result<Response<Body>, ApiError> {
    let document = document(group_version).ok_or(ApiError::NoSuchPath)?;
    if !accepts_json(call) {
        return Err(ApiError::NotAcceptable(vec![JSON]));
    }
    let asked = call.query.text("hash");
    if !asked.is_empty() && asked != document.hash {
        let mut response = body::response(301, JSON, body::empty());
        let place = format!("/openapi/v3/{group_version}?hash={}", document.hash);
        if let Ok(value) = HeaderValue::from_str(&place) {
            response.headers_mut().insert(header::LOCATION, value);
        }
        return Ok(response);
    }
    let mut response = json_response(call, &document);
    if !asked.is_empty() {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}

fn json_response(call: &Call, document: &Document) -> Response<Body> {
    response(call, JSON, document)
}

fn response(call: &Call, media_type: &'static str, document: &Document) -> Response<Body> {
    let etag = format!("\"{}\"", document.hash);
    let known = call.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = body::response(200, media_type, body::full(document.bytes.clone()));
    if known == Some(etag.as_str()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = body::empty();
    } else if call.accepts_gzip() {
        use crate::answer;
        response = answer::gzip_response(200, media_type, document.bytes.clone());
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    response
}
