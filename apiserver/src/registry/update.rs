//! PUT, and the loop that every change of an existing object goes through: read, change, check,
//! write under a guard, and once more from the start when someone else was faster.

use std::sync::Arc;

use api_types::field::{Errors, Path};
use api_types::kind::{NameRule, Object};
use api_types::meta::v1::{ManagedFieldsEntry, validate as metadata};
use api_types::value::Time;
use bytes::Bytes;

use super::admit::{self, Operation, Write};
use super::manage::{self, Manager};
use super::quota::{self, Charge};
use super::{
    Aspect, collection, create, decode, entry_of, fresh, relative_key, store_error, stored_bytes,
    stored_entry, written_entry,
};
use crate::answer::{Answer, Served};
use crate::call::{Call, Target};
use crate::kinds;
use crate::server::Server;
use crate::status::ApiError;
use crate::storage::Entry;
use crate::storage::kv::{Guarded, Op};
use crate::subresource::scale;

/// Lost races before a change gives up with a conflict; far more than contention explains.
const ATTEMPTS: usize = 100;

/// How a change is made out of the present object.
pub trait Change: Sync {
    /// The new object, defaulted. Called again with a newer object after a lost race.
    ///
    /// # Errors
    /// What is wrong with the change.
    fn change(&self, old: &dyn Object) -> Result<Box<dyn Object>, ApiError>;

    /// Whether `change` has settled managedFields itself (apply).
    fn manages_fields(&self) -> bool {
        false
    }
}

impl<F: Fn(&dyn Object) -> Result<Box<dyn Object>, ApiError> + Sync> Change for F {
    fn change(&self, old: &dyn Object) -> Result<Box<dyn Object>, ApiError> {
        self(old)
    }
}

/// Handles a PUT.
///
/// # Errors
/// Everything that can be wrong with an update.
pub async fn update(
    server: &Server,
    call: &Call,
    target: &Target,
    aspect: Aspect,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let dry_run = call.dry_run("UpdateOptions")?;
    let object = decode::object(call, target.row, body, "UpdateOptions")?;
    update_object(server, call, target, aspect, object, dry_run).await
}

/// Replaces an object by one that is already read and defaulted.
///
/// # Errors
/// As [`update`].
pub async fn update_object(
    server: &Server,
    call: &Call,
    target: &Target,
    aspect: Aspect,
    mut object: Box<dyn Object>,
    dry_run: bool,
) -> Result<Answer, ApiError> {
    let row = target.row;
    super::named_as(&*object, &target.name)?;
    object.meta_mut().name.clone_from(&target.name);
    decode::settle_namespace(row, object.meta_mut(), &target.namespace)?;
    let create =
        if row.create_on_update && aspect.subresource.is_empty() { Some(object.clone_boxed()) } else { None };
    let result =
        change(server, call, target, aspect, dry_run, &|_: &dyn Object| Ok(object.clone_boxed())).await;
    match (result, create) {
        (Err(ApiError::NotFound { .. }), Some(mut object)) => {
            create::authorized(server, call)?;
            object.meta_mut().resource_version.clear();
            create::create_object(server, call, target, object, dry_run).await
        }
        (result, _) => {
            let entry = result?;
            Ok(Answer::stored(200, row, entry))
        }
    }
}

/// Changes the object at `target`, trying again while others are faster.
///
/// # Errors
/// 404, 409, 422, what admission says, what the change itself says.
pub async fn change(
    server: &Server,
    call: &Call,
    target: &Target,
    aspect: Aspect,
    dry_run: bool,
    change: &dyn Change,
) -> Result<Arc<Entry>, ApiError> {
    let row = target.row;
    let collection = collection(server, row)?;
    let relative = relative_key(&target.namespace, &target.name);
    // The cache may be behind; whatever fails against it is tried against the store.
    let mut cached = true;
    let mut present = collection.get(&relative);
    if present.is_none() {
        cached = false;
        present = fresh(collection, target).await?;
    }
    for _ in 0..ATTEMPTS {
        let Some(old) = present.clone() else {
            return Err(ApiError::not_found(row.kind, &target.name));
        };
        match attempt(server, call, target, aspect, dry_run, change, &old).await {
            Ok(Outcome::Done(entry)) => return Ok(entry),
            Ok(Outcome::Lost(now)) => {
                present = now;
                cached = false;
            }
            Err(error) if cached => {
                present = fresh(collection, target).await?;
                // The same object once more would only fail once more, and be asked about twice.
                if present.as_ref().is_some_and(|now| now.revision == old.revision) {
                    return Err(error);
                }
                cached = false;
            }
            Err(error) => return Err(error),
        }
    }
    Err(ApiError::modified(row.kind, &target.name))
}

enum Outcome {
    Done(Arc<Entry>),
    Lost(Option<Arc<Entry>>),
}

