//! From an authorized request to the code that answers it: resource paths by the table of kinds,
//! the few others by name.

use std::sync::Arc;

use api_types::kind::Row;
use api_types::kinds;
use http::{Extensions, HeaderValue, Method, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::aggregator;
use crate::answer::Answer;
use crate::authn::service_account::discovery as open_id;
use crate::body::{self, Body};
use crate::call::{Call, Target};
use crate::discovery;
use crate::kinds::{component, review};
use crate::negotiate;
use crate::openapi;
use crate::registry::{self, OBJECT};
use crate::server::Server;
use crate::status::ApiError;
use crate::subresource;

/// Answers the request.
///
/// # Errors
/// What the client is told.
pub async fn route(
    server: &Arc<Server>,
    call: &Call,
    extensions: &mut Extensions,
    body: Incoming,
) -> Result<Response<Body>, ApiError> {
    // In boxes, here and below, what takes several times the room of reads: each request would set it aside.
    let path = call.info.path.as_str();
    let document = || path.strip_prefix("/openapi/v3").and_then(|rest| server.aggregator.find(rest));
    if let Some(remote) = server.aggregator.find(path).or_else(document) {
        return Ok(Box::pin(aggregator::answer(server, call, &remote, extensions, body)).await);
    }
    if !call.info.is_resource {
        return plain(server, call).await;
    }
    if kinds::by_resource(&call.info.group, &call.info.version, &call.info.resource).is_none() {
        return not_found(&call.info.path);
    }
    // What is behind a proxy knows itself what it answers.
    if call.method == Method::HEAD && call.info.subresource != "proxy" {
        return Err(ApiError::MethodNotAllowed);
    }
    let (row, namespace) = find(call)?;
    let target = Target { row, namespace, name: call.info.name.clone() };
    if row.custom.is_none() && !PASSED_ON.contains(&call.info.subresource.as_str()) {
        let watched = matches!(call.info.verb.as_str(), "list" | "watch");
        negotiate::offered(&call.headers, watched)?;
    }
    if let Some(warning) = deprecation(row) {
        call.warnings.add(warning);
    }
    if !call.info.subresource.is_empty() {
        let answer = Box::pin(subresource::answer(server, call, &target, extensions, body)).await?;
        return finish(call, row, answer).await;
    }
    let answer = verb(server, call, &target, body).await?;
    finish(call, row, answer).await
}

async fn finish(call: &Call, row: &Row, answer: Answer) -> Result<Response<Body>, ApiError> {
    let tables = match &answer {
        Answer::Raw(_) | Answer::Status { .. } => false,
        // What was made for the answer (reviews, tokens) has no columns; dry runs are of stored kinds.
        Answer::Made { object, .. } => object.kind().is_stored(),
        Answer::Stored { .. } | Answer::List(_) | Answer::Watch(_) => true,
    };
    let mut accepted = negotiate::accepted(&call.headers, &call.query, tables)?;
    let is_object = matches!(answer, Answer::Stored { .. } | Answer::List(_) | Answer::Watch(_));
    if is_object && !negotiate::has_protobuf(row) {
        accepted = negotiate::without_protobuf(accepted, &call.headers)?;
    }
    if let Some(record) = &call.record {
        if let Answer::Status { status, .. } = &answer {
            record.status(status);
        } else if record.wants_response() {
            let object = answer.recorded(accepted)?;
            if let Some(object) = object {
                let whole = object.collect().await.map_err(ApiError::internal)?;
                record.response(&whole.to_bytes());
            }
        }
    }
    answer.into_response(accepted, call.accepts_gzip())
}

/// What users of an old kind are told.
fn deprecation(row: &Row) -> Option<String> {
    if let Some(slot) = row.custom {
        return slot.definition().deprecation.clone();
    }
    let kind = row.kind;
    match (kind.group, kind.resource) {
        ("", "endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned())
        }
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+".to_owned()),
        _ => None,
    }
}

/// The answer where nothing is served. COMPAT: within groups of our own it is a Status; elsewhere upstream
/// has no handler at all, and it is Go's page.
fn not_found(path: &str) -> Result<Response<Body>, ApiError> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let group = match parts.next() {
        Some("api") => Some(""),
        Some("apis") => parts.next(),
        _ => None,
    };
    if kinds::served().any(|row| row.custom.is_none() && Some(row.kind.group) == group) {
        return Err(ApiError::NoSuchPath);
    }
    Ok(body::text(404, "404 page not found\n"))
}

