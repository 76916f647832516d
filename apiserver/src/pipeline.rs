//! A request's way from the connection to the answer. The order is a security property and stands
//! in `answer`, top to bottom: panic guard, deadline, in-flight limits, authenticate, impersonate,
//! authorize, route. What follows for writes (decode, default, admission, validation, transaction)
//! stands in `registry/`.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use api_types::meta::v1::Status;
use futures::FutureExt;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;

use crate::answer;
use crate::authn::ConnectionIdentity;
use crate::authn::impersonation::{self, ImpersonationError};
use crate::authz;
use crate::body::{self, Body};
use crate::call::{Call, Warnings};
use crate::metrics::is_connect;
use crate::negotiate::{self, Accepted};
use crate::path;
use crate::query::Query;
use crate::request::{Attributes, Decision, RequestInfo, User};
use crate::route;
use crate::server::Server;
use crate::status::ApiError;

/// Answers one request. Never fails and never unwinds.
pub async fn handle(
    server: Arc<Server>,
    identity: Arc<ConnectionIdentity>,
    remote: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let received = Instant::now();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let info = path::request_info(request.method(), request.uri().path(), &query);
    let content_type = negotiate::content_type(request.headers());
    let head = request.method() == Method::HEAD;
    let dry_run = query.get("dryRun").is_some();
    let guarded = AssertUnwindSafe(within_deadline(&server, &identity, remote, request, query, &info));
    let mut response = match guarded.catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let why = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(path = info.path, verb = info.verb, panic = why, "A request panicked");
            body::text(500, "This request caused apiserver to panic. Look in the logs for details.\n")
        }
    };
    let code = response.status().as_u16();
    server.metrics.answered(&info, &content_type, dry_run, code, received.elapsed().as_secs_f64());
    tracing::debug!(verb = info.verb, path = info.path, code, %remote, "Answered");
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
    if head {
        *response.body_mut() = body::empty();
    }
    response
}

/// Requests that last: watches, logs that follow, and opened connections.
fn lasts(info: &RequestInfo, query: &Query) -> bool {
    info.verb == "watch" || is_connect(info) || (info.subresource == "log" && query.flag("follow"))
}

async fn within_deadline(
    server: &Arc<Server>,
    identity: &ConnectionIdentity,
    remote: SocketAddr,
    request: Request<Incoming>,
    query: Query,
    info: &RequestInfo,
) -> Response<Body> {
    // How errors are written; a header that accepts nothing of ours is told so further down.
    let accepted = negotiate::accepted(request.headers(), &query, true)
        .map(|accepted| Accepted { form: negotiate::Form::Whole, ..accepted })
        .unwrap_or_default();
    let lasting = lasts(info, &query);
    let answered = answer(server, identity, remote, request, query, info);
    let result = if lasting {
        // A watch counts itself until its stream ends.
        let _counted = (info.verb != "watch").then(|| server.metrics.lasting(info));
        answered.await
    } else {
        match tokio::time::timeout(server.request_timeout, answered).await {
            Ok(result) => result,
            Err(_) => {
                server.metrics.refused(info, "504");
                Err(ApiError::Timeout("request did not complete within the allotted timeout".into()))
            }
        }
    };
    result.unwrap_or_else(|error| {
        let status: Status = error.status();
        if status.code >= 500 {
            tracing::warn!(
                path = info.path,
                verb = info.verb,
                code = status.code,
                error = status.message,
                "Request failed"
            );
        }
        answer::status_response(u16::try_from(status.code).unwrap_or(500), &status, accepted)
    })
}

