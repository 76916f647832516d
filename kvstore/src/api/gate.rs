//! What is turned away before it reaches a service: calls that ask for a leader while there is none, and
//! what a learner does not answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use super::{Context, calls};
use crate::error::Error;

/// COMPAT: clients that rather fail than wait say so in this header (`clientv3.WithRequireLeader`).
const REQUIRE_LEADER: &str = "hasleader";
/// Looks at the leader, an election timeout apart, that find none before a stream is ended.
const LOOKS: u32 = 3;

/// Calls that a learner answers; of Range only what need not be linearizable.
const FOR_LEARNERS: [&str; 4] = [
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.KV/Range",
    "/grpc.health.v1.Health/Check",
];

pub async fn admit(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    match refusal(&context, &request) {
        Some(error) => Status::from(error).into_http(),
        None => calls::counted(request, next).await,
    }
}

/// Why a call is turned away.
pub fn refusal<B>(context: &Context, request: &axum::http::Request<B>) -> Option<Error> {
    let path = request.uri().path();
    let standing = context.proposer.standing();
    let ours = ["/etcdserverpb.", "/v3lockpb.", "/v3electionpb."];
    if ours.iter().any(|package| path.starts_with(package))
        && !FOR_LEARNERS.contains(&path)
        && standing.is_learner()
    {
        return Some(Error::NotSupportedForLearner);
    }
    (requires_leader(request.headers()) && standing.leader().is_none()).then_some(Error::NoLeader)
}

pub fn requires_leader(headers: &HeaderMap) -> bool {
    headers.get(REQUIRE_LEADER).is_some_and(|value| value == "true")
}

/// Waits until there has been no leader for a while; for ever when the stream does not ask for one.
pub async fn leaderless(context: &Context, required: bool) {
    if !required {
        return std::future::pending().await;
    }
    let standing = context.proposer.standing();
    let mut missed = 0;
    while missed < LOOKS {
        tokio::time::sleep(standing.election).await;
        missed = if standing.leader().is_none() { missed + 1 } else { 0 };
    }
}
