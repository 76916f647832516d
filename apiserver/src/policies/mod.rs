//! Admission policies: conditions in CEL that writes have to meet (KEP-3488), and changes in CEL that are made to
//! them (KEP-3962), where a binding puts them into effect.
//!
//! `known` follows policies and bindings in the watch cache and compiles them; `subject` says which bindings are
//! about a request (`matching`) and with what (`params`). `mutating` changes; `validating` asks, and `decide` says
//! what follows; `access` keeps them from showing what their writers may not read; `status` keeps the status of policies, with what `typing` doubts. The admission chain calls this
//! where upstream has it: before webhooks.

mod access;
mod decide;
mod head;
mod known;
mod matching;
mod metrics;
mod mutating;
mod params;
pub mod status;
mod subject;
#[cfg(test)]
mod tests;
mod typing;
mod validating;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use api_types::admissionregistration::v1::{
    MutatingAdmissionPolicy, ReinvocationPolicyType, ValidatingAdmissionPolicy,
};
use api_types::field::{Errors, Path};
use api_types::kind::Object;
use api_types::meta::v1::{StatusCause, StatusReason};

use crate::admission::change::{self, Unknown};
use crate::admission::webhook::Rounds;
use crate::admission::{Payload, Request};
use crate::authz::Authorizer;
use crate::cel::admission::Input;
use crate::status::ApiError;
use crate::storage::Storage;

use decide::Decision;
use known::Follower;
use mutating::{Mutating, Surroundings};
use subject::{Invocation, Misconfigured, Subject};
use validating::Validating;

/// The name of the plugin that turns on policies that validate.
pub const VALIDATING: &str = "ValidatingAdmissionPolicy";

/// The name of the plugin that turns on policies that change.
pub const MUTATING: &str = "MutatingAdmissionPolicy";

/// All policies and bindings, as they were last seen.
pub struct Policies {
    storage: Arc<Storage>,
    mutating: Follower<Mutating>,
    validating: Follower<Validating>,
}

/// Checks the expressions of a policy that is written.
pub fn check_definition(object: &dyn Object, errors: &mut Errors) {
    if !errors.is_empty() {
        return;
    }
    if let Some(policy) = object.as_any().downcast_ref::<ValidatingAdmissionPolicy>() {
        validating::check(policy, &Path::new("spec"), errors);
    }
    if let Some(policy) = object.as_any().downcast_ref::<MutatingAdmissionPolicy>() {
        mutating::check(policy, &Path::new("spec"), errors);
    }
}

/// Whether no policy is asked: policies could keep their own mending from happening, and reviews are not writes.
fn is_exempt(request: &Request<'_>) -> bool {
    matches!(
        request.kind.group,
        "admissionregistration.k8s.io" | "authentication.k8s.io" | "authorization.k8s.io"
    )
}

impl Policies {
    pub fn new(storage: Arc<Storage>) -> Self {
        Self { storage, mutating: Follower::default(), validating: Follower::default() }
    }

    /// Lets policies change the object, one after another.
    ///
    /// # Errors
    /// When one cannot be asked that has to be.
    pub fn mutate(
        &self,
        request: &mut Request<'_>,
        authorizer: &dyn Authorizer,
        rounds: &mut Rounds,
    ) -> Result<(), ApiError> {
        if is_exempt(request) || !matches!(request.object, Payload::Open(_) | Payload::Connection(_)) {
            return Ok(());
        }
        let known = self.mutating.current(&self.storage);
        let known = known.ok_or_else(|| request.forbidden("not yet ready to handle request"))?;
        if known.hooks.is_empty() && known.unreadable.is_empty() {
            return Ok(());
        }
        let subject = Subject::of(&self.storage, request);
        let namespace = subject.namespace(request);
        let invocations = subject.invocations(&self.storage, request, &known);
        if invocations.is_empty() {
            return Ok(());
        }
        let mut refusals = Refusals::default();
        rounds.begin(request.object.to_json().as_deref());
        for invocation in invocations {
            match invocation {
                Ok(invocation) => {
                    change_by(&invocation, request, &namespace, authorizer, rounds, &mut refusals)?;
                }
                Err(wrong) => refusals.add(wrong.policy, wrong.binding, &wrong.message, None),
            }
        }
        rounds.end(request.object.to_json());
        refusals.settle(request)
    }

