//! Paths below an object: status, scale, binding and so on. One function and one row each.

mod aspects;
mod binding;
mod connect;
mod disruption;
mod eviction;
pub mod scale;
mod token;

use std::sync::Arc;

use http::Extensions;
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::registry::{self, Aspect, STATUS};
use crate::server::Server;
use crate::status::ApiError;

pub use binding::create_binding;
pub use connect::Kubelets;

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
    let info = &call.info;
    let kind = target.row.kind;
    let known = kind.subresources.iter().find(|s| s.name == info.subresource).ok_or(ApiError::NoSuchPath)?;
    if target.name.is_empty() {
        return Err(ApiError::NoSuchPath);
    }
    // A proxy's methods are the server's behind it, those without a verb too (OPTIONS).
    let any_method = known.name == "proxy" && info.verb.is_empty();
    if !any_method && !known.verbs.contains(&info.verb.as_str()) {
        return Err(ApiError::MethodNotAllowed);
    }
    match (kind.resource, known.name) {
        (_, "status") => aspect(server, call, target, STATUS, body).await,
        (_, "scale") => scale::answer(server, call, target, body).await,
        ("serviceaccounts", "token") => token::create(server, call, target, &call.read(body).await?).await,
        ("namespaces", "finalize") => aspect(server, call, target, aspects::FINALIZE, body).await,
        ("certificatesigningrequests", "approval") => {
            aspect(server, call, target, aspects::APPROVAL, body).await
        }
        ("pods", "ephemeralcontainers") => {
            aspect(server, call, target, aspects::EPHEMERAL_CONTAINERS, body).await
        }
        ("pods", "resize") => aspect(server, call, target, aspects::RESIZE, body).await,
        ("pods", "binding") => binding::answer(server, call, target, body).await,
        ("pods", "eviction") => eviction::answer(server, call, target, body).await,
        ("pods" | "nodes" | "services", "log" | "exec" | "attach" | "portforward" | "proxy") => {
            connect::answer(server, call, target, known.name, extensions, body).await
        }
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
        "update" => registry::update::update(server, call, target, aspect, &call.read(body).await?).await,
        "patch" => registry::patch::patch(server, call, target, aspect, &call.read(body).await?).await,
        _ => Err(ApiError::MethodNotAllowed),
    }
}
