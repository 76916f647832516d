//! The executor: performs a plan's actions through the client, tells the events, and notes what was
//! written, so that the loop can wait until the caches show it.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use api_types::kind::Object;
use api_types::meta::v1::Preconditions;
use daemon::clock::SharedClock;
use futures::FutureExt as _;
use futures::future::join_all;
use parking_lot::Mutex;

use super::action::{Action, Effect, Outcome, Plan, Step, Told};
use super::{Controller, Never};
use crate::api::Deleted;
use crate::connection::Client;
use crate::error::Error;
use crate::events::Recorder;
use crate::informer::{AnyStore, Caches, revision};
use crate::key::Key;
use crate::path::ResourceRef;

/// An action that failed: what it was, and why.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    pub what: String,
    pub source: Error,
}

impl Failure {
    pub fn new(what: impl Into<String>, source: Error) -> Self {
        Self { what: what.into(), source }
    }
}

/// A write that the caches do not show yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// An object of the resource was stored at this revision.
    Stored { group: String, resource: String, revision: u64 },
    /// This object is gone.
    Gone { group: String, resource: String, key: Key, uid: Box<str> },
}

impl Unseen {
    fn stores(&self, caches: &Caches) -> Vec<Arc<dyn AnyStore>> {
        match self {
            Self::Stored { group, resource, .. } | Self::Gone { group, resource, .. } => {
                caches.of_resource(group, resource)
            }
        }
    }

    fn is_shown_by(&self, store: &dyn AnyStore) -> bool {
        match self {
            Self::Stored { revision, .. } => store.revision() >= *revision,
            Self::Gone { key, uid, .. } => store.shows_deletion(key, uid),
        }
    }

    pub(super) fn is_seen(&self, caches: &Caches) -> bool {
        self.stores(caches).iter().all(|store| self.is_shown_by(&**store))
    }

