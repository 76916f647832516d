//! A request's way from the connection to the answer. The order is a security property and stands
//! in `answer` and `authorized`, top to bottom: panic guard, deadline, authenticate, open the audit
//! record, impersonate, flow control (or the in-flight limits), authorize, route. What follows for
//! writes (decode, default, admission, validation, transaction) stands in `registry/`.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use api_types::kinds;
use api_types::meta::v1::Status;
use daemon::flags::GoDuration;
use daemon::serve::Retreat;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::answer;
use crate::audit::{Record, Stage};
use crate::authn::ConnectionIdentity;
use crate::authn::impersonation::{self, ImpersonationError};
use crate::authz;
use crate::body::{self, Body};
use crate::call::{Call, Warnings};
use crate::flow_control::estimate::Stock;
use crate::flow_control::{Flow, Permit};
use crate::metrics::{GaugeGuard, is_connect};
use crate::negotiate::{self, Accepted};
use crate::path;
use crate::query::Query;
use crate::request::{Attributes, Decision, RequestInfo, User};
use crate::route;
use crate::server::Server;
use crate::status::ApiError;
use crate::waited;

/// What the requests of one connection share.
pub struct Connection {
    pub identity: ConnectionIdentity,
    pub remote: SocketAddr,
    pub retreat: Retreat,
}

/// Answers one request. Never fails and never unwinds.
pub async fn handle(
    server: Arc<Server>,
    connection: Arc<Connection>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let received = Instant::now();
    if request.version() == http::Version::HTTP_2 && fastrand::f64() < server.goaway_chance {
        connection.retreat.begin();
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let info = path::request_info(request.method(), request.uri().path(), &query);
    let content_type = negotiate::content_type(request.headers());
    let dry_run = query.get("dryRun").is_some();
    let arrival = Arrival {
        // How errors are written; a header that accepts nothing of ours is told so further down.
        accepted: negotiate::accepted(request.headers(), &query, true)
            .map(|accepted| Accepted { form: negotiate::Form::Whole, ..accepted })
            .unwrap_or_default(),
        lasts: lasts(&info, &query),
        audit_id: audit_id(request.headers_mut()),
        at: jiff::Timestamp::now(),
        connection,
        query,
        info,
        record: OnceLock::new(),
    };
    let guarded = AssertUnwindSafe(within_deadline(&server, &arrival, request));
    let (answered, waited) = waited::counted(guarded.catch_unwind()).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(panic) => panicked(&*panic, &arrival),
    };
    let Arrival { info, connection, .. } = &arrival;
    let code = response.status().as_u16();
    server.metrics.answered(info, &content_type, dry_run, code, received.elapsed(), waited);
    tracing::debug!(verb = info.verb, path = info.path, code, remote = %connection.remote, "Answered");
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
    if let Ok(id) = HeaderValue::from_str(&arrival.audit_id) {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    match arrival.record.get() {
        Some(record) => recorded(record, arrival.lasts, response),
        None => response,
    }
}

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// A request as it came, before anything is decided about it.
struct Arrival {
    connection: Arc<Connection>,
    query: Query,
    info: RequestInfo,
    accepted: Accepted,
    lasts: bool,
    audit_id: String,
    at: jiff::Timestamp,
    /// Begun once it is known who asks.
    record: OnceLock<Arc<Record>>,
}

/// The client's or proxy's id for the request, or a new one.
fn audit_id(headers: &mut http::HeaderMap) -> String {
    let given = headers.get(AUDIT_ID).and_then(|v| v.to_str().ok()).filter(|id| !id.is_empty());
    // COMPAT: ids are cut at 64 bytes.
    let id = given.map_or_else(|| uuid::Uuid::new_v4().to_string(), |id| id.chars().take(64).collect());
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(AUDIT_ID, value);
    }
    id
}

fn panicked(panic: &(dyn std::any::Any + Send), arrival: &Arrival) -> Response<Body> {
    let why = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(path = arrival.info.path, verb = arrival.info.verb, panic = why, "A request panicked");
    if let Some(record) = arrival.record.get() {
        record.status(&Status {
            status: "Failure".into(),
            reason: "InternalError".into(),
            message: format!("APIServer panic'd: {why}"),
            ..Status::default()
        });
        record.stage(Stage::Panic, Some(500));
    }
    body::text(500, "This request caused apiserver to panic. Look in the logs for details.\n")
}

