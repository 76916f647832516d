//! Keeps the remote groups current: reads APIServices as they change, asks each server for its
//! resources, writes what came of it into the status.

use std::sync::Arc;
use std::time::Duration;

use api_types::apiextensions::v1::CustomResourceDefinition;
use api_types::apiregistration::v1::APIService;
use api_types::core::v1::Service;
use api_types::discovery::v1::EndpointSlice;
use api_types::meta::v1::ConditionStatus;
use daemon::shutdown::Shutdown;
use futures::future::join_all;
use http_body_util::BodyExt;

use super::available::{self, Verdict};
use super::{Aggregator, Remote, Told, authentication, cached, local, proxy, slices_of};
use crate::bootstrap::ObjectsError;
use crate::objects::Registry;
use crate::request::User;
use crate::server::Server;
use crate::steps::{self, Step};

/// How often servers are asked without anything having changed.
const EVERY: Duration = Duration::from_secs(30);
/// How soon one that did not answer is asked again, and one whose Service is changing.
const SOON: Duration = Duration::from_secs(2);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Health checks of what is done for the first time.
pub struct Progress {
    /// Extension servers can read whom to believe.
    pub told: Step,
    pub aggregator: steps::Aggregator,
}

/// Runs until shutdown.
pub async fn run(server: Arc<Server>, told: Told, progress: Progress, shutdown: Shutdown) {
    shutdown.unless(following(&server, &told, &progress)).await;
}

async fn following(server: &Arc<Server>, told: &Told, progress: &Progress) {
    let collection = server.storage.of::<APIService>().clone();
    let definitions = server.storage.of::<CustomResourceDefinition>().clone();
    collection.synced().await;
    definitions.synced().await;
    server.storage.of::<Service>().synced().await;
    server.storage.of::<EndpointSlice>().synced().await;
    progress.aggregator.informed.ok();
    server.fresh.filled().await;
    let objects = Registry(server.clone());
    let mut start = true;
    loop {
        let present = collection.start_now(None);
        let mut cursor = present.cursor;
        let defined = definitions.start_now(None);
        let mut defined_cursor = defined.cursor;
        if start {
            let made = local::ensure(&objects).await;
            match &made {
                Ok(()) => progress.aggregator.registered.ok(),
                Err(error) => tracing::warn!(%error, "Cannot register the server's own groups"),
            }
            start = made.is_err();
        }
        match authentication::ensure(&objects, told).await {
            Ok(()) => progress.told.ok(),
            Err(error) => tracing::warn!(%error, "Cannot tell extension servers whom to believe"),
        }
        let all: Vec<APIService> = present.snapshot.iter().filter_map(|entry| entry.typed().ok()).collect();
        let defined: Vec<CustomResourceDefinition> =
            defined.snapshot.iter().filter_map(|entry| entry.typed().ok()).collect();
        if let Err(error) = local::follow(&objects, &defined, &all).await {
            tracing::warn!(%error, "Cannot register the groups of custom resources");
        }
        let well = look(server, &objects, &all).await;
        progress.aggregator.looked.ok();
        let pause = if well && !start { EVERY } else { SOON };
        tokio::select! {
            () = cursor.appended() => {}
            () = defined_cursor.appended() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Looks at each remote server; whether all are well.
async fn look(server: &Arc<Server>, objects: &Registry, all: &[APIService]) -> bool {
    let aggregator = &server.aggregator;
    aggregator.availability.looked(all);
    let known = aggregator.remotes();
    let mut remotes = Vec::new();
    let mut well = true;
    // All at once: one that does not answer keeps no other waiting, nor the start.
    let asked = all.iter().filter(|own| own.spec.service.is_some()).map(async |own| {
        let old = known.iter().find(|remote| remote.name == own.metadata.name);
        let remote = remote_of(aggregator, own, old.map(|old| &**old));
        let answer = ask(server, own, &remote).await;
        (own, remote, answer)
    });
    for (own, mut remote, (verdict, resources)) in join_all(asked).await {
        remote.available = verdict.0 == ConditionStatus::True;
        well &= remote.available;
        remote.resources = resources.map(Arc::new).or(remote.resources);
        remotes.push(Arc::new(remote));
        if let Some(object) = available::told(own, &verdict, jiff::Timestamp::now()) {
            tracing::info!(
                api_service = own.metadata.name,
                reason = verdict.1,
                message = verdict.2,
                "Looked at an aggregated API"
            );
            aggregator.availability.changed(own, &object);
            match objects.update_status(Box::new(object), "kube-apiserver").await {
                Ok(()) | Err(ObjectsError::Changed { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, api_service = own.metadata.name, "Cannot write a status")
                }
            }
        }
    }
    let place = |remote: &Arc<Remote>| {
        let reversed = (std::cmp::Reverse(remote.group_priority), remote.group.clone());
        (reversed, std::cmp::Reverse(remote.version_priority), remote.version.clone())
    };
    remotes.sort_by_key(place);
    aggregator.remotes.store(Arc::new(remotes));
    well
}

fn remote_of(aggregator: &Aggregator, own: &APIService, old: Option<&Remote>) -> Remote {
    let reference = own.spec.service.clone().unwrap_or_default();
    // A backend reads its certificates once: it is kept while the spec is the same.
    let kept = old.filter(|old| old.made_of == own.spec && old.backend.is_ok());
    let backend = kept.map_or_else(
        || aggregator.backend(own).map_err(|error| error.to_string()),
        |old| old.backend.clone(),
    );
    Remote {
        name: own.metadata.name.clone(),
        group: own.spec.group.clone(),
        version: own.spec.version.clone(),
        group_priority: own.spec.group_priority_minimum,
        version_priority: own.spec.version_priority,
        namespace: reference.namespace,
        service: reference.name,
        port: reference.port.unwrap_or(443),
        available: false,
        resources: old.and_then(|old| old.resources.clone()),
        backend,
        made_of: own.spec.clone(),
    }
}

/// Asks a server for its resources.
async fn ask(server: &Server, own: &APIService, remote: &Remote) -> (Verdict, Option<serde_json::Value>) {
    let storage = &server.storage;
    let service: Option<Service> = cached(storage, &remote.namespace, &remote.service);
    let slices = slices_of(storage.of::<EndpointSlice>(), &remote.namespace, &remote.service);
    if let Some(verdict) = available::seen(own, service.as_ref(), &slices) {
        return (verdict, None);
    }
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    let failed = |text: String| ((ConditionStatus::False, "FailedDiscoveryCheck", text), None);
    let uri = match proxy::location(server, remote, &path) {
        Ok(uri) => uri,
        Err(why) => return failed(why),
    };
    // The one identity that every server lets read its own discovery.
    let user =
        User { name: "system:kube-aggregator".into(), groups: vec![User::MASTERS.into()], ..User::default() };
    let answered = async {
        let answer = proxy::get(remote, uri.clone(), &user).await?;
        let status = answer.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(format!("bad status from {uri}: {}", status.as_u16()));
        }
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok(serde_json::from_slice(&body.to_bytes()).ok())
    };
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(resources)) => (available::passed(), resources),
        Ok(Err(why)) => failed(format!("failing or missing response from {uri}: {why}")),
        Err(_) => failed(format!(
            "failing or missing response from {uri}: Get \"{uri}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}
