//! The node's lease in `kube-node-lease`: its heartbeat, renewed every quarter of its duration.

use std::sync::Arc;
use std::time::Duration;

use api_types::coordination::v1::Lease;
use api_types::core::v1::Node;
use api_types::meta::MicroTime;
use api_types::meta::v1::OwnerReference;
use jiff::Timestamp;

use crate::kubelet::Kubelet;

const NAMESPACE: &str = "kube-node-lease";
const RETRY: Duration = Duration::from_secs(1);

/// Renews the lease; never ends.
pub async fn run(kubelet: Arc<Kubelet>) {
    let seconds = kubelet.config.node_lease_duration_seconds;
    let every = Duration::from_millis(u64::try_from(seconds).unwrap_or(40) * 250);
    let mut known: Option<Lease> = None;
    loop {
        match renew(&kubelet, known.take()).await {
            Ok(lease) => {
                known = Some(lease);
                tokio::time::sleep(every.mul_f64(1.0 + fastrand::f64() * 0.04)).await;
            }
            Err(error) => {
                tracing::warn!(%error, node = kubelet.node_name, "cannot renew the node's lease");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn renew(kubelet: &Kubelet, known: Option<Lease>) -> Result<Lease, client::Error> {
    let api = kubelet.heartbeat.api::<Lease>().namespace(NAMESPACE);
    let found = match known {
        Some(lease) => Some(lease),
        None => api.find(&kubelet.node_name).await?,
    };
    let exists = found.is_some();
    let mut lease = found.unwrap_or_default();
    lease.metadata.name.clone_from(&kubelet.node_name);
    lease.metadata.namespace = NAMESPACE.into();
    lease.spec.holder_identity = Some(kubelet.node_name.clone());
    lease.spec.lease_duration_seconds = Some(kubelet.config.node_lease_duration_seconds);
    lease.spec.renew_time = Some(MicroTime(Timestamp::now()));
    if lease.metadata.owner_references.is_empty()
        && let Some(node) = kubelet.heartbeat.api::<Node>().find(&kubelet.node_name).await?
    {
        // With its node the lease goes, too.
        lease.metadata.owner_references.push(OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: kubelet.node_name.clone(),
            uid: node.metadata.uid,
            ..Default::default()
        });
    }
    if exists {
        match api.update(&lease).await {
            Err(error) if error.is_conflict() || error.is_not_found() => {
                // Someone else wrote it: look again at once, then renew.
                let mut fresh = match api.find(&kubelet.node_name).await? {
                    Some(fresh) => fresh,
                    None => {
                        lease.metadata.resource_version.clear();
                        lease.metadata.uid.clear();
                        return api.create(&lease).await;
                    }
                };
                fresh.spec = lease.spec;
                api.update(&fresh).await
            }
            other => other,
        }
    } else {
        api.create(&lease).await
    }
}
