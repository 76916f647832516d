//! Sees to it that running containers are on the CPUs that they are to be on: those without CPUs of their own move
//! when others are given some, or give them back. At once, and every `cpuManagerReconcilePeriod` in case the
//! runtime did not do as it was told.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::cpu_set::CpuSet;
use crate::cri::labels::Identity;
use crate::cri::v1;
use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;

/// COMPAT: upstream's default.
const PERIOD: Duration = Duration::from_secs(10);

/// Follows the changes; never ends where CPUs are given to containers, and returns at once where not.
pub async fn run(kubelet: Arc<Kubelet>) {
    if !kubelet.placement.shares_cpus() {
        return;
    }
    // Before, no one knows which of the pods are over.
    kubelet.workers.wait_for_source().await;
    let period = kubelet.config.cpu_manager_reconcile_period.unwrap_or(PERIOD);
    loop {
        kubelet.placement.retain(|uid| kubelet.workers.may_be_active(uid));
        if let Err(error) = round(&kubelet).await {
            tracing::warn!(error, "cannot look which CPUs containers are on");
        }
        drop(tokio::time::timeout(period, kubelet.placement.changed.notified()).await);
    }
}

async fn round(kubelet: &Arc<Kubelet>) -> Result<(), String> {
    let filter = v1::ContainerFilter {
        state: Some(v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 }),
        ..Default::default()
    };
    let containers = kubelet.runtime.containers(Some(filter)).await.map_err(|error| error.to_string())?;
    let active: HashSet<String> = kubelet
        .workers
        .all()
        .into_iter()
        .filter(|(_, stage)| *stage == Stage::Syncing)
        .map(|(pod, _)| pod.metadata.uid.clone())
        .collect();
    let mut known: HashSet<String> = HashSet::new();
    for container in containers {
        let Some(identity) = Identity::from_labels(&container.labels) else { continue };
        let name = container.metadata.map(|metadata| metadata.name).unwrap_or_default();
        known.insert(container.id.clone());
        if !active.contains(&identity.uid) {
            continue;
        }
        let cpus = kubelet.placement.cpus(&identity.uid, &name);
        if cpus.is_empty() || kubelet.placement.was_told(&container.id, &cpus) {
            continue;
        }
        let update = v1::LinuxContainerResources { cpuset_cpus: cpus.to_string(), ..Default::default() };
        match kubelet.runtime.update_container(&container.id, update).await {
            Ok(()) => {
                tracing::info!(pod = identity.name, container = name, %cpus, "moved a container");
                kubelet.placement.told(&container.id, cpus);
            }
            Err(error) => {
                tracing::warn!(%error, pod = identity.name, container = name, %cpus, "cannot move a container");
            }
        }
    }
    kubelet.placement.state.lock().told.retain(|id, _| known.contains(id));
    Ok(())
}

impl super::Placement {
    /// The runtime has the container on these CPUs already.
    fn was_told(&self, id: &str, cpus: &CpuSet) -> bool {
        self.state.lock().told.get(id) == Some(cpus)
    }
}