/// Writes the last events of a request: now, or for those that last when their answer has ended.
fn recorded(record: &Arc<Record>, lasts: bool, response: Response<Body>) -> Response<Body> {
    let code = response.status().as_u16();
    if !lasts {
        record.stage(Stage::ResponseComplete, Some(code));
        return response;
    }
    record.stage(Stage::ResponseStarted, Some(code));
    let ending = Ending(record.clone(), code);
    response.map(|body| {
        let frames = body.map_frame(move |frame| {
            let _held = &ending;
            frame
        });
        frames.boxed_unsync()
    })
}

/// Writes the last event when the body that holds it goes.
struct Ending(Arc<Record>, u16);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stage(Stage::ResponseComplete, Some(self.1));
    }
}

/// Requests that last: watches, logs that follow, and opened connections.
fn lasts(info: &RequestInfo, query: &Query) -> bool {
    info.verb == "watch" || is_connect(info) || (info.subresource == "log" && query.flag("follow"))
}

/// What the client is told of an error.
fn failure(error: &ApiError, arrival: &Arrival) -> Response<Body> {
    let status: Status = error.status();
    if status.code >= 500 {
        tracing::warn!(
            path = arrival.info.path,
            verb = arrival.info.verb,
            code = status.code,
            error = status.message,
            "Request failed"
        );
    }
    if let Some(record) = arrival.record.get() {
        record.status(&status);
    }
    answer::status_response(u16::try_from(status.code).unwrap_or(500), &status, arrival.accepted)
}

async fn within_deadline(
    server: &Arc<Server>,
    arrival: &Arrival,
    request: Request<Incoming>,
) -> Response<Body> {
    let info = &arrival.info;
    let answered = answer(server, arrival, request);
    if arrival.lasts {
        // A watch counts itself until its stream ends.
        let _counted = (info.verb != "watch").then(|| server.metrics.lasting(info));
        return answered.await.unwrap_or_else(|error| failure(&error, arrival));
    }
    let deadline = match deadline(server, &arrival.query) {
        Ok(deadline) => deadline,
        Err(error) => return failure(&error, arrival),
    };
    match tokio::time::timeout(deadline, answered).await {
        Ok(result) => result.unwrap_or_else(|error| failure(&error, arrival)),
        Err(_) => {
            server.metrics.refused(info, "504");
            let text = "request did not complete within the allotted timeout";
            failure(&ApiError::Timeout(text.into()), arrival)
        }
    }
}

/// `--request-timeout`, or what the client gives it if that is less.
fn deadline(server: &Server, query: &Query) -> Result<Duration, ApiError> {
    let most = server.request_timeout;
    match query.text("timeout") {
        "" => Ok(most),
        text => match text.parse::<GoDuration>() {
            Ok(asked) if asked.0.is_zero() => Ok(most),
            Ok(asked) => Ok(asked.0.min(most)),
            Err(error) => {
                Err(ApiError::BadRequest(format!("invalid timeout specified in the request URL - {error}")))
            }
        },
    }
}

async fn answer(
    server: &Arc<Server>,
    arrival: &Arrival,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let Arrival { info, query, connection, .. } = arrival;

    // Authenticate.
    let (mut parts, body) = request.into_parts();
    let open = |parts: &http::request::Parts, user: &User| {
        let audit = server.audit.as_ref()?;
        let record = audit.open(parts, info, user, connection.remote, &arrival.audit_id, arrival.at)?;
        Some(arrival.record.get_or_init(|| record).clone())
    };
    let (headers, path) = (&mut parts.headers, info.path.as_str());
    let requestor = match server.authenticator.authenticate(headers, &connection.identity, path).await {
        Ok(user) => user,
        Err(error) => {
            tracing::warn!(%error, path = info.path, remote = %connection.remote, "Unable to authenticate the request");
            open(&parts, &User::default());
            return Err(ApiError::Unauthorized);
        }
    };

    // Open the audit record.
    let record = open(&parts, &requestor);
    if let Some(record) = &record {
        record.stage(Stage::RequestReceived, None);
    }

    // Impersonate.
    let user = impersonated(server, &requestor, &mut parts.headers)?;
    if let Some(record) = record.as_ref().filter(|_| user != requestor) {
        record.impersonated(&user);
    }

    // Wait for a turn. The seat is held until the answer begins.
    let (seat, flow) = seated(server, &user, info, &parts.method, query).await;
    let answered = match &seat {
        Ok(_) => authorized(server, arrival, parts, body, user).await,
        Err(error) => Err(error.clone()),
    };
    drop(seat);
    let mut response = answered.unwrap_or_else(|error| failure(&error, arrival));
    if let Some(flow) = flow {
        flow.write(response.headers_mut());
    }
    Ok(response)
}

