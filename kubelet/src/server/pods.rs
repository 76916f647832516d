//! /pods and /runningpods: what is bound to the node, and what the runtime runs.

use std::sync::Arc;

use api_types::core::v1::{Container, Pod};
use http::{Response, StatusCode};

use super::{Body, text, typed};
use crate::cri::labels::{CONTAINER_NAME, Identity};
use crate::cri::v1;
use crate::kubelet::Kubelet;

fn list(pods: impl Iterator<Item = Pod>) -> Response<Body> {
    let items: Vec<Vec<u8>> = pods.map(|pod| api_types::codec::json::to_vec(&pod)).collect();
    let mut body = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#.to_vec();
    body.extend(items.join(&b','));
    body.extend_from_slice(b"]}");
    typed(StatusCode::OK, "application/json", body)
}

/// The pods of the API, with the statuses that the kubelet has computed.
pub fn pods(kubelet: &Arc<Kubelet>) -> Response<Body> {
    list(kubelet.workers.all().into_iter().map(|(pod, _)| {
        let mut pod = (*pod).clone();
        if let Some(status) = kubelet.statuses.get(&pod.metadata.uid) {
            pod.status = status;
        }
        pod
    }))
}

/// The pods that have running containers, as far as the runtime knows them.
pub async fn running(kubelet: &Arc<Kubelet>) -> Response<Body> {
    let filter = v1::ContainerFilter {
        state: Some(v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 }),
        ..Default::default()
    };
    let containers = match kubelet.runtime.containers(Some(filter)).await {
        Ok(containers) => containers,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut pods: Vec<Pod> = Vec::new();
    for container in containers {
        let Some(identity) = Identity::from_labels(&container.labels) else { continue };
        let spec = Container {
            name: container.labels.get(CONTAINER_NAME).cloned().unwrap_or_default(),
            image: container.image_ref,
            ..Default::default()
        };
        match pods.iter_mut().find(|pod| pod.metadata.uid == identity.uid) {
            Some(pod) => pod.spec.containers.push(spec),
            None => {
                let mut pod = crate::housekeeping::stub(&identity);
                pod.spec.containers.push(spec);
                pods.push(pod);
            }
        }
    }
    list(pods.into_iter())
}
