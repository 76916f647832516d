//! POST: a new object.

use api_types::field::Errors;
use api_types::kind::Object;
use api_types::meta::v1::validate as metadata;
use api_types::value::Time;
use uuid::Uuid;

use super::admit::{self, Operation, Write};
use super::manage::{self, Manager};
use super::{
    OBJECT, collection, decode, names, quota, relative_key, store_error, stored_bytes, stored_entry,
    written_entry,
};
use crate::answer::{Answer, Served};
use crate::authz;
use crate::call::{Call, Target};
use crate::kinds;
use crate::request::{Attributes, Decision, RequestInfo};
use crate::server::Server;
use crate::status::{ApiError, Qualified};
use crate::storage::kv::{Guarded, Op};

/// How many made-up names are tried before giving up, as upstream does.
const NAME_ATTEMPTS: usize = 8;
/// How often an allocation (service IPs, ports) that lost a race is made anew.
const RACE_ATTEMPTS: usize = 64;

/// Handles the request.
///
/// # Errors
/// Everything that can be wrong with a creation.
pub async fn create(server: &Server, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, ApiError> {
    let dry_run = call.dry_run("CreateOptions")?;
    let object = decode::object(call, target.row, body, "CreateOptions")?;
    create_object(server, call, target, object, dry_run).await
}

/// Whether a write that was authorized as an update or patch may also create the object.
///
/// # Errors
/// The 403 of a creation.
pub fn authorized(server: &Server, call: &Call) -> Result<(), ApiError> {
    if call.own {
        return Ok(());
    }
    let info = RequestInfo { verb: "create".to_owned(), ..call.info.clone() };
    let attributes = Attributes { user: &call.user, info: &info };
    match server.authorizer.authorize(attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(authz::forbidden(attributes, &reason)),
    }
}

/// Creates an object that is already read and defaulted; its fields are its writer's.
///
/// # Errors
/// As [`create`].
pub async fn create_object(
    server: &Server,
    call: &Call,
    target: &Target,
    mut object: Box<dyn Object>,
    dry_run: bool,
) -> Result<Answer, ApiError> {
    let manager = Manager { name: call.manager(), now: Time::whole(jiff::Timestamp::now()) };
    forget(&mut *object);
    manage::record(target.row, None, &mut *object, &manager, &OBJECT)?;
    create_managed(server, call, target, object, dry_run).await
}

/// Takes away what only the server says.
fn forget(object: &mut dyn Object) {
    let meta = object.meta_mut();
    meta.uid.clear();
    meta.self_link.clear();
    meta.creation_timestamp = None;
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
}

/// Creates an object whose managed fields are settled, as an apply leaves it.
///
/// # Errors
/// As [`create`].
pub async fn create_managed(
    server: &Server,
    call: &Call,
    target: &Target,
    mut object: Box<dyn Object>,
    dry_run: bool,
) -> Result<Answer, ApiError> {
    let row = target.row;
    forget(&mut *object);
    let meta = object.meta_mut();
    decode::settle_namespace(row, meta, &target.namespace)?;
    // COMPAT: admission is asked about an object with a version before that is refused.
    let versioned = !matches!(meta.resource_version.as_str(), "" | "0");
    if !versioned {
        meta.resource_version.clear();
    }
    if row.kind.namespaced && target.namespace.is_empty() {
        return Err(ApiError::BadRequest("an empty namespace may not be set during creation".into()));
    }
    let now = Time::whole(jiff::Timestamp::now());

    let name = object.meta().name.clone();
    let namespace = if row.kind.resource == "namespaces" { name.clone() } else { target.namespace.clone() };
    let write = Write {
        call,
        row,
        operation: Operation::Create,
        namespace: &namespace,
        name: &name,
        subresource: "",
        dry_run,
        deletion: None,
    };
    admit::mutate(server, write, Some(&mut *object), None).await?;

    let generates = object.meta().name.is_empty() && !object.meta().generate_name.is_empty();
    let attempts = if generates { NAME_ATTEMPTS } else { 1 };
    for attempt in 1..=attempts {
        let mut object = object.clone_boxed();
        let outcome = attempt_create(server, write, target, &mut object, now, generates, versioned).await;
        match outcome {
            Err(ApiError::AlreadyExists { of, name }) if generates => {
                if attempt == attempts {
                    return Err(ApiError::GenerateNameExhausted { of, name });
                }
            }
            other => return other,
        }
    }
    unreachable!("the last attempt returns")
}

async fn attempt_create(
    server: &Server,
    write: Write<'_>,
    target: &Target,
    object: &mut Box<dyn Object>,
    now: Time,
    generates: bool,
    versioned: bool,
) -> Result<Answer, ApiError> {
    let row = target.row;
    let meta = object.meta_mut();
    meta.creation_timestamp = Some(now);
    meta.uid = Uuid::new_v4().to_string();
    if generates {
        meta.name = names::generated(&meta.generate_name);
    }
    (row.prepare_for_create)(&mut **object);
    kinds::settle(&mut **object, &write.call.user);
    let mut errors = Errors::default();
    metadata::create(object.meta(), row.kind, row.name_rule, &mut errors);
    (row.validate)(&**object, &mut errors);
    (row.validate_create)(&**object, &mut errors);
    for warning in kinds::check(server, &**object, None, &mut errors) {
        write.call.warnings.add(warning);
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(row.kind, &object.meta().name, errors));
    }
    for warning in (row.warnings)(&**object, None) {
        write.call.warnings.add(warning);
    }
    let name = object.meta().name.clone();
    let collection = collection(server, row)?;
    let served = Served::of(row);
    let key = collection.key(&target.namespace, &name);
    let relative = relative_key(&target.namespace, &name);
    for _ in 0..RACE_ATTEMPTS {
        let mut object = object.clone_boxed();
        let companions = kinds::companions(server, None, Some(&mut *object), write.dry_run).await?;
        let write = Write { name: &name, ..write };
        admit::validate(server, write, Some(&*object), None).await?;
        if versioned {
            return Err(ApiError::BadRequest(
                "resourceVersion should not be set on objects to be created".into(),
            ));
        }
        let charge = quota::charge(server, write, &*object, None).await?;
        if write.dry_run {
            if collection.get(&relative).is_some() {
                return Err(already_exists(row.kind.into(), &name, collection.get(&relative).as_deref()));
            }
            let entry = written_entry(served, relative, &mut *object, 0)?;
            return Ok(Answer::Stored { code: 201, served, entry });
        }
        let lease = match kinds::time_to_live(server, row) {
            Some(ttl) => collection.kv.lease(ttl).await.map_err(|e| store_error(row, "create", e))?,
            None => 0,
        };
        let raced = !companions.is_empty() || !charge.ops.is_empty();
        let value = stored_bytes(served, &mut *object)?;
        let mut ops = vec![Op::put(&key, value.clone(), 0).with_lease(lease)];
        ops.extend(companions);
        ops.extend(charge.ops.iter().cloned());
        match collection.kv.commit(ops).await.map_err(|e| store_error(row, "create", e))? {
            Guarded::Done(revision) => {
                let entry = stored_entry(served, relative, &mut *object, &value, revision)?;
                return Ok(Answer::Stored { code: 201, served, entry });
            }
            Guarded::Lost(None) if raced => continue,
            Guarded::Lost(present) => {
                let present = present.and_then(|stored| collection.entry(&stored).ok());
                return Err(already_exists(row.kind.into(), &name, present.as_deref()));
            }
        }
    }
    Err(ApiError::ServerTimeout { of: row.kind.into(), operation: "create".into() })
}

fn already_exists(of: Qualified, name: &str, present: Option<&crate::storage::Entry>) -> ApiError {
    let dying = present
        .is_some_and(|entry| entry.typed_metadata().is_ok_and(|meta| meta.deletion_timestamp.is_some()));
    let error = ApiError::AlreadyExists { of, name: name.to_owned() };
    if !dying {
        return error;
    }
    let mut status = error.status();
    status.message = format!("object is being deleted: {}", status.message);
    ApiError::Said(Box::new(status))
}
