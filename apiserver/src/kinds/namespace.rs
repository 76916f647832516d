//! Namespaces die in two steps: deletion makes them Terminating, and only once `spec.finalizers` is
//! empty (the namespace controller empties it through `/finalize`) may they go.

use api_types::core::v1::{Namespace, NamespacePhase};
use api_types::kind::{Kind, Object};

fn namespace(object: &dyn Object) -> Option<&Namespace> {
    object.as_any().downcast_ref()
}

/// Whether a namespace's own finalizers keep it.
pub fn holds(kind: &Kind, object: &dyn Object) -> bool {
    kind.resource == "namespaces" && namespace(object).is_some_and(|ns| !ns.spec.finalizers.is_empty())
}

/// Whether nothing keeps a dying namespace any more.
pub fn may_end(object: &dyn Object) -> bool {
    namespace(object).is_some_and(|ns| ns.spec.finalizers.is_empty() && ns.metadata.finalizers.is_empty())
}

/// A namespace marked as dying says so.
pub fn terminate(kind: &Kind, object: &mut dyn Object) {
    if kind.resource == "namespaces"
        && let Some(ns) = object.as_any_mut().downcast_mut::<Namespace>()
    {
        ns.status.phase = NamespacePhase::Terminating;
        // COMPAT: a dying namespace has a deletion timestamp and no grace period.
        ns.metadata.deletion_grace_period_seconds = None;
    }
}
