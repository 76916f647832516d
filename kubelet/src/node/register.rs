//! Registering the node, and bringing an earlier registration up to date.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Node, Taint, TaintEffect};

use crate::kubelet::Kubelet;

/// Retries from this pause up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(7);

/// The labels that the kubelet gives its node.
fn labels(kubelet: &Kubelet) -> Vec<(String, String)> {
    let arch = daemon::version::ARCH;
    let own = [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", kubelet.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
    ];
    let given = kubelet.node_labels.iter().map(|(key, value)| (key.clone(), value.clone()));
    own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).chain(given).collect()
}

fn taints(kubelet: &Kubelet) -> Vec<Taint> {
    kubelet
        .config
        .register_with_taints
        .iter()
        .map(|taint| Taint {
            key: taint.key.clone(),
            value: taint.value.clone(),
            effect: TaintEffect::from(taint.effect.as_str()),
            ..Default::default()
        })
        .collect()
}

/// Registers until it worked.
pub async fn register_until_done(kubelet: &Arc<Kubelet>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match register(kubelet).await {
            Ok(node) => {
                tracing::info!(node = node.metadata.name, "registered the node");
                return;
            }
            Err(error) => tracing::warn!(%error, node = kubelet.node_name, "cannot register the node"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Creates the Node, or sets the labels that changed on the one that is there.
pub async fn register(kubelet: &Arc<Kubelet>) -> Result<Node, client::Error> {
    let api = kubelet.client.api::<Node>();
    let mut node = Node::default();
    node.metadata.name.clone_from(&kubelet.node_name);
    node.metadata.labels.extend(labels(kubelet));
    node.metadata
        .annotations
        .insert("volumes.kubernetes.io/controller-managed-attach-detach".into(), "true".into());
    node.spec.taints = taints(kubelet);
    node.spec.provider_id.clone_from(&kubelet.config.provider_id);
    node.status = super::status::status(kubelet, &node.status).await;
    match api.create(&node).await {
        Err(error) if error.is_already_exists() => {}
        other => return other,
    }
    loop {
        let mut there = api.get(&kubelet.node_name).await?;
        let before = there.metadata.clone();
        there.metadata.labels.extend(labels(kubelet));
        there.metadata.annotations.extend(node.metadata.annotations.clone());
        if there.metadata == before {
            return Ok(there);
        }
        match api.update(&there).await {
            Err(error) if error.is_conflict() => {}
            other => return other,
        }
    }
}
