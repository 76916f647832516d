//! Admission webhooks (KEP-492): servers of users' own that may change a write, or refuse it.
//!
//! `plan` decides whom to ask and as what, `review` is the protocol, `crate::webhook` carries it; here they
//! are put together. Those that change are asked one after another, ordered by the names of their
//! configurations, each about what the one before left; those that only refuse are asked all at once.
//! Configurations take effect as soon as the views have them.

mod hook;
mod metrics;
mod plan;
mod review;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use api_types::admissionregistration::v1::OperationType;
use api_types::kind::{Object, Row};
use api_types::kinds;
use api_types::meta::v1::Status;
use serde_json::{Value as Json, json};

use super::change::{self, Unknown};
use super::metrics::Conditions;
use super::options::shown_as;
use super::{Connection, Operation, Payload, Plugin, Request};
use crate::answer::Served;
use crate::authz::Authorizer;
use crate::cel::admission::{Input, Matched, activation};
use crate::operations::operate;
use crate::status::{ApiError, Qualified};
use crate::views::{CatchUp, Lister, NamespaceView, Views};
use crate::waited;
use crate::webhook::Caller;

use hook::Hook;
pub use hook::Hooks;
pub use plan::Rounds;
use plan::{Asked, Doubt, Seen};

/// Turn webhooks on.
pub const MUTATING: &str = "MutatingAdmissionWebhook";
pub const VALIDATING: &str = "ValidatingAdmissionWebhook";

/// On or off; the chain asks webhooks itself, since they are waited for.
pub struct Switch;

impl Plugin for Switch {
    fn handles(&self, _: Operation) -> bool {
        false
    }
}

/// Asks webhooks about writes.
pub struct Webhooks {
    caller: Arc<Caller>,
}

/// What a webhook's part in a request came to.
enum Wrong {
    /// It could not be asked, or its answer is none; `failurePolicy` decides.
    Call {
        why: String,
        code: i32,
    },
    /// It does not let the request pass.
    Denied(Box<Status>),
    Other(ApiError),
}

/// What one request is looked at with.
struct Sight<'a> {
    equivalents: Vec<&'static Row>,
    namespace: Option<Arc<NamespaceView>>,
    /// Match conditions may ask it.
    authorizer: &'a dyn Authorizer,
    /// `admit` or `validating`, for metrics.
    phase: &'static str,
}

impl Webhooks {
    pub fn new(caller: Arc<Caller>) -> Self {
        Self { caller }
    }

    /// Lets webhooks change the object.
    ///
    /// # Errors
    /// The first refusal, or a webhook that could not be asked and has to be.
    pub async fn mutate(
        &self,
        request: &mut Request<'_>,
        views: &Views,
        fresh: &dyn CatchUp,
        authorizer: &dyn Authorizer,
        rounds: &mut Rounds,
    ) -> Result<(), ApiError> {
        let hooks = configured(&views.mutating_webhooks, request);
        if hooks.is_empty() {
            return Ok(());
        }
        let sight = Sight::of(request, views, fresh, authorizer, "admit").await;
        rounds.begin(request.object.to_json().as_deref());
        let round = u8::from(rounds.second);
        let all = hooks.iter().flat_map(|hooks| &hooks.0);
        for (place, hook) in all.enumerate() {
            let Some(seen) = sight.choose(hook, request)? else { continue };
            if !rounds.asks(&hook.uid) {
                continue;
            }
            let started = Instant::now();
            let at = format!("round_{round}_index_{place}");
            let changed = waited::waiting(self.change(hook, request, seen, &at)).await;
            let seconds = started.elapsed().as_secs_f64();
            let did = matches!(changed, Ok(true));
            request.annotate(format!("mutation.webhook.admission.k8s.io/{at}"), || {
                let (configuration, webhook) = (&hook.configuration, &hook.name);
                json!({"configuration": configuration, "webhook": webhook, "mutated": did}).to_string()
            });
            rounds.asked(&hook.uid, hook.reinvoked, did);
            let failed_open = format!("failed-open.mutation.webhook.admission.k8s.io/{at}");
            settle(hook, request, "admit", changed.map(|_| ()), seconds, failed_open)?;
        }
        rounds.end(request.object.to_json());
        Ok(())
    }

