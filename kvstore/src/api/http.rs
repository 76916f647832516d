//! What is served over plain HTTP beside gRPC: /health, /version, /metrics, /livez, /readyz.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::{CLUSTER_VERSION, Context, SERVER_VERSION};
use crate::metrics;

pub fn routes(context: Context) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .route("/metrics", get(metrics_text))
        .with_state(context)
}

/// COMPAT: `health` is a string.
async fn health(State(context): State<Context>) -> Response {
    let reason = match unhealthy(&context).await {
        None => return Json(json!({"health": "true", "reason": ""})).into_response(),
        Some(reason) => reason,
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"health": "false", "reason": reason}))).into_response()
}

async fn unhealthy(context: &Context) -> Option<String> {
    if let Some(alarm) = context.shared.machine.lock().alarms.values().next() {
        return Some(format!("ALARM {}", alarm.alarm().as_str_name()));
    }
    if context.proposer.leader_and_last_index().0.is_none() {
        return Some("RAFT NO LEADER".to_owned());
    }
    context.proposer.read_barrier().await.err().map(|error| format!("RANGE ERROR:{error}"))
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(context): State<Context>) -> Response {
    match context.proposer.read_barrier().await {
        Ok(()) => "ok\n".into_response(),
        Err(error) => {
            let text = format!("[-]linearizable_read failed: {error}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn version() -> Response {
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
