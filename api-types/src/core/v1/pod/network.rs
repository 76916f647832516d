//! How a pod resolves names.

use crate::open_enum::open_enum;
use api_types_derive::Api;

open_enum! {
    /// Where a pod's containers look up names.
    pub enum DNSPolicy {
        ClusterFirstWithHostNet = "ClusterFirstWithHostNet",
        ClusterFirst = "ClusterFirst",
        Default = "Default",
        None = "None",
    }
}

/// Settings of name lookup, merged with those of the policy.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodDNSConfig {
    /// Addresses of name servers, after those of the policy.
    #[api(1, list = atomic)]
    pub nameservers: Vec<String>,
    /// Search domains, after those of the policy.
    #[api(2, list = atomic)]
    pub searches: Vec<String>,
    /// Resolver options; those of the same name replace the policy's.
    #[api(3, list = atomic)]
    pub options: Vec<PodDNSConfigOption>,
}

/// One option of the resolver.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodDNSConfigOption {
    /// Name of the option, such as ndots.
    #[api(1)]
    pub name: String,
    /// Its value, if it has one.
    #[api(2)]
    pub value: Option<String>,
}

/// Host names for an address in the hosts file.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct HostAlias {
    /// The address.
    #[api(1, required)]
    pub ip: String,
    /// Its names.
    #[api(2, list = atomic)]
    pub hostnames: Vec<String>,
}