    /// Asks webhooks about what is to be stored.
    ///
    /// # Errors
    /// As [`Webhooks::mutate`].
    pub async fn validate(
        &self,
        request: &mut Request<'_>,
        views: &Views,
        fresh: &dyn CatchUp,
        authorizer: &dyn Authorizer,
    ) -> Result<(), ApiError> {
        let hooks = configured(&views.validating_webhooks, request);
        if hooks.is_empty() {
            return Ok(());
        }
        let sight = Sight::of(request, views, fresh, authorizer, "validating").await;
        let mut chosen = Vec::new();
        for hook in hooks.iter().flat_map(|hooks| &hooks.0) {
            if let Some(seen) = sight.choose(hook, request)? {
                chosen.push((hook, seen));
            }
        }
        let asked = {
            let request = &*request;
            waited::waiting(futures::future::join_all(chosen.iter().map(|(hook, seen)| async move {
                let started = Instant::now();
                let answer = self.ask(hook, request, *seen, false).await;
                (answer, started.elapsed().as_secs_f64())
            })))
            .await
        };
        let mut first = Ok(());
        for (place, ((hook, _), (answer, seconds))) in chosen.iter().zip(asked).enumerate() {
            let passed = answer.and_then(|answer| take(hook, request, answer)).map(|_| ());
            let failed_open =
                format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{place}");
            let settled = settle(hook, request, "validating", passed, seconds, failed_open);
            if first.is_ok() {
                first = settled;
            }
        }
        first
    }

    /// Asks one webhook and does to the object what it says; whether that changed anything.
    async fn change(
        &self,
        hook: &Hook,
        request: &mut Request<'_>,
        seen: Seen,
        at: &str,
    ) -> Result<bool, Wrong> {
        let answer = self.ask(hook, request, seen, true).await?;
        let patch = take(hook, request, answer)?;
        if patch.is_empty() {
            return Ok(false);
        }
        let patch: json_patch::Patch = serde_json::from_slice(&patch).map_err(|error| Wrong::Call {
            why: format!("received undecodable patch in webhook response: {error}"),
            code: 503,
        })?;
        if patch.0.is_empty() {
            return Ok(false);
        }
        if !matches!(request.object, Payload::Open(_) | Payload::Connection(_)) {
            return Err(Wrong::Other(ApiError::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            ))));
        }
        let mut tree = change::tree(&request.object, seen.row()).map_err(Wrong::Other)?;
        for operation in &patch.0 {
            operate(&mut tree, operation).map_err(|error| Wrong::Other(ApiError::internal(error)))?;
        }
        let changed = change::put(&mut request.object, seen.row(), &tree, Unknown::Dropped);
        let changed = changed.map_err(Wrong::Other)?;
        // A patch may hold what the policy keeps out of the log.
        let record = request.call.and_then(|call| call.record.as_ref());
        if record.is_some_and(|record| record.keeps_requests()) {
            request.annotate(format!("patch.webhook.admission.k8s.io/{at}"), || {
                let (configuration, webhook) = (&hook.configuration, &hook.name);
                json!({
                    "configuration": configuration, "webhook": webhook, "patch": patch, "patchType": "JSONPatch"
                })
                .to_string()
            });
        }
        Ok(changed)
    }

    async fn ask(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        seen: Seen,
        mutating: bool,
    ) -> Result<review::Response, Wrong> {
        if request.dry_run && !hook.takes_dry_runs {
            let text = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Wrong::Other(ApiError::BadRequest(text)));
        }
        let shown = |object: Option<&dyn Object>| -> Result<Option<Vec<u8>>, Wrong> {
            object.map(|object| shown_as(object, seen.row()).map_err(Wrong::Other)).transpose()
        };
        let (object, old) = (shown(request.object.get())?, shown(request.old)?);
        let object = object.or_else(|| request.object.connection().map(Connection::to_json));
        let call = |code: i32| move |why: String| Wrong::Call { why, code };
        let version = review::version(&hook.reviews)
            .map_err(|why| format!("could not create admission objects: {why}"))
            .map_err(call(400))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let body = review::question(version, &uid, request, seen, object, old);
        let answer = self.caller.post(&hook.place, body, hook.timeout).await;
        let answer = answer.map_err(|failure| Wrong::Call {
            why: format!("failed to call webhook: {}", failure.message),
            code: failure.code,
        })?;
        review::response(version, &uid, mutating, &answer).map_err(|bad| match bad {
            review::Bad::Unreadable(why) => call(503)(format!("failed to call webhook: {why}")),
            review::Bad::Invalid(why) => call(503)(format!("received invalid webhook response: {why}")),
            review::Bad::PatchType(which) => call(400)(format!("unsupported patch type {which:?}")),
        })
    }
}

/// What webhooks there are for a request; their own configurations are exempt.
fn configured(of: &Lister<Hooks>, request: &Request<'_>) -> Vec<Arc<Hooks>> {
    let mut all = Vec::new();
    if request.kind.group == "admissionregistration.k8s.io" {
        return all;
    }
    let _ = of.visit("", |hooks| {
        all.push(hooks.clone());
        ControlFlow::<()>::Continue(())
    });
    all
}