async fn attempt(
    server: &Server,
    call: &Call,
    target: &Target,
    aspect: Aspect,
    dry_run: bool,
    change: &dyn Change,
    old_entry: &Arc<Entry>,
) -> Result<Outcome, ApiError> {
    let row = target.row;
    let served = Served::of(row);
    let old = served.decode(old_entry)?;
    let mut new = change.change(&*old)?;
    check_version(target, &*new, &*old)?;

    let manager = Manager { name: call.manager(), now: Time::whole(jiff::Timestamp::now()) };
    if !change.manages_fields() && !aspect.internal {
        manage::record(row, Some(&*old), &mut *new, &manager, &aspect)?;
    }
    let namespace = if row.kind.resource == "namespaces" { &target.name } else { &target.namespace };
    let write = Write {
        call,
        row,
        operation: Operation::Update,
        namespace,
        name: &target.name,
        subresource: aspect.subresource,
        dry_run,
        deletion: None,
    };
    if !aspect.internal {
        match scale::shown(&aspect, &*new, &*old)? {
            None => admit::mutate(server, write, Some(&mut *new), Some(&*old)).await?,
            Some((mut shown, before)) => {
                admit::mutate(server, write, Some(&mut shown), Some(&before)).await?;
                scale::set(&mut *new, &shown)?;
            }
        }
    }
    for warning in prepare(server, call, target, aspect, &mut *new, &*old)? {
        call.warnings.add(warning);
    }
    kinds::stamp(&mut *new, &*old, manager.now);
    for warning in (row.warnings)(&*new, Some(&*old)) {
        call.warnings.add(warning);
    }
    if !aspect.internal {
        match scale::shown(&aspect, &*new, &*old)? {
            None => admit::validate(server, write, Some(&*new), Some(&*old)).await?,
            Some((shown, before)) => admit::validate(server, write, Some(&shown), Some(&before)).await?,
        }
    }

    let collection = collection(server, row)?;
    let relative = relative_key(&target.namespace, &target.name);
    let key = collection.key(&target.namespace, &target.name);
    if ends_now(row.kind.resource, &*new, &*old) {
        if dry_run {
            return Ok(Outcome::Done(written_entry(served, relative, &mut *new, old_entry.revision)?));
        }
        let mut ops = vec![Op::delete(&key, Some(old_entry.revision))];
        ops.extend(kinds::companions(server, Some(&*new), None, dry_run).await?);
        return match collection.kv.commit(ops).await.map_err(|e| store_error(row, "update", e))? {
            Guarded::Done(revision) => {
                Ok(Outcome::Done(written_entry(served, relative, &mut *new, revision)?))
            }
            Guarded::Lost(present) => lost(collection, present),
        };
    }
    let companions = if aspect.subresource.is_empty() {
        kinds::companions(server, Some(&*old), Some(&mut *new), dry_run).await?
    } else {
        Vec::new()
    };
    let charge = match aspect.internal {
        true => Charge::default(),
        false => quota::charge(server, write, &*new, Some(&*old)).await?,
    };
    let value = value(served, &mut *new, &*old, old_entry)?;
    if dry_run {
        return Ok(Outcome::Done(stored_entry(served, relative, &mut *new, &value, old_entry.revision)?));
    }
    // A write that changes nothing is none.
    if companions.is_empty() && is_same(served, old_entry, &mut *new, &value)? {
        return Ok(Outcome::Done(old_entry.clone()));
    }
    let lease = match kinds::time_to_live(server, row) {
        Some(ttl) => collection.kv.lease(ttl).await.map_err(|e| store_error(row, "update", e))?,
        None => 0,
    };
    let mut ops = vec![Op::put(&key, value.clone(), old_entry.revision).with_lease(lease)];
    ops.extend(companions);
    ops.extend(charge.ops.iter().cloned());
    match collection.kv.commit(ops).await.map_err(|e| store_error(row, "update", e))? {
        Guarded::Done(revision) => {
            Ok(Outcome::Done(stored_entry(served, relative, &mut *new, &value, revision)?))
        }
        Guarded::Lost(present) => lost(collection, present),
    }
}

/// What goes into the store. The records of owners get their times back where nothing else differs: values may
/// have been written otherwise and mean the same, and a write that changes nothing is none.
fn value(
    served: Served,
    new: &mut dyn Object,
    old: &dyn Object,
    old_entry: &Entry,
) -> Result<Bytes, ApiError> {
    let value = stored_bytes(served, new)?;
    let before = &old.meta().managed_fields;
    // Times are all of one length.
    if new.meta().managed_fields == *before
        || !differ_in_time(&new.meta().managed_fields, before)
        || !old_entry.may_be_of(&value)
    {
        return Ok(value);
    }
    let given = std::mem::replace(&mut new.meta_mut().managed_fields, before.clone());
    let with_times = stored_bytes(served, new)?;
    if is_same(served, old_entry, new, &with_times)? {
        return Ok(with_times);
    }
    new.meta_mut().managed_fields = given;
    Ok(value)
}

