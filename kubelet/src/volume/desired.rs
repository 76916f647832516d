//! What a pod's spec says about its volumes. Pure.

use std::path::{Path, PathBuf};

use std::sync::Arc;

use api_types::core::v1::{
    Container, PersistentVolume, PersistentVolumeMode, Pod, StorageMedium, Volume, VolumeSource,
};

use super::VolumeError;
use super::claims::Claims;

/// The kinds of volumes that this kubelet knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Scratch space on disk.
    EmptyDir,
    /// Scratch space in memory or huge pages.
    MountedEmptyDir,
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
    /// A folder of the node, by way of a PersistentVolume.
    Local,
    /// An export of an NFS server.
    Nfs,
    /// A disk of an iSCSI target.
    Iscsi,
    /// A disk of a Fibre Channel fabric.
    Fc,
    /// What a storage driver mounts.
    Csi,
    /// The content of an image, which the runtime mounts.
    Image,
}

impl Kind {
    /// The directory below `volumes/`.
    pub fn plugin(self) -> &'static str {
        match self {
            Self::EmptyDir | Self::MountedEmptyDir => "kubernetes.io~empty-dir",
            Self::HostPath => "kubernetes.io~host-path",
            Self::ConfigMap => "kubernetes.io~configmap",
            Self::Secret => "kubernetes.io~secret",
            Self::DownwardApi => "kubernetes.io~downward-api",
            Self::Projected => "kubernetes.io~projected",
            Self::Local => "kubernetes.io~local-volume",
            Self::Nfs => "kubernetes.io~nfs",
            Self::Image => "kubernetes.io~image",
            Self::Iscsi => "kubernetes.io~iscsi",
            Self::Fc => "kubernetes.io~fc",
            Self::Csi => crate::csi::volumes::PLUGIN,
        }
    }

    /// The kubelet writes the content from objects of the API, and keeps it current.
    pub fn is_payload(self) -> bool {
        matches!(self, Self::ConfigMap | Self::Secret | Self::DownwardApi | Self::Projected)
    }

    /// A volume that is set up is looked at again in each of its pod's turns.
    pub fn is_refreshed(self) -> bool {
        self.is_payload() || self == Self::Csi
    }

    /// The content lives in memory and never reaches the disk.
    pub fn in_memory(self) -> bool {
        matches!(self, Self::Secret | Self::DownwardApi | Self::Projected)
    }
}

/// COMPAT: of a kind that is not there.
fn unknown(name: &str) -> VolumeError {
    VolumeError::Unprocessed(format!(
        "failed to get Plugin from volumeSpec for volume {name:?} err=no volume plugin matched"
    ))
}

/// The kind of a volume of this name.
fn kind(name: &str, source: &VolumeSource) -> Result<Kind, VolumeError> {
    let medium = source.empty_dir.as_ref().map(|own| &own.medium);
    let known = [
        (medium.is_some_and(StorageMedium::is_unset), Kind::EmptyDir),
        (medium.is_some(), Kind::MountedEmptyDir),
        (source.host_path.is_some(), Kind::HostPath),
        (source.config_map.is_some(), Kind::ConfigMap),
        (source.secret.is_some(), Kind::Secret),
        (source.downward_api.is_some(), Kind::DownwardApi),
        (source.projected.is_some(), Kind::Projected),
        (source.nfs.is_some(), Kind::Nfs),
        (source.csi.is_some(), Kind::Csi),
        (source.iscsi.is_some(), Kind::Iscsi),
        (source.fc.is_some(), Kind::Fc),
        (source.image.is_some(), Kind::Image),
    ];
    if let Some((_, kind)) = known.iter().find(|(present, _)| *present) {
        return Ok(*kind);
    }
    match source {
        // COMPAT: as with upstream's gate at its default.
        VolumeSource { git_repo: Some(_), .. } => Err(VolumeError::Path(
            "git-repo volume plugin has been disabled; if necessary, it may be re-enabled by enabling the feature-gate `GitRepoVolumeDriver`".into(),
        )),
        // COMPAT: a volume without a source is an emptyDir; the API fills that in.
        _ if *source == VolumeSource::default() => Ok(Kind::EmptyDir),
        _ => Err(unknown(name)),
    }
}

/// A volume that a pod wants, claims resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The volume, with what is behind its claim as its source.
    pub volume: Volume,
    /// Its kind.
    pub kind: Kind,
    /// Name of its directory: COMPAT: the PersistentVolume's, where there is one.
    pub dir: String,
    /// No container may write.
    pub read_only: bool,
    /// Options for mounting.
    pub options: Vec<String>,
    /// The folder of a `local` volume.
    pub local: String,
    /// The PersistentVolume, where there is one.
    pub behind: Option<Arc<PersistentVolume>>,
    /// Containers get it as a device.
    pub block: bool,
}

impl Wanted {
    /// Where its content is on the node; of a device the link to it.
    pub fn path(&self, pod_dir: &Path) -> PathBuf {
        if self.block {
            return super::block::link(pod_dir, self.kind, &self.dir);
        }
        match (&self.volume.source.host_path, self.kind) {
            (Some(host), Kind::HostPath) => PathBuf::from(&host.path),
            (_, Kind::Csi) => self.dir_in(pod_dir).join("mount"),
            _ => self.dir_in(pod_dir),
        }
    }
}

impl Wanted {
    fn dir_in(&self, pod_dir: &Path) -> PathBuf {
        pod_dir.join("volumes").join(self.kind.plugin()).join(&self.dir)
    }
}

