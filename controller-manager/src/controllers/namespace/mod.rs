//! namespace-controller: empties a namespace that is being deleted, then gives up its finalizer.
//!
//! Pods go first (KEP-5080), so that nothing that they rely on is taken from under them. What is
//! found and what is left is written into the namespace's conditions (`status.rs`).

mod content;
mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use api_types::core::v1::Namespace;
use api_types::core::v1::well_known::finalizer;
use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Step, Wake};
use client::informer::{Caches, Change};
use client::queue::Backoff;
use jiff::Timestamp;

use crate::cached::{NamespaceObject, PodFacts};
use content::Undiscovered;

/// See the module.
#[derive(Debug)]
pub struct Namespaces;

/// Empty this namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    pub name: String,
}

impl Controller for Namespaces {
    const NAME: &'static str = "namespace-controller";
    const QUEUE: &'static str = "namespace";
    type View = Namespace;
    type Own = Purge;

    fn backoff(&self) -> Backoff {
        Backoff::between(Duration::from_millis(5), Duration::from_secs(60))
    }

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<NamespaceObject>(),
            // The last pod is what the rest waits for.
            Wake::on::<PodFacts>(|change: &Change<'_, PodFacts>, _, keys| {
                if change.new.is_none() {
                    keys.push(Key::cluster(change.key.namespace.clone()));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<Namespace> {
        let namespace = caches.store::<NamespaceObject>().get(key)?;
        is_ours_to_empty(&namespace).then(|| namespace.0.clone())
    }

    fn plan(namespace: &Namespace, _: Timestamp) -> Plan<Purge> {
        let mut plan = Plan::nothing();
        plan.step(Step::Own(Purge { name: namespace.metadata.name.clone() }));
        plan
    }

    async fn perform(&self, own: Purge, hands: &Hands) -> Result<Option<Duration>, Failure> {
        purge(&own.name, hands).await
    }
}

/// Whether it is being deleted and waits for us.
fn is_ours_to_empty(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
        && namespace.spec.finalizers.iter().any(|f| f == finalizer::KUBERNETES)
}

/// One round over everything in the namespace. Gives when to look again if something needs time.
async fn purge(name: &str, hands: &Hands) -> Result<Option<Duration>, Failure> {
    let api = hands.client.api::<Namespace>();
    let failed = |what: &str| {
        let what = format!("{what} namespace {name}");
        move |error| Failure::new(what, error)
    };
    // Several may work on a namespace that goes: look at it as it is now.
    let Some(namespace) = api.find(name).await.map_err(failed("read"))? else { return Ok(None) };
    if !is_ours_to_empty(&namespace) {
        return Ok(None);
    }
    let mut found = content::delete_all(&namespace, hands).await;
    let mut namespace = namespace;
    if status::update(&mut namespace.status, &found, hands.clock.now()) {
        match api.update_status(&namespace).await {
            Ok(stored) => namespace = stored,
            // The conditions are for people; the work goes on without them.
            Err(error) => tracing::warn!(namespace = name, %error, "Cannot update the conditions"),
        }
    }
    if !found.failures.is_empty() {
        let (what, error) = found.failures.swap_remove(0);
        return Err(Failure::new(what, error));
    }
    match found.undiscovered {
        Undiscovered::Nothing => {}
        Undiscovered::Everything(error) => return Err(Failure::new("discover resources", error)),
        Undiscovered::Groups(groups) => {
            if let Some((group, error)) = groups.into_iter().next() {
                return Err(Failure::new(format!("discover {group}"), error));
            }
        }
    }
    if found.remaining.is_empty() {
        namespace.spec.finalizers.retain(|f| f != finalizer::KUBERNETES);
        return match api.update_subresource("finalize", &namespace).await {
            Err(error) if !error.is_not_found() => Err(failed("finalize")(error)),
            _ => Ok(None),
        };
    }
    tracing::debug!(namespace = name, remaining = ?found.remaining, "Content remains");
    // Half of what it will take, as upstream does: what is quick is noticed early.
    Ok(Some(Duration::from_secs(found.estimate_seconds / 2 + 1)))
}