    /// Waits until every cache of the resource shows it.
    pub(super) async fn seen(&self, caches: &Caches) {
        for store in self.stores(caches) {
            let mut moved = store.watch_revision();
            while !self.is_shown_by(&*store) {
                if moved.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What actions are performed with.
#[derive(Clone)]
pub struct Hands {
    pub client: Client,
    pub recorder: Recorder,
    pub clock: SharedClock,
    unseen: Arc<Mutex<Vec<Unseen>>>,
}

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Hands {
    pub fn new(client: Client, recorder: Recorder, clock: SharedClock) -> Self {
        Self { client, recorder, clock, unseen: Arc::default() }
    }

    /// The same hands with a list of their own of what they wrote.
    pub(super) fn fresh(&self) -> Self {
        Self { unseen: Arc::default(), ..self.clone() }
    }

    pub(super) fn take_unseen(&self) -> Vec<Unseen> {
        std::mem::take(&mut self.unseen.lock())
    }

    /// Notes a write of the caller's own, so that the next look at the key waits for it.
    pub fn wrote(&self, object: &dyn Object) {
        self.note(&ResourceRef::from(object.kind()), &object.meta().resource_version);
    }

    fn note(&self, resource: &ResourceRef, resource_version: &str) {
        self.unseen.lock().push(Unseen::Stored {
            group: resource.group.to_string(),
            resource: resource.resource.to_string(),
            revision: revision(resource_version),
        });
    }

    /// Performs a whole plan, to its end or its first failing step.
    pub(super) async fn perform<C: Controller>(
        &self,
        controller: &C,
        plan: Plan<C::Own>,
        outcome: &mut Outcome,
    ) {
        for step in plan.steps {
            let before = outcome.failures.len();
            match step {
                Step::Own(own) => match controller.perform(own, self).await {
                    Ok(again) => {
                        outcome.done += 1;
                        outcome.again = [outcome.again, again].into_iter().flatten().min();
                    }
                    Err(failure) => outcome.failures.push(failure),
                },
                Step::Do(action) => self.together(vec![action], outcome).await,
                Step::Together(actions) => self.together(actions, outcome).await,
                Step::SlowStart(actions) => self.slow_start(actions, outcome).await,
                Step::Tell(told) => self.tell(&told, "", ""),
            }
            if outcome.failures.len() > before {
                return;
            }
        }
    }

    /// Performs actions outside of the loop: for controllers that bring their own.
    pub async fn all(&self, plan: Plan<Never>) -> Outcome {
        let mut outcome = Outcome::default();
        for step in plan.steps {
            match step {
                Step::Do(action) => self.together(vec![action], &mut outcome).await,
                Step::Together(actions) => self.together(actions, &mut outcome).await,
                Step::SlowStart(actions) => self.slow_start(actions, &mut outcome).await,
                Step::Tell(told) => self.tell(&told, "", ""),
                Step::Own(never) => match never {},
            }
        }
        outcome
    }

    async fn slow_start(&self, actions: Vec<Action>, outcome: &mut Outcome) {
        let mut actions = actions.into_iter();
        let mut size = 1;
        loop {
            let round: Vec<Action> = actions.by_ref().take(size).collect();
            if round.is_empty() {
                return;
            }
            let before = outcome.failures.len();
            self.together(round, outcome).await;
            if outcome.failures.len() > before {
                return;
            }
            size *= 2;
        }
    }

    async fn together(&self, actions: Vec<Action>, outcome: &mut Outcome) {
        // One that panics must not take the others with it whose answers are on their way.
        let one = |action| AssertUnwindSafe(self.one(action)).catch_unwind();
        for result in join_all(actions.into_iter().map(one)).await {
            match result.unwrap_or_else(|panic| resume_unwind(panic)) {
                Ok(written) => {
                    outcome.done += 1;
                    outcome.written.extend(written);
                }
                Err(failure) => outcome.failures.push(failure),
            }
        }
    }

    async fn one(&self, action: Action) -> Result<Option<Box<dyn Object>>, Failure> {
        let what = action.effect.describe();
        match self.effect(&action.effect).await {
            Ok(written) => {
                if let Some(told) = &action.on_success {
                    let name = match (&written, &action.effect) {
                        (Some(object), _) => object.meta().name.clone(),
                        (None, Effect::Patch { target, .. } | Effect::Delete { target, .. }) => {
                            target.key.name.to_string()
                        }
                        (None, Effect::Create(o) | Effect::Update(o, _)) => o.meta().name.clone(),
                    };
                    self.tell(told, &name, "");
                }
                Ok(written)
            }
            // A namespace that is going takes no new objects; there is nothing to try again.
            Err(error)
                if matches!(action.effect, Effect::Create(_)) && error.has_cause("NamespaceTerminating") =>
            {
                tracing::debug!(what, "The namespace is being deleted");
                Ok(None)
            }
            Err(error) => {
                // A name that is taken is found out by looking again, and nothing to tell of.
                let taken = matches!(action.effect, Effect::Create(_)) && error.is_already_exists();
                if let Some(told) = action.on_failure.as_ref().filter(|_| !taken) {
                    self.tell(told, "", &error.to_string());
                }
                Err(Failure { what, source: error })
            }
        }
    }

    async fn effect(&self, effect: &Effect) -> Result<Option<Box<dyn Object>>, Error> {
        match effect {
            Effect::Create(object) => {
                let stored = self.client.create_object(&**object).await?;
                self.wrote(&*stored);
                Ok(Some(stored))
            }
            Effect::Update(object, subresource) => {
                let stored = self.client.update_object(&**object, *subresource).await?;
                self.wrote(&*stored);
                Ok(Some(stored))
            }
            Effect::Patch { target, subresource, patch } => {
                let resource = ResourceRef::from(target.kind);
                let Key { namespace, name } = &target.key;
                let stored =
                    self.client.patch_object(&resource, namespace, name, *subresource, patch).await?;
                self.note(&resource, &stored.metadata.resource_version);
                Ok(None)
            }
            Effect::Delete { target, options } => {
                let resource = ResourceRef::from(target.kind);
                let Key { namespace, name } = &target.key;
                let mut options = (**options).clone();
                if !target.uid.is_empty() {
                    options.preconditions.get_or_insert_with(|| {
                        Box::new(Preconditions { uid: Some(target.uid.to_string()), resource_version: None })
                    });
                }
                match self.client.delete_object(&resource, namespace, name, &options).await {
                    Ok(Deleted::Object(object)) if object.metadata.deletion_timestamp.is_some() => {
                        self.note(&resource, &object.metadata.resource_version);
                    }
                    Ok(_) => self.unseen.lock().push(Unseen::Gone {
                        group: resource.group.to_string(),
                        resource: resource.resource.to_string(),
                        key: target.key.clone(),
                        uid: target.uid.clone(),
                    }),
                    // Gone already: that is what was wanted.
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
                Ok(None)
            }
        }
    }

    fn tell(&self, told: &Told, name: &str, error: &str) {
        let message = told.message.replace("{name}", name).replace("{error}", error);
        self.recorder.event(&told.regarding, told.type_, told.reason, &message);
    }
}
