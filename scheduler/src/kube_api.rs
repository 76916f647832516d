//! [`Api`] over the client: bindings of pods and volumes, status patches, deletions, events.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::{
    Binding, ContainerExtendedResourceRequest, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod,
    PodCondition, PodExtendedResourceClaimStatus,
};
use api_types::meta::v1::{DeleteOptions, ObjectMeta, Preconditions, Status};
use api_types::resource::v1::ResourceClaim;
use async_trait::async_trait;
use client::events::series::{Said, SeriesRecorder};
use client::events::{NORMAL, WARNING};
use client::{Client, Patch};
use daemon::logging::error_chain;
use serde_json::json;

use crate::api::{Api, ApiError, ClaimCall, Note};
use crate::pod::PodView;
use crate::storage::{BOUND_BY_CONTROLLER, ClaimView, SELECTED_NODE, VolumeView};

/// Writes through a client; events of events.k8s.io through one recorder for each scheduler name.
pub struct KubeApi {
    client: Client,
    recorders: BTreeMap<Arc<str>, SeriesRecorder>,
}

impl KubeApi {
    pub fn new(client: Client, recorders: BTreeMap<Arc<str>, SeriesRecorder>) -> Self {
        Self { client, recorders }
    }

    fn pods(&self, pod: &PodView) -> client::Api<Pod> {
        self.client.api::<Pod>().namespace(&*pod.namespace)
    }
}

impl From<client::Error> for ApiError {
    fn from(error: client::Error) -> Self {
        let text = error_chain(&error);
        if error.is_not_found() {
            Self::NotFound(text)
        } else if error.is_conflict() {
            Self::Conflict(text)
        } else {
            Self::Other(text)
        }
    }
}

fn revision(meta: &ObjectMeta) -> u64 {
    meta.resource_version.parse().unwrap_or(0)
}

#[async_trait]
impl Api for KubeApi {
    async fn bind(&self, pod: &PodView, node: &str) -> Result<(), ApiError> {
        let binding = Binding {
            metadata: ObjectMeta {
                namespace: pod.namespace.to_string(),
                name: pod.name.clone(),
                // The server refuses when another pod has the name by now.
                uid: pod.uid.to_string(),
                ..ObjectMeta::default()
            },
            target: ObjectReference { kind: "Node".into(), name: node.into(), ..ObjectReference::default() },
        };
        let answer: Result<Status, _> =
            self.pods(pod).create_subresource(&pod.name, "binding", &binding).await;
        Ok(answer.map(drop)?)
    }

    async fn patch_status(
        &self,
        pod: &PodView,
        condition: Option<&PodCondition>,
        nominated_node: Option<&str>,
    ) -> Result<u64, ApiError> {
        let mut status = serde_json::Map::new();
        if let Some(c) = condition {
            let time = |t: Option<api_types::value::Time>| t.map(|t| t.to_string());
            let condition = json!({
                "type": c.type_.as_str(),
                "status": c.status.as_str(),
                "observedGeneration": c.observed_generation,
                "reason": c.reason,
                "message": c.message,
                "lastProbeTime": time(c.last_probe_time),
                "lastTransitionTime": time(c.last_transition_time),
            });
            status.insert("conditions".into(), json!([condition]));
        }
        if let Some(node) = nominated_node {
            let node = if node.is_empty() { json!(null) } else { json!(node) };
            status.insert("nominatedNodeName".into(), node);
        }
        let patch = json!({ "metadata": { "uid": &*pod.uid }, "status": status });
        let written = self.pods(pod).patch_status(&pod.name, &Patch::Strategic(patch)).await?;
        Ok(revision(&written.metadata))
    }

    async fn delete(&self, pod: &PodView) -> Result<(), ApiError> {
        let preconditions = Preconditions { uid: Some(pod.uid.to_string()), ..Preconditions::default() };
        let options =
            DeleteOptions { preconditions: Some(Box::new(preconditions)), ..DeleteOptions::default() };
        self.pods(pod).delete(&pod.name, &options).await?;
        Ok(())
    }

