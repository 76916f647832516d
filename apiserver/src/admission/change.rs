//! Changes that webhooks and policies make to an object on its way to the store: in the version in which they saw
//! it, with that version's defaults, and back.

use api_types::codec::json;
use api_types::kind::{Object, Row};
use api_types::kinds;
use serde_json::Value as Json;

use super::Payload;
use super::options::shown_as;
use crate::kinds::convert;
use crate::status::ApiError;

/// How unknown fields of what is to be written are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    Dropped,
    Refused,
}

/// What is to be written, or to be connected to, as a tree; in another version where one is asked for.
///
/// # Errors
/// When it does not convert.
pub fn tree(payload: &Payload<'_>, version: Option<&'static Row>) -> Result<Json, ApiError> {
    match (payload.get(), payload.connection()) {
        (Some(object), _) => serde_json::from_slice(&shown_as(object, version)?).map_err(ApiError::internal),
        (None, Some(connection)) => Ok(connection.tree()),
        (None, None) => Ok(Json::Null),
    }
}

/// Puts a tree in the place of what is open to changes; whether that changed anything.
///
/// # Errors
/// A 500 for what does not fit there.
pub fn put(
    payload: &mut Payload<'_>,
    version: Option<&'static Row>,
    tree: &Json,
    unknown: Unknown,
) -> Result<bool, ApiError> {
    match payload {
        Payload::Open(object) => replace(*object, version, tree, unknown),
        Payload::Connection(connection) => connection.replace(tree, unknown),
        Payload::None | Payload::Complete(_) => Ok(false),
    }
}

/// Puts a tree of that version in the place of the object; whether that changed anything.
///
/// # Errors
/// A 500 for what is no such object.
fn replace(
    object: &mut dyn Object,
    version: Option<&'static Row>,
    tree: &Json,
    unknown: Unknown,
) -> Result<bool, ApiError> {
    let own = object.kind();
    let before = json::to_vec(&*object);
    let mut changed = match version {
        Some(row) if own.kind == row.kind.kind => (row.new)(),
        _ => {
            let mut empty = object.clone_boxed();
            empty.as_dyn_struct_mut().reset();
            empty
        }
    };
    let mut found = (unknown == Unknown::Refused).then(Vec::new);
    json::read(changed.as_dyn_struct_mut(), tree.to_string().as_bytes(), &mut found)
        .map_err(ApiError::internal)?;
    if let Some(found) = found.filter(|found| !found.is_empty()) {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        return Err(ApiError::internal(format!("strict decoding error: {}", found.join(", "))));
    }
    let kind = changed.kind();
    if let Some(row) = kinds::by_kind(kind.group, kind.version, kind.kind) {
        (row.unknown_fields)(&mut *changed);
        row.default(&mut *changed);
    }
    if !std::ptr::eq(kind, own)
        && let Some(row) = kinds::by_kind(own.group, own.version, own.kind)
    {
        changed = convert(&*changed, row)?;
    }
    let after = json::to_vec(&*changed);
    if after == before {
        return Ok(false);
    }
    object.as_dyn_struct_mut().reset();
    json::read(object.as_dyn_struct_mut(), &after, &mut None).map_err(ApiError::internal)?;
    Ok(true)
}
