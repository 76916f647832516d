//! Pod: containers that share a node, an address and volumes. Parts are in the files beside this one.

mod affinity;
mod columns;
mod container;
mod container_status;
pub(crate) mod defaults;
pub mod demand;
mod env;
pub(crate) mod gates;
pub mod image;
mod network;
mod options;
mod probe;
mod resize;
mod resources;
mod security;
mod signal;
mod status;
mod strategy;
pub mod sysctl;
#[cfg(test)]
mod tests;
pub(crate) mod validate;
mod volume;
mod volume_claim;
mod volume_cloud;
mod volume_network;
mod volume_projected;
pub(crate) mod warnings;

pub use affinity::*;
pub use container::*;
pub use container_status::*;
pub use env::*;
pub use network::*;
pub use options::*;
pub use probe::*;
pub use resources::*;
pub use security::*;
pub use signal::*;
pub use status::*;
pub use volume::*;
pub use volume_claim::*;
pub use volume_cloud::*;
pub use volume_network::*;
pub use volume_projected::*;

use std::collections::BTreeMap;

use crate::core::v1::LocalObjectReference;
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Containers that run together on one node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Pod {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What to run.
    #[api(2)]
    pub spec: PodSpec,
    /// What runs.
    #[api(3)]
    pub status: PodStatus,
}

/// What pods made from a template look like.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodTemplateSpec {
    /// Labels and annotations of the pods.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What they run.
    #[api(2)]
    pub spec: PodSpec,
}

/// What a pod should run, and where.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodSpec {
    /// Volumes that the pod's containers can mount.
    #[api(1, list = map("name"), patch = merge_key("name") + retain_keys)]
    pub volumes: Vec<Volume>,
    /// Containers that run to completion, one after another, before the others start.
    #[api(20, list = map("name"), patch = merge_key("name"))]
    pub init_containers: Vec<Container>,
    /// The containers proper, at least one.
    #[api(2, required, list = map("name"), patch = merge_key("name"))]
    pub containers: Vec<Container>,
    /// Containers added for debugging, through their own subresource only.
    #[api(34, list = map("name"), patch = merge_key("name"))]
    pub ephemeral_containers: Vec<EphemeralContainer>,
    /// When a stopped container is started again.
    #[api(3)]
    pub restart_policy: RestartPolicy,
    /// Seconds between the request to stop and the kill; 30 when not given.
    #[api(4)]
    pub termination_grace_period_seconds: Option<i64>,
    /// Seconds after its start when the pod is ended as failed.
    #[api(5)]
    pub active_deadline_seconds: Option<i64>,
    /// Where the pod's containers look up names.
    #[api(6)]
    pub dns_policy: DNSPolicy,
    /// Labels that the node must have.
    #[api(7, map = atomic)]
    pub node_selector: BTreeMap<String, String>,
    /// Service account that the pod acts under.
    #[api(8)]
    pub service_account_name: String,
    /// Old name of serviceAccountName.
    #[api(9)]
    pub service_account: String,
    /// Whether containers get the service account's token as files.
    #[api(21)]
    pub automount_service_account_token: Option<bool>,
    /// Node that the pod is bound to; the scheduler sets it.
    #[api(10)]
    pub node_name: String,
    /// Whether the pod uses the node's network.
    #[api(11)]
    pub host_network: bool,
    /// Whether the pod sees the node's processes.
    #[api(12, name = "hostPID")]
    pub host_pid: bool,
    /// Whether the pod shares the node's IPC namespace.
    #[api(13, name = "hostIPC")]
    pub host_ipc: bool,
    /// Whether the containers see each other's processes.
    #[api(27)]
    pub share_process_namespace: Option<bool>,
    /// Security settings for all containers.
    #[api(14)]
    pub security_context: Option<Box<PodSecurityContext>>,
    /// Secrets in this namespace with credentials for registries.
    #[api(15, list = map("name"), patch = merge_key("name"))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Host name, instead of the pod's name.
    #[api(16)]
    pub hostname: String,
    /// Middle part of the pod's full name: HOSTNAME.SUBDOMAIN.NAMESPACE.svc.DOMAIN.
    #[api(17)]
    pub subdomain: String,
    /// Wishes and demands about where to run.
    #[api(18)]
    pub affinity: Option<Box<Affinity>>,
    /// Scheduler that is to place the pod.
    #[api(19)]
    pub scheduler_name: String,
    /// Taints that the pod puts up with.
    #[api(22, list = atomic)]
    pub tolerations: Vec<Toleration>,
    /// Lines added to the containers' hosts file.
    #[api(23, list = map("ip"), patch = merge_key("ip"))]
    pub host_aliases: Vec<HostAlias>,
    /// PriorityClass that says how important the pod is.
    #[api(24)]
    pub priority_class_name: String,
    /// The class's number; admission sets it.
    #[api(25)]
    pub priority: Option<i32>,
    /// Name servers and search domains on top of the policy.
    #[api(26)]
    pub dns_config: Option<Box<PodDNSConfig>>,
    /// Conditions that must be true, besides ready containers, for a ready pod.
    #[api(28, list = atomic)]
    pub readiness_gates: Vec<PodReadinessGate>,
    /// RuntimeClass that says how the containers are run.
    #[api(29)]
    pub runtime_class_name: Option<String>,
    /// Whether Services of the namespace become variables; true when not given.
    #[api(30)]
    pub enable_service_links: Option<bool>,
    /// Whether the pod may push out less important ones.
    #[api(31)]
    pub preemption_policy: Option<PreemptionPolicy>,
    /// Resources that the pod costs besides its containers; admission sets it.
    #[api(32)]
    pub overhead: ResourceList,
    /// How evenly pods like this are to be spread.
    #[api(33, list = map("topologyKey", "whenUnsatisfiable"), patch = merge_key("topologyKey"))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Whether the kernel's host name is the full name.
    #[api(35, name = "setHostnameAsFQDN")]
    pub set_hostname_as_fqdn: Option<bool>,
    /// Operating system that the containers are made for.
    #[api(36)]
    pub os: Option<Box<PodOS>>,
    /// Whether the pod uses the node's user namespace; true when not given.
    #[api(37)]
    pub host_users: Option<bool>,
    /// Reasons not to place the pod yet; they can only be removed.
    #[api(38, list = map("name"), patch = merge_key("name"))]
    pub scheduling_gates: Vec<PodSchedulingGate>,
    /// Devices that must be allocated before the pod runs.
    #[api(39, list = map("name"), patch = merge_key("name") + retain_keys)]
    pub resource_claims: Vec<PodResourceClaim>,
    /// Resources of the pod as a whole.
    #[api(40)]
    pub resources: Option<Box<ResourceRequirements>>,
    /// Host name that wins over all other settings, a DNS name.
    #[api(41)]
    pub hostname_override: Option<String>,
    /// Group of pods that are placed together.
    #[api(43)]
    pub scheduling_group: Option<Box<PodSchedulingGroup>>,
}