    async fn bind_volume(&self, volume: &VolumeView, claim: &ClaimView) -> Result<u64, ApiError> {
        let mut metadata = json!({ "resourceVersion": volume.revision.to_string() });
        if !volume.is_meant_for(claim) {
            metadata["annotations"] = json!({ BOUND_BY_CONTROLLER: "yes" });
        }
        let reference = json!({
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "namespace": claim.namespace,
            "name": claim.name,
            "uid": claim.uid,
            "resourceVersion": claim.revision.to_string(),
        });
        let patch = Patch::Merge(json!({ "metadata": metadata, "spec": { "claimRef": reference } }));
        let written = self.client.api::<PersistentVolume>().patch(&volume.name, &patch).await?;
        Ok(revision(&written.metadata))
    }

    async fn select_node(&self, claim: &ClaimView, node: &str) -> Result<u64, ApiError> {
        let patch = Patch::Merge(json!({ "metadata": {
            "resourceVersion": claim.revision.to_string(),
            "annotations": { SELECTED_NODE: node },
        } }));
        let api = self.client.api::<PersistentVolumeClaim>().namespace(claim.namespace.clone());
        Ok(revision(&api.patch(&claim.name, &patch).await?.metadata))
    }

    async fn patch_extended(
        &self,
        pod: &PodView,
        status: &PodExtendedResourceClaimStatus,
    ) -> Result<(), ApiError> {
        let mapping = |m: &ContainerExtendedResourceRequest| {
            json!({
                "containerName": m.container_name,
                "resourceName": m.resource_name,
                "requestName": m.request_name,
            })
        };
        let mappings: Vec<serde_json::Value> = status.request_mappings.iter().map(mapping).collect();
        let status = json!({ "extendedResourceClaimStatus": {
            "requestMappings": mappings,
            "resourceClaimName": status.resource_claim_name,
        } });
        let patch = json!({ "metadata": { "uid": &*pod.uid }, "status": status });
        self.pods(pod).patch_status(&pod.name, &Patch::Strategic(patch)).await?;
        Ok(())
    }

    async fn claim(&self, call: ClaimCall<'_>) -> Result<ResourceClaim, ApiError> {
        let claims = |namespace: &str| self.client.api::<ResourceClaim>().namespace(namespace);
        let own = |claim: &ResourceClaim| claims(&claim.metadata.namespace);
        Ok(match call {
            ClaimCall::Get { namespace, name } => claims(namespace).get(name).await?,
            ClaimCall::Create(claim) => own(claim).create(claim).await?,
            ClaimCall::Update(claim) => own(claim).update(claim).await?,
            ClaimCall::UpdateStatus(claim) => own(claim).update_status(claim).await?,
            ClaimCall::Unreserve { claim, uid } => {
                let patch = Patch::Strategic(json!({
                    "metadata": { "uid": claim.metadata.uid },
                    "status": { "reservedFor": [{ "$patch": "delete", "uid": uid }] },
                }));
                own(claim).patch_status(&claim.metadata.name, &patch).await?
            }
            ClaimCall::Delete(claim) => {
                own(claim).delete(&claim.metadata.name, &DeleteOptions::default()).await?;
                claim.clone()
            }
        })
    }

    fn note(&self, pod: &Arc<PodView>, related: Option<&Arc<PodView>>, note: Note) {
        // It speaks who acts: of a victim, the scheduler of the pod that takes its place.
        let speaker = &related.unwrap_or(pod).scheduler_name;
        let recorder = self.recorders.get(speaker).or_else(|| self.recorders.values().next());
        let Some(recorder) = recorder else { return };
        let said = Said {
            type_: if note.warning { WARNING } else { NORMAL },
            reason: note.reason,
            action: note.action,
            note: &note.message,
        };
        recorder.event(&reference(pod), related.map(|pod| reference(pod)).as_ref(), said);
    }
}

fn reference(pod: &PodView) -> ObjectReference {
    ObjectReference {
        kind: "Pod".into(),
        api_version: "v1".into(),
        namespace: pod.namespace.to_string(),
        name: pod.name.clone(),
        uid: pod.uid.to_string(),
        resource_version: pod.resource_version.clone(),
        ..ObjectReference::default()
    }
}
