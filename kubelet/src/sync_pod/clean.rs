//! The last turn of a pod: what it used is freed, and of one that is deleted what the runtime and the disk
//! still have of it is removed.

use std::sync::Arc;

use api_types::core::v1::{Pod, PodQOSClass};

use super::act::{Failed, Life, report};
use super::{sandbox_config, start};
use crate::cri::CallError;
use crate::cri::observed::ObservedPod;
use crate::kubelet::Kubelet;
use crate::pod_worker::{Outcome, Turn};
use crate::volume::apply;

/// Frees what the pod used. Logs and dead containers stay until the pod is deleted.
pub(super) async fn clean(kubelet: &Arc<Kubelet>, turn: &Turn) -> Result<Outcome, Failed> {
    let pod = &turn.pod;
    let uid = &pod.metadata.uid;
    let deleted = turn.gone || pod.metadata.deletion_timestamp.is_some();
    let observed = kubelet.observe(uid).await?;
    if !turn.orphan {
        report(kubelet, turn, &observed, Life::Over);
    }
    let dir = kubelet.pod_dir(uid);
    let csi = Arc::clone(&kubelet.csi);
    let removed = tokio::task::spawn_blocking(move || {
        if deleted { apply::remove_pod_dir(&dir, &csi) } else { apply::remove_volumes(&dir, &csi) }
    });
    removed.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    // Of an orphan no one knows the class.
    for class in [PodQOSClass::Guaranteed, PodQOSClass::Burstable, PodQOSClass::BestEffort] {
        kubelet.tree.remove(&kubelet.cgroups.of_uid(&class, uid)).map_err(|error| error.to_string())?;
    }
    kubelet.forget(pod);
    if deleted {
        // COMPAT: the object goes once volumes and control groups are gone. What the runtime still has of it
        // is dead, and removing it must not keep others from being stopped.
        if !turn.gone {
            kubelet.statuses.finish(pod);
        }
        let _turn = kubelet.removals.acquire().await;
        remove_from_runtime(kubelet, uid, &observed).await?;
        remove_logs(kubelet, pod, &observed);
    }
    Ok(Outcome::Cleaned { deleted })
}

/// Removes the pod's containers and sandboxes, and looks whether that was all: a start that was
/// cancelled may come through late, and leave a container without a sandbox.
async fn remove_from_runtime(kubelet: &Kubelet, uid: &str, observed: &ObservedPod) -> Result<(), Failed> {
    let gone = |result: Result<(), CallError>| match result {
        Err(error) if !error.is_not_found() => Err(Failed::from(error)),
        _ => Ok(()),
    };
    for container in &observed.containers {
        gone(kubelet.runtime.remove_container(&container.id).await)?;
    }
    for sandbox in &observed.sandboxes {
        gone(kubelet.runtime.remove_sandbox(&sandbox.id).await)?;
    }
    let left = kubelet.observe(uid).await?;
    if left.sandboxes.is_empty() && left.containers.is_empty() {
        return Ok(());
    }
    let (containers, sandboxes) = (left.containers.len(), left.sandboxes.len());
    Err(Failed { message: format!("{containers} containers and {sandboxes} sandboxes are left"), soon: true })
}

fn remove_logs(kubelet: &Kubelet, pod: &Pod, observed: &ObservedPod) {
    let meta = &pod.metadata;
    for seen in &observed.containers {
        let name = format!("{}_{}_{}-{}.log", meta.name, meta.namespace, seen.name, seen.id);
        let _ = std::fs::remove_file(start::container_logs(kubelet).join(name));
    }
    let dir = sandbox_config::log_directory(&kubelet.config.pod_logs_dir, pod);
    if let Err(error) = std::fs::remove_dir_all(&dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, dir, "cannot remove a pod's logs");
    }
}
