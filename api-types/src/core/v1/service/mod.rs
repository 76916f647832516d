//! Service: one stable address before a changing set of pods.

mod columns;
mod defaults;
mod status;
mod strategy;
#[cfg(test)]
mod tests;
mod validate;

pub use status::*;
pub use validate::cluster_ips as validate_cluster_ips;

use std::collections::BTreeMap;

use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::open_enum::open_enum;
use crate::value::IntOrString;
use api_types_derive::Api;

/// A stable address and name before a changing set of pods.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Service {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Which pods, which ports, and how they are reached.
    #[api(2)]
    pub spec: ServiceSpec,
    /// What the load balancer has given.
    #[api(3)]
    pub status: ServiceStatus,
}

/// How a Service is reached and what it leads to.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ServiceSpec {
    /// Ports that the Service offers.
    #[api(1, list = map("port", "protocol"), patch = merge_key("port"))]
    pub ports: Vec<ServicePort>,
    /// Labels of the pods that it leads to; without any, somebody else manages the endpoints.
    #[api(2, map = atomic)]
    pub selector: BTreeMap<String, String>,
    /// Virtual address in the cluster; None means that there is none (headless).
    #[api(3, name = "clusterIP")]
    pub cluster_ip: String,
    /// All virtual addresses, at most one per family; the first is clusterIP.
    #[api(18, name = "clusterIPs", list = atomic)]
    pub cluster_ips: Vec<String>,
    /// How the Service is exposed.
    #[api(4)]
    pub type_: ServiceType,
    /// Further addresses that nodes accept traffic for.
    #[api(5, name = "externalIPs", list = atomic)]
    pub external_ips: Vec<String>,
    /// Whether a client stays with one pod.
    #[api(7)]
    pub session_affinity: ServiceAffinity,
    /// Address wished of the load balancer; providers may ignore it.
    #[api(8, name = "loadBalancerIP")]
    pub load_balancer_ip: String,
    /// Client ranges that the load balancer lets through.
    #[api(9, list = atomic)]
    pub load_balancer_source_ranges: Vec<String>,
    /// DNS name that an ExternalName Service stands for.
    #[api(10)]
    pub external_name: String,
    /// Whether outside traffic may be passed on to other nodes.
    #[api(11)]
    pub external_traffic_policy: ServiceExternalTrafficPolicy,
    /// Node port where load balancers ask for local endpoints.
    #[api(12)]
    pub health_check_node_port: i32,
    /// Whether DNS and endpoints ignore readiness.
    #[api(13)]
    pub publish_not_ready_addresses: bool,
    /// Details of session affinity.
    #[api(14)]
    pub session_affinity_config: Option<Box<SessionAffinityConfig>>,
    /// Families of the virtual addresses, in the order of clusterIPs.
    #[api(19, list = atomic)]
    pub ip_families: Vec<IPFamily>,
    /// Whether the Service has addresses of one or both families.
    #[api(17)]
    pub ip_family_policy: Option<IPFamilyPolicy>,
    /// Whether a LoadBalancer also gets node ports; true when not given.
    #[api(20)]
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// Load balancer implementation that is meant.
    #[api(21)]
    pub load_balancer_class: Option<String>,
    /// Whether traffic inside the cluster stays on its node.
    #[api(22)]
    pub internal_traffic_policy: Option<ServiceInternalTrafficPolicy>,
    /// Which endpoints are preferred, such as those in the same zone.
    #[api(23)]
    pub traffic_distribution: Option<String>,
}

/// One port of a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ServicePort {
    /// Name of the port; needed with several ports.
    #[api(1)]
    pub name: String,
    /// Transport protocol; TCP when not given.
    #[api(2, default = "TCP")]
    pub protocol: Protocol,
    /// Protocol spoken over it, as a hint to proxies.
    #[api(6)]
    pub app_protocol: Option<String>,
    /// Port of the Service.
    #[api(3, required)]
    pub port: i32,
    /// Port of the pods, by number or name; the same as port when not given.
    #[api(4, always)]
    pub target_port: IntOrString,
    /// Port of every node that leads here.
    #[api(5)]
    pub node_port: i32,
}

open_enum! {
    /// How a Service is exposed.
    pub enum ServiceType {
        ClusterIP = "ClusterIP",
        NodePort = "NodePort",
        LoadBalancer = "LoadBalancer",
        ExternalName = "ExternalName",
    }
}

open_enum! {
    /// Whether a client stays with one pod.
    pub enum ServiceAffinity {
        ClientIP = "ClientIP",
        None = "None",
    }
}

/// Details of session affinity.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SessionAffinityConfig {
    /// For affinity by client address.
    #[api(1, name = "clientIP")]
    pub client_ip: Option<Box<ClientIPConfig>>,
}

/// Details of affinity by client address.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ClientIPConfig {
    /// Seconds without traffic after which a client may move; 10800 when not given.
    #[api(1)]
    pub timeout_seconds: Option<i32>,
}

open_enum! {
    /// Whether traffic inside the cluster stays on its node.
    pub enum ServiceInternalTrafficPolicy {
        Cluster = "Cluster",
        Local = "Local",
    }
}

open_enum! {
    /// Whether outside traffic may be passed on to other nodes.
    pub enum ServiceExternalTrafficPolicy {
        Cluster = "Cluster",
        Local = "Local",
    }
}

open_enum! {
    /// IPv4 or IPv6.
    pub enum IPFamily {
        IPv4 = "IPv4",
        IPv6 = "IPv6",
    }
}

open_enum! {
    /// How many address families a Service has.
    pub enum IPFamilyPolicy {
        SingleStack = "SingleStack",
        PreferDualStack = "PreferDualStack",
        RequireDualStack = "RequireDualStack",
    }
}

open_enum! {
    /// A transport protocol.
    pub enum Protocol {
        Tcp = "TCP",
        Udp = "UDP",
        Sctp = "SCTP",
    }
}

resource!(
    Service,
    Kind {
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[
            Subresource::own("proxy", "ServiceProxyOptions", &["create", "delete", "get", "patch", "update"]),
            Subresource::status("Service")
        ],
        ..Kind::namespaced("v1", "Service", "services", "service")
    }
);
