//! What the kubelet reports of its machine.

use crate::core::v1::{NodeConfigSource, ResourceList};
use crate::meta::v1::ConditionStatus;
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// What a machine reports about itself.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeStatus {
    /// All resources of the machine.
    #[api(1)]
    pub capacity: ResourceList,
    /// Resources left for pods after what the system keeps.
    #[api(2)]
    pub allocatable: ResourceList,
    /// Formerly the node's phase; no longer filled in.
    #[api(3)]
    pub phase: NodePhase,
    /// Health of the node, as the kubelet sees it.
    #[api(4, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<NodeCondition>,
    /// Addresses and names under which the node is reached.
    #[api(5, list = map("type"), patch = merge_key("type"))]
    pub addresses: Vec<NodeAddress>,
    /// Ports of daemons on the node.
    #[api(6)]
    pub daemon_endpoints: NodeDaemonEndpoints,
    /// Versions and identifiers of the machine.
    #[api(7)]
    pub node_info: NodeSystemInfo,
    /// Container images that the node has.
    #[api(8, list = atomic)]
    pub images: Vec<ContainerImage>,
    /// Attachable volumes that pods here still use or mount.
    #[api(9, list = atomic)]
    pub volumes_in_use: Vec<String>,
    /// Volumes attached to the node.
    #[api(10, list = atomic)]
    pub volumes_attached: Vec<AttachedVolume>,
    /// State of formerly dynamic kubelet settings.
    #[api(11)]
    pub config: Option<Box<NodeConfigStatus>>,
    /// Runtime handlers that the node offers.
    #[api(12, list = atomic)]
    pub runtime_handlers: Vec<NodeRuntimeHandler>,
    /// Optional abilities of the container runtime.
    #[api(13)]
    pub features: Option<Box<NodeFeatures>>,
    /// Features of the node that the scheduler may count on.
    #[api(14, list = atomic)]
    pub declared_features: Vec<String>,
}

open_enum! {
    /// Formerly where a node was in its life.
    pub enum NodePhase {
        Pending = "Pending",
        Running = "Running",
        Terminated = "Terminated",
    }
}

/// One address or name of a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeAddress {
    /// What sort of address it is.
    #[api(1, required)]
    pub type_: NodeAddressType,
    /// The address or name itself.
    #[api(2, required)]
    pub address: String,
}

open_enum! {
    /// What sort of address a node has.
    pub enum NodeAddressType {
        Hostname = "Hostname",
        InternalIP = "InternalIP",
        ExternalIP = "ExternalIP",
        InternalDNS = "InternalDNS",
        ExternalDNS = "ExternalDNS",
    }
}

/// One observation about a node's health.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: NodeConditionType,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When the kubelet last confirmed it.
    #[api(3, always)]
    pub last_heartbeat_time: Option<Time>,
    /// When the status last changed.
    #[api(4, always)]
    pub last_transition_time: Option<Time>,
    /// Cause of the last change in one CamelCase word.
    #[api(5)]
    pub reason: String,
    /// The same for people.
    #[api(6)]
    pub message: String,
}

open_enum! {
    /// What a condition of a node speaks of.
    pub enum NodeConditionType {
        Ready = "Ready",
        MemoryPressure = "MemoryPressure",
        DiskPressure = "DiskPressure",
        PIDPressure = "PIDPressure",
        NetworkUnavailable = "NetworkUnavailable",
    }
}

/// Ports of the daemons on a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeDaemonEndpoints {
    /// Where the kubelet listens.
    #[api(1)]
    pub kubelet_endpoint: DaemonEndpoint,
}

/// Port of one daemon.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct DaemonEndpoint {
    /// The port number. COMPAT: its JSON name begins with a capital.
    #[api(1, required, name = "Port")]
    pub port: i32,
}

/// Versions and identifiers of a machine.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeSystemInfo {
    /// Content of /etc/machine-id.
    #[api(1, required, name = "machineID")]
    pub machine_id: String,
    /// UUID that the firmware reports.
    #[api(2, required, name = "systemUUID")]
    pub system_uuid: String,
    /// Identifier of the present boot.
    #[api(3, required, name = "bootID")]
    pub boot_id: String,
    /// Kernel release, as uname -r shows it.
    #[api(4, required)]
    pub kernel_version: String,
    /// Name of the operating system, from /etc/os-release.
    #[api(5, required)]
    pub os_image: String,
    /// Runtime and its version, such as containerd://1.6.20.
    #[api(6, required)]
    pub container_runtime_version: String,
    /// Version of the kubelet.
    #[api(7, required)]
    pub kubelet_version: String,
    /// Formerly the version of kube-proxy; no longer filled in.
    #[api(8, required)]
    pub kube_proxy_version: String,
    /// linux or windows.
    #[api(9, required)]
    pub operating_system: String,
    /// Architecture of the CPU, in Go's words, such as amd64.
    #[api(10, required)]
    pub architecture: String,
    /// Swap space of the machine.
    #[api(11)]
    pub swap: Option<Box<NodeSwapStatus>>,
}

/// Swap space of a machine.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeSwapStatus {
    /// Total swap in bytes.
    #[api(1)]
    pub capacity: Option<i64>,
}

/// State of formerly dynamic kubelet settings.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeConfigStatus {
    /// Settings that the node was to use.
    #[api(1)]
    pub assigned: Option<Box<NodeConfigSource>>,
    /// Settings that the node used.
    #[api(2)]
    pub active: Option<Box<NodeConfigSource>>,
    /// Settings to fall back on.
    #[api(3)]
    pub last_known_good: Option<Box<NodeConfigSource>>,
    /// What was wrong with the assigned settings.
    #[api(4)]
    pub error: String,
}

/// One runtime handler of a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeRuntimeHandler {
    /// Name of the handler; empty for the default one.
    #[api(1, always)]
    pub name: String,
    /// What the handler can do.
    #[api(2)]
    pub features: Option<Box<NodeRuntimeHandlerFeatures>>,
}

/// What a runtime handler can do.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeRuntimeHandlerFeatures {
    /// Whether mounts can be read-only all the way down.
    #[api(1)]
    pub recursive_read_only_mounts: Option<bool>,
    /// Whether pods can have user namespaces of their own.
    #[api(2)]
    pub user_namespaces: Option<bool>,
}

/// Optional abilities of a node's container runtime.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeFeatures {
    /// Whether the runtime honours supplementalGroupsPolicy.
    #[api(1)]
    pub supplemental_groups_policy: Option<bool>,
}

/// An image that a node has.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerImage {
    /// Names under which the image is known, tags and digests.
    #[api(1, always, list = atomic)]
    pub names: Vec<String>,
    /// Size in bytes.
    #[api(2)]
    pub size_bytes: i64,
}

/// A volume attached to a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct AttachedVolume {
    /// Name of the volume, unique in the cluster.
    #[api(1, required)]
    pub name: String,
    /// Device under which the volume appears.
    #[api(2, required)]
    pub device_path: String,
}
