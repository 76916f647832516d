//! Deletes what is in a namespace, resource by resource, and counts what is left.

use std::collections::BTreeMap;

use api_types::core::v1::{Namespace, Pod};
use api_types::meta::v1::DeletionPropagation;
use client::controller::Hands;
use client::discovery::Discovered;
use client::{DeleteOptions, Error, ListOptions};

/// How long things with finalizers are given before they are looked at again.
const FINALIZER_SECONDS: u64 = 15;

/// What one round found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Objects left, by `resource.group`.
    pub remaining: BTreeMap<String, usize>,
    /// Objects left, by finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// How long what is left may take.
    pub estimate_seconds: u64,
    /// What could not be listed by discovery.
    pub undiscovered: Undiscovered,
    /// What could not be deleted, and why.
    pub failures: Vec<(String, Error)>,
}

/// What discovery did not tell of.
#[derive(Debug, Default)]
pub(super) enum Undiscovered {
    #[default]
    Nothing,
    /// Versions of groups, and why.
    Groups(BTreeMap<String, Error>),
    Everything(Error),
}

/// One round.
pub(super) async fn delete_all(namespace: &Namespace, hands: &Hands) -> Found {
    let mut found = Found::default();
    let mut discovery = match hands.client.discover().await {
        Ok(discovery) => discovery,
        Err(error) => {
            found.undiscovered = Undiscovered::Everything(error);
            return found;
        }
    };
    // What is known goes all the same.
    if !discovery.failures.is_empty() {
        found.undiscovered = Undiscovered::Groups(std::mem::take(&mut discovery.failures));
    }
    let deletable = |d: &Discovered| d.resource.namespaced && d.can(&["delete"]);
    let (pods, others): (Vec<_>, Vec<_>) = discovery
        .resources
        .into_iter()
        .filter(deletable)
        .partition(|d| d.resource.group.is_empty() && d.resource.resource == "pods");
    for each in [pods, others] {
        for discovered in each {
            delete_one(namespace, &discovered, hands, &mut found).await;
        }
        // Nothing else goes while there are pods. COMPAT: where deleting them failed, the rest goes.
        if !found.remaining.is_empty() {
            break;
        }
    }
    found
}

/// Deletes all objects of one resource.
async fn delete_one(namespace: &Namespace, discovered: &Discovered, hands: &Hands, found: &mut Found) {
    let resource = &discovered.resource;
    let is_pods = resource.group.is_empty() && resource.resource == "pods";
    let name = namespace.metadata.name.as_str();
    if let Err((what, error)) = try_delete(name, discovered, hands).await {
        found.failures.push((format!("{what} {} in namespace {name}", resource.qualified()), error));
        return;
    }
    if !discovered.can(&["list"]) {
        return;
    }
    let api = hands.client.metadata_api(resource.clone()).namespace(name);
    let items = match api.list(&ListOptions::default()).await {
        Ok(page) => page.items,
        Err(error) => {
            found.failures.push((format!("list {} in namespace {name}", resource.qualified()), error));
            return;
        }
    };
    if items.is_empty() {
        return;
    }
    // COMPAT: upstream's condition writes the core group as an empty suffix: `pods. has 1 resource instances`.
    found.remaining.insert(format!("{}.{}", resource.resource, resource.group), items.len());
    for finalizer in items.iter().flat_map(|i| &i.metadata.finalizers) {
        *found.finalizers.entry(finalizer.clone()).or_default() += 1;
    }
    let estimate = if is_pods { grace_left(namespace, hands).await } else { 0 };
    found.estimate_seconds = found.estimate_seconds.max(estimate.max(FINALIZER_SECONDS));
}

async fn try_delete(
    namespace: &str,
    discovered: &Discovered,
    hands: &Hands,
) -> Result<(), (&'static str, Error)> {
    let api = hands.client.metadata_api(discovered.resource.clone()).namespace(namespace);
    let options = DeleteOptions {
        propagation_policy: Some(DeletionPropagation::Background),
        ..DeleteOptions::default()
    };
    if discovered.can(&["deletecollection"]) {
        match api.delete_collection(&options, &ListOptions::default()).await {
            Err(error) if !is_unsupported(&error) => return Err(("delete", error)),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
    if !discovered.can(&["list"]) {
        return Ok(());
    }
    let page = api.list(&ListOptions::default()).await.map_err(|e| ("list", e))?;
    for item in page.items {
        match api.delete(&item.metadata.name, &options).await {
            Err(error) if !error.is_not_found() && !is_unsupported(&error) => return Err(("delete", error)),
            _ => {}
        }
    }
    Ok(())
}

/// Discovery said so, and the server says otherwise: another round finds what is left.
fn is_unsupported(error: &Error) -> bool {
    error.status().is_some_and(|s| s.code == 405) || error.is_not_found()
}

/// The longest that a pod of the namespace may still take.
async fn grace_left(namespace: &Namespace, hands: &Hands) -> u64 {
    let api = hands.client.api::<Pod>().namespace(namespace.metadata.name.as_str());
    let Ok(page) = api.list(&ListOptions::default()).await else { return 0 };
    let grace = |pod: &Pod| pod.spec.termination_grace_period_seconds.unwrap_or(0);
    let longest = page.items.iter().map(grace).max().unwrap_or(0);
    let since = namespace.metadata.deletion_timestamp.map_or(0, |t| t.0.as_second());
    let passed = hands.clock.now().as_second() - since;
    u64::try_from(longest - passed).unwrap_or(0)
}
