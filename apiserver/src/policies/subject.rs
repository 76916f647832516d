//! A request as policies look at it: whose bindings are about it, in which version they see it, and with which
//! parameters.

use api_types::admissionregistration::v1::{AnyBinding, AnyPolicy};
use api_types::core::v1::Namespace;
use api_types::kind::{Object, Row};
use api_types::kinds;
use serde_json::Value as Json;

use super::known::{Hook, Known, Ready, Sort};
use super::matching::{self, Asked};
use super::params::{self, Param};
use crate::admission::{Operation, Request};
use crate::answer::Served;
use crate::cel::admission::tree;
use crate::storage::Storage;

/// What is read once for a request.
pub struct Subject {
    namespace: Option<Namespace>,
    equivalents: Vec<&'static Row>,
}

/// A binding that is about a request.
pub struct Invocation<'k, S: Sort> {
    pub hook: &'k Hook<S>,
    pub ready: Ready<S>,
    pub binding: &'k S::Binding,
    /// The version that the policy asked for, if it is another than the request's.
    pub seen: Option<&'static Row>,
    pub params: Vec<Param>,
}

/// A policy or a binding that cannot be used for a request.
pub struct Misconfigured<'k> {
    pub policy: &'k str,
    pub binding: Option<&'k str>,
    pub message: String,
}

impl<S: Sort> Invocation<'_, S> {
    /// Whether the request fails where the policy cannot be asked.
    pub fn fails(&self) -> bool {
        self.ready.policy.head().fails()
    }
}

impl Subject {
    pub fn of(storage: &Storage, request: &Request<'_>) -> Self {
        Self { namespace: namespace_of(storage, request), equivalents: equivalents(request) }
    }

    /// `namespaceObject`: none for what is in no namespace.
    pub fn namespace(&self, request: &Request<'_>) -> Json {
        let outside = request.kind.group.is_empty() && request.kind.resource == "namespaces";
        match &self.namespace {
            Some(namespace) if !outside => tree(namespace),
            _ => Json::Null,
        }
    }

    /// Every binding that is about the request, in the order of the policies; those that cannot be told, or
    /// not be used, as errors. What `failurePolicy` passes over is not among them.
    pub fn invocations<'k, S: Sort>(
        &self,
        storage: &Storage,
        request: &Request<'_>,
        known: &'k Known<S>,
    ) -> Vec<Result<Invocation<'k, S>, Misconfigured<'k>>> {
        let asked = Asked::new(request, self.namespace.as_ref(), &self.equivalents);
        let mut all = Vec::new();
        for (binding, why) in &known.unreadable {
            let message = format!("failed to configure binding: {why}");
            all.push(Err(Misconfigured { policy: "", binding: Some(binding.as_str()), message }));
        }
        for hook in &known.hooks {
            let wrong = |binding: Option<&'k str>, why: String| {
                let what = if binding.is_some() { "binding" } else { "policy" };
                let message = format!("failed to configure {what}: {why}");
                Misconfigured { policy: hook.name.as_str(), binding, message }
            };
            let ready = match &hook.policy {
                Ok(ready) => ready,
                // It cannot be known what it is about, nor that it may be passed over.
                Err(why) => {
                    all.push(Err(wrong(None, why.clone())));
                    continue;
                }
            };
            let about = ready.policy.head();
            let chosen = match about.constraints.map(|own| matching::choose(own, &asked)) {
                None | Some(Ok(None)) => continue,
                Some(Ok(Some(seen))) => params::kind(about.param_kind).map(|kind| (seen, kind)),
                Some(Err(why)) => Err(why),
            };
            let (seen, kind) = match chosen {
                Ok(chosen) => chosen,
                Err(why) => {
                    all.extend(about.fails().then(|| Err(wrong(None, why))));
                    continue;
                }
            };
            for binding in &hook.bindings {
                let bound = binding.head();
                let params = match bound.resources.map(|own| matching::choose(own, &asked)) {
                    Some(Ok(None)) => continue,
                    Some(Err(why)) => Err(why),
                    None | Some(Ok(Some(_))) => {
                        params::collect(storage, kind, bound.param_ref, request.namespace)
                    }
                };
                match params {
                    Ok(params) if params.is_empty() => {}
                    Ok(params) => {
                        all.push(Ok(Invocation { hook, ready: ready.clone(), binding, seen, params }));
                    }
                    Err(why) if about.fails() => {
                        all.push(Err(wrong(Some(binding.meta().name.as_str()), why)))
                    }
                    Err(_) => {}
                }
            }
        }
        all
    }
}

/// The namespace of a request, or the one that it is about; as it is to be, while it is written.
fn namespace_of(storage: &Storage, request: &Request<'_>) -> Option<Namespace> {
    if let Some(own) = request.object::<Namespace>().or(request.old::<Namespace>()) {
        return Some(own.clone());
    }
    if request.namespace.is_empty() {
        return None;
    }
    storage.of::<Namespace>().get(request.namespace)?.typed().ok()
}

/// The other versions in which the objects of a request are served.
fn equivalents(request: &Request<'_>) -> Vec<&'static Row> {
    // Objects of other subresources are of kinds of their own, which have no versions to choose among.
    let whole = matches!(request.subresource, "" | "status") && request.operation != Operation::Connect;
    let kind = request.kind;
    match kinds::by_resource(kind.group, kind.version, kind.resource).filter(|_| whole) {
        Some(row) => Served::equivalents(row),
        None => Vec::new(),
    }
}