/// The row of the path's resource, and the namespace that it is about.
fn find(call: &Call) -> Result<(&'static Row, String), ApiError> {
    let info = &call.info;
    let row = kinds::by_resource(&info.group, &info.version, &info.resource).ok_or(ApiError::NoSuchPath)?;
    if row.kind.namespaced {
        if info.namespace.is_empty() && (!info.name.is_empty() && !named_by_selector(call)) {
            return Err(ApiError::NoSuchPath);
        }
        return Ok((row, info.namespace.clone()));
    }
    // `namespaces/NS` has its name as its namespace; other cluster-wide kinds are in none.
    if !info.namespace.is_empty() && row.kind.resource != "namespaces" {
        return Err(ApiError::NoSuchPath);
    }
    Ok((row, String::new()))
}

/// COMPAT: a list or watch with `metadata.name=X` is authorized as one of X; its path has no name.
fn named_by_selector(call: &Call) -> bool {
    matches!(call.info.verb.as_str(), "list" | "watch" | "deletecollection")
        && !call.info.path.ends_with(&format!("/{}", call.info.name))
}

async fn verb(server: &Server, call: &Call, target: &Target, body: Incoming) -> Result<Answer, ApiError> {
    let verb = call.info.verb.as_str();
    let collection = target.name.is_empty() || named_by_selector(call);
    if !target.row.kind.verbs.contains(&verb) {
        return Err(ApiError::MethodNotAllowed);
    }
    let across = target.row.kind.namespaced && target.namespace.is_empty();
    if across && matches!(verb, "create" | "deletecollection") {
        return Err(ApiError::MethodNotAllowed);
    }
    if verb == "create" && review::is_review(target.row.kind) {
        let body = call.read(body).await?;
        return Box::pin(review::create(server, call, target, &body)).await;
    }
    if verb == "create" && target.row.custom.is_some_and(|slot| slot.definition().terminating) {
        return Err(ApiError::terminating_definition(verb));
    }
    if !target.row.kind.is_stored() {
        return answered(server, call, target, &call.read(body).await?).await;
    }
    // Whether the method goes with the path.
    let fits = match verb {
        "create" | "list" | "deletecollection" => collection,
        "watch" => true,
        _ => !collection,
    };
    if !fits {
        return Err(ApiError::MethodNotAllowed);
    }
    match verb {
        "get" => registry::get::get(server, call, target).await,
        "list" => registry::list::list(server, call, &unnamed(target)).await,
        "watch" => {
            let target = if named_by_selector(call) { unnamed(target) } else { target.clone() };
            registry::watch::watch(server, call, &target).await
        }
        _ => Box::pin(write(server, call, target, body)).await,
    }
}

async fn write(server: &Server, call: &Call, target: &Target, body: Incoming) -> Result<Answer, ApiError> {
    match call.info.verb.as_str() {
        "create" => registry::create::create(server, call, target, &call.read(body).await?).await,
        "update" => registry::update::update(server, call, target, OBJECT, &call.read(body).await?).await,
        "patch" => registry::patch::patch(server, call, target, OBJECT, &call.read(body).await?).await,
        "delete" => registry::delete::delete(server, call, target, &call.read(body).await?).await,
        "deletecollection" => {
            registry::delete::delete_collection(server, call, &unnamed(target), &call.read(body).await?).await
        }
        _ => Err(ApiError::MethodNotAllowed),
    }
}