/// Whether the records are the same but for their times, and for their order, which is that of their times.
fn differ_in_time(new: &[ManagedFieldsEntry], old: &[ManagedFieldsEntry]) -> bool {
    let alike = |a: &ManagedFieldsEntry, b: &ManagedFieldsEntry| {
        a.manager == b.manager
            && a.subresource == b.subresource
            && a.operation == b.operation
            && a.api_version == b.api_version
            && a.fields_type == b.fields_type
            && a.fields_v1 == b.fields_v1
    };
    new.len() == old.len() && new.iter().all(|own| old.iter().any(|before| alike(own, before)))
}

/// Whether the value of the object, as `stored_bytes` has made it, is the one that is there.
fn is_same(served: Served, old: &Entry, new: &mut dyn Object, value: &[u8]) -> Result<bool, ApiError> {
    if let Some(same) = old.is_of(served.stored, value) {
        return Ok(same);
    }
    let version = new.meta().resource_version.clone();
    let same = written_entry(served, old.key.to_string(), new, old.revision)?;
    new.meta_mut().resource_version = version;
    Ok(same.json() == old.json())
}

fn lost(
    collection: &crate::storage::Collection,
    present: Option<crate::storage::kv::Versioned>,
) -> Result<Outcome, ApiError> {
    Ok(Outcome::Lost(present.map(|stored| entry_of(collection, &stored)).transpose()?))
}

/// Whether the new object's resourceVersion and uid are those of the present one, where given.
fn check_version(target: &Target, new: &dyn Object, old: &dyn Object) -> Result<(), ApiError> {
    let row = target.row;
    let (new, old) = (new.meta(), old.meta());
    let given = new.resource_version.as_str();
    if given.is_empty() || given == "0" {
        if !row.unconditional_update {
            let mut errors = Errors::default();
            errors.invalid(
                &Path::new("metadata").child("resourceVersion"),
                0,
                "must be specified for an update",
            );
            // COMPAT: this one names the resource where others name the kind.
            return Err(ApiError::invalid_of(row.kind.group, row.kind.resource, &target.name, errors));
        }
    } else if given != old.resource_version {
        if given.parse::<u64>().is_err() {
            let mut errors = Errors::default();
            errors.invalid(
                &Path::new("metadata").child("resourceVersion"),
                given,
                format!("strconv.ParseUint: parsing {given:?}: invalid syntax"),
            );
            return Err(ApiError::invalid(row.kind, &target.name, errors));
        }
        return Err(ApiError::modified(row.kind, &target.name));
    }
    if !new.uid.is_empty() && new.uid != old.uid {
        return Err(ApiError::Conflict {
            of: row.kind.into(),
            name: target.name.clone(),
            why: format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                new.uid, old.uid
            ),
        });
    }
    Ok(())
}

/// Keeps what an update may not touch, lets the kind prepare, and validates; gives warnings.
fn prepare(
    server: &Server,
    call: &Call,
    target: &Target,
    aspect: Aspect,
    new: &mut dyn Object,
    old: &dyn Object,
) -> Result<Vec<String>, ApiError> {
    let row = target.row;
    decode::settle_namespace(row, new.meta_mut(), &target.namespace)?;
    let meta = new.meta_mut();
    meta.generation = old.meta().generation;
    // An update without a version is one of whatever version is there.
    if row.unconditional_update && matches!(meta.resource_version.as_str(), "" | "0") {
        meta.resource_version.clone_from(&old.meta().resource_version);
    }
    (aspect.prepare)(row, new, old);
    let before = old.meta();
    let meta = new.meta_mut();
    if meta.uid.is_empty() {
        meta.uid.clone_from(&before.uid);
    }
    if before.creation_timestamp.is_some() {
        meta.creation_timestamp = before.creation_timestamp;
    }
    if before.deletion_timestamp.is_some() {
        meta.deletion_timestamp = before.deletion_timestamp;
    }
    if before.deletion_grace_period_seconds.is_some() && meta.deletion_grace_period_seconds.is_none() {
        meta.deletion_grace_period_seconds = before.deletion_grace_period_seconds;
    }
    let mut errors = Errors::default();
    metadata::create(new.meta(), row.kind, NameRule::PathSegment, &mut errors);
    metadata::update(new.meta(), old.meta(), &mut errors);
    if aspect.subresource == "status" {
        kinds::claim_rights::check(&*server.authorizer, (&call.user, &call.info), (new, old), &mut errors);
    }
    (aspect.validate)(row, new, old, &mut errors);
    let warnings = kinds::check(server, new, Some(old), &mut errors);
    if errors.is_empty() { Ok(warnings) } else { Err(ApiError::invalid(row.kind, &target.name, errors)) }
}

/// Whether the update took away what alone kept a dying object.
fn ends_now(resource: &str, new: &dyn Object, old: &dyn Object) -> bool {
    let (meta, before) = (new.meta(), old.meta());
    if meta.deletion_timestamp.is_none() || !meta.finalizers.is_empty() {
        return false;
    }
    if resource == "namespaces" {
        return kinds::namespace::may_end(new)
            && (!before.finalizers.is_empty() || !kinds::namespace::may_end(old));
    }
    // COMPAT: only an object that had finalizers ends so; a pod in its grace period does not.
    !before.finalizers.is_empty() && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
}
