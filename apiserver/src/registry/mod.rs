//! The verbs, over any kind: create, get, list, watch, update, patch, delete.
//!
//! Compiled once for all kinds (`api_types::kind::Row`). Each write reads top to bottom: decode,
//! default, mutating admission, prepare, validate, validating admission, encode, transaction. What
//! a kind needs beyond that is in `kinds/`; what a subresource changes is in `subresource/`.

pub mod admit;
pub mod create;
pub mod decode;
pub mod delete;
pub mod get;
pub mod list;
pub mod manage;
pub mod names;
pub mod patch;
pub mod quota;
pub mod update;
pub mod watch;

use std::sync::Arc;

use api_types::field;
use api_types::kind::{Object, Row};

use crate::answer::Served;
use crate::call::Target;
use crate::kinds;
use crate::server::Server;
use crate::status::{ApiError, Qualified};
use crate::storage::kv::{KvError, Versioned};
use crate::storage::{Collection, Entry, entry};

/// A write to one part of an object: the object itself, its status, or another subresource.
#[derive(Clone, Copy)]
pub struct Aspect {
    /// Empty for the object itself.
    pub subresource: &'static str,
    pub prepare: fn(&Row, &mut dyn Object, &dyn Object),
    pub validate: fn(&Row, &dyn Object, &dyn Object, &mut field::Errors),
    /// Elements of the root that managers do not own through this path; `manage::writer` knows of exceptions.
    pub ignored: &'static [&'static str],
    /// The server's own change, in answer to a request about something else (a Binding): admission
    /// was asked about that, and nobody owns what it sets.
    pub internal: bool,
}

/// The object itself.
pub const OBJECT: Aspect = Aspect {
    subresource: "",
    prepare: |row, new, old| (row.prepare_for_update)(new, old),
    validate: |row, new, old, errors| {
        (row.validate)(new, errors);
        (row.validate_update)(new, old, errors);
    },
    ignored: &["f:status"],
    internal: false,
};

/// Its status.
pub const STATUS: Aspect = Aspect {
    subresource: "status",
    prepare: |row, new, old| (row.prepare_for_status_update)(new, old),
    validate: |row, new, old, errors| (row.validate_status_update)(new, old, errors),
    ignored: &["f:spec"],
    internal: false,
};

/// The collection behind a stored kind.
pub fn collection<'a>(server: &'a Server, row: &Row) -> Result<&'a Arc<Collection>, ApiError> {
    server.storage.collection(row).ok_or(ApiError::MethodNotAllowed)
}

/// What the store's failure means to the client.
pub fn store_error(row: &Row, operation: &str, error: KvError) -> ApiError {
    match error {
        KvError::Unavailable(_) | KvError::Endpoint(..) => {
            tracing::warn!(resource = row.kind.resource, operation, %error, "The store did not answer");
            ApiError::ServerTimeout { of: Qualified::from(row.kind), operation: operation.to_owned() }
        }
        KvError::Compacted => {
            ApiError::Expired("The resourceVersion for the provided list is too old.".into())
        }
        // COMPAT: "etcdserver: request is too large", "etcdserver: mvcc: database space exceeded": people know them.
        KvError::TooLarge | KvError::Future | KvError::Store(_) => ApiError::Store(error.to_string()),
    }
}

/// Reads the present object out of the store itself.
pub async fn fresh(collection: &Collection, target: &Target) -> Result<Option<Arc<Entry>>, ApiError> {
    let key = collection.key(&target.namespace, &target.name);
    let (found, _) = collection.kv.get(&key).await.map_err(|e| store_error(target.row, "get", e))?;
    found.map(|stored| entry_of(collection, &stored)).transpose()
}

pub fn entry_of(collection: &Collection, stored: &Versioned) -> Result<Arc<Entry>, ApiError> {
    collection.entry(stored).map_err(ApiError::internal)
}

/// The key of an object within its collection.
pub fn relative_key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// An object without a name is written to the path of this name.
pub fn unnamed(name: &str) -> ApiError {
    ApiError::BadRequest(format!(
        "the name of the object ({name} based on URL) was undeterminable: name must be provided"
    ))
}

/// An object that is written to a path with a name has that name.
///
/// # Errors
/// A 400 in upstream's words.
pub fn named_as(object: &dyn Object, name: &str) -> Result<(), ApiError> {
    match object.meta().name.as_str() {
        "" => Err(unnamed(name)),
        own if own != name => Err(ApiError::BadRequest(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}

/// The bytes to store, in the stored version.
pub fn stored_bytes(served: Served, object: &mut dyn Object) -> Result<bytes::Bytes, ApiError> {
    if served.as_stored() {
        return Ok(entry::encode(object));
    }
    Ok(entry::encode(&mut *kinds::convert(object, served.stored)?))
}

/// The entry that readers will see once this object is stored at `revision`.
pub fn written_entry(
    served: Served,
    key: String,
    object: &mut dyn Object,
    revision: i64,
) -> Result<Arc<Entry>, ApiError> {
    object.meta_mut().resource_version = if revision > 0 { revision.to_string() } else { String::new() };
    if served.as_stored() {
        return Ok(Arc::new(Entry::of(served.row, key.into(), object, revision)));
    }
    let stored = kinds::convert(object, served.stored)?;
    Ok(Arc::new(Entry::of(served.stored, key.into(), &*stored, revision)))
}

/// The same once `value`, which `stored_bytes` made of the object, is stored: it is not encoded again.
pub fn stored_entry(
    served: Served,
    key: String,
    object: &mut dyn Object,
    value: &[u8],
    revision: i64,
) -> Result<Arc<Entry>, ApiError> {
    if !served.as_stored() {
        return written_entry(served, key, object, revision);
    }
    object.meta_mut().resource_version = revision.to_string();
    Ok(Arc::new(Entry::written(served.row, key.into(), object, value, revision)))
}