    /// Holds a write against all policies; adds warnings to the request and notes for the audit log.
    ///
    /// # Errors
    /// When a condition does not hold whose binding denies, or a policy cannot be asked that has to be.
    pub fn validate(&self, request: &mut Request<'_>, authorizer: &dyn Authorizer) -> Result<(), ApiError> {
        if is_exempt(request) {
            return Ok(());
        }
        let known = self.validating.current(&self.storage);
        let known = known.ok_or_else(|| request.forbidden("not yet ready to handle request"))?;
        if known.hooks.is_empty() && known.unreadable.is_empty() {
            return Ok(());
        }
        let subject = Subject::of(&self.storage, request);
        let mut decision = Decision::default();
        let mut inputs: BTreeMap<Option<&str>, Result<Input, String>> = BTreeMap::new();
        let namespace = subject.namespace(request);
        for invocation in subject.invocations(&self.storage, request, &known) {
            let invocation = match invocation {
                Ok(invocation) => invocation,
                Err(wrong) => {
                    decision.misconfigured(&wrong);
                    continue;
                }
            };
            let version = invocation.seen.map(|row| row.kind.api_version);
            let input = inputs.entry(version).or_insert_with(|| {
                Input::of(request, invocation.seen).map_err(|error| error.status().message)
            });
            let input = match input {
                Ok(input) => &*input,
                Err(why) => {
                    let message =
                        format!("failed to configure binding: failed to convert object version: {why}");
                    let (policy, binding) = (&invocation.hook.name, &invocation.binding.metadata.name);
                    if invocation.fails() {
                        decision.misconfigured(&Misconfigured { policy, binding: Some(binding), message });
                    }
                    continue;
                }
            };
            for param in &invocation.params {
                let compiled = &invocation.ready.compiled;
                let outcome = compiled.evaluate(input, &namespace, &param.object, request, authorizer);
                decision.follow(invocation.binding, outcome);
            }
        }
        for (key, value) in decision.annotations() {
            request.annotate(key, || value);
        }
        request.warnings.append(&mut decision.warnings);
        decision.settle(request)
    }
}

/// Makes the changes of one policy where it is bound, with each of the binding's parameters.
///
/// # Errors
/// What no `failurePolicy` decides about: an object that is none any more.
fn change_by(
    invocation: &Invocation<'_, Mutating>,
    request: &mut Request<'_>,
    namespace: &serde_json::Value,
    authorizer: &dyn Authorizer,
    rounds: &mut Rounds,
    refusals: &mut Refusals,
) -> Result<(), ApiError> {
    let (policy, binding) = (invocation.hook.name.as_str(), invocation.binding.metadata.name.as_str());
    let (seen, compiled) = (invocation.seen, &invocation.ready.compiled);
    let reinvoked = invocation.ready.policy.spec.reinvocation_policy == ReinvocationPolicyType::IfNeeded;
    for param in &invocation.params {
        let around = Surroundings { namespace, params: &param.object, authorizer };
        let mut refuse = |why: &str| {
            if invocation.fails() {
                refusals.add(policy, Some(binding), why, Some(StatusReason::Invalid));
            }
        };
        let mut input = Input::of(request, seen)?;
        match compiled.matches(&input, around, request) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                refuse(&why);
                continue;
            }
        }
        let id = format!("{policy}/{binding}/{}", param.key);
        if !rounds.asks(&id) {
            continue;
        }
        let mut changed = false;
        for mutation in &compiled.mutations {
            let root = request.object.get().map(|object| mutating::root_of(object, seen));
            let started = Instant::now();
            let outcome = compiled.changed(mutation, root.as_ref(), &input, around, request);
            metrics::mutated(policy, binding, outcome.as_ref().err().map(String::as_str), started.elapsed());
            match outcome {
                Ok(None) => {}
                Ok(Some(tree)) => {
                    if change::put(&mut request.object, seen, &tree, Unknown::Refused)? {
                        changed = true;
                        input = Input::of(request, seen)?;
                    }
                }
                Err(why) => refuse(&why),
            }
        }
        rounds.asked(&id, reinvoked, changed);
    }
    Ok(())
}

/// Why policies that change do not let a request pass.
#[derive(Default)]
struct Refusals {
    messages: Vec<String>,
    reason: Option<StatusReason>,
}

impl Refusals {
    fn add(&mut self, policy: &str, binding: Option<&str>, why: &str, reason: Option<StatusReason>) {
        if self.messages.is_empty() {
            self.reason = reason;
        }
        self.messages.push(match binding {
            Some(binding) => format!("policy '{policy}' with binding '{binding}' denied request: {why}"),
            None => format!("policy {policy:?} denied request: {why}"),
        });
    }

    fn settle(self, request: &Request<'_>) -> Result<(), ApiError> {
        let Some(first) = self.messages.first() else { return Ok(()) };
        // COMPAT: the reason is of the first refusal, the code always that of a forbidden request.
        let mut status = request.forbidden("admission request denied by policy").status();
        status.message.clone_from(first);
        if let Some(reason) = self.reason {
            status.reason = reason;
        }
        let causes =
            self.messages.into_iter().map(|message| StatusCause { message, ..StatusCause::default() });
        status.details.get_or_insert_default().causes.extend(causes);
        Err(ApiError::Said(Box::new(status)))
    }
}
