//! What the kubelet reports of a container.

use crate::core::v1::{RecursiveReadOnlyMode, ResourceList, ResourceRequirements, Signal};
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// What the kubelet last saw of a container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerStatus {
    /// Name of the container in the pod.
    #[api(1, required)]
    pub name: String,
    /// What it is doing now.
    #[api(2)]
    pub state: ContainerState,
    /// How its previous run ended.
    #[api(3)]
    pub last_state: ContainerState,
    /// Whether it passes its readiness probe.
    #[api(4, required)]
    pub ready: bool,
    /// How often it was restarted.
    #[api(5, required)]
    pub restart_count: i32,
    /// Image that it runs, as the runtime names it.
    #[api(6, required)]
    pub image: String,
    /// Identifier of that image.
    #[api(7, required, name = "imageID")]
    pub image_id: String,
    /// Identifier in the runtime, RUNTIME://ID.
    #[api(8, name = "containerID")]
    pub container_id: String,
    /// Whether its startup is done: postStart ran and the startup probe passed.
    #[api(9)]
    pub started: Option<bool>,
    /// Requests that the node has admitted.
    #[api(10)]
    pub allocated_resources: ResourceList,
    /// Requests and limits that are in force.
    #[api(11)]
    pub resources: Option<Box<ResourceRequirements>>,
    /// Mounts as they were made.
    #[api(12, list = map("mountPath"), patch = merge_key("mountPath"))]
    pub volume_mounts: Vec<VolumeMountStatus>,
    /// User and groups that its first process began with.
    #[api(13)]
    pub user: Option<Box<ContainerUser>>,
    /// Health of devices that it was given.
    #[api(14, list = map("name"), patch = merge_key("name"))]
    pub allocated_resources_status: Vec<ResourceStatus>,
    /// Signal by which it is stopped.
    #[api(15)]
    pub stop_signal: Option<Signal>,
}

/// What a container is doing; with nothing set, it waits.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerState {
    /// It has not started.
    #[api(1)]
    pub waiting: Option<Box<ContainerStateWaiting>>,
    /// It runs.
    #[api(2)]
    pub running: Option<Box<ContainerStateRunning>>,
    /// It has ended.
    #[api(3)]
    pub terminated: Option<Box<ContainerStateTerminated>>,
}

/// A container that has not started.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerStateWaiting {
    /// Why, in one CamelCase word, such as CrashLoopBackOff.
    #[api(1)]
    pub reason: String,
    /// The same for people.
    #[api(2)]
    pub message: String,
}

/// A container that runs.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerStateRunning {
    /// When it was last started.
    #[api(1, always)]
    pub started_at: Option<Time>,
}

/// A container that has ended.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerStateTerminated {
    /// Exit code of its last run.
    #[api(1, required)]
    pub exit_code: i32,
    /// Signal that ended it.
    #[api(2)]
    pub signal: i32,
    /// Why, in one CamelCase word, such as OOMKilled.
    #[api(3)]
    pub reason: String,
    /// What the container said at its end.
    #[api(4)]
    pub message: String,
    /// When that run began.
    #[api(5, always)]
    pub started_at: Option<Time>,
    /// When it ended.
    #[api(6, always)]
    pub finished_at: Option<Time>,
    /// Identifier in the runtime, RUNTIME://ID.
    #[api(7, name = "containerID")]
    pub container_id: String,
}

/// Identity of a container's first process.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerUser {
    /// Identity on Linux.
    #[api(1)]
    pub linux: Option<Box<LinuxContainerUser>>,
}

/// User and groups of a container's first process.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct LinuxContainerUser {
    /// User id.
    #[api(1, required)]
    pub uid: i64,
    /// Group id.
    #[api(2, required)]
    pub gid: i64,
    /// Further group ids.
    #[api(3, list = atomic)]
    pub supplemental_groups: Vec<i64>,
}

/// A mount as it was made.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VolumeMountStatus {
    /// Name of the volume in the pod.
    #[api(1, required)]
    pub name: String,
    /// Path in the container.
    #[api(2, required)]
    pub mount_path: String,
    /// Whether it is read-only.
    #[api(3)]
    pub read_only: bool,
    /// Whether it is read-only all the way down; Disabled or Enabled.
    #[api(4)]
    pub recursive_read_only: Option<RecursiveReadOnlyMode>,
    /// What is known of the volume behind it.
    #[api(5)]
    pub volume_status: Option<Box<VolumeStatus>>,
}

/// What is known of a mounted volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VolumeStatus {
    /// The image, for an image volume.
    #[api(1)]
    pub image: Option<Box<ImageVolumeStatus>>,
}

/// An image that is mounted as a volume.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ImageVolumeStatus {
    /// Digest of the image that was mounted.
    #[api(1, required, omitempty)]
    pub image_ref: String,
}

/// Health of the devices behind one resource of a container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ResourceStatus {
    /// The resource, or claim:CLAIM/REQUEST.
    #[api(1, required)]
    pub name: String,
    /// Health by device.
    #[api(2, list = map("resourceID"))]
    pub resources: Vec<ResourceHealth>,
}

/// Health of one device.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ResourceHealth {
    /// Identifier of the device, unique on the node.
    #[api(1, required, name = "resourceID")]
    pub resource_id: String,
    /// How it is.
    #[api(2)]
    pub health: ResourceHealthStatus,
    /// Details for people.
    #[api(6)]
    pub message: Option<String>,
}

open_enum! {
    /// How a device is.
    pub enum ResourceHealthStatus {
        Healthy = "Healthy",
        Unhealthy = "Unhealthy",
        Unknown = "Unknown",
    }
}