async fn authorized(
    server: &Arc<Server>,
    arrival: &Arrival,
    mut parts: http::request::Parts,
    body: Incoming,
    user: User,
) -> Result<Response<Body>, ApiError> {
    // Authorize.
    let Arrival { info, query, .. } = arrival;
    let record = arrival.record.get();
    let decision = authorize(server, &user, info).await;
    if let Some(record) = record {
        let (word, reason) = match &decision {
            Decision::Allow(reason) => ("allow", reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => ("forbid", reason),
        };
        record.annotate("authorization.k8s.io/decision", word);
        record.annotate("authorization.k8s.io/reason", reason);
    }
    if let Decision::Deny(reason) | Decision::NoOpinion(reason) = decision {
        tracing::debug!(user = user.name, path = info.path, reason, "Forbidden");
        let mut response = failure(&authz::forbidden(Attributes { user: &user, info }, &reason), arrival);
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        return Ok(response);
    }

    // Route.
    let call = Call {
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        headers: std::mem::take(&mut parts.headers),
        query: query.clone(),
        info: info.clone(),
        user,
        warnings: Warnings::default(),
        own: false,
        record: record.cloned(),
    };
    let result = route::route(server, &call, &mut parts.extensions, body).await;
    // Warnings go with errors too.
    let mut response = result.unwrap_or_else(|error| failure(&error, arrival));
    call.warnings.write(response.headers_mut());
    Ok(response)
}

/// A place among the requests under way.
#[allow(dead_code, reason = "held, not read")]
enum Seat<'a> {
    /// Requests that last take none, and without limits there is none to take.
    Free,
    Flow(Permit),
    InFlight(tokio::sync::SemaphorePermit<'a>, GaugeGuard),
}

/// Waits for a place, or gives a 429; and tells which flow the request belongs to.
async fn seated<'a>(
    server: &'a Server,
    user: &User,
    info: &RequestInfo,
    method: &Method,
    query: &Query,
) -> (Result<Seat<'a>, ApiError>, Option<Flow>) {
    // Watches wait for their turn to begin; connections and followed logs do not.
    if lasts(info, query) && (info.verb != "watch" || server.flow_control.is_none()) {
        return (Ok(Seat::Free), None);
    }
    let too_many = |code| {
        server.metrics.refused(info, code);
        ApiError::TooManyRequests {
            message: "Too many requests, please try again later.".into(),
            retry_after: 1,
        }
    };
    if let Some(control) = &server.flow_control {
        let Some(flow) = control.classify(user, info) else { return (Ok(Seat::Free), None) };
        let estimate = control.estimate(&flow, info, query, || stock(server, info));
        let seat = waited::waiting(control.admit(&flow, estimate))
            .await
            .map(Seat::Flow)
            .map_err(|_| too_many("429"));
        return (seat, Some(flow));
    }
    let mutating = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(places) = (if mutating { &server.writing } else { &server.reading }) else {
        return (Ok(Seat::Free), None);
    };
    let seat = match places.try_acquire() {
        Ok(permit) => Ok(Seat::InFlight(permit, server.metrics.short(mutating))),
        Err(_) => Err(too_many("429")),
    };
    (seat, None)
}

/// What there is of the resource that a request is about, by a look at a few of its objects.
fn stock(server: &Server, info: &RequestInfo) -> Option<Stock> {
    const LOOKED_AT: usize = 8;
    let row = kinds::by_resource(&info.group, &info.version, &info.resource)?;
    let (snapshot, _) = server.storage.collection(row)?.snapshot();
    let sizes: Vec<u64> = snapshot.iter().take(LOOKED_AT).map(|entry| entry.size() as u64).collect();
    let bytes_each = sizes.iter().sum::<u64>().checked_div(sizes.len() as u64).unwrap_or_default();
    Some(Stock { objects: snapshot.len() as u64, bytes_each })
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

async fn authorize(server: &Server, user: &User, info: &RequestInfo) -> Decision {
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
    decision
}
