//! AdmissionReview, v1 and v1beta1 (admission.k8s.io): what a webhook is asked and what its answer means.
//! Both versions look alike; v1 is strict about the answer.

use std::collections::BTreeMap;

use api_types::codec::json;
use api_types::kind::Object;
use api_types::meta::v1::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::options::options;
use super::super::{Connection, Request};
use super::plan::Seen;

const GROUP: &str = "admission.k8s.io";

/// The first version of the webhook's that is known here.
///
/// # Errors
/// When there is none.
pub fn version(of: &[String]) -> Result<&'static str, String> {
    of.iter()
        .find_map(|version| match version.as_str() {
            "v1" => Some("v1"),
            "v1beta1" => Some("v1beta1"),
            _ => None,
        })
        .ok_or_else(|| "webhook does not accept known AdmissionReview versions (v1, v1beta1)".to_owned())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: String,
    request: Question<'a>,
}

#[derive(Serialize)]
struct Gvk<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

#[derive(Serialize)]
struct Gvr<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    uid: &'a str,
    kind: Gvk<'a>,
    resource: Gvr<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub_resource: &'a str,
    request_kind: Gvk<'a>,
    request_resource: Gvr<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_sub_resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    operation: &'static str,
    user_info: Person<'a>,
    object: Option<Box<RawValue>>,
    old_object: Option<Box<RawValue>>,
    dry_run: bool,
    options: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Person<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

/// The body to send. `object` and `old` are the request's objects, or what it connects to, as JSON in the version in which the
/// webhook sees them.
pub fn question(
    version: &str,
    uid: &str,
    request: &Request<'_>,
    seen: Seen,
    object: Option<Vec<u8>>,
    old: Option<Vec<u8>>,
) -> Vec<u8> {
    let connected = request.object.connection().map(Connection::kind);
    let shown = request.object.get().map(Object::kind);
    let own = request.kind;
    let of_own = shown.is_none_or(|kind| kind.kind == own.kind && kind.group == own.group);
    let request_kind = match (connected, shown) {
        (Some(kind), _) => Gvk { group: "", version: "v1", kind },
        (None, Some(kind)) => Gvk { group: kind.group, version: kind.version, kind: kind.kind },
        (None, None) => Gvk { group: own.group, version: own.version, kind: own.kind },
    };
    let (kind, resource) = match seen {
        Seen::As(row) => {
            let other = row.kind;
            let kind = match of_own {
                true => Gvk { group: other.group, version: other.version, kind: other.kind },
                false => Gvk { ..request_kind },
            };
            (kind, Gvr { group: other.group, version: other.version, resource: other.resource })
        }
        Seen::AsIs => {
            (Gvk { ..request_kind }, Gvr { group: own.group, version: own.version, resource: own.resource })
        }
    };
    let review = Review {
        kind: "AdmissionReview",
        api_version: format!("{GROUP}/{version}"),
        request: Question {
            uid,
            kind,
            resource,
            sub_resource: request.subresource,
            request_kind,
            request_resource: Gvr { group: own.group, version: own.version, resource: own.resource },
            request_sub_resource: request.subresource,
            name: request.name,
            namespace: request.namespace,
            operation: request.operation.word(),
            user_info: Person {
                username: &request.user.name,
                uid: &request.user.uid,
                groups: &request.user.groups,
                extra: &request.user.extra,
            },
            object: object.and_then(raw),
            old_object: old.and_then(raw),
            dry_run: request.dry_run,
            options: options(request).and_then(raw),
        },
    };
    serde_json::to_vec(&review).expect("texts and JSON make JSON")
}

fn raw(text: Vec<u8>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(text).ok()?).ok()
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Reviewed {
    kind: String,
    api_version: String,
    response: Option<Said>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Said {
    uid: String,
    allowed: bool,
    status: Option<Box<RawValue>>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// A webhook's answer, verified.
#[derive(Debug, Default, PartialEq)]
pub struct Response {
    pub allowed: bool,
    pub status: Option<Status>,
    /// A JSON patch; empty without one.
    pub patch: Vec<u8>,
    pub annotations: BTreeMap<String, String>,
    pub warnings: Vec<String>,
}

/// What keeps an answer from being one.
#[derive(Debug, PartialEq, Eq)]
pub enum Bad {
    /// It cannot be read.
    Unreadable(String),
    /// It breaks the rules of the protocol.
    Invalid(String),
    /// The kind of patch is unknown.
    PatchType(String),
}

/// Reads and verifies an answer.
///
/// # Errors
/// What is wrong with it.
pub fn response(version: &str, uid: &str, mutating: bool, body: &[u8]) -> Result<Response, Bad> {
    let review: Reviewed =
        serde_json::from_slice(body).map_err(|error| Bad::Unreadable(unreadable(body, &error)))?;
    let invalid = |text: String| Err(Bad::Invalid(text));
    let Some(said) = review.response else { return invalid("webhook response was absent".into()) };
    let bytes = match said.patch.as_deref() {
        None => Vec::new(),
        Some(text) => STANDARD.decode(text).map_err(|error| Bad::Unreadable(error.to_string()))?,
    };
    let mut patch_type = said.patch_type.unwrap_or_default();
    if version == "v1" {
        let has_type = !patch_type.is_empty();
        if said.uid != uid {
            return invalid(format!("expected response.uid={uid:?}, got {:?}", said.uid));
        }
        if review.kind != "AdmissionReview" || review.api_version != format!("{GROUP}/v1") {
            return invalid(format!(
                "expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {}, Kind={}",
                if review.api_version.is_empty() { "/" } else { &review.api_version },
                review.kind
            ));
        }
        let broken = match (mutating, bytes.is_empty(), has_type) {
            (true, false, false) => Some("webhook returned response.patch but not response.patchType"),
            (true, true, true) => Some("webhook returned response.patchType but not response.patch"),
            (false, false, _) => Some("validating webhook may not return response.patch"),
            (false, _, true) => Some("validating webhook may not return response.patchType"),
            _ => None,
        };
        if let Some(text) = broken {
            return invalid(text.into());
        }
    } else {
        // COMPAT: answers were not verified then.
        patch_type = "JSONPatch".into();
    }
    let patch = if mutating { bytes } else { Vec::new() };
    if said.allowed && !patch.is_empty() && patch_type != "JSONPatch" {
        return Err(Bad::PatchType(patch_type));
    }
    let status = said.status.filter(|status| status.get() != "null");
    let status = status.map(|status| json::from_slice::<Status>(status.get().as_bytes()));
    Ok(Response {
        allowed: said.allowed,
        status: status.transpose().map_err(|error| Bad::Unreadable(error.to_string()))?,
        patch,
        annotations: said.audit_annotations.unwrap_or_default(),
        warnings: said.warnings.unwrap_or_default(),
    })
}

fn unreadable(body: &[u8], error: &serde_json::Error) -> String {
    if body.is_empty() {
        return "unexpected end of JSON input".to_owned();
    }
    format!("couldn't get version/kind; json parse error: {error}")
}

/// The refusal that a client gets to see.
pub fn denied(webhook: &str, said: Option<Status>) -> Status {
    let by = format!("admission webhook {webhook:?} denied the request");
    let mut status = said.unwrap_or_default();
    status.code = status.code.max(400);
    if matches!(status.status.as_str(), "" | "Success") {
        status.status = "Failure".into();
    }
    status.message = if !status.message.is_empty() {
        format!("{by}: {}", status.message)
    } else if !status.reason.is_unset() {
        format!("{by}: {}", status.reason.as_str())
    } else {
        format!("{by} without explanation")
    };
    status
}