async fn answer(
    server: &Arc<Server>,
    identity: &ConnectionIdentity,
    remote: SocketAddr,
    request: Request<Incoming>,
    query: Query,
    info: &RequestInfo,
) -> Result<Response<Body>, ApiError> {
    // Health is asked by probes that must not be queued behind clients; it shows nothing secret, and
    // authorization below still applies to it.
    let _permit = admitted(server, info, request.method(), &query)?;

    // Authenticate.
    let (mut parts, body) = request.into_parts();
    let requestor = match server.authenticator.authenticate(&mut parts.headers, identity).await {
        Ok(user) => user,
        Err(error) => {
            tracing::warn!(%error, path = info.path, %remote, "Unable to authenticate the request");
            return Err(ApiError::Unauthorized);
        }
    };

    // Impersonate.
    let user = impersonated(server, &requestor, &mut parts.headers)?;

    // Authorize.
    authorize(server, &user, info).await?;

    // Route.
    let call = Call {
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        headers: std::mem::take(&mut parts.headers),
        query,
        info: info.clone(),
        user,
        warnings: Warnings::default(),
        own: false,
    };
    let result = route::route(server, &call, &mut parts.extensions, body).await;
    // Warnings go with errors too.
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            let accepted = negotiate::accepted(&call.headers, &call.query, true)
                .map(|accepted| Accepted { form: negotiate::Form::Whole, ..accepted })
                .unwrap_or_default();
            let status = error.status();
            if status.code >= 500 {
                tracing::warn!(
                    path = info.path,
                    verb = info.verb,
                    code = status.code,
                    error = status.message,
                    "Request failed"
                );
            }
            answer::status_response(u16::try_from(status.code).unwrap_or(500), &status, accepted)
        }
    };
    call.warnings.write(response.headers_mut());
    Ok(response)
}

/// A place among the requests under way, or a 429.
fn admitted<'a>(
    server: &'a Server,
    info: &RequestInfo,
    method: &Method,
    query: &Query,
) -> Result<Option<(tokio::sync::SemaphorePermit<'a>, crate::metrics::GaugeGuard)>, ApiError> {
    if lasts(info, query) {
        return Ok(None);
    }
    let mutating = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(places) = (if mutating { &server.writing } else { &server.reading }) else { return Ok(None) };
    match places.try_acquire() {
        Ok(permit) => Ok(Some((permit, server.metrics.short(mutating)))),
        Err(_) => {
            server.metrics.refused(info, "429");
            Err(ApiError::TooManyRequests {
                message: "Too many requests, please try again later.".into(),
                retry_after: 1,
            })
        }
    }
}

fn impersonated(server: &Server, requestor: &User, headers: &mut http::HeaderMap) -> Result<User, ApiError> {
    match impersonation::impersonate(requestor, headers, &*server.authorizer) {
        Ok(None) => Ok(requestor.clone()),
        Ok(Some(user)) => Ok(user),
        Err(ImpersonationError::NoUser(what)) => {
            Err(ApiError::BadRequest(ImpersonationError::NoUser(what).to_string()))
        }
        Err(ImpersonationError::Forbidden { info, reason }) => {
            Err(authz::forbidden(Attributes { user: requestor, info: &info }, &reason))
        }
    }
}

async fn authorize(server: &Server, user: &User, info: &RequestInfo) -> Result<(), ApiError> {
    let attributes = Attributes { user, info };
    let started = Instant::now();
    let mut decision = server.authorizer.authorize(attributes);
    if !matches!(decision, Decision::Allow(_)) && info.is_resource {
        if !server.fresh.is_filled() {
            // Right after a start nothing is known of roles: a refusal would be a lie.
            server.fresh.filled().await;
            decision = server.authorizer.authorize(attributes);
        } else if authz::node::node_of(user).is_some() {
            // A kubelet may ask for what its newest pod needs before the views have that pod.
            server.fresh.catch_up().await;
            decision = server.authorizer.authorize(attributes);
        }
    }
    authz::metrics::decided(&decision, started.elapsed().as_secs_f64());
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            tracing::debug!(user = user.name, path = info.path, reason, "Forbidden");
            Err(authz::forbidden(attributes, &reason))
        }
    }
}
