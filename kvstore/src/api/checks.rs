//! /livez and /readyz: named checks, each with a path of its own, as etcd has them (KEP-4331 of
//! Kubernetes asked for them). `?exclude=NAME` leaves one out, `?verbose` names those that passed.

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use etcd_protocol::etcdserverpb::AlarmType;

use super::Context;
use super::http::{method_not_allowed, values};
use crate::metrics;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

/// A group of checks and its path.
#[derive(Clone, Copy)]
struct Group {
    name: &'static str,
    checks: &'static [Check],
}

/// Should the process be started anew?
const LIVEZ: Group = Group { name: "livez", checks: &[Check::SerializableRead] };
/// Should clients be sent here?
const READYZ: Group = Group {
    name: "readyz",
    checks: &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner],
};

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, context: &Context) -> Result<(), String> {
        match self {
            // The view is always there to be read.
            Check::SerializableRead => Ok(()),
            Check::LinearizableRead => {
                context.proposer.read_barrier().await.map_err(|error| error.to_string())
            }
            Check::DataCorruption => {
                let machine = context.shared.machine.lock();
                let corrupt = machine.alarms.values().any(|alarm| alarm.alarm() == AlarmType::Corrupt);
                if corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
            }
            Check::NonLearner => {
                let machine = context.shared.machine.lock();
                let learner = machine.membership.membership().learner_ids().any(|id| id == context.member_id);
                if learner { Err("not supported for learner".to_owned()) } else { Ok(()) }
            }
        }
    }
}

pub fn routes() -> Router<Context> {
    let mut router = Router::new();
    for group in [LIVEZ, READYZ] {
        let all = move |state, method, query| answer(state, method, query, group, None);
        let one = move |state, method, query, Path(name): Path<String>| {
            answer(state, method, query, group, Some(name))
        };
        router = router.route(&format!("/{}", group.name), any(all));
        router = router.route(&format!("/{}/{{check}}", group.name), any(one));
    }
    router
}

async fn answer(
    State(context): State<Context>,
    method: Method,
    RawQuery(query): RawQuery,
    group: Group,
    only: Option<String>,
) -> Response {
    if method != Method::GET {
        return method_not_allowed();
    }
    let query = query.unwrap_or_default();
    let excluded = values(&query, "exclude");
    let chosen: Vec<Check> = match &only {
        Some(name) => group.checks.iter().copied().filter(|check| check.name() == name).collect(),
        None => group.checks.iter().copied().filter(|check| !excluded.contains(&check.name())).collect(),
    };
    if only.is_some() && chosen.is_empty() {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let (mut text, mut failed) = (String::new(), false);
    for check in chosen {
        let name = check.name();
        let status = match check.run(&context).await {
            Ok(()) => {
                text += &format!("[+]{name} ok\n");
                "success"
            }
            Err(reason) => {
                text += &format!("[-]{name} failed: {reason}\n");
                failed = true;
                "error"
            }
        };
        let counted = metrics::get();
        counted.health_check.with_label_values(&[group.name, name]).set(i64::from(status == "success"));
        counted.health_checks.with_label_values(&[group.name, name, status]).inc();
    }
    if failed {
        tracing::warn!(checks = group.name, reason = text.trim_end(), "not healthy");
        return (StatusCode::SERVICE_UNAVAILABLE, text + "\n").into_response();
    }
    let verbose = query.split('&').any(|part| part.split('=').next() == Some("verbose"));
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, if verbose { text + "ok\n" } else { "ok\n".to_owned() }).into_response()
}
