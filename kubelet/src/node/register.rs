//! Registering the node, and bringing an earlier registration up to date.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Node, Taint, TaintEffect};

use crate::kubelet::Kubelet;

/// Retries from this pause up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(7);

const ATTACHED_BY_CONTROLLER: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
/// COMPAT: labels that a node which is there already is given anew; others of `--node-labels` only come with a new one.
const KEPT: [&str; 12] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// Puts right what every node must say of itself; whether that was needed.
pub fn label_anew(node: &mut Node) -> bool {
    let mut changed = false;
    for (key, value) in [("kubernetes.io/os", "linux"), ("kubernetes.io/arch", daemon::version::ARCH)] {
        if node.metadata.labels.get(key).is_none_or(|label| label != value) {
            node.metadata.labels.insert(key.into(), value.into());
            changed = true;
        }
    }
    changed
}

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
    node.metadata.annotations.insert(ATTACHED_BY_CONTROLLER.into(), "true".into());
    node.spec.taints = taints(kubelet);
    node.spec.taints.extend(kubelet.addresses.asked().taint());
    node.spec.provider_id.clone_from(&kubelet.config.provider_id);
    node.status = super::status::status(kubelet, &node.status).await;
    kubelet.addresses.annotate(&mut node);
    match api.create(&node).await {
        Err(error) if error.is_already_exists() => {}
        other => return other,
    }
    loop {
        let mut there = api.get(&kubelet.node_name).await?;
        let before = there.metadata.clone();
        for (key, value) in labels(kubelet).into_iter().filter(|(key, _)| KEPT.contains(&key.as_str())) {
            if value.is_empty() {
                there.metadata.labels.remove(&key);
            } else {
                there.metadata.labels.insert(key, value);
            }
        }
        there.metadata.annotations.insert(ATTACHED_BY_CONTROLLER.into(), "true".into());
        if there.metadata == before {
            return Ok(there);
        }
        match api.update(&there).await {
            Err(error) if error.is_conflict() => {}
            other => return other,
        }
    }
}
