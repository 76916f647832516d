//! Starting one container: image, configuration, creation, start, postStart hook.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::core::v1::{Container, Pod, RecursiveReadOnlyMode, Secret, VolumeDevice, VolumeMount};

use super::container_config::{ImageUser, Inputs, ReadyMount, container_config};
use super::kill::{Target, stop_container};
use super::plan::KillReason;
use super::reasons::{self, StartError};
use super::sandbox_config::{log_directory, users};
use crate::cri::{CallError, observed, v1};
use crate::device::plugin::proto;
use crate::downward::NodeFacts;
use crate::environment::{self, Objects, expand};
use crate::kubelet::Kubelet;
use crate::sources::static_pods::is_static;
use crate::volume::apply::Ready;
use crate::volume::sub_path;
use crate::{hosts, images, lifecycle};

/// COMPAT: links that log collectors follow.
const CONTAINER_LOGS: &str = "/var/log/containers";

/// What all containers of a pod have in common.
pub struct PodInputs<'a> {
    /// The pod.
    pub pod: &'a Arc<Pod>,
    /// Its sandbox.
    pub sandbox: &'a str,
    /// The sandbox's configuration.
    pub sandbox_config: &'a v1::PodSandboxConfig,
    /// Its addresses.
    pub pod_ips: &'a [String],
    /// Its volumes.
    pub volumes: &'a BTreeMap<String, Ready>,
    /// ConfigMaps and Secrets.
    pub objects: &'a Objects,
    /// Pull secrets.
    pub pull_secrets: &'a [Arc<Secret>],
}

/// Starts the container for the `restart_count`th time; `target` is the container whose processes an
/// ephemeral one sees.
pub async fn start(
    kubelet: &Arc<Kubelet>,
    common: &PodInputs<'_>,
    container: &Container,
    restart_count: i32,
    target: Option<String>,
) -> Result<(), StartError> {
    let pod = common.pod;
    let name = container.name.as_str();
    let failed = |message: &str| {
        kubelet.recorder.container(pod, name, "Warning", "Failed", &format!("Error: {message}"));
    };
    let request = images::Request {
        pod,
        container: name,
        image: &container.image,
        policy: &container.image_pull_policy,
        secrets: common.pull_secrets,
        sandbox: common.sandbox_config,
    };
    let image = kubelet.images.ensure(&request).await.inspect_err(|error| failed(error.reason))?;
    let images = volume_images(kubelet, common, container).await.inspect_err(|error| failed(error.reason))?;
    let configured = configure(kubelet, common, container, restart_count, (&image, &images), target).await;
    let config = configured.map_err(|message| {
        failed(&message);
        StartError::new(reasons::CREATE_CONFIG, message)
    })?;
    let create = |error: CallError, reason| {
        failed(error.message());
        StartError::new(reason, error.message())
    };
    let log = format!("{}/{}", common.sandbox_config.log_directory, config.log_path);
    let placed = config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    let cpus = placed.and_then(|placed| placed.cpuset_cpus.parse().ok()).unwrap_or_default();
    let created =
        kubelet.runtime.create_container(common.sandbox, config, common.sandbox_config.clone()).await;
    let id = created.map_err(|error| create(error, reasons::CREATE))?;
    kubelet.placement.told(&id, cpus);
    kubelet.recorder.container(pod, name, "Normal", "Created", "Container created");
    kubelet.runtime.start_container(&id).await.map_err(|error| create(error, reasons::RUN))?;
    kubelet.recorder.container(pod, name, "Normal", "Started", "Container started");
    link_log(kubelet, pod, name, &id, &log);
    post_start(kubelet, pod, container, &id).await
}

async fn post_start(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    container: &Container,
    id: &str,
) -> Result<(), StartError> {
    let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_deref())
    else {
        return Ok(());
    };
    let Err(message) = lifecycle::run(kubelet, pod, container, id, hook).await else { return Ok(()) };
    tracing::warn!(pod = pod.metadata.name, container = container.name, message, "postStart hook failed");
    // Not the message itself: it may hold secrets of the server.
    kubelet.recorder.container(
        pod,
        &container.name,
        "Warning",
        "FailedPostStartHook",
        "PostStartHook failed",
    );
    let seen = observed::Container { id: id.into(), name: container.name.clone(), ..Default::default() };
    let target = Target {
        pod,
        seen: &seen,
        message: "FailedPostStartHook",
        reason: KillReason::PostStartHook,
        grace: None,
    };
    if let Err(error) = stop_container(kubelet, target).await {
        tracing::warn!(%error, pod = pod.metadata.name, container = container.name, "cannot stop the container");
    }
    Err(StartError::new(reasons::POST_START, message))
}

