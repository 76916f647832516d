//! Validating admission policies (KEP-3488): conditions in CEL that writes have to meet where a binding puts
//! them into effect.
//!
//! Policies and bindings are read from the watch cache and compiled once for each revision. A write is held
//! against every binding of every policy that is about it, once for each of the binding's parameters; `plan`
//! says which are, `decide` what follows. They are asked after all plugins and webhooks that check.

mod compiled;
mod decide;
mod matching;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::admissionregistration::v1::{
    FailurePolicyType, ParamRef, ParameterNotFoundActionType, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use api_types::core::v1::Namespace;
use api_types::field::{Errors, Path};
use api_types::kind::{Object, Row};
use api_types::selector::Labels;
use api_types::{custom, kinds};
use parking_lot::Mutex;
use serde_json::Value as Json;

use crate::admission::{Operation, Request};
use crate::cel::admission::{Input, tree};
use crate::registry;
use crate::server::Server;
use crate::status::ApiError;

use compiled::Compiled;
use decide::{Finding, Verdict};
use matching::Asked;

/// The name of the plugin that turns policies on.
pub const PLUGIN: &str = "ValidatingAdmissionPolicy";

/// All policies and bindings, as they were last seen.
#[derive(Default)]
pub struct Policies {
    known: Mutex<Arc<Known>>,
}

/// One state of all policies and bindings.
#[derive(Default)]
struct Known {
    /// Keys and revisions of what it was read from.
    from: Vec<(Arc<str>, i64)>,
    policies: BTreeMap<String, (i64, Arc<Compiled>)>,
    bindings: Vec<ValidatingAdmissionPolicyBinding>,
}

impl Policies {
    /// What the watch cache has now.
    fn current(&self, server: &Server) -> Arc<Known> {
        let (policies, _) = server.storage.of::<ValidatingAdmissionPolicy>().snapshot();
        let (bindings, _) = server.storage.of::<ValidatingAdmissionPolicyBinding>().snapshot();
        let from: Vec<(Arc<str>, i64)> =
            policies.iter().chain(bindings.iter()).map(|entry| (entry.key.clone(), entry.revision)).collect();
        let before = self.known.lock().clone();
        if before.from == from {
            return before;
        }
        let mut known = Known { from, ..Known::default() };
        for entry in policies.iter() {
            let name = entry.name().to_owned();
            let same = before.policies.get(&name).filter(|(revision, _)| *revision == entry.revision);
            if let Some((revision, compiled)) = same {
                known.policies.insert(name, (*revision, compiled.clone()));
            } else if let Ok(policy) = entry.typed::<ValidatingAdmissionPolicy>() {
                known.policies.insert(name, (entry.revision, Arc::new(Compiled::new(policy))));
            }
        }
        known.bindings = bindings.iter().filter_map(|entry| entry.typed().ok()).collect();
        let known = Arc::new(known);
        *self.known.lock() = known.clone();
        known
    }
}

/// Checks the expressions of a policy that is written.
pub fn check_definition(object: &dyn Object, errors: &mut Errors) {
    if !errors.is_empty() {
        return;
    }
    if let Some(policy) = object.as_any().downcast_ref::<ValidatingAdmissionPolicy>() {
        compiled::check(policy, &Path::new("spec"), errors);
    }
}

/// Holds a write against all policies; adds warnings to the request.
///
/// # Errors
/// When a condition does not hold whose binding denies.
pub fn validate(server: &Server, request: &mut Request<'_>, dry_run: bool) -> Result<(), ApiError> {
    const OWN: &str = "admissionregistration.k8s.io";
    if request.kind.group == OWN || !server.admission.has(PLUGIN) {
        return Ok(());
    }
    let known = server.policies.current(server);
    if known.bindings.is_empty() {
        return Ok(());
    }
    let namespace = namespace_of(server, request);
    let mut warnings = Vec::new();
    let mut denied: Option<(String, Finding)> = None;
    for (name, (_, compiled)) in &known.policies {
        let bound = known.bindings.iter().filter(|binding| binding.spec.policy_name == *name);
        for binding in bound {
            let findings = ask(server, request, dry_run, namespace.as_ref(), compiled, binding);
            decide::follow(compiled, binding, findings, &mut warnings, &mut denied);
        }
    }
    request.warnings.extend(warnings);
    match denied {
        Some((message, finding)) => Err(decide::refusal(request, message, &finding)),
        None => Ok(()),
    }
}

/// The namespace of a request, or the one that it is about; as it is to be, while it is written.
fn namespace_of(server: &Server, request: &Request<'_>) -> Option<Namespace> {
    if let Some(own) = request.object::<Namespace>().or(request.old::<Namespace>()) {
        return Some(own.clone());
    }
    if request.namespace.is_empty() {
        return None;
    }
    server.storage.of::<Namespace>().get(request.namespace)?.typed().ok()
}

/// What a binding of a policy finds in a request; none where it is not about it.
fn ask(
    server: &Server,
    request: &Request<'_>,
    dry_run: bool,
    namespace: Option<&Namespace>,
    compiled: &Compiled,
    binding: &ValidatingAdmissionPolicyBinding,
) -> Vec<Finding> {
    let fails = compiled.policy.spec.failure_policy != Some(FailurePolicyType::Ignore);
    let failed = |text: String| match fails {
        true => vec![Finding { verdict: Verdict::Misconfigured, message: text, reason: None }],
        false => Vec::new(),
    };
    let equivalents = equivalents(request);
    let asked = Asked::new(request, namespace, &equivalents);
    let Some(constraints) = compiled.policy.spec.match_constraints.as_deref() else { return Vec::new() };
    let seen = match matching::choose(constraints, &asked) {
        Ok(Some(seen)) => seen,
        Ok(None) => return Vec::new(),
        Err(error) => return failed(format!("failed to configure policy: {error}")),
    };
    if let Some(resources) = binding.spec.match_resources.as_deref() {
        match matching::choose(resources, &asked) {
            Ok(Some(_)) => {}
            Ok(None) => return Vec::new(),
            Err(error) => return failed(format!("failed to configure binding: {error}")),
        }
    }
    let params = match params(server, request, compiled, binding) {
        Ok(params) => params,
        Err(error) => return failed(format!("failed to configure binding: {error}")),
    };
    let mut input = Input::of(request, dry_run);
    if let Some(row) = seen {
        let other = |object: &dyn Object| crate::kinds::convert(object, row).map(|object| tree(&*object));
        let converted = request.object.get().map(other).transpose();
        let before = request.old.map(other).transpose();
        match (converted, before) {
            (Ok(object), Ok(old)) => {
                input.object = object.unwrap_or_default();
                input.old_object = old.unwrap_or_default();
                input.request["kind"]["version"] = row.kind.version.into();
                input.request["resource"]["version"] = row.kind.version.into();
            }
            (Err(error), _) | (_, Err(error)) => {
                return failed(format!("failed to configure policy: {}", error.status().message));
            }
        }
    }
    let namespace = namespace.map_or(Json::Null, |namespace| tree(namespace));
    let namespace = if request.kind.resource == "namespaces" { Json::Null } else { namespace };
    let mut findings = Vec::new();
    for param in &params {
        findings.extend(compiled.evaluate(&input, &namespace, param, request, &*server.authorizer));
    }
    findings
}

/// The other versions of what a request is about.
fn equivalents(request: &Request<'_>) -> Vec<&'static Row> {
    let same = |row: &&'static Row| {
        row.kind.group == request.kind.group
            && row.kind.resource == request.kind.resource
            && row.kind.version != request.kind.version
    };
    // Objects of subresources are of kinds of their own, which have no versions to choose among.
    let whole = matches!(request.subresource, "" | "status") && request.operation != Operation::Connect;
    let rows = kinds::served().chain(custom::rows());
    if whole { rows.filter(same).collect() } else { Vec::new() }
}

/// The parameters that a binding names; one null where there are none to name.
fn params(
    server: &Server,
    request: &Request<'_>,
    compiled: &Compiled,
    binding: &ValidatingAdmissionPolicyBinding,
) -> Result<Vec<Json>, String> {
    let (Some(kind), Some(reference)) = (&compiled.policy.spec.param_kind, &binding.spec.param_ref) else {
        return Ok(vec![Json::Null]);
    };
    let (group, version) = kind.api_version.rsplit_once('/').unwrap_or(("", &kind.api_version));
    let is = |row: &&'static Row| {
        row.kind.group == group
            && row.kind.version == version
            && row.kind.kind == kind.kind
            && row.kind.is_stored()
    };
    let row = kinds::served().chain(custom::rows()).find(is);
    let Some(row) = row else {
        let shown = format!("{}, Kind={}", kind.api_version, kind.kind);
        return Err(format!("failed to find resource referenced by paramKind: '{shown}'"));
    };
    let namespace = match (row.kind.namespaced, reference.namespace.as_str()) {
        (true, "") if request.namespace.is_empty() || request.kind.resource == "namespaces" => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        (true, "") => request.namespace,
        (true, namespace) => namespace,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
    };
    let found = read(server, row, namespace, reference)?;
    if !found.is_empty() {
        return Ok(found);
    }
    match reference.parameter_not_found_action {
        Some(ParameterNotFoundActionType::Allow) => Ok(Vec::new()),
        _ => Err("no params found for policy binding with `Deny` parameterNotFoundAction".into()),
    }
}

fn read(
    server: &Server,
    row: &'static Row,
    namespace: &str,
    reference: &ParamRef,
) -> Result<Vec<Json>, String> {
    let Some(collection) = server.storage.collection(row) else { return Ok(Vec::new()) };
    let json = |entry: &crate::storage::Entry| entry.decode(row).ok().map(|object| tree(&*object));
    if !reference.name.is_empty() {
        let key = registry::relative_key(namespace, &reference.name);
        return Ok(collection.get(&key).and_then(|entry| json(&entry)).into_iter().collect());
    }
    let selector = Labels::from_spec(reference.selector.as_deref()).map_err(|error| error.to_string())?;
    let (snapshot, _) = collection.snapshot();
    let here = snapshot
        .iter()
        .filter(|entry| entry.namespace() == namespace && selector.matches_by(|label| entry.label(label)));
    Ok(here.filter_map(|entry| json(entry)).collect())
}