/// What a volume comes to; an error tells of a kind that is not supported.
pub fn wanted(volume: &Volume, claims: &Claims) -> Result<Wanted, VolumeError> {
    let mut made = Wanted {
        volume: volume.clone(),
        kind: Kind::EmptyDir,
        dir: volume.name.clone(),
        read_only: volume.source.nfs.as_ref().is_some_and(|nfs| nfs.read_only)
            || volume.source.iscsi.as_ref().is_some_and(|iscsi| iscsi.read_only)
            || volume.source.fc.as_ref().is_some_and(|fc| fc.read_only)
            || volume.source.csi.as_ref().is_some_and(|csi| csi.read_only == Some(true)),
        options: Vec::new(),
        local: String::new(),
        behind: None,
        block: false,
    };
    let Some(claimed) = claims.get(&volume.name) else {
        made.kind = kind(&volume.name, &volume.source)?;
        return Ok(made);
    };
    let (meta, spec) = (&claimed.volume.metadata, &claimed.volume.spec);
    let source = &spec.source;
    made.dir.clone_from(&meta.name);
    made.options.clone_from(&spec.mount_options);
    made.read_only = claimed.read_only;
    made.block = spec.volume_mode == Some(PersistentVolumeMode::Block);
    made.behind = Some(Arc::clone(&claimed.volume));
    made.volume.source = VolumeSource::default();
    if let Some(local) = &source.local {
        made.kind = Kind::Local;
        made.local.clone_from(&local.path);
    } else if let Some(host) = &source.host_path {
        made.kind = Kind::HostPath;
        made.volume.source.host_path = Some(host.clone());
    } else if let Some(nfs) = &source.nfs {
        made.kind = Kind::Nfs;
        made.read_only |= nfs.read_only;
        made.volume.source.nfs = Some(nfs.clone());
    } else if source.csi.is_some() {
        made.kind = Kind::Csi;
    } else if source.iscsi.is_some() {
        made.kind = Kind::Iscsi;
    } else if source.fc.is_some() {
        made.kind = Kind::Fc;
    } else {
        return Err(unknown(&made.dir));
    }
    if made.block && !matches!(made.kind, Kind::Local | Kind::Csi | Kind::Iscsi | Kind::Fc) {
        let why =
            "MapVolume.FindMapperPluginBySpec failed to find BlockVolumeMapper plugin. Volume plugin is nil.";
        return Err(VolumeError::Unprocessed(why.into()));
    }
    Ok(made)
}

/// Whether containers use the volume as what it is: as files, or as a device.
pub fn check_use(pod: &Pod, volume: &str, block: bool) -> Result<(), String> {
    let spec = &pod.spec;
    let all = || {
        let ephemeral = spec.ephemeral_containers.iter().map(|container| &container.common);
        spec.containers.iter().chain(&spec.init_containers).chain(ephemeral)
    };
    let wrong = match block {
        true => all().any(|one| one.volume_mounts.iter().any(|mount| mount.name == volume)),
        false => all().any(|one| one.volume_devices.iter().any(|device| device.name == volume)),
    };
    let (mode, place) = if block { ("Block", "volumeMounts") } else { ("Filesystem", "volumeDevices") };
    if wrong {
        return Err(format!("volume {volume} has volumeMode {mode}, but is specified in {place}"));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::claims::Claimed;
    use api_types::core::v1::{LocalVolumeSource, PersistentVolume, VolumeDevice, VolumeMount};
    use std::sync::Arc;

    #[test]
    fn a_claim_comes_to_what_is_behind_it() {
        let volume = Volume { name: "data".into(), ..Default::default() };
        let mut behind = PersistentVolume::default();
        behind.metadata.name = "pv".into();
        let claims = |behind: &PersistentVolume| -> Claims {
            let claimed = Claimed { volume: Arc::new(behind.clone()), read_only: true };
            [("data".to_owned(), claimed)].into()
        };
        let error = "failed to get Plugin from volumeSpec for volume \"pv\" err=no volume plugin matched";
        assert_eq!(wanted(&volume, &claims(&behind)).unwrap_err().to_string(), error);
        behind.spec.source.local =
            Some(Box::new(LocalVolumeSource { path: "/mnt/disk".into(), ..Default::default() }));
        let made = wanted(&volume, &claims(&behind)).unwrap();
        assert_eq!((made.kind, made.local.as_str(), made.read_only), (Kind::Local, "/mnt/disk", true));
        assert_eq!(made.path(Path::new("/p")), Path::new("/p/volumes/kubernetes.io~local-volume/pv"));
        assert_eq!(wanted(&volume, &Claims::new()).unwrap().kind, Kind::EmptyDir);
        behind.spec.volume_mode = Some(PersistentVolumeMode::Block);
        let device = wanted(&volume, &claims(&behind)).unwrap();
        let link = Path::new("/p/volumeDevices/kubernetes.io~local-volume/pv");
        assert_eq!((device.block, device.path(Path::new("/p")).as_path()), (true, link));
    }

    #[test]
    fn containers_use_a_volume_as_what_it_is() {
        let mut pod = Pod::default();
        let mut container = Container { name: "c".into(), ..Default::default() };
        container.volume_mounts.push(VolumeMount { name: "files".into(), ..Default::default() });
        container.volume_devices.push(VolumeDevice { name: "disk".into(), ..Default::default() });
        pod.spec.containers.push(container);
        assert_eq!(check_use(&pod, "files", false), Ok(()));
        assert_eq!(check_use(&pod, "disk", true), Ok(()));
        let error = "volume files has volumeMode Block, but is specified in volumeMounts";
        assert_eq!(check_use(&pod, "files", true), Err(error.into()));
        let error = "volume disk has volumeMode Filesystem, but is specified in volumeDevices";
        assert_eq!(check_use(&pod, "disk", false), Err(error.into()));
    }
}