/// COMPAT: `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`, only where the log is.
fn link_log(kubelet: &Kubelet, pod: &Pod, name: &str, id: &str, log: &str) {
    let meta = &pod.metadata;
    let dir = container_logs(kubelet);
    let link = dir.join(format!("{}_{}_{name}-{id}.log", meta.name, meta.namespace));
    if Path::new(log).exists()
        && let Err(error) =
            std::fs::create_dir_all(&dir).and_then(|()| std::os::unix::fs::symlink(log, &link))
    {
        tracing::warn!(%error, link = %link.display(), "cannot link a container's log");
    }
}

/// The directory of the links: beside the pods' logs, where those are not in their usual place.
pub fn container_logs(kubelet: &Kubelet) -> PathBuf {
    match kubelet.config.pod_logs_dir.as_str() {
        "/var/log/pods" => PathBuf::from(CONTAINER_LOGS),
        other => Path::new(other).parent().unwrap_or(Path::new("/")).join("containers"),
    }
}

/// The number of a first start: one more than the newest log that an earlier life of the pod left.
pub fn restart_count_by_logs(dir: &Path) -> i32 {
    crate::volume::actual::entries(dir)
        .unwrap_or_default()
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.split('.').next()?.parse::<i32>().ok())
        .max()
        .map_or(0, |newest| newest + 1)
}

/// Images that volumes show, by the volume's name.
type VolumeImages = BTreeMap<String, v1::ImageSpec>;

/// Sees to it that the images are there whose content the container mounts.
async fn volume_images(
    kubelet: &Arc<Kubelet>,
    common: &PodInputs<'_>,
    container: &Container,
) -> Result<VolumeImages, StartError> {
    let pod = common.pod;
    let mut images = VolumeImages::new();
    for volume in &pod.spec.volumes {
        let Some(source) = &volume.source.image else { continue };
        if !container.volume_mounts.iter().any(|mount| mount.name == volume.name) {
            continue;
        }
        let request = images::Request {
            pod,
            container: &container.name,
            image: &source.reference,
            policy: &source.pull_policy,
            secrets: common.pull_secrets,
            sandbox: common.sandbox_config,
        };
        let found = kubelet.images.ensure(&request).await?;
        let spec = v1::ImageSpec {
            image: found,
            user_specified_image: source.reference.clone(),
            ..Default::default()
        };
        images.insert(volume.name.clone(), spec);
    }
    Ok(images)
}

/// Whether a mount is read-only all the way down (KEP-3857).
fn recursive(mount: &VolumeMount, supported: bool) -> Result<bool, String> {
    match mount.recursive_read_only {
        Some(RecursiveReadOnlyMode::IfPossible) => Ok(supported && mount.read_only),
        Some(RecursiveReadOnlyMode::Enabled) if !supported => Err(format!(
            "failed to resolve recursive read-only mode: volume {:?} requested recursive read-only mode, but it is not supported by the runtime handler",
            mount.name
        )),
        Some(RecursiveReadOnlyMode::Enabled) => Ok(true),
        _ => Ok(false),
    }
}

async fn configure(
    kubelet: &Arc<Kubelet>,
    common: &PodInputs<'_>,
    container: &Container,
    restart_count: i32,
    (image, images): (&str, &VolumeImages),
    target: Option<String>,
) -> Result<v1::ContainerConfig, String> {
    let pod = common.pod;
    if !kubelet.services.is_ready() && !is_static(pod) {
        return Err("services have not yet been read at least once, cannot construct envvars".into());
    }
    let links = pod.spec.enable_service_links.unwrap_or(true);
    let services = kubelet.services.variables(&pod.metadata.namespace, links);
    let host_ips = kubelet.addresses.host_ips();
    let facts =
        NodeFacts { host_ips: &host_ips, pod_ips: common.pod_ips, allocatable: Some(&kubelet.allocatable) };
    let mut environment = environment::variables(pod, container, common.objects, &services, &facts)
        .map_err(|error| error.to_string())?;
    let handler = kubelet.runtime_classes.handler(pod).await?;
    let recursive = kubelet.handler_features(&handler).is_some_and(|has| has.recursive_read_only_mounts);
    let mut mounts = mounts(kubelet, common, container, &environment, (images, recursive))?;
    let mut devices = devices(common.volumes, container)?;
    let mut named_devices = kubelet.dra.devices(pod, container)?;
    let needs = kubelet.devices.before_start(pod, container).await?;
    named_devices.extend(needs.named);
    // COMPAT: what plugins say comes first: the spec has the last word.
    environment.splice(0..0, needs.envs);
    mounts.splice(0..0, needs.mounts.into_iter().map(plugin_mount));
    devices.splice(0..0, needs.devices.into_iter().map(plugin_device));
    let logs = Path::new(&log_directory(&kubelet.config.pod_logs_dir, pod)).join(&container.name);
    std::fs::create_dir_all(&logs).map_err(|error| {
        format!("create container log directory for container {} failed: {error}", container.name)
    })?;
    let spec = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
    let known = kubelet.runtime.image(spec).await.map_err(|error| error.to_string())?;
    let mut image_user = known
        .map(|image| ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username })
        .unwrap_or_default();
    if image_user == ImageUser::default() {
        // An image that names no user runs as root.
        image_user.uid = Some(0);
    }
    let seccomp_root = kubelet.root.join("seccomp").to_string_lossy().into_owned();
    let inputs = Inputs {
        restart_count,
        image_ref: image,
        image_user,
        environment,
        mounts,
        devices,
        annotations: needs.annotations,
        named_devices,
        resources: v1::LinuxContainerResources {
            cpuset_cpus: kubelet.placement.cpus(&pod.metadata.uid, &container.name).to_string(),
            cpuset_mems: kubelet.placement.memory_nodes(&pod.metadata.uid, &container.name),
            ..kubelet.container_resources(pod, container)
        },
        seccomp_root: &seccomp_root,
        seccomp_default: kubelet.config.seccomp_default == Some(true),
        target,
        strict_groups: kubelet.strict_groups(),
        users: users(common.sandbox_config).cloned(),
    };
    container_config(pod, container, inputs)
}

