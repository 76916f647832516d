//! What no pod's own turn does: removing what is left of pods that no one knows, dead containers and
//! sandboxes beyond those that are kept for their logs, and rotating logs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodQOSClass};
use jiff::Timestamp;

use crate::cri::labels::Identity;
use crate::cri::{observed, v1};
use crate::kubelet::Kubelet;
use crate::logs::rotate::{Limits, rotate};
use crate::pod_worker::Stage;
use crate::sync_pod::start::container_logs;
use crate::volume::actual::entries;
use crate::volume::apply;
use crate::volume::kinds::local_device;

const EVERY: Duration = Duration::from_secs(10);
/// Rounds between two collections of dead containers.
const COLLECT: u32 = 6;
/// Dead containers of one name that are kept.
const KEEP: usize = 1;

/// Tidies up; never ends. Nothing is removed before all pods of the API were seen.
pub async fn run(kubelet: Arc<Kubelet>) {
    kubelet.workers.wait_for_source().await;
    tokio::spawn(Arc::clone(&kubelet.csi).let_go_of_disks());
    let mut round: u32 = 0;
    loop {
        if let Err(error) = adopt_orphans(&kubelet).await {
            tracing::warn!(error, "cannot look for orphaned pods");
        }
        remove_orphaned_files(&kubelet).await;
        kubelet.csi.volumes.unstage_unused().await;
        rotate_logs(&kubelet).await;
        if round.is_multiple_of(COLLECT)
            && let Err(error) = collect(&kubelet, false).await
        {
            tracing::warn!(error, "cannot collect dead containers");
        }
        round = round.wrapping_add(1);
        tokio::time::sleep(EVERY).await;
    }
}

/// A pod that only the runtime knows becomes one that is to be stopped.
pub fn stub(identity: &Identity) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name.clone_from(&identity.name);
    pod.metadata.namespace.clone_from(&identity.namespace);
    pod.metadata.uid.clone_from(&identity.uid);
    pod
}

async fn adopt_orphans(kubelet: &Arc<Kubelet>) -> Result<(), String> {
    let digests = observed::digests(&kubelet.runtime).await.map_err(|error| error.to_string())?;
    for (uid, digest) in digests {
        if kubelet.workers.knows(&uid) {
            continue;
        }
        tracing::info!(pod = digest.identity.name, uid, "stopping a pod that the API does not know");
        let mut pod = stub(&digest.identity);
        // What its containers remember is better than the default.
        if let Ok(seen) = kubelet.observe(&uid).await {
            pod.spec.termination_grace_period_seconds = seen
                .containers
                .iter()
                .find_map(|container| container.facts.deletion_grace.or(container.facts.termination_grace));
        }
        kubelet.workers.orphan(pod);
    }
    Ok(())
}

async fn remove_orphaned_files(kubelet: &Arc<Kubelet>) {
    let kubelet = Arc::clone(kubelet);
    let tidied = tokio::task::spawn_blocking(move || {
        for dir in entries(&kubelet.root.join("pods")).unwrap_or_default() {
            let uid = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !kubelet.workers.knows(&uid) {
                report("volumes of an orphaned pod", &dir, apply::remove_pod_dir(&dir, &kubelet.csi));
            }
        }
        if let Err(error) = local_device::unmount_unused(&kubelet.root) {
            tracing::warn!(%error, "cannot unmount devices that no pod uses");
        }
        kubelet.user_namespaces.retain(|uid| kubelet.workers.knows(uid) || kubelet.pod_dir(uid).exists());
        kubelet.resizes.retain(|uid| kubelet.workers.knows(uid));
        for class in [PodQOSClass::Guaranteed, PodQOSClass::Burstable, PodQOSClass::BestEffort] {
            for uid in kubelet.tree.pods(&kubelet.cgroups.class(&class)) {
                if !kubelet.workers.knows(&uid) {
                    let pod = kubelet.cgroups.of_uid(&class, &uid);
                    report("cgroup of an orphaned pod", Path::new(&pod), kubelet.tree.remove(&pod));
                }
            }
        }
        for dir in entries(Path::new(&kubelet.config.pod_logs_dir)).unwrap_or_default() {
            // NAMESPACE_NAME_UID
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((_, uid)) = name.rsplit_once('_').filter(|_| name.matches('_').count() == 2) else {
                continue;
            };
            if !kubelet.workers.knows(uid) {
                report("logs of an orphaned pod", &dir, std::fs::remove_dir_all(&dir));
            }
        }
        for link in entries(&container_logs(&kubelet)).unwrap_or_default() {
            if link.is_symlink() && !link.exists() {
                report("link to a log", &link, std::fs::remove_file(&link));
            }
        }
    });
    if let Err(error) = tidied.await {
        tracing::error!(%error, "tidying up panicked");
    }
}

fn report<E: std::fmt::Display>(what: &str, path: &Path, result: Result<(), E>) {
    match result {
        Ok(()) => tracing::info!(path = %path.display(), "removed {what}"),
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove {what}"),
    }
}

