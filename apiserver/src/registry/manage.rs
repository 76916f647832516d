//! managedFields on every write: the bridge from typed objects to the pure functions of
//! `api_types::schema::managed_fields` (KEP-555).

use api_types::codec::json;
use api_types::kind::{Object, Row};
use api_types::meta::v1::ManagedFieldsEntry;
use api_types::schema::managed_fields::{self, Writer};
use api_types::value::Time;
use serde_json::Value;

use super::Aspect;
use crate::status::ApiError;

/// Whose write it is.
#[derive(Debug, Clone)]
pub struct Manager {
    pub name: String,
    pub now: Time,
}

/// An object as a JSON tree, without kind and apiVersion.
pub fn tree(object: &dyn Object) -> Result<Value, ApiError> {
    let bytes = json::value_to_vec(object.as_dyn_struct());
    serde_json::from_slice(&bytes).map_err(ApiError::internal)
}

/// Records what a write that is no apply changed. `live` is `None` for a creation.
///
/// # Errors
/// A 500 only, for objects that do not survive their own encoding.
pub fn record(
    row: &Row,
    live: Option<&dyn Object>,
    new: &mut dyn Object,
    manager: &Manager,
    aspect: &Aspect,
) -> Result<(), ApiError> {
    let text = |object: &dyn Object| json::value_to_vec(object.as_dyn_struct());
    // With its records, which are mostly those of the live object: what is the same costs nothing.
    let after = text(new);
    let given = std::mem::take(&mut new.meta_mut().managed_fields);
    // COMPAT: a list of one empty entry takes all records away.
    let reset = given.len() == 1 && given[0] == ManagedFieldsEntry::default();
    let entries = match live {
        _ if reset => Vec::new(),
        Some(live) if given.is_empty() => live.meta().managed_fields.clone(),
        _ => given,
    };
    if live.is_some() && entries.is_empty() {
        // COMPAT: what nobody owns stays so until it is applied.
        return Ok(());
    }
    let before = match live {
        Some(live) => text(live),
        None => text(&*(row.new)()),
    };
    let (before, after) = managed_fields::differing(&before, &after).map_err(ApiError::internal)?;
    let writer = writer(row, manager, aspect);
    new.meta_mut().managed_fields = managed_fields::update(row.root(), &before, &after, &entries, &writer);
    Ok(())
}

/// The writer as the pure functions know it.
pub fn writer<'a>(row: &Row, manager: &'a Manager, aspect: &Aspect) -> Writer<'a> {
    Writer {
        manager: &manager.name,
        api_version: row.kind.api_version,
        subresource: aspect.subresource,
        now: manager.now,
        ignored: ignored(row, aspect),
    }
}

/// What a write to this part of an object does not own. COMPAT: with some kinds a write to the status leaves metadata
/// alone, or a part of it.
fn ignored(row: &Row, aspect: &Aspect) -> &'static [&'static str] {
    match (aspect.subresource, row.kind.kind) {
        ("status", "Deployment") => &["f:spec", "f:metadata/f:labels"],
        (
            "status",
            "APIService"
            | "FlowSchema"
            | "PriorityLevelConfiguration"
            | "ResourceClaim"
            | "ServiceCIDR"
            | "ValidatingAdmissionPolicy"
            | "VolumeAttachment",
        ) if row.custom.is_none() => &["f:spec", "f:metadata"],
        _ => aspect.ignored,
    }
}
