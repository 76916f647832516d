//! What is served over plain HTTP beside gRPC: /health, /version, /metrics; /livez and /readyz are in
//! `checks`.

use axum::Json;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::json;

use super::{CLUSTER_VERSION, Context, SERVER_VERSION};
use crate::metrics;

pub fn routes(context: Context) -> Router {
    Router::new()
        .route("/health", any(health))
        .route("/version", any(version))
        .route("/metrics", get(metrics_text))
        .merge(super::checks::routes())
        .with_state(context)
}

/// COMPAT: `health` is a string, and the answer is no application/json. `?exclude=NOSPACE` leaves out an
/// alarm; `?serializable=true` asks about this member alone.
async fn health(State(context): State<Context>, method: Method, RawQuery(query): RawQuery) -> Response {
    if method != Method::GET {
        return method_not_allowed();
    }
    let query = query.unwrap_or_default();
    let excluded = values(&query, "exclude");
    let serializable = values(&query, "serializable").first() == Some(&"true");
    let text = |health: &str, reason: &str| json!({"health": health, "reason": reason}).to_string();
    match unhealthy(&context, &excluded, serializable).await {
        None => {
            metrics::get().health_success.inc();
            text("true", "").into_response()
        }
        Some(reason) => {
            metrics::get().health_failures.inc();
            tracing::warn!(reason, "not healthy");
            (StatusCode::SERVICE_UNAVAILABLE, text("false", &reason) + "\n").into_response()
        }
    }
}

async fn unhealthy(context: &Context, excluded: &[&str], serializable: bool) -> Option<String> {
    {
        let machine = context.shared.machine.lock();
        let mut alarms = machine.alarms.values().map(|alarm| alarm.alarm().as_str_name());
        if let Some(alarm) = alarms.find(|name| !excluded.contains(name)) {
            return Some(format!("ALARM {alarm}"));
        }
    }
    if serializable {
        return None;
    }
    if context.proposer.leader_and_last_index().0.is_none() {
        return Some("RAFT NO LEADER".to_owned());
    }
    context.proposer.read_barrier().await.err().map(|error| format!("RANGE ERROR:{error}"))
}

/// What a query says of a name; empty values are nothing.
pub(super) fn values<'a>(query: &'a str, name: &str) -> Vec<&'a str> {
    let pairs = query.split('&').filter_map(|part| part.split_once('='));
    pairs.filter(|(found, value)| *found == name && !value.is_empty()).map(|(_, value)| value).collect()
}

pub(super) fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "Method Not Allowed\n").into_response()
}

async fn version(method: Method) -> Response {
    if method != Method::GET {
        return method_not_allowed();
    }
    Json(json!({"etcdserver": SERVER_VERSION, "etcdcluster": CLUSTER_VERSION, "storage": CLUSTER_VERSION}))
        .into_response()
}

async fn metrics_text(State(context): State<Context>) -> Response {
    observe(&context);
    ([(header::CONTENT_TYPE, daemon::metrics::TEXT_FORMAT)], daemon::metrics::global().text()).into_response()
}

/// Brings the gauges up to date that nobody counts on the way.
fn observe(context: &Context) {
    let metrics = metrics::get();
    let (leader, _) = context.proposer.leader_and_last_index();
    let view = context.shared.reader.view();
    metrics.has_leader.set(i64::from(leader.is_some()));
    metrics.is_leader.set(i64::from(context.proposer.is_leader()));
    metrics.is_learner.set(i64::from(context.proposer.standing().is_learner()));
    metrics.proposals_committed.set(context.proposer.committed_index() as f64);
    metrics.proposals_applied.set(context.shared.applied_index() as f64);
    metrics.db_size.set(context.shared.reader.state().size() as i64);
    metrics.db_size_in_use.set(context.shared.live_bytes() as i64);
    metrics.quota.set(context.quota.unwrap_or(0) as i64);
    metrics.auth_revision.set(context.shared.auth.load().revision() as i64);
    metrics.keys.set(view.index.len() as i64);
    metrics.current_revision.set(view.revision);
    metrics.compact_revision.set(view.compacted);
}