/// Removes dead containers but the newest of each name, and dead sandboxes that hold none. With
/// `finished`, pods that have ended keep no container at all.
pub async fn collect(kubelet: &Arc<Kubelet>, finished: bool) -> Result<(), String> {
    let text = |error: crate::cri::CallError| error.to_string();
    let containers = kubelet.runtime.containers(None).await.map_err(text)?;
    let ended: HashSet<String> = kubelet
        .workers
        .all()
        .into_iter()
        .filter(|(_, stage)| finished && *stage >= Stage::Terminated)
        .map(|(pod, _)| pod.metadata.uid.clone())
        .collect();
    for id in superfluous(&containers, &ended, Timestamp::now()) {
        if let Err(error) = kubelet.runtime.remove_container(&id).await {
            tracing::warn!(%error, container = id, "cannot remove a dead container");
        }
    }
    let used: HashSet<String> = kubelet
        .runtime
        .containers(None)
        .await
        .map_err(text)?
        .into_iter()
        .map(|container| container.pod_sandbox_id)
        .collect();
    let mut newest: HashMap<String, i64> = HashMap::new();
    let sandboxes = kubelet.runtime.sandboxes(None).await.map_err(text)?;
    for sandbox in &sandboxes {
        let Some(identity) = Identity::from_labels(&sandbox.labels) else { continue };
        let created = newest.entry(identity.uid).or_default();
        *created = sandbox.created_at.max(*created);
    }
    for sandbox in sandboxes {
        let Some(identity) = Identity::from_labels(&sandbox.labels) else { continue };
        let dead = sandbox.state == v1::PodSandboxState::SandboxNotready as i32;
        let last = newest.get(&identity.uid) == Some(&sandbox.created_at);
        if dead
            && !last
            && !used.contains(&sandbox.id)
            && let Err(error) = kubelet.runtime.remove_sandbox(&sandbox.id).await
        {
            tracing::warn!(%error, sandbox = sandbox.id, "cannot remove a dead sandbox");
        }
    }
    Ok(())
}

/// The dead containers that are not kept: all but the newest dead ones of each container of each pod.
/// One that was only just made may be about to be started. Of pods in `ended` none is kept.
fn superfluous(containers: &[v1::Container], ended: &HashSet<String>, now: Timestamp) -> Vec<String> {
    let mut dead: HashMap<(String, String), Vec<(i64, String)>> = HashMap::new();
    for container in containers {
        let running = container.state == v1::ContainerState::ContainerRunning as i32;
        let created = i128::from(container.created_at);
        let young = now.as_nanosecond() - created < 60_000_000_000;
        let fresh = container.state != v1::ContainerState::ContainerExited as i32 && young;
        let Some(identity) = Identity::from_labels(&container.labels) else { continue };
        if running || fresh {
            continue;
        }
        let name = container.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        dead.entry((identity.uid, name)).or_default().push((container.created_at, container.id.clone()));
    }
    let mut ids = BTreeSet::new();
    for ((uid, _), mut attempts) in dead {
        attempts.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        let keep = if ended.contains(&uid) { 0 } else { KEEP };
        ids.extend(attempts.into_iter().skip(keep).map(|(_, id)| id));
    }
    ids.into_iter().collect()
}

async fn rotate_logs(kubelet: &Arc<Kubelet>) {
    let max_size = api_types::Quantity::parse(&kubelet.config.container_log_max_size)
        .map_or(10 << 20, |size| u64::try_from(size.value()).unwrap_or(10 << 20));
    let max_files = usize::try_from(kubelet.config.container_log_max_files.unwrap_or(5)).unwrap_or(5);
    let running = v1::ContainerFilter {
        state: Some(v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 }),
        ..Default::default()
    };
    let Ok(containers) = kubelet.runtime.containers(Some(running)).await else { return };
    for container in containers {
        let Some(identity) = Identity::from_labels(&container.labels) else { continue };
        let Some(metadata) = container.metadata else { continue };
        let dir = Path::new(&kubelet.config.pod_logs_dir)
            .join(format!("{}_{}_{}", identity.namespace, identity.name, identity.uid));
        let log = dir.join(&metadata.name).join(format!("{}.log", metadata.attempt));
        if !dir.exists() {
            continue;
        }
        if let Err(error) =
            rotate(&kubelet.runtime, &container.id, &log, Limits { max_size, max_files }).await
        {
            tracing::warn!(%error, log = %log.display(), "cannot rotate a log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::labels::{POD_NAME, POD_NAMESPACE, POD_UID};

    fn container(id: &str, state: v1::ContainerState, created: i64) -> v1::Container {
        let labels = [(POD_NAME, "p"), (POD_NAMESPACE, "n"), (POD_UID, "u")];
        v1::Container {
            id: id.into(),
            metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
            state: state as i32,
            created_at: created * 1_000_000_000,
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Default::default()
        }
    }

    #[test]
    fn one_dead_container_of_each_name_is_kept_for_its_log() {
        use v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
        let all = [
            container("old", ContainerExited, 1),
            container("newer", ContainerExited, 2),
            container("running", ContainerRunning, 3),
            container("fresh", ContainerCreated, 100),
        ];
        let now = Timestamp::from_second(101).unwrap();
        assert_eq!(superfluous(&all, &HashSet::new(), now), ["old"]);
        let ended = all.iter().map(|one| Identity::from_labels(&one.labels).unwrap().uid).collect();
        assert_eq!(superfluous(&all, &ended, now), ["newer", "old"]);
    }
}