/// Kinds that are answered and not stored.
async fn answered(server: &Server, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, ApiError> {
    let kind = target.row.kind;
    let components = &server.components;
    match (kind.group, kind.resource) {
        ("", "componentstatuses") if call.info.verb == "list" => {
            component::list(components, call, target).await
        }
        ("", "componentstatuses") => component::get(components, target).await,
        ("", "bindings") => {
            let pods = kinds::by_resource("", "v1", "pods").ok_or(ApiError::NoSuchPath)?;
            subresource::create_binding(server, call, pods, &target.namespace, body).await
        }
        _ => Err(ApiError::MethodNotAllowed),
    }
}

fn unnamed(target: &Target) -> Target {
    Target { name: String::new(), ..target.clone() }
}

/// Paths that are no resource.
async fn plain(server: &Arc<Server>, call: &Call) -> Result<Response<Body>, ApiError> {
    let path = call.info.path.as_str();
    if let Some(answer) = server.health.answer(path, call.uri.query()).await {
        return Ok(body::text(answer.status.as_u16(), answer.body));
    }
    if let Some(document) =
        discovery::answer(path, &call.headers, &call.query, &server.address, &server.aggregator.remotes())
    {
        no_head(call)?;
        return document;
    }
    if let Some(document) = openapi::answer(call, &server.aggregator.remotes()) {
        only_get(call)?;
        return document;
    }
    match path {
        "/" | "" => {
            let list = serde_json::json!({ "paths": paths(server) });
            Ok(body::response(
                200,
                negotiate::JSON,
                body::full(crate::answer::pretty(list.to_string().as_bytes())),
            ))
        }
        "/version" | "/version/" => {
            no_head(call)?;
            let info = serde_json::to_vec_pretty(&daemon::version::info()).map_err(ApiError::internal)?;
            Ok(body::response(200, negotiate::JSON, body::full(info)))
        }
        open_id::CONFIGURATION_PATH => {
            only_get(call)?;
            let documents = server.open_id.as_ref().ok_or(ApiError::NoSuchPath)?;
            Ok(public(negotiate::JSON, &documents.configuration))
        }
        open_id::KEYS_PATH => {
            only_get(call)?;
            let documents = server.open_id.as_ref().ok_or(ApiError::NoSuchPath)?;
            Ok(public(open_id::KEYS_MEDIA_TYPE, &documents.keys))
        }
        "/statusz" | "/flagz" => {
            let accept = call.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let answer =
                daemon::zpages::answer(path, accept, "apiserver", &DEBUGGING).ok_or(ApiError::NoSuchPath)?;
            let (parts, whole) = answer.into_response().into_parts();
            Ok(Response::from_parts(parts, whole.map_err(|never| match never {}).boxed_unsync()))
        }
        "/metrics/slis" => {
            only_get(call)?;
            Ok(body::response(200, daemon::metrics::TEXT_FORMAT, body::full(daemon::metrics::slis().text())))
        }
        "/metrics" => {
            only_get(call)?;
            for collection in server.storage.collections() {
                let name = collection.row.kind.qualified_resource();
                server.metrics.stored(&name, collection.snapshot().0.len());
            }
            Ok(body::response(
                200,
                daemon::metrics::TEXT_FORMAT,
                body::full(daemon::metrics::global().text()),
            ))
        }
        _ => not_found(path),
    }
}

/// Subresources whose answers are no objects.
const PASSED_ON: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// What is served beside the API, as `/statusz` tells it.
const DEBUGGING: [&str; 7] = ["/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"];

/// A document that anybody may keep for a while.
fn public(media_type: &'static str, document: &[u8]) -> Response<Body> {
    let mut response = body::response(200, media_type, body::full(document.to_vec()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(open_id::CACHE_CONTROL));
    response
}

fn only_get(call: &Call) -> Result<(), ApiError> {
    if matches!(call.method, Method::GET | Method::HEAD) { Ok(()) } else { Err(ApiError::MethodNotAllowed) }
}

/// Where upstream's router knows GET alone.
fn no_head(call: &Call) -> Result<(), ApiError> {
    if call.method == Method::GET { Ok(()) } else { Err(ApiError::MethodNotAllowed) }
}

fn paths(_server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/flagz",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/statusz",
        "/version",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    for row in kinds::served() {
        let kind = row.kind;
        if kind.group.is_empty() {
            paths.push(format!("/api/{}", kind.version));
        } else {
            paths.push(format!("/apis/{}", kind.group));
            paths.push(format!("/apis/{}", kind.api_version));
        }
    }
    paths.sort();
    paths.dedup();
    paths
}
