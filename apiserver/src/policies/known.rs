//! Policies and their bindings as the watch cache has them: read and compiled when they change, and shared by
//! all requests until then.

use std::sync::Arc;

use api_types::admissionregistration::v1::{AnyBinding, AnyPolicy};
use api_types::kind::Resource;
use parking_lot::Mutex;

use crate::storage::Storage;
use crate::storage::snapshot::Snapshot;

/// A sort of policies.
pub trait Sort: Send + Sync + 'static {
    type Policy: Resource + AnyPolicy;
    type Binding: Resource + AnyBinding;
    /// A policy with its expressions compiled.
    type Compiled: Send + Sync;

    fn compile(policy: &Self::Policy) -> Self::Compiled;
}

/// A policy that bindings put into effect.
pub struct Hook<S: Sort> {
    pub name: String,
    revision: i64,
    /// The policy; what keeps it from being read otherwise.
    pub policy: Result<Ready<S>, String>,
    pub bindings: Vec<S::Binding>,
}

pub struct Ready<S: Sort> {
    pub policy: Arc<S::Policy>,
    pub compiled: Arc<S::Compiled>,
}

impl<S: Sort> Clone for Ready<S> {
    fn clone(&self) -> Self {
        Self { policy: self.policy.clone(), compiled: self.compiled.clone() }
    }
}

/// One state of all policies and bindings.
pub struct Known<S: Sort> {
    policies: Snapshot,
    bindings: Snapshot,
    pub hooks: Vec<Hook<S>>,
    /// Names of bindings that cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
}

/// Follows the policies of one sort.
pub struct Follower<S: Sort> {
    known: Mutex<Arc<Known<S>>>,
}

impl<S: Sort> Default for Follower<S> {
    fn default() -> Self {
        let nothing = Known {
            policies: Snapshot::default(),
            bindings: Snapshot::default(),
            hooks: Vec::new(),
            unreadable: Vec::new(),
        };
        Self { known: Mutex::new(Arc::new(nothing)) }
    }
}

impl<S: Sort> Follower<S> {
    /// What the watch cache has now; `None` while it has not been filled.
    pub fn current(&self, storage: &Storage) -> Option<Arc<Known<S>>> {
        let (policies, bindings) = (storage.of::<S::Policy>(), storage.of::<S::Binding>());
        if !(policies.is_synced() && bindings.is_synced()) {
            return None;
        }
        let ((policies, _), (bindings, _)) = (policies.snapshot(), bindings.snapshot());
        let before = self.known.lock().clone();
        if before.policies.is_same(&policies) && before.bindings.is_same(&bindings) {
            return Some(before);
        }
        let known = Arc::new(read(policies, bindings, &before));
        *self.known.lock() = known.clone();
        Some(known)
    }
}

fn read<S: Sort>(policies: Snapshot, bindings: Snapshot, before: &Known<S>) -> Known<S> {
    let (mut read, mut unreadable) = (Vec::new(), Vec::new());
    for entry in bindings.iter() {
        match entry.typed::<S::Binding>() {
            Ok(binding) => read.push(binding),
            Err(error) => unreadable.push((entry.name().to_owned(), error.to_string())),
        }
    }
    let mut hooks = Vec::new();
    for entry in policies.iter() {
        let name = entry.name();
        let bindings: Vec<S::Binding> =
            read.iter().filter(|binding| binding.head().policy == name).cloned().collect();
        if bindings.is_empty() {
            continue;
        }
        let same = before.hooks.iter().find(|hook| hook.name == name && hook.revision == entry.revision);
        let policy = match same {
            Some(hook) => hook.policy.clone(),
            None => entry
                .typed::<S::Policy>()
                .map(|policy| Ready { compiled: Arc::new(S::compile(&policy)), policy: Arc::new(policy) })
                .map_err(|error| error.to_string()),
        };
        if let Err(why) = &policy {
            tracing::error!(policy = name, why, "An admission policy cannot be read");
        }
        hooks.push(Hook { name: name.to_owned(), revision: entry.revision, policy, bindings });
    }
    Known { policies, bindings, hooks, unreadable }
}