open_enum! {
    /// When a stopped container is started again.
    pub enum RestartPolicy {
        Always = "Always",
        OnFailure = "OnFailure",
        Never = "Never",
    }
}

open_enum! {
    /// Whether a pod may push out less important ones.
    pub enum PreemptionPolicy {
        PreemptLowerPriority = "PreemptLowerPriority",
        Never = "Never",
    }
}

/// Operating system of a pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodOS {
    /// linux or windows.
    #[api(1, required)]
    pub name: OSName,
}

open_enum! {
    /// Operating systems that pods can be made for.
    pub enum OSName {
        Linux = "linux",
        Windows = "windows",
    }
}

/// A condition that counts towards readiness.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodReadinessGate {
    /// Type of the condition in the pod's status.
    #[api(1, required)]
    pub condition_type: PodConditionType,
}

/// A reason not to place a pod yet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodSchedulingGate {
    /// Name of the gate, unique in the pod.
    #[api(1, required)]
    pub name: String,
}

/// The group that a pod is placed with.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodSchedulingGroup {
    /// Name of the PodGroup in the pod's namespace.
    #[api(1)]
    pub pod_group_name: Option<String>,
}

/// A claim to devices that a pod uses; one of the two sources is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodResourceClaim {
    /// Name by which containers mean it.
    #[api(1, required)]
    pub name: String,
    /// An existing ResourceClaim in the pod's namespace.
    #[api(3)]
    pub resource_claim_name: Option<String>,
    /// A template from which the pod gets its own ResourceClaim.
    #[api(4)]
    pub resource_claim_template_name: Option<String>,
}

resource!(
    Pod,
    Kind {
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            Subresource::own("attach", "PodAttachOptions", &["create", "get"]),
            Subresource::own("binding", "Binding", &["create"]),
            Subresource::own("ephemeralcontainers", "Pod", &["get", "patch", "update"]),
            Subresource {
                group: "policy",
                version: "v1",
                ..Subresource::own("eviction", "Eviction", &["create"])
            },
            Subresource::own("exec", "PodExecOptions", &["create", "get"]),
            Subresource::own("log", "Pod", &["get"]),
            Subresource::own("portforward", "PodPortForwardOptions", &["create", "get"]),
            Subresource::own("proxy", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]),
            Subresource::own("resize", "Pod", &["get", "patch", "update"]),
            Subresource::status("Pod")
        ],
        ..Kind::namespaced("v1", "Pod", "pods", "pod")
    }
);