fn mounts(
    kubelet: &Kubelet,
    common: &PodInputs<'_>,
    container: &Container,
    environment: &[(String, String)],
    (images, supported): (&VolumeImages, bool),
) -> Result<Vec<ReadyMount>, String> {
    let pod_dir = kubelet.pod_dir(&common.pod.metadata.uid);
    let mut ready = Vec::new();
    for (index, mount) in container.volume_mounts.iter().enumerate() {
        let volume = common.volumes.get(&mount.name).ok_or_else(|| {
            format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name)
        })?;
        let sub = sub_path_of(mount, environment)?;
        let recursive = recursive(mount, supported)?;
        if let Some(image) = images.get(&mount.name) {
            ready.push(ReadyMount {
                container_path: absolute(&mount.mount_path),
                read_only: true,
                recursive,
                image: Some((image.clone(), sub)),
                ..Default::default()
            });
            continue;
        }
        let host = if sub.is_empty() {
            volume.path.clone()
        } else {
            let path = Path::new(&sub);
            let mode =
                std::fs::metadata(&volume.path).map_or(0o750, |meta| meta.permissions().mode() & 0o7777);
            let failed = |what: &str, error: crate::volume::VolumeError| {
                tracing::warn!(%error, pod = common.pod.metadata.name, container = container.name, "sub-path");
                format!("failed to {what} subPath {:?} of volume {:?}", sub, mount.name)
            };
            sub_path::make(&volume.path, path, mode).map_err(|error| failed("create", error))?;
            let target = pod_dir
                .join("volume-subpaths")
                .join(&mount.name)
                .join(&container.name)
                .join(index.to_string());
            sub_path::mount(&volume.path, path, &target).map_err(|error| failed("prepare", error))?;
            target
        };
        if volume.kind == crate::volume::desired::Kind::HostPath && sub.is_empty() && !host.exists() {
            // COMPAT: a host path of no type is made as a directory when nothing is there.
            std::fs::create_dir_all(&host).map_err(|error| format!("mkdir {}: {error}", host.display()))?;
        }
        ready.push(ReadyMount {
            container_path: absolute(&mount.mount_path),
            host_path: host.to_string_lossy().into_owned(),
            read_only: mount.read_only || volume.read_only,
            recursive,
            propagation: mount.mount_propagation.clone(),
            image: None,
        });
    }
    hosts_mount(kubelet, common, container, &pod_dir, &mut ready)?;
    termination_mount(container, &pod_dir, &mut ready)?;
    Ok(ready)
}

fn plugin_mount(mount: proto::Mount) -> ReadyMount {
    ReadyMount {
        container_path: mount.container_path,
        host_path: mount.host_path,
        read_only: mount.read_only,
        ..Default::default()
    }
}

fn plugin_device(device: proto::DeviceSpec) -> v1::Device {
    v1::Device {
        container_path: device.container_path,
        host_path: device.host_path,
        permissions: device.permissions,
    }
}

/// The devices of volumes.
fn devices(volumes: &BTreeMap<String, Ready>, container: &Container) -> Result<Vec<v1::Device>, String> {
    let one = |device: &VolumeDevice| {
        let volume = volumes.get(&device.name).filter(|volume| volume.block).ok_or_else(|| {
            format!("cannot find volume {:?} to pass into container {:?}", device.name, container.name)
        })?;
        Ok(v1::Device {
            container_path: device.device_path.clone(),
            host_path: volume.path.to_string_lossy().into_owned(),
            permissions: if volume.read_only { "r" } else { "mrw" }.into(),
        })
    };
    container.volume_devices.iter().map(one).collect()
}

