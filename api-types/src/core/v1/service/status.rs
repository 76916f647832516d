//! What is known of a Service from outside the cluster: its load balancer.

use crate::core::v1::Protocol;
use crate::meta::v1::Condition;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// What is known of a Service from outside.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ServiceStatus {
    /// What the load balancer has given.
    #[api(1)]
    pub load_balancer: LoadBalancerStatus,
    /// Latest observations about the Service.
    #[api(2, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<Condition>,
}

/// Addresses of a load balancer.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct LoadBalancerStatus {
    /// Points where traffic comes in.
    #[api(1, list = atomic)]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// One point where traffic comes in.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct LoadBalancerIngress {
    /// Its address.
    #[api(1)]
    pub ip: String,
    /// Its DNS name.
    #[api(2)]
    pub hostname: String,
    /// Whether traffic arrives with this address as destination.
    #[api(3)]
    pub ip_mode: Option<LoadBalancerIPMode>,
    /// State of its ports.
    #[api(4, list = atomic)]
    pub ports: Vec<PortStatus>,
}

open_enum! {
    /// Whether a load balancer keeps the destination address.
    pub enum LoadBalancerIPMode {
        Vip = "VIP",
        Proxy = "Proxy",
    }
}

/// State of one port of a load balancer.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PortStatus {
    /// The port number.
    #[api(1, required)]
    pub port: i32,
    /// Transport protocol.
    #[api(2, required)]
    pub protocol: Protocol,
    /// What is wrong, as a CamelCase word or DOMAIN/word.
    #[api(3)]
    pub error: Option<String>,
}
