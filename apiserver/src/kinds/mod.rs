//! What some kinds need from the server beyond their strategies: companions in the same transaction
//! (service IPs and ports), times to live, conversions between versions.

pub mod autoscaler;
pub mod certificate;
pub mod claim_rights;
pub mod component;
pub mod definition;
pub mod device;
pub mod event;
pub mod namespace;
pub mod pod;
pub mod privileged;
pub mod review;
pub mod service;
pub mod volume;
pub mod webhook;

use api_types::core::v1::Service;
use api_types::field::Errors;
use api_types::kind::{Object, Row};
use api_types::value::Time;

use crate::crd::conversion;
use crate::request::User;
use crate::server::Server;
use crate::status::ApiError;
use crate::storage::kv::Op;

/// Further writes that must happen together with an object's: `old` becomes `new`, either of which
/// may be missing. May settle fields of `new`.
///
/// # Errors
/// When there is nothing left to allocate.
pub async fn companions(
    server: &Server,
    old: Option<&dyn Object>,
    new: Option<&mut dyn Object>,
    dry_run: bool,
) -> Result<Vec<Op>, ApiError> {
    let _ = dry_run;
    let old = old.and_then(service::of);
    match new {
        Some(new) => match new.as_any_mut().downcast_mut::<Service>() {
            Some(new) => service::companions(server, old, Some(new)).await,
            None => Ok(Vec::new()),
        },
        None if old.is_some() => service::companions(server, old, None).await,
        None => Ok(Vec::new()),
    }
}

/// What the server writes into a new object out of the request.
pub fn settle(object: &mut dyn Object, user: &User) {
    certificate::settle(object, user);
    device::settle(object);
    volume::settle(object);
}

/// Times that the server gives to what changed.
pub fn stamp(new: &mut dyn Object, old: &dyn Object, now: Time) {
    certificate::stamp(new, old, now);
    device::stamp(new, now);
    volume::stamp(new, old, now);
}

/// What this server's flags forbid, and what rules in CEL say about the object, of which `old` is what is
/// there. Gives warnings.
pub fn check(
    server: &Server,
    object: &dyn Object,
    old: Option<&dyn Object>,
    errors: &mut Errors,
) -> Vec<String> {
    if !server.allow_privileged {
        privileged::forbid(object, errors);
    }
    webhook::check(object, old, errors);
    device::check(server, object, old, errors);
    crate::crd::rules::check_definition(object, old, errors);
    crate::policies::check_definition(object, errors);
    crate::crd::rules::check(object, old, errors)
}

/// Seconds after which objects of the kind vanish by themselves.
pub fn time_to_live(server: &Server, row: &Row) -> Option<i64> {
    event::is_event(row.kind).then_some(server.event_ttl.as_secs() as i64).filter(|ttl| *ttl > 0)
}

/// The same object in another version of its resource.
///
/// # Errors
/// A 500 for versions between which nothing converts, and what a webhook that converts does not do.
pub fn convert(object: &dyn Object, to: &'static Row) -> Result<Box<dyn Object>, ApiError> {
    if let Some(converted) = conversion::convert(object, to) {
        return converted;
    }
    definition::convert(object, to)
        .or_else(|| event::convert(object, to))
        .or_else(|| autoscaler::convert(object, to))
        .ok_or_else(|| {
            let from = object.kind();
            ApiError::internal(format!(
                "{} {} does not convert to {}",
                from.api_version, from.kind, to.kind.api_version
            ))
        })
}
