//! Paths below an object: status, scale, binding and so on. One function and one row each.

mod token;

use std::sync::Arc;

use http::Extensions;
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::body;
use crate::call::{Call, Target};
use crate::registry::{self, Aspect, STATUS};
use crate::server::Server;
use crate::status::ApiError;

/// Answers a request for a subresource.
///
/// # Errors
/// 404 for a subresource that the kind does not have, 405 for a verb that it does not have.
pub async fn answer(
    server: &Arc<Server>,
    call: &Call,
    target: &Target,
    extensions: &mut Extensions,
    body: Incoming,
) -> Result<Answer, ApiError> {
    let _ = extensions;
    let info = &call.info;
    let known = target
        .row
        .kind
        .subresources
        .iter()
        .find(|s| s.name == info.subresource)
        .ok_or(ApiError::NoSuchPath)?;
    if !known.verbs.contains(&info.verb.as_str()) {
        return Err(ApiError::MethodNotAllowed);
    }
    match known.name {
        "status" => aspect(server, call, target, STATUS, body).await,
        "token" => token::create(server, call, target, &body::read(body).await?).await,
        _ => Err(ApiError::NoSuchPath),
    }
}

/// GET, PUT and PATCH of a part of the object under its own kind.
async fn aspect(
    server: &Server,
    call: &Call,
    target: &Target,
    aspect: Aspect,
    body: Incoming,
) -> Result<Answer, ApiError> {
    match call.info.verb.as_str() {
        "get" => registry::get::get(server, call, target).await,
        "update" => registry::update::update(server, call, target, aspect, &body::read(body).await?).await,
        "patch" => registry::patch::patch(server, call, target, aspect, &body::read(body).await?).await,
        _ => Err(ApiError::MethodNotAllowed),
    }
}
