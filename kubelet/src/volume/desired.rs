//! What a pod's spec says about its volumes. Pure.

use std::path::{Path, PathBuf};

use api_types::core::v1::{Container, Pod, Volume, VolumeSource};

/// The kinds of volumes that this kubelet knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Scratch space, on disk or in memory.
    EmptyDir,
    /// A path of the node, used as it is.
    HostPath,
    /// Files from a ConfigMap.
    ConfigMap,
    /// Files from a Secret.
    Secret,
    /// Files with facts about the pod.
    DownwardApi,
    /// Files from several of these, and service account tokens.
    Projected,
}

impl Kind {
    /// The directory below `volumes/`.
    pub fn plugin(self) -> &'static str {
        match self {
            Self::EmptyDir => "kubernetes.io~empty-dir",
            Self::HostPath => "kubernetes.io~host-path",
            Self::ConfigMap => "kubernetes.io~configmap",
            Self::Secret => "kubernetes.io~secret",
            Self::DownwardApi => "kubernetes.io~downward-api",
            Self::Projected => "kubernetes.io~projected",
        }
    }

    /// The kubelet writes the content from objects of the API, and keeps it current.
    pub fn is_payload(self) -> bool {
        matches!(self, Self::ConfigMap | Self::Secret | Self::DownwardApi | Self::Projected)
    }

    /// The content lives in memory and never reaches the disk.
    pub fn in_memory(self) -> bool {
        matches!(self, Self::Secret | Self::DownwardApi | Self::Projected)
    }
}

/// The kind of a volume; an error names one that is not supported.
pub fn kind(source: &VolumeSource) -> Result<Kind, &'static str> {
    let known = [
        (source.empty_dir.is_some(), Kind::EmptyDir),
        (source.host_path.is_some(), Kind::HostPath),
        (source.config_map.is_some(), Kind::ConfigMap),
        (source.secret.is_some(), Kind::Secret),
        (source.downward_api.is_some(), Kind::DownwardApi),
        (source.projected.is_some(), Kind::Projected),
    ];
    if let Some((_, kind)) = known.iter().find(|(present, _)| *present) {
        return Ok(*kind);
    }
    let unknown = [
        (source.persistent_volume_claim.is_some(), "persistentVolumeClaim"),
        (source.ephemeral.is_some(), "ephemeral"),
        (source.csi.is_some(), "csi"),
        (source.image.is_some(), "image"),
        (source.nfs.is_some(), "nfs"),
        (source.iscsi.is_some(), "iscsi"),
        (source.fc.is_some(), "fc"),
        (source.git_repo.is_some(), "gitRepo"),
        (source.flex_volume.is_some(), "flexVolume"),
    ];
    match unknown.iter().find(|(present, _)| *present) {
        Some((_, name)) => Err(name),
        // COMPAT: a volume without a source is an emptyDir; the API fills that in.
        None if *source == VolumeSource::default() => Ok(Kind::EmptyDir),
        None => Err("unknown"),
    }
}

/// Where a volume's content is on the node.
pub fn path(pod_dir: &Path, volume: &Volume, kind: Kind) -> PathBuf {
    match (&volume.source.host_path, kind) {
        (Some(host), Kind::HostPath) => PathBuf::from(&host.path),
        _ => pod_dir.join("volumes").join(kind.plugin()).join(&volume.name),
    }
}

/// The volumes that some container mounts: the others are not set up.
pub fn mounted(pod: &Pod) -> Vec<&Volume> {
    let uses = |container: &Container, name: &str| {
        container.volume_mounts.iter().any(|mount| mount.name == name)
            || container.volume_devices.iter().any(|device| device.name == name)
    };
    let spec = &pod.spec;
    spec.volumes
        .iter()
        .filter(|volume| {
            spec.containers
                .iter()
                .chain(&spec.init_containers)
                .chain(spec.ephemeral_containers.iter().map(|container| &container.common))
                .any(|container| uses(container, &volume.name))
        })
        .collect()
}
