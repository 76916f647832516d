//! What evictions are decided from: what the node has left, and what its pods use.
//!
//! What is left costs a few system calls and is read at every look. What pods store is counted file by
//! file, and only when a decision depends on it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::core::v1::Pod;

use super::plan::{Observation, Observations};
use super::rank::{Candidate, ContainerUsage, Disk, PodUsage};
use super::thresholds::{Layout, Signal};
use crate::kubelet::Kubelet;
use crate::server::stats;
use crate::sync_pod::sandbox_config::log_directory;
use crate::volume::actual;
use crate::volume::desired::Kind;

/// The filesystems that count.
#[derive(Clone, Debug)]
pub struct Filesystems {
    /// The kubelet's.
    pub node: PathBuf,
    /// The images'.
    pub image: PathBuf,
    /// The containers'.
    pub container: PathBuf,
    /// How they relate.
    pub layout: Layout,
}

/// Asks the runtime where things are.
pub async fn filesystems(kubelet: &Kubelet) -> Result<Filesystems, String> {
    let info = kubelet.runtime.image_fs().await.map_err(|error| error.to_string())?;
    let first = |list: &[crate::cri::v1::FilesystemUsage]| {
        list.iter().find_map(|usage| usage.fs_id.as_ref()).map(|id| PathBuf::from(&id.mountpoint))
    };
    let image = first(&info.image_filesystems).ok_or("the runtime names no image filesystem")?;
    let container = first(&info.container_filesystems).unwrap_or_else(|| image.clone());
    let node = kubelet.root.clone();
    let device = |path: &Path| {
        std::fs::metadata(path).map(|meta| meta.dev()).map_err(|error| format!("{}: {error}", path.display()))
    };
    let image_fs = device(&image)? != device(&node)?;
    let split = image_fs && device(&container)? == device(&node)?;
    Ok(Filesystems { node, image, container, layout: Layout { image_fs, split } })
}

/// What is left of everything.
pub fn observe(kubelet: &Kubelet, filesystems: &Filesystems) -> Observations {
    let mut seen = Observations::new();
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    let node = stats::of_node();
    let capacity = kubelet.machine.memory;
    let available = (capacity - signed(node.working_set)).max(0);
    seen.insert(Signal::Memory, Observation { available, capacity });
    let all = kubelet.cgroups.all();
    if let (Some(capacity), Some(used)) = (kubelet.tree.limits(&all).memory, stats::of_cgroup(kubelet, &all))
    {
        let available = (capacity - signed(used.working_set)).max(0);
        seen.insert(Signal::AllocatableMemory, Observation { available, capacity });
    }
    for (path, space, inodes) in [
        (&filesystems.node, Signal::NodeFs, Signal::NodeFsInodes),
        (&filesystems.image, Signal::ImageFs, Signal::ImageFsInodes),
        (&filesystems.container, Signal::ContainerFs, Signal::ContainerFsInodes),
    ] {
        let Ok(stat) = rustix::fs::statvfs(path) else { continue };
        let bytes = |blocks: u64| signed(blocks.saturating_mul(stat.f_frsize));
        seen.insert(space, Observation { available: bytes(stat.f_bavail), capacity: bytes(stat.f_blocks) });
        // Some filesystems make inodes as they need them, and count none.
        if stat.f_files > 0 {
            let left = Observation { available: signed(stat.f_ffree), capacity: signed(stat.f_files) };
            seen.insert(inodes, left);
        }
    }
    if let Some(pids) = pids() {
        seen.insert(Signal::Pids, pids);
    }
    seen
}

/// The kernel's limit on processes, and how many are left of it.
pub fn pids() -> Option<Observation> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<i64>().ok();
    let capacity = number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?);
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let running: i64 = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Observation { available: capacity - running, capacity })
}

/// What these pods use; `disk` counts their files too.
pub async fn candidates(kubelet: &Arc<Kubelet>, pods: Vec<Arc<Pod>>, disk: bool) -> Vec<Candidate> {
    let containers = stats::containers(kubelet).await.unwrap_or_default();
    let mut by_pod: HashMap<String, Vec<ContainerUsage>> = HashMap::new();
    for one in containers {
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        by_pod.entry(one.identity.uid).or_default().push(ContainerUsage {
            name: one.name,
            memory: signed(one.usage.working_set),
            rootfs: Disk { bytes: signed(one.writable.0), inodes: signed(one.writable.1) },
            logs: Disk::default(),
        });
    }
    let node = Arc::clone(kubelet);
    let counted = tokio::task::spawn_blocking(move || {
        pods.into_iter()
            .map(|pod| {
                let own = by_pod.remove(&pod.metadata.uid).unwrap_or_default();
                let usage = usage(&node, &pod, own, disk);
                Candidate { pod, usage }
            })
            .collect::<Vec<_>>()
    });
    counted.await.unwrap_or_default()
}

fn usage(kubelet: &Kubelet, pod: &Pod, mut containers: Vec<ContainerUsage>, disk: bool) -> Option<PodUsage> {
    let path = kubelet.cgroups.pod(pod);
    let memory = stats::of_cgroup(kubelet, &path)?;
    let mut volumes = BTreeMap::new();
    if disk {
        let logs = PathBuf::from(log_directory(&kubelet.config.pod_logs_dir, pod));
        for container in &mut containers {
            container.logs = count(&logs.join(&container.name));
        }
        let elsewhere = [Kind::Local, Kind::Nfs, Kind::Csi, Kind::Iscsi, Kind::Fc].map(Kind::plugin);
        let found = actual::found(&kubelet.pod_dir(&pod.metadata.uid)).unwrap_or_default();
        for volume in found.into_iter().filter(|found| !elsewhere.contains(&found.plugin.as_str())) {
            volumes.insert(volume.volume, count(&volume.path));
        }
    }
    Some(PodUsage {
        memory: i64::try_from(memory.working_set).unwrap_or(i64::MAX),
        processes: kubelet.tree.processes(&path),
        containers,
        volumes,
    })
}

/// What is on disk at or below a path, on its filesystem; a file of several names counts once.
pub fn count(path: &Path) -> Disk {
    let Ok(root) = std::fs::symlink_metadata(path) else { return Disk::default() };
    let (mut sum, mut seen, mut open) = (Disk::default(), HashSet::new(), vec![path.to_owned()]);
    while let Some(path) = open.pop() {
        // What goes away while it is counted is not there.
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if meta.dev() != root.dev() || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
            continue;
        }
        sum += Disk { bytes: i64::try_from(meta.blocks() * 512).unwrap_or(i64::MAX), inodes: 1 };
        if meta.is_dir() {
            open.extend(actual::entries(&path).unwrap_or_default());
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_once() {
        let dir = std::env::temp_dir().join(format!("kubelet-count-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/a"), vec![1; 20_000]).unwrap();
        std::fs::hard_link(dir.join("sub/a"), dir.join("b")).unwrap();
        let counted = count(&dir);
        assert_eq!(counted.inodes, 3, "two directories and one file of two names");
        assert!((20_000..60_000).contains(&counted.bytes), "{counted:?}");
        assert_eq!(count(&dir.join("nothing")), Disk::default());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