/// COMPAT: a path that is not absolute is taken from the root.
fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn sub_path_of(mount: &VolumeMount, environment: &[(String, String)]) -> Result<String, String> {
    let sub = if mount.sub_path_expr.is_empty() {
        mount.sub_path.clone()
    } else {
        let unknown = std::cell::RefCell::new(None);
        let expanded = expand(&mount.sub_path_expr, |name| {
            let value = environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            if value.is_none() {
                unknown.replace(Some(name.to_owned()));
            }
            value
        });
        if let Some(name) = unknown.into_inner() {
            return Err(format!("missing value for {name:?}"));
        }
        expanded
    };
    let path = Path::new(&sub);
    if path.is_absolute() {
        return Err(format!("error SubPath `{sub}` must not be an absolute path"));
    }
    if path.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return Err(format!("unable to provision SubPath `{sub}`: must not contain '..'"));
    }
    Ok(sub)
}

/// The pod's hosts file, unless a volume takes its place.
fn hosts_mount(
    kubelet: &Kubelet,
    common: &PodInputs<'_>,
    container: &Container,
    pod_dir: &Path,
    ready: &mut Vec<ReadyMount>,
) -> Result<(), String> {
    let taken = container.volume_mounts.iter().any(|mount| mount.mount_path == "/etc/hosts");
    if taken || (common.pod_ips.is_empty() && !common.pod.spec.host_network) {
        return Ok(());
    }
    let node = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let text = hosts::file(common.pod, &kubelet.config.cluster_domain, common.pod_ips, &node);
    let path = pod_dir.join("etc-hosts");
    std::fs::create_dir_all(pod_dir)
        .and_then(|()| std::fs::write(&path, text))
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)))
        .map_err(|error| format!("write {}: {error}", path.display()))?;
    ready.push(ReadyMount {
        container_path: "/etc/hosts".into(),
        host_path: path.to_string_lossy().into_owned(),
        ..Default::default()
    });
    Ok(())
}

/// The file for the container's last words, a new one for each start.
fn termination_mount(
    container: &Container,
    pod_dir: &Path,
    ready: &mut Vec<ReadyMount>,
) -> Result<(), String> {
    if container.termination_message_path.is_empty() {
        return Ok(());
    }
    let dir = pod_dir.join("containers").join(&container.name);
    let path = dir.join(format!("{:08x}", fastrand::u32(..)));
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&path, ""))
        // Whatever user the container runs as must be able to write it.
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)))
        .map_err(|error| {
            format!("error on creating termination-log file {:?}: {error}", path.display().to_string())
        })?;
    ready.push(ReadyMount {
        container_path: container.termination_message_path.clone(),
        host_path: path.to_string_lossy().into_owned(),
        ..Default::default()
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_paths_must_stay_below_and_be_known() {
        let environment = [("A".to_owned(), "x".to_owned())];
        let of = |sub: &str, expression: &str| {
            let mount =
                VolumeMount { sub_path: sub.into(), sub_path_expr: expression.into(), ..Default::default() };
            sub_path_of(&mount, &environment)
        };
        assert_eq!(of("a/b", ""), Ok("a/b".into()));
        assert_eq!(of("", "$(A)/y"), Ok("x/y".into()));
        assert_eq!(of("", "$(B)"), Err("missing value for \"B\"".into()));
        assert!(of("/a", "").is_err());
        assert!(of("a/../b", "").is_err());
    }

    #[test]
    fn read_only_all_the_way_down_where_the_runtime_can() {
        let of = |mode: RecursiveReadOnlyMode, supported: bool| {
            let mount = VolumeMount {
                name: "v".into(),
                read_only: true,
                recursive_read_only: Some(mode),
                ..Default::default()
            };
            recursive(&mount, supported)
        };
        assert_eq!(of(RecursiveReadOnlyMode::Disabled, true), Ok(false));
        assert_eq!(of(RecursiveReadOnlyMode::IfPossible, false), Ok(false));
        assert_eq!(of(RecursiveReadOnlyMode::IfPossible, true), Ok(true));
        assert_eq!(of(RecursiveReadOnlyMode::Enabled, true), Ok(true));
        assert!(
            of(RecursiveReadOnlyMode::Enabled, false).unwrap_err().contains("not supported by the runtime")
        );
    }

    #[test]
    fn first_starts_count_on_from_old_logs() {
        let dir = std::env::temp_dir().join(format!("kubelet-count-{}", uuid::Uuid::new_v4()));
        assert_eq!(restart_count_by_logs(&dir), 0);
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["0.log", "2.log.20260101-000000.gz", "1.log"] {
            std::fs::write(dir.join(name), "").unwrap();
        }
        assert_eq!(restart_count_by_logs(&dir), 3);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
