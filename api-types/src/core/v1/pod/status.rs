//! What the kubelet reports of a pod; its containers are in `container_status`.

use std::collections::BTreeMap;

use crate::core::v1::{ContainerStatus, ResourceList, ResourceRequirements};
use crate::meta::v1::ConditionStatus;
use crate::open_enum::open_enum;
use crate::value::{Quantity, Time};
use api_types_derive::Api;

/// What the kubelet last saw of a pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodStatus {
    /// Generation of the spec that this status speaks of.
    #[api(17)]
    pub observed_generation: i64,
    /// The pod's life in one word.
    #[api(1)]
    pub phase: PodPhase,
    /// Latest observations: scheduled, initialized, ready and others.
    #[api(2, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<PodCondition>,
    /// Why the pod is as it is, for people.
    #[api(3)]
    pub message: String,
    /// The same in one CamelCase word, such as Evicted.
    #[api(4)]
    pub reason: String,
    /// Node where room is being made for the pod.
    #[api(11)]
    pub nominated_node_name: String,
    /// Address of the node.
    #[api(5, name = "hostIP")]
    pub host_ip: String,
    /// All addresses of the node, at most one per family.
    #[api(16, name = "hostIPs", list = atomic, patch = merge_key("ip"))]
    pub host_ips: Vec<HostIP>,
    /// Address of the pod.
    #[api(6, name = "podIP")]
    pub pod_ip: String,
    /// All addresses of the pod, at most one per family; the first is podIP.
    #[api(12, name = "podIPs", list = map("ip"), patch = merge_key("ip"))]
    pub pod_ips: Vec<PodIP>,
    /// When the kubelet took the pod on.
    #[api(7)]
    pub start_time: Option<Time>,
    /// One entry for each init container.
    #[api(10, list = atomic)]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// One entry for each container.
    #[api(8, list = atomic)]
    pub container_statuses: Vec<ContainerStatus>,
    /// Quality of service, from requests and limits.
    #[api(9)]
    pub qos_class: PodQOSClass,
    /// One entry for each ephemeral container.
    #[api(13, list = atomic)]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
    /// Formerly the state of a resize; now in conditions.
    #[api(14)]
    pub resize: PodResizeStatus,
    /// Claims made for the pod's resourceClaims.
    #[api(15, list = map("name"), patch = merge_key("name") + retain_keys)]
    pub resource_claim_statuses: Vec<PodResourceClaimStatus>,
    /// The claim that stands behind extended resources.
    #[api(18)]
    pub extended_resource_claim_status: Option<Box<PodExtendedResourceClaimStatus>>,
    /// Requests of the pod as a whole that the node has admitted.
    #[api(19)]
    pub allocated_resources: ResourceList,
    /// Requests and limits of the pod as a whole that are in force.
    #[api(20)]
    pub resources: Option<Box<ResourceRequirements>>,
    /// Node resources that the pod's claims use up.
    #[api(21, list = atomic)]
    pub node_allocatable_resource_claim_statuses: Vec<NodeAllocatableResourceClaimStatus>,
}

open_enum! {
    /// A pod's life in one word.
    pub enum PodPhase {
        Pending = "Pending",
        Running = "Running",
        Succeeded = "Succeeded",
        Failed = "Failed",
        Unknown = "Unknown",
    }
}

open_enum! {
    /// Quality of service: who is evicted first.
    pub enum PodQOSClass {
        Guaranteed = "Guaranteed",
        Burstable = "Burstable",
        BestEffort = "BestEffort",
    }
}

/// One observation about a pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: PodConditionType,
    /// Generation of the spec that it speaks of.
    #[api(7)]
    pub observed_generation: i64,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When it was last checked.
    #[api(3, always)]
    pub last_probe_time: Option<Time>,
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
    /// What a condition of a pod speaks of.
    pub enum PodConditionType {
        ContainersReady = "ContainersReady",
        Initialized = "Initialized",
        Ready = "Ready",
        PodScheduled = "PodScheduled",
        DisruptionTarget = "DisruptionTarget",
        PodReadyToStartContainers = "PodReadyToStartContainers",
        PodResizePending = "PodResizePending",
        PodResizeInProgress = "PodResizeInProgress",
        AllContainersRestarting = "AllContainersRestarting",
    }
}

/// One address of a pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodIP {
    /// The address.
    #[api(1, required)]
    pub ip: String,
}

/// One address of a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct HostIP {
    /// The address.
    #[api(1, required)]
    pub ip: String,
}

open_enum! {
    /// Formerly the state of a resize.
    pub enum PodResizeStatus {
        InProgress = "InProgress",
        Deferred = "Deferred",
        Infeasible = "Infeasible",
    }
}

/// The claim made for an entry of resourceClaims.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodResourceClaimStatus {
    /// Name of the entry.
    #[api(1, required)]
    pub name: String,
    /// The ResourceClaim; empty when none was needed.
    #[api(2)]
    pub resource_claim_name: Option<String>,
}

/// The claim that stands behind a pod's extended resources.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodExtendedResourceClaimStatus {
    /// Which request of the claim serves which container.
    #[api(1, required, list = atomic)]
    pub request_mappings: Vec<ContainerExtendedResourceRequest>,
    /// The ResourceClaim.
    #[api(2, required)]
    pub resource_claim_name: String,
}

/// A container's extended resource and the request that serves it.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerExtendedResourceRequest {
    /// The container.
    #[api(1, required)]
    pub container_name: String,
    /// The extended resource.
    #[api(2, required)]
    pub resource_name: String,
    /// The request in the claim.
    #[api(3, required)]
    pub request_name: String,
}

/// Node resources that one claim of a pod uses up.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeAllocatableResourceClaimStatus {
    /// The ResourceClaim.
    #[api(1, required)]
    pub resource_claim_name: String,
    /// Containers that use it.
    #[api(2, list = set)]
    pub containers: Vec<String>,
    /// Amounts by node resource.
    #[api(3, required)]
    pub resources: BTreeMap<String, Quantity>,
}
