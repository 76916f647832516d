//! The pods that are bound to this node, from the API server.

use std::collections::HashSet;
use std::sync::Arc;

use api_types::core::v1::Pod;

use super::follow::{Event, follow};
use super::static_pods::is_mirror;
use crate::kubelet::Kubelet;
use crate::pod_worker::Source;

/// Feeds the workers; never ends.
pub async fn run(kubelet: Arc<Kubelet>) {
    let selector = format!("spec.nodeName={}", kubelet.node_name);
    let api = kubelet.client.api::<Pod>();
    follow(api, selector, |event| {
        match event {
            Event::All(pods) => {
                let (mirrors, pods): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(is_mirror);
                kubelet.mirrors.replace(mirrors.into_iter().map(Arc::new).collect());
                kubelet.workers.wake_static(None);
                kubelet.mirrors.delete_orphans(&kubelet);
                let there: HashSet<String> = pods.iter().map(|pod| pod.metadata.uid.clone()).collect();
                for pod in pods {
                    kubelet.workers.set(Arc::new(pod));
                }
                for uid in kubelet.workers.sourced() {
                    if !there.contains(&uid) {
                        kubelet.workers.gone(&uid);
                    }
                }
                kubelet.workers.source_ready(Source::Api);
            }
            Event::Set(mirror) if is_mirror(&mirror) => {
                let mirror = Arc::new(mirror);
                kubelet.mirrors.set(Arc::clone(&mirror));
                kubelet.workers.wake_static(Some(&mirror));
            }
            Event::Gone(mirror) if is_mirror(&mirror) => {
                kubelet.mirrors.gone(&mirror);
                kubelet.workers.wake_static(Some(&mirror));
            }
            Event::Set(pod) => kubelet.workers.set(Arc::new(pod)),
            Event::Gone(pod) => {
                let uid = pod.metadata.uid.clone();
                // The last state may carry a grace period that was not seen yet.
                kubelet.workers.set(Arc::new(pod));
                kubelet.workers.gone(&uid);
            }
            Event::Failed(error) => tracing::warn!(%error, "cannot follow the pods of this node"),
        }
        true
    })
    .await;
}
