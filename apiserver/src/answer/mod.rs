//! Answers before they are bytes: what the registry gives, and its writing in the encoding and form
//! that the client asked for.
//!
//! Stored objects are shared bytes and pass through untouched where the client wants JSON; other
//! encodings and forms are made from them here. Nothing outside of this folder writes a response
//! with objects in it.

mod form;
mod list;
mod protobuf_list;
mod table;
mod watch;

use std::sync::Arc;

use api_types::codec::{json, protobuf, yaml};
use api_types::kind::{Object, Row};
use api_types::meta::v1::Status;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::body::{self, Body};
use crate::negotiate::{Accepted, Encoding};
use crate::status::ApiError;
use crate::storage::Entry;

pub use form::Served;
pub use list::{Filter, List, Source};
pub use watch::{Begin, Watch};

/// What a request is answered with.
pub enum Answer {
    /// A stored object.
    Stored {
        code: u16,
        served: Served,
        entry: Arc<Entry>,
    },
    /// An object made for this answer (reviews, scales, discovery).
    Made {
        code: u16,
        object: Box<dyn Object>,
    },
    Status {
        code: u16,
        status: Status,
    },
    List(List),
    Watch(Box<Watch>),
    /// Already a response (proxied, upgraded).
    Raw(Response<Body>),
}

impl Answer {
    pub fn stored(code: u16, row: &'static Row, entry: Arc<Entry>) -> Self {
        Self::Stored { code, served: Served::of(row), entry }
    }

    pub fn made(code: u16, object: impl Object) -> Self {
        Self::Made { code, object: Box::new(object) }
    }

    /// The answer's object as JSON in the form that the client gets, for the audit log. Streams have none.
    ///
    /// # Errors
    /// As `into_response`.
    pub fn recorded(&self, accepted: Accepted) -> Result<Option<Body>, ApiError> {
        let accepted = Accepted { encoding: Encoding::Json, pretty: false, ..accepted };
        Ok(match self {
            Self::Raw(_) | Self::Watch(_) => None,
            Self::Status { status, .. } => Some(body::full(status_json(status))),
            Self::Stored { served, entry, .. } => Some(body::full(form::object(*served, entry, accepted)?)),
            Self::Made { object, .. } => Some(body::full(form::made(&**object, accepted)?)),
            Self::List(list) => Some(list.clone().into_response(accepted, false)?.into_body()),
        })
    }

    /// The response in what the client accepts.
    ///
    /// # Errors
    /// When a stored object cannot be shown in the form asked for.
    pub fn into_response(self, accepted: Accepted, gzip: bool) -> Result<Response<Body>, ApiError> {
        match self {
            Self::Raw(response) => Ok(response),
            Self::Status { code, status } => Ok(status_response(code, &status, accepted)),
            Self::Stored { code, served, entry } => {
                let bytes = form::object(served, &entry, accepted)?;
                finish(code, bytes, accepted, gzip)
            }
            Self::Made { code, object } => {
                let bytes = form::made(&*object, accepted)?;
                finish(code, bytes, accepted, gzip)
            }
            Self::List(list) => list.into_response(accepted, gzip),
            Self::Watch(watch) => Ok(watch.into_response(accepted)),
        }
    }
}

fn finish(code: u16, bytes: Bytes, accepted: Accepted, gzip: bool) -> Result<Response<Body>, ApiError> {
    let bytes = match accepted.encoding {
        Encoding::Json if accepted.pretty => pretty(&bytes).into(),
        Encoding::Yaml => to_yaml(&bytes)?.into(),
        _ => bytes,
    };
    if gzip && bytes.len() >= list::GZIP_FROM {
        return Ok(gzip_response(code, accepted.encoding.media_type(), bytes));
    }
    Ok(body::response(code, accepted.encoding.media_type(), body::full(bytes)))
}

/// A response compressed as a whole.
pub fn gzip_response(code: u16, media_type: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = list::streamed(media_type, std::iter::once(bytes), true);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response
}

/// A `Status` in the client's encoding.
pub fn status_response(code: u16, status: &Status, accepted: Accepted) -> Response<Body> {
    let bytes = match accepted.encoding {
        Encoding::Protobuf => protobuf::envelope("v1", "Status", &protobuf::to_vec(status)),
        Encoding::Json if accepted.pretty => pretty(&status_json(status)).into_bytes(),
        Encoding::Json => status_json(status),
        Encoding::Yaml => to_yaml(&status_json(status)).unwrap_or_default().into_bytes(),
    };
    let mut response = body::response(code, accepted.encoding.media_type(), body::full(bytes));
    let retry = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// A `Status` as JSON with kind and apiVersion.
pub fn status_json(status: &Status) -> Vec<u8> {
    typed_json("Status", "v1", status)
}

/// A struct that is no stored kind as JSON with kind and apiVersion.
pub fn typed_json(kind: &str, api_version: &str, value: &dyn api_types::value::Struct) -> Vec<u8> {
    let body = json::value_to_vec(value);
    let mut out = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\"").into_bytes();
    if body.len() > 2 {
        out.push(b',');
    }
    out.extend_from_slice(&body[1..]);
    out
}

/// Two-space indented, as upstream's pretty serializer writes it.
pub fn pretty(text: &[u8]) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_slice(text);
    let shown = value.and_then(|value| serde_json::to_string_pretty(&value));
    shown.unwrap_or_else(|_| String::from_utf8_lossy(text).into_owned())
}

pub fn to_yaml(text: &[u8]) -> Result<String, ApiError> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(ApiError::internal)?;
    yaml::from_value(&value).map_err(ApiError::internal)
}