impl<'a> Sight<'a> {
    async fn of(
        request: &Request<'_>,
        views: &Views,
        fresh: &dyn CatchUp,
        authorizer: &'a dyn Authorizer,
        phase: &'static str,
    ) -> Self {
        let kind = request.kind;
        let row = kinds::by_resource(kind.group, kind.version, kind.resource);
        let equivalents = row.map(Served::equivalents).unwrap_or_default();
        let find = || views.namespaces.get("", request.namespace);
        let mut namespace = find();
        if namespace.is_none() && !request.namespace.is_empty() {
            // It may have been made just now.
            fresh.catch_up().await;
            namespace = find();
        }
        Self { equivalents, namespace, authorizer, phase }
    }

    fn choose(&self, hook: &Hook, request: &Request<'_>) -> Result<Option<Seen>, ApiError> {
        let written = matches!(request.operation, Operation::Create | Operation::Update);
        let object = request.object.get();
        let of_itself = request.kind.group.is_empty()
            && request.kind.resource == "namespaces"
            && request.subresource.is_empty()
            && written;
        let namespace_labels = match object.filter(|_| of_itself) {
            Some(object) => Some(&object.meta().labels),
            None => self.namespace.as_ref().map(|view| &view.labels),
        };
        let asked = Asked {
            operation: OperationType::from(request.operation.word()),
            kind: request.kind,
            subresource: request.subresource,
            namespace: request.namespace,
            equivalents: &self.equivalents,
            namespace_labels,
            labels: [object.map(|object| &object.meta().labels), request.old.map(|old| &old.meta().labels)],
        };
        let seen = plan::choose(hook, &asked).map_err(|doubt| match doubt {
            Doubt::NoNamespace => ApiError::NotFound {
                of: Qualified::new("", "namespaces"),
                name: request.namespace.to_owned(),
            },
            Doubt::Selector(why) => ApiError::internal(why),
        })?;
        match seen {
            Some(seen) if !hook.conditions.is_empty() && !self.meets(hook, request, seen)? => Ok(None),
            seen => Ok(seen),
        }
    }

    /// Whether the request meets a webhook's match conditions.
    fn meets(&self, hook: &Hook, request: &Request<'_>, seen: Seen) -> Result<bool, ApiError> {
        let input = Input::of(request, seen.row())?;
        let activation = activation(&input, &Json::Null, &Json::Null, request, self.authorizer, &[]);
        let started = Instant::now();
        let (matched, errors) = hook.conditions.ask(&activation);
        let conditions = Conditions { name: &hook.name, kind: "webhook", phase: self.phase };
        conditions.asked(request.operation, errors, started.elapsed());
        match matched {
            Matched::Yes => Ok(true),
            Matched::No(_) => {
                conditions.exclude(request.operation);
                Ok(false)
            }
            Matched::Failed(_) if hook.ignores_failures => Ok(false),
            Matched::Failed(why) => {
                tracing::warn!(
                    webhook = hook.name,
                    why,
                    "Failed evaluating match conditions, failing closed"
                );
                Err(ApiError::Forbidden {
                    of: Qualified::from(request.kind),
                    name: request.name.to_owned(),
                    why,
                })
            }
        }
    }
}

/// Takes in what an answer says beside its verdict; gives its patch.
fn take(hook: &Hook, request: &mut Request<'_>, answer: review::Response) -> Result<Vec<u8>, Wrong> {
    for (key, value) in answer.annotations {
        request.annotate(format!("{}/{key}", hook.name), || value);
    }
    request.warnings.extend(answer.warnings);
    if answer.allowed {
        return Ok(answer.patch);
    }
    Err(Wrong::Denied(Box::new(review::denied(&hook.name, answer.status))))
}

/// Counts what a webhook's part came to, and says what it means for the request.
fn settle(
    hook: &Hook,
    request: &Request<'_>,
    phase: &str,
    passed: Result<(), Wrong>,
    seconds: f64,
    failed_open: String,
) -> Result<(), ApiError> {
    let (name, operation) = (hook.name.as_str(), request.operation.word());
    let count = |code: i32, rejected: Option<&str>| {
        if let Some(error_type) = rejected {
            metrics::rejected(name, phase, operation, error_type, code);
        }
        metrics::asked(name, phase, operation, code, rejected.is_some(), seconds);
    };
    match passed {
        Ok(()) => {
            count(200, None);
            Ok(())
        }
        Err(Wrong::Call { why, code }) if hook.ignores_failures => {
            count(code, None);
            metrics::failed_open(name, phase);
            tracing::warn!(webhook = name, why, "Failed calling webhook, failing open");
            request.annotate(failed_open, || name.to_owned());
            Ok(())
        }
        Err(Wrong::Call { why, code }) => {
            count(code, Some("calling_webhook_error"));
            tracing::warn!(webhook = name, why, "Failed calling webhook, failing closed");
            Err(ApiError::internal(format!("failed calling webhook {name:?}: {why}")))
        }
        Err(Wrong::Denied(status)) => {
            count(status.code, Some("no_error"));
            Err(ApiError::Said(status))
        }
        Err(Wrong::Other(error)) => {
            count(0, Some("apiserver_internal_error"));
            Err(error)
        }
    }
}
