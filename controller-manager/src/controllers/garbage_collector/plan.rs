//! What becomes of an object, given its owners and dependents. Pure.

use api_types::core::v1::well_known::finalizer;
use api_types::meta::v1::{DeletionPropagation, ObjectMeta, OwnerReference};

use super::graph::{Dependent, Uid};

/// How an owner was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// There and not waiting for its dependents to go.
    Solid,
    /// Gone, or another object of its name.
    Gone,
    /// Being deleted in the foreground: it waits for its dependents to go.
    Waiting,
    /// In some namespace, which an object outside of all namespaces cannot say.
    Unreachable,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deed {
    /// Look at these.
    Examine(Vec<Uid>),
    /// The object goes on without these finalizers or owner references.
    DropFinalizer(&'static str),
    DropOwners(Vec<String>),
    /// Its owners' deletion no longer waits for it.
    Unblock,
    Delete(DeletionPropagation),
}

/// What becomes of an object that is being deleted in the foreground.
pub(super) fn going(dependents: &[Dependent]) -> Vec<Deed> {
    let blocking: Vec<_> = dependents.iter().filter(|d| d.blocks).collect();
    if blocking.is_empty() {
        return vec![Deed::DropFinalizer(finalizer::FOREGROUND)];
    }
    // Those that go in the foreground themselves report when they have gone.
    let idle = blocking.iter().filter(|d| !d.node.waits_for_dependents()).map(|d| d.uid.clone()).collect();
    vec![Deed::Examine(idle)]
}

/// What becomes of an object, given each of its owners.
pub(super) fn owned(
    meta: &ObjectMeta,
    owners: &[(OwnerReference, OwnerState)],
    dependents: &[Dependent],
) -> Vec<Deed> {
    let of = |state: OwnerState| owners.iter().filter(move |(_, s)| *s == state).map(|(r, _)| r);
    if owners.is_empty() || of(OwnerState::Unreachable).next().is_some() {
        return Vec::new();
    }
    if of(OwnerState::Solid).next().is_some() {
        let lost: Vec<String> =
            owners.iter().filter(|(_, s)| *s != OwnerState::Solid).map(|(r, _)| r.uid.clone()).collect();
        return if lost.is_empty() { Vec::new() } else { vec![Deed::DropOwners(lost)] };
    }
    if of(OwnerState::Waiting).next().is_some() && !dependents.is_empty() {
        let mut deeds = Vec::new();
        // A circle: each waits for the other. Its own blocking is given up.
        if dependents.iter().any(|d| d.node.waits_for_dependents()) {
            deeds.push(Deed::Unblock);
        }
        deeds.push(Deed::Delete(DeletionPropagation::Foreground));
        return deeds;
    }
    let has = |name: &str| meta.finalizers.iter().any(|f| f == name);
    let policy = if has(finalizer::ORPHAN) {
        DeletionPropagation::Orphan
    } else if has(finalizer::FOREGROUND) {
        DeletionPropagation::Foreground
    } else {
        DeletionPropagation::Background
    };
    vec![Deed::Delete(policy)]
}
